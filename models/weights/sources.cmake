target_sources(hadal_models PRIVATE
    model_src.c weights/gguf.c weights/gguf_meta.c weights/safetensors.c weights/safetensors_index.c
    weights/source.c)
