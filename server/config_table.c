// Rows of the settings table and the text of the commands; nothing but data.
#include "server/config_table.h"

#include <stddef.h>

#define AT(member) offsetof(hd_config, member)

enum {
    ENGINE = HD_CMD_SERVE | HD_CMD_RUN | HD_CMD_CHAT | HD_CMD_SCORE | HD_CMD_BENCH | HD_CMD_INSPECT,
    GENERATE = HD_CMD_RUN | HD_CMD_CHAT,
    ALL = ENGINE | HD_CMD_TOKENIZE,
};

// clang-format off
const hd_opt hd_opts[] = {
    // ---- model and engine
    {"model", "HADAL_MODEL SAGEMAKER_MODEL_PATH", HD_OPT_STR, AT(model), 0, 0, NULL, NULL, ALL, "PATH",
     "folder in Hugging Face layout, or a GGUF file; serve falls back to /opt/ml/model and knows the "
     "channels of additional model sources by name"},
    {"device", "HADAL_DEVICE", HD_OPT_STR, AT(device), 0, 0, "auto", NULL, ENGINE, "NAME",
     "auto, cpu or cuda:N"},
    {"threads", "HADAL_THREADS", HD_OPT_INT, AT(threads), 0, 1024, "0", NULL, ENGINE, "N",
     "worker threads; 0: cores allowed by affinity and cgroup quota"},
    {"bind", "HADAL_BIND", HD_OPT_ENUM, AT(bind), 0, 0, "auto", "auto|on|off", ENGINE, "MODE",
     "bind each thread to a processor; auto: when they are as many as we may use"},
    {"cpu", "HADAL_CPU_MASK", HD_OPT_STR, AT(cpu), 0, 0, "all", NULL, ENGINE, "LEVELS",
     "instruction sets to allow, e.g. ref, avx2, avx512,avx512vnni"},
    {"weights", "HADAL_WEIGHTS", HD_OPT_STR, AT(weights), 0, 0, "keep", NULL, ENGINE, "TYPE",
     "type of matrices in memory: keep (as in the files), f32, f16, bf16, f8, q8_0 (q8), q6_k, "
     "q4_k (q4), q4_1, q4_0"},
    {"weights-experts", "HADAL_WEIGHTS_EXPERTS", HD_OPT_STR, AT(weights_experts), 0, 0, NULL, NULL, ENGINE, "TYPE",
     "type of routed experts; default: as --weights"},
    {"weights-attention", "HADAL_WEIGHTS_ATTENTION", HD_OPT_STR, AT(weights_attention), 0, 0, NULL, NULL, ENGINE, "TYPE",
     "type of attention's projections; default: as --weights"},
    {"kv", "HADAL_KV", HD_OPT_STR, AT(kv), 0, 0, "bf16", NULL, ENGINE, "TYPE",
     "type of cached keys and values: bf16, f16, f32, q8"},
    {"max-context", "HADAL_MAX_CONTEXT", HD_OPT_INT, AT(max_context), 0, HD_MAX_CONTEXT, "0", NULL, ENGINE, "N",
     "tokens of prompt and answer together; 0: the model's, lowered to what memory allows"},
    {"max-seqs", "HADAL_MAX_SEQS", HD_OPT_INT, AT(max_seqs), 1, 4096, "16", NULL, HD_CMD_SERVE | HD_CMD_INSPECT, "N",
     "requests decoded at the same time"},
    {"max-step-tokens", "HADAL_MAX_STEP_TOKENS", HD_OPT_INT, AT(max_step_tokens), 1, 65536, "512", NULL, ENGINE, "N",
     "tokens of one step: a prompt alone is computed in parts of so many"},
    {"max-prompt-ms", "HADAL_MAX_PROMPT_MS", HD_OPT_INT, AT(max_prompt_ms), 0, 600000, "50", NULL, HD_CMD_SERVE | HD_CMD_BENCH, "MS",
     "time a new prompt may add between the tokens of those being answered, or as long as their own step takes; 0: no limit"},
    {"max-queue", "HADAL_MAX_QUEUE MAX_CONCURRENT_REQUESTS", HD_OPT_INT, AT(max_queue), 0, 1000000, "128", NULL, HD_CMD_SERVE, "N",
     "waiting requests; further ones get 429"},
    {"max-queue-tokens", "HADAL_MAX_QUEUE_TOKENS", HD_OPT_INT, AT(max_queue_tokens), 1, INT32_MAX, "1048576", NULL, HD_CMD_SERVE, "N",
     "prompt tokens of waiting requests; one request may always wait"},
    {"max-queue-bytes", "HADAL_MAX_QUEUE_BYTES", HD_OPT_SIZE, AT(max_queue_bytes), 1024, 1e15, "256M", NULL, HD_CMD_SERVE, "BYTES",
     "memory of waiting requests; one request may always wait"},
    {"speculate", "HADAL_SPECULATE", HD_OPT_INT, AT(speculate), 0, 8, "8", NULL,
     HD_CMD_SERVE | HD_CMD_RUN | HD_CMD_CHAT | HD_CMD_BENCH, "N",
     "guess up to N tokens from what was written before, and compute them together where that is "
     "faster; never changes an answer; 0: off, as bench does unless told otherwise"},
    {"prefix-cache", "HADAL_PREFIX_CACHE", HD_OPT_BOOL, AT(prefix_cache), 0, 0, "true", NULL, HD_CMD_SERVE | HD_CMD_CHAT, NULL,
     "keep what was computed for prompts that begin alike, in cache memory nobody needs now"},
    {"memory", "HADAL_MEMORY", HD_OPT_SIZE, AT(memory_bytes), 0, 1e15, "0", NULL, ENGINE, "BYTES",
     "memory for weights, cache and buffers (suffix K, M, G); 0: cgroup limit or RAM"},
    {"mmap", "HADAL_MMAP", HD_OPT_BOOL, AT(mmap), 0, 0, "true", NULL, ENGINE, NULL,
     "map the weights' files; off: read them in large pieces, for storage that is slow when mapped; "
     "files that cannot be mapped are read in any case"},
    {"deterministic", "HADAL_DETERMINISTIC", HD_OPT_BOOL, AT(deterministic), 0, 0, "false", NULL, ENGINE, NULL,
     "own kernels only: tokens never depend on what else is in the batch (slower prompts)"},
    {"chat-template", "HADAL_CHAT_TEMPLATE", HD_OPT_STR, AT(chat_template), 0, 0, NULL, NULL,
     HD_CMD_SERVE | HD_CMD_RUN | HD_CMD_CHAT | HD_CMD_INSPECT, "NAME",
     "template of chats; default: recognised from the model; none: raw prompts only"},
    {"stall-seconds", "HADAL_STALL_SECONDS", HD_OPT_INT, AT(stall_seconds), 1, 3600, "120", NULL, HD_CMD_SERVE, "S",
     "no progress for so long while busy makes /ping answer 503"},
    {"startup-seconds", "HADAL_STARTUP_SECONDS", HD_OPT_INT, AT(startup_seconds), 1, 86400, "480", NULL, HD_CMD_SERVE, "S",
     "time the platform gives the start (ContainerStartupHealthCheckTimeoutInSeconds); a warning "
     "comes when three quarters are over"},
    {"plugin-dir", "HADAL_PLUGIN_DIR", HD_OPT_STR, AT(plugin_dir), 0, 0, NULL, NULL, ENGINE, "DIR",
     "where device plugins are looked for besides ../lib/hadal"},

    // ---- server
    {"host", "HADAL_HOST", HD_OPT_STR, AT(host), 0, 0, NULL, NULL, HD_CMD_SERVE, "ADDRESS",
     "address to listen on; default: all, IPv4 and IPv6"},
    {"port", "SAGEMAKER_BIND_TO_PORT HADAL_PORT", HD_OPT_INT, AT(port), 0, 65535, "8080", NULL, HD_CMD_SERVE, "N",
     "port to listen on"},
    {"served-name", "HADAL_SERVED_NAME", HD_OPT_STR, AT(served_name), 0, 0, NULL, NULL, HD_CMD_SERVE, "NAME",
     "model name in answers and /v1/models; default: from the path"},
    {"inputs-profile", "HADAL_INPUTS_PROFILE", HD_OPT_ENUM, AT(inputs_profile), 0, 0, "auto", "auto|tgi|lmi", HD_CMD_SERVE, "NAME",
     "shape of answers to 'inputs' bodies: tgi (array) or lmi (object); auto: from the environment"},
    {"default-max-new-tokens", "HADAL_DEFAULT_MAX_NEW_TOKENS", HD_OPT_INT, AT(default_max_new_tokens), 0, HD_MAX_CONTEXT, "0", NULL, HD_CMD_SERVE, "N",
     "answer length when a request names none; 0: as its dialect says"},
    {"drain-seconds", "HADAL_DRAIN_SECONDS", HD_OPT_INT, AT(drain_seconds), 0, 3600, "25", NULL, HD_CMD_SERVE, "S",
     "how long running requests may finish after SIGTERM"},
    {"keepalive-comment-seconds", "HADAL_SSE_KEEPALIVE_SECONDS", HD_OPT_INT, AT(keepalive_comment_seconds), 0, 3600, "15", NULL, HD_CMD_SERVE, "S",
     "silence on an event stream after which a comment line is sent; 0: never"},
    {"max-connections", "HADAL_MAX_CONNECTIONS", HD_OPT_INT, AT(max_connections), 1, 16384, "512", NULL, HD_CMD_SERVE, "N",
     "connections served at the same time"},
    {"max-body-bytes", "HADAL_MAX_BODY_BYTES", HD_OPT_SIZE, AT(max_body_bytes), 1024, 4e9, "128M", NULL, HD_CMD_SERVE, "BYTES",
     "largest request body; larger ones get 413"},
    {"max-answer-bytes", "HADAL_MAX_ANSWER_BYTES", HD_OPT_SIZE, AT(max_answer_bytes), 1024, 4e9, "6M", NULL, HD_CMD_SERVE, "BYTES",
     "answers in one piece above this lose details of their tokens, never text"},
    {"max-header-bytes", "HADAL_MAX_HEADER_BYTES", HD_OPT_SIZE, AT(max_header_bytes), 1024, 1 << 20, "64K", NULL, HD_CMD_SERVE, "BYTES",
     "largest request head"},
    {"max-headers", "HADAL_MAX_HEADERS", HD_OPT_INT, AT(max_headers), 8, 10000, "100", NULL, HD_CMD_SERVE, "N",
     "most header lines of a request"},
    {"header-seconds", "HADAL_HEADER_SECONDS", HD_OPT_INT, AT(header_seconds), 1, 3600, "10", NULL, HD_CMD_SERVE, "S",
     "time for a request head to arrive"},
    {"body-idle-seconds", "HADAL_BODY_IDLE_SECONDS", HD_OPT_INT, AT(body_idle_seconds), 1, 3600, "60", NULL, HD_CMD_SERVE, "S",
     "longest pause inside a request body"},
    {"idle-seconds", "HADAL_IDLE_SECONDS", HD_OPT_INT, AT(idle_seconds), 1, 86400, "90", NULL, HD_CMD_SERVE, "S",
     "how long an idle connection is kept"},
    {"max-stop", "HADAL_MAX_STOP", HD_OPT_INT, AT(max_stop), 1, 64, "16", NULL, HD_CMD_SERVE, "N",
     "most stop strings of a request"},
    {"max-messages", "HADAL_MAX_MESSAGES", HD_OPT_INT, AT(max_messages), 1, 100000, "4096", NULL, HD_CMD_SERVE, "N",
     "most messages of a chat"},
    {"output-formatter", "HADAL_OUTPUT_FORMATTER", HD_OPT_ENUM, AT(output_formatter), 0, 0, "auto", "auto|json|jsonlines|sse", HD_CMD_SERVE, NULL,
     "framing of streams on /invocations when the request asks for none; auto: as its dialect says"},
    {"reasoning-field", "HADAL_REASONING_FIELD", HD_OPT_ENUM, AT(reasoning_field), 0, 0, "both", "both|reasoning_content|reasoning", HD_CMD_SERVE, NULL,
     "name of reasoning in chat answers"},
    {"strict", "HADAL_STRICT", HD_OPT_BOOL, AT(strict), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "unknown fields of requests are errors that name the nearest known field"},
    {"strict-model-name", "HADAL_STRICT_MODEL_NAME", HD_OPT_BOOL, AT(strict_model_name), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "a request for another model than the served one gets 404"},
    {"max-best-of", "HADAL_MAX_BEST_OF", HD_OPT_INT, AT(max_best_of), 1, 128, "2", NULL, HD_CMD_SERVE, "N",
     "largest best_of of a request"},
    {"force-unary", "HADAL_FORCE_UNARY", HD_OPT_BOOL, AT(force_unary), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "answer in one piece whatever the request says about streaming"},
    {"batch-multi", "HADAL_BATCH_MULTI", HD_OPT_BOOL, AT(batch_multi), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "/execution-parameters asks for several records per request"},
    {"batch-strict", "HADAL_BATCH_STRICT", HD_OPT_BOOL, AT(batch_strict), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "one bad record fails its whole request"},
    {"deadline-sync-seconds", "HADAL_DEADLINE_SYNC_S", HD_OPT_INT, AT(deadline_sync_seconds), 0, 86400, "57", NULL, HD_CMD_SERVE, "S",
     "answers to InvokeEndpoint end after so long with what there is; 0: never"},
    {"deadline-stream-seconds", "HADAL_DEADLINE_STREAM_S", HD_OPT_INT, AT(deadline_stream_seconds), 0, 86400, "470", NULL, HD_CMD_SERVE, "S",
     "the same for InvokeEndpointWithResponseStream"},
    {"request-seconds", "HADAL_REQUEST_SECONDS", HD_OPT_INT, AT(request_seconds), 0, 86400, "0", NULL, HD_CMD_SERVE, "S",
     "a request that takes longer fails; 0: none does"},
    {"api-key", "HADAL_API_KEY", HD_OPT_SECRET, AT(api_key), 0, 0, NULL, NULL, HD_CMD_SERVE, "KEY",
     "bearer token that callers need; never for health, metrics and /invocations"},
    {"api-key-scope", "HADAL_API_KEY_SCOPE", HD_OPT_ENUM, AT(api_key_scope), 0, 0, "v1", "v1|all", HD_CMD_SERVE, NULL,
     "all: the key is needed on /invocations too"},
    {"cors-origin", "HADAL_CORS_ORIGIN", HD_OPT_STR, AT(cors_origin), 0, 0, NULL, NULL, HD_CMD_SERVE, "ORIGIN",
     "web pages from there may call (Access-Control-Allow-Origin)"},
    {"echo-custom-attributes", "HADAL_ECHO_CUSTOM_ATTRIBUTES", HD_OPT_BOOL, AT(echo_attributes), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "answers carry the request's X-Amzn-SageMaker-Custom-Attributes"},
    {"metrics-compat", "HADAL_METRICS_COMPAT", HD_OPT_ENUM, AT(metrics_compat), 0, 0, "vllm", "vllm|none", HD_CMD_SERVE, NULL,
     "names of series on /metrics besides our own"},
    {"exit-on-device-failure", "HADAL_EXIT_ON_DEVICE_FAILURE", HD_OPT_BOOL, AT(exit_on_device_failure), 0, 0, "true", NULL, HD_CMD_SERVE, NULL,
     "a device that failed for good ends the process, so that it is replaced"},
    {"fail-linger-seconds", "HADAL_FAIL_LINGER_SECONDS", HD_OPT_INT, AT(fail_linger_seconds), 0, 3600, "0", NULL, HD_CMD_SERVE, "S",
     "how long /ping still tells why the model could not be loaded"},

    // ---- run, chat
    {"prompt", NULL, HD_OPT_STR, AT(prompt), 0, 0, NULL, NULL, HD_CMD_RUN, "TEXT",
     "what to continue or answer; default: the words behind the options, else standard input"},
    {"system", NULL, HD_OPT_STR, AT(system), 0, 0, NULL, NULL, GENERATE, "TEXT", "system message"},
    {"raw", NULL, HD_OPT_BOOL, AT(raw), 0, 0, "false", NULL, HD_CMD_RUN, NULL,
     "no chat template: continue the prompt as it stands and print only the continuation"},
    {"special", NULL, HD_OPT_BOOL, AT(special), 0, 0, "false", NULL, HD_CMD_RUN, NULL,
     "with --raw: text in the prompt that spells a special token becomes it"},
    {"max-tokens", NULL, HD_OPT_INT, AT(max_tokens), 0, HD_MAX_CONTEXT, "0", NULL, GENERATE, "N",
     "most tokens of an answer; 0: what the context has room for"},
    {"temperature", NULL, HD_OPT_F64, AT(temperature), 0, 100, "1", NULL, GENERATE, "X",
     "0: always the likeliest token; default: the model's own, else 1"},
    {"top-k", NULL, HD_OPT_INT, AT(top_k), 0, HD_MAX_VOCAB, "0", NULL, GENERATE, "N", "0: off"},
    {"top-p", NULL, HD_OPT_F64, AT(top_p), 1e-6, 1, "1", NULL, GENERATE, "X", "1: off"},
    {"min-p", NULL, HD_OPT_F64, AT(min_p), 0, 1, "0", NULL, GENERATE, "X", "0: off"},
    {"repetition-penalty", NULL, HD_OPT_F64, AT(repetition_penalty), 1e-3, 100, "1", NULL, GENERATE, "X", "1: off"},
    {"seed", NULL, HD_OPT_INT, AT(seed), 0, 9007199254740992.0, "0", NULL, GENERATE, "N",
     "same seed, same answer; default: drawn anew each time"},

    // ---- inspect
    {"render", NULL, HD_OPT_STR, AT(render), 0, 0, NULL, NULL, HD_CMD_INSPECT, "FILE.json",
     "render a conversation: prints {\"text\", \"ids\"}; needs no weights"},
    {"plan", NULL, HD_OPT_STR, AT(plan), 0, 0, NULL, NULL, HD_CMD_INSPECT, "config.json",
     "memory and cost plan of a configuration without weights"},
    {"tensors", NULL, HD_OPT_BOOL, AT(tensors), 0, 0, "false", NULL, HD_CMD_INSPECT, NULL, "list every tensor"},
    {"config", NULL, HD_OPT_BOOL, AT(show_config), 0, 0, "false", NULL, HD_CMD_INSPECT, NULL,
     "print the effective settings as JSON and stop"},
    {"json", NULL, HD_OPT_BOOL, AT(json), 0, 0, "false", NULL, HD_CMD_BENCH | HD_CMD_INSPECT, NULL,
     "results as JSON, one object a line"},

    // ---- tokenize, score, bench
    {"decode", NULL, HD_OPT_BOOL, AT(decode), 0, 0, "false", NULL, HD_CMD_TOKENIZE, NULL,
     "the reverse: {\"ids\"} to {\"text\"}"},
    {"ids", NULL, HD_OPT_STR, AT(ids), 0, 0, NULL, NULL, HD_CMD_SCORE, "FILE",
     "one JSON array of token ids a line; each line is a sequence"},
    {"logits", NULL, HD_OPT_STR, AT(logits), 0, 0, NULL, NULL, HD_CMD_SCORE, "OUT.npy",
     "write all logits instead: float32 [all tokens, vocab]"},
    {"chunk", NULL, HD_OPT_INT, AT(chunk), 0, 65536, "0", NULL, HD_CMD_SCORE, "N",
     "tokens fed at once; 0: --max-step-tokens"},
    {"pp", NULL, HD_OPT_STR, AT(bench_prompt), 0, 0, "512", NULL, HD_CMD_BENCH, "N,N...", "prompt lengths to measure"},
    {"tg", NULL, HD_OPT_STR, AT(bench_gen), 0, 0, "64", NULL, HD_CMD_BENCH, "N,N...", "answer lengths to measure"},
    {"depth", NULL, HD_OPT_STR, AT(bench_depth), 0, 0, "0", NULL, HD_CMD_BENCH, "N,N...",
     "tokens already in the cache before measuring"},
    {"repeat", NULL, HD_OPT_INT, AT(repeat), 1, 1000, "3", NULL, HD_CMD_BENCH, "N", "measurements of each case"},
    {"concurrency", NULL, HD_OPT_STR, AT(bench_clients), 0, 0, NULL, NULL, HD_CMD_BENCH, "N,N...",
     "instead: so many clients at once, each with one request at a time, against the whole engine"},
    {"requests", NULL, HD_OPT_INT, AT(bench_requests), 0, 1000000, "0", NULL, HD_CMD_BENCH, "N",
     "with --concurrency: requests of each case; 0: two per client and at least 8"},
    {"prompt-tokens", NULL, HD_OPT_INT, AT(bench_prompt_tokens), 1, HD_MAX_CONTEXT, "128", NULL, HD_CMD_BENCH, "N",
     "with --concurrency: length of each prompt; no two are alike"},
    {"answer-tokens", NULL, HD_OPT_INT, AT(bench_answer_tokens), 1, HD_MAX_CONTEXT, "64", NULL, HD_CMD_BENCH, "N",
     "with --concurrency: length of each answer"},
    {"intrude", NULL, HD_OPT_INT, AT(bench_intrude), 0, HD_MAX_CONTEXT, "0", NULL, HD_CMD_BENCH, "N",
     "with --concurrency: let a prompt of N tokens arrive while all clients read answers, and show how it delays them"},

    // ---- log
    {"log-level", "HADAL_LOG_LEVEL", HD_OPT_ENUM, AT(log_level), 0, 0, "info", "debug|info|warn|error|off", ALL, "LEVEL",
     "least important events to log (standard error)"},
    {"log-format", "HADAL_LOG_FORMAT", HD_OPT_ENUM, AT(log_format), 0, 0, "logfmt", "logfmt|json", ALL, "NAME",
     "one event per line in either form"},
    {"log-content", "HADAL_LOG_CONTENT", HD_OPT_BOOL, AT(log_content), 0, 0, "false", NULL, HD_CMD_SERVE, NULL,
     "log prompts and answers too"},
};
// clang-format on
const int hd_n_opts = sizeof(hd_opts) / sizeof(hd_opts[0]);

