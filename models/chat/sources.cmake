target_sources(hadal_models PRIVATE
    chat/chat_list.c
    chat/chat_match.c
    chat/chatml.c
    chat/conversation.c
    chat/deepseek_coder.c
    chat/deepseek_llm.c
    chat/deepseek_v3.c
    chat/deepseek_v31.c
    chat/deepseek_v3_0324.c
    chat/llama3.c
    chat/qwen3.c
    chat/render.c
    chat/think_split.c)
