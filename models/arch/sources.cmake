# Configuration, forward passes, binding.
target_sources(hadal_models PRIVATE
    arch_list.c blocks.c config.c config_gguf.c config_json.c model.c rope.c
    arch/decoder.c arch/deepseek.c arch/deepseek_v2.c arch/deepseek_v3.c arch/dense.c arch/llama.c
    arch/qwen2.c arch/qwen3.c arch/sparse.c arch/sparse_gguf.c
    weights/bind_pack.c weights/bind_stage.c weights/binder.c weights/policy.c)
