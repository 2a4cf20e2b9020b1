# HTTP, the dialects, and `hadal serve`.
target_sources(hadal_server PRIVATE
    answer.c answer_error.c batch.c cmd_serve.c gen.c http.c http_head.c http_req.c http_watch.c invocations.c
    lifecycle.c metrics.c models_api.c ops_api.c ping.c routes.c sse.c stop.c tokenize_api.c
    schemas/common.c schemas/hf_lmi.c schemas/hf_text.c schemas/hf_tgi.c schemas/known.c
    schemas/list.c schemas/openai.c schemas/openai_chat.c schemas/openai_completions.c)
target_link_libraries(hadal_server PRIVATE PkgConfig::MHD)
