# HTTP, the dialects, and `hadal serve`.
target_sources(hadal_server PRIVATE
    answer.c cmd_serve.c gen.c http.c http_req.c http_watch.c invocations.c lifecycle.c models_api.c
    ping.c routes.c sse.c stop.c
    schemas/common.c schemas/hf_lmi.c schemas/hf_text.c schemas/hf_tgi.c schemas/list.c
    schemas/openai.c schemas/openai_chat.c schemas/openai_completions.c)
target_link_libraries(hadal_server PRIVATE PkgConfig::MHD)