_Static_assert(sizeof(hd_opts) / sizeof(hd_opts[0]) <= HD_MAX_OPTS, "hd_config.given has 128 bits");

const hd_cmd_doc hd_cmd_docs[] = {
    {HD_CMD_SERVE, "serve", "hadal serve [--model PATH] [settings]",
     "serve a model: GET /ping, POST /invocations, /v1/chat/completions",
     "Answers 503 on /ping until a token has been generated, then 200. SIGTERM drains.\n"
     "  hadal serve --model ./model --port 8080\n"
     "  curl localhost:8080/invocations -d "
     "'{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'\n"},
    {HD_CMD_RUN, "run", "hadal run --model PATH [settings] [PROMPT...]",
     "answer one prompt and stop",
     "  hadal run --model ./model Why is the sea salty?\n"
     "  hadal run --model ./model --raw --prompt 'Once upon a time' --max-tokens 50 "
     "--temperature 0\n"},
    {HD_CMD_CHAT, "chat", "hadal chat --model PATH [settings]", "talk to a model in the terminal",
     "Ctrl-C stops the answer, Ctrl-D leaves. /clear starts anew, /help lists commands.\n"},
    {HD_CMD_INSPECT, "inspect", "hadal inspect --model PATH | --plan config.json [settings]",
     "show what a model is and what it will need",
     "  hadal inspect --model ./model\n"
     "  hadal inspect --model ./model --render chat.json\n"
     "chat.json: {\"messages\": [...], \"tools\"?: [...], \"add_generation_prompt\"?: bool, "
     "...};\n"
     "further keys are template variables such as enable_thinking.\n"},
    {HD_CMD_TOKENIZE, "tokenize", "hadal tokenize --model PATH [--decode] < IN.jsonl",
     "text to token ids and back, one JSON object a line",
     "In:  {\"text\": \"...\", \"special\": false, \"bos\": false}   Out: {\"ids\": [...]}\n"
     "special true lets text that spells a special token become it; bos true puts the\n"
     "beginning-of-sequence token first where the model has one. --decode: {\"ids\"} to "
     "{\"text\"}.\n"},
    {HD_CMD_SCORE, "score", "hadal score --model PATH --ids FILE [--logits OUT.npy] [settings]",
     "perplexity or logits of given tokens",
     "Prints {\"tokens\", \"nll\", \"perplexity\"} per line of FILE (natural logarithm), or with\n"
     "--logits writes one float32 row per token: the logits after reading it.\n"
     "--weights f32 --kv f32 computes everything in float32.\n"},
    {HD_CMD_BENCH, "bench", "hadal bench --model PATH [settings]",
     "measure prompt and answer speed against the roofline",
     "  hadal bench --model ./model --pp 128,512 --tg 64 --depth 0,4096\n"
     "  hadal bench --model ./model --concurrency 1,4,16,64\n"
     "  hadal bench --model ./model --concurrency 16 --intrude 8192\n"
     "TTFT: from a request to its first token. ITL: between two deliveries of one answer.\n"},
};
const int hd_n_cmd_docs = sizeof(hd_cmd_docs) / sizeof(hd_cmd_docs[0]);
