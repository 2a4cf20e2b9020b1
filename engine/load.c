// Opening everything a model needs to step. No threads of its own besides the pool.
#include "engine/load.h"

#include "engine/draft.h"
#include "kernels/base/cpu.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#include <string.h>

enum {
    MAX_SEQS = 4096,
    MAX_STEP_TOKENS = 65536,
};

void hd_engine_cfg_init(hd_engine_cfg *cfg)
{
    *cfg = (hd_engine_cfg){
        .device = "auto",
        .cpu_features = UINT32_MAX,
        .weights = HD_WEIGHTS_ALL(HD_DTYPE_NONE),
        .kv = HD_BF16,
        .max_seqs = 16,
        .max_step_tokens = 512,
        .max_prompt_ms = 50,
        .max_queue = 128,
        .max_queue_tokens = 1 << 20,
        .max_queue_bytes = 256 << 20,
        .speculate = HD_DRAFT_MAX,
        .prefix_cache = true,
        .slow_reader_ms = 1000,
        .stall_ms = 120000,
        .clock = hd_clock_real,
    };
}

void hd_load_progress(const hd_loaded *l, hd_load_phase phase, uint64_t done, uint64_t total)
{
    if (l->cfg.progress) l->cfg.progress(l->cfg.progress_ctx, phase, done, total);
}

static void weights_progress(void *ctx, uint64_t done, uint64_t total)
{
    hd_load_progress(ctx, HD_LOAD_WEIGHTS, done, total);
}

bool hd_load_cancelled(const hd_loaded *l)
{
    return l->cfg.cancel && __atomic_load_n(l->cfg.cancel, __ATOMIC_RELAXED);
}

static double seconds_since(int64_t t0)
{
    return (double)(hd_mono_ns() - t0) / 1e9;
}

static hd_status check_cfg(const hd_engine_cfg *c, hd_err *err)
{
    const struct {
        const char *name;
        int64_t v, min, max;
    } number[] = {
        {"threads", c->threads, 0, 1024},
        {"max_context", c->max_context, 0, HD_MAX_CONTEXT},
        {"max_seqs", c->max_seqs, 1, MAX_SEQS},
        {"max_step_tokens", c->max_step_tokens, 1, MAX_STEP_TOKENS},
        {"max_queue", c->max_queue, 0, INT32_MAX - MAX_SEQS},
        {"max_prompt_ms", c->max_prompt_ms, 0, INT32_MAX},
        {"max_queue_tokens", c->max_queue_tokens, 0, INT32_MAX},
        {"max_queue_bytes", c->max_queue_bytes, 0, INT64_MAX},
        {"speculate", c->speculate, 0, HD_DRAFT_MAX},
        {"slow_reader_ms", c->slow_reader_ms, 0, INT32_MAX},
        {"stall_ms", c->stall_ms, 1, INT32_MAX},
    };
    HD_CHECK(c->model, err, HD_E_INVAL, "no model was named");
    for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
        HD_CHECK(number[i].v >= number[i].min && number[i].v <= number[i].max, err, HD_E_INVAL,
                 "%s: %lld, expected %lld to %lld", number[i].name, (long long)number[i].v,
                 (long long)number[i].min, (long long)number[i].max);
    HD_CHECK(c->kv == HD_F32 || c->kv == HD_F16 || c->kv == HD_BF16 || c->kv == HD_Q8_0, err,
             HD_E_UNSUPPORTED, "cache of type %s, expected f32, f16, bf16 or q8_0",
             hd_dtype_name(c->kv));
    return HD_OK;
}

// ---- files, tokenizer, template ------------------------------------------------------------

static hd_status choose_chat(hd_loaded *l, hd_err *err)
{
    hd_model_facts *f = &l->facts;
    hd_err why = {HD_OK, ""};
    const char *wanted = l->cfg.chat_template;
    if (wanted && strcmp(wanted, "none") == 0) {
        f->chat_why = "none was asked for";
        return HD_OK;
    }
    hd_status st = hd_chat_select(l->src, l->tokenizer, wanted, &f->chat, &f->chat_why, &why);
    if (st == HD_OK) return HD_OK;
    if (st != HD_E_UNSUPPORTED || wanted || l->cfg.need_chat)
        return hd_fail(err, st, "%s", why.msg);
    HD_LOG(HD_LOG_INFO, "load", "no chat template: raw prompts only", hd_f_str("reason", why.msg));
    memcpy(l->why, why.msg, sizeof(l->why));
    f->chat = NULL;
    f->chat_why = l->why;
    return HD_OK;
}

static void default_f32(const hd_json *from, const char *key, double min, double max, float *out)
{
    double v = (double)*out;
    hd_err why;
    if (hd_json_field_f64(from, key, HD_JSON_OPTIONAL, min, max, &v, &why) == HD_OK)
        *out = (float)v;
    else
        HD_LOG(HD_LOG_WARN, "load", "generation_config.json: value ignored",
               hd_f_str("reason", why.msg));
}

// What the model's makers recommend; values we could not obey are left out, with a warning.
static void read_defaults(const hd_json *from, hd_sample_params *p)
{
    hd_err why;
    int64_t k = 0;
    hd_sample_params_init(p);
    if (!from) return;
    default_f32(from, "temperature", 0, 100, &p->temperature);
    default_f32(from, "top_p", 1e-6, 1, &p->top_p);
    default_f32(from, "min_p", 0, 1, &p->min_p);
    default_f32(from, "repetition_penalty", 1e-3, 100, &p->repetition_penalty);
    if (hd_json_field_i64(from, "top_k", HD_JSON_OPTIONAL, 0, HD_MAX_VOCAB, &k, &why) == HD_OK)
        p->top_k = (int32_t)k;
    else
        HD_LOG(HD_LOG_WARN, "load", "generation_config.json: value ignored",
               hd_f_str("reason", why.msg));
}

// How many ids have a text; 0: unknown.
static int32_t known_ids(const hd_loaded *l)
{
    return l->tokenizer ? hd_tokenizer_facts(l->tokenizer)->n_vocab : 0;
}

static hd_status open_files(hd_loaded *l, hd_load_what what, hd_err *err)
{
    hd_load_progress(l, HD_LOAD_OPEN, 0, 0);
    HD_TRY(hd_model_src_open(l->cfg.model, l->cfg.access, &l->src, err));
    if (what == HD_LOAD_TEXT) {
        HD_TRY(hd_tokenizer_open(l->src, &l->tokenizer, err));
        HD_TRY(choose_chat(l, err));
    }
    read_defaults(l->src->generation_config, &l->facts.defaults);
    HD_CHECK(!hd_load_cancelled(l), err, HD_E_CANCELLED, "loading was cancelled");
    HD_LOG(HD_LOG_INFO, "load", "files read", hd_f_str("model", l->src->path),
           hd_f_int("vocab", known_ids(l)),
           hd_f_str("chat_template", l->facts.chat ? l->facts.chat->name : "none"),
           hd_f_f64("seconds", seconds_since(l->began_ns), 2));
    return HD_OK;
}

// ---- device --------------------------------------------------------------------------------

static hd_status open_device(hd_loaded *l, hd_err *err)
{
    hd_engine_cfg *c = &l->cfg;
    hd_room_machine(c, &l->bind);
    HD_TRY(hd_pool_create(c->threads, &l->pool, err));
    const hd_device_cfg device = {
        .device = c->device,
        .pool = l->pool,
        .cpu_features = c->cpu_features,
        .deterministic = c->deterministic,
    };
    HD_TRY(hd_backend_open(&device, &l->be, err));
    hd_cpu_names(hd_cpu_detect() & c->cpu_features, l->isa, sizeof(l->isa));
    return HD_OK;
}

// ---- planning ------------------------------------------------------------------------------

// A model of the same files on the dry backend: reads headers alone, and knows every type.
static hd_status open_dry(hd_loaded *l, hd_err *err)
{
    const hd_device_cfg device = {.device = "dry"};
    const hd_model_opts opts = {.weights = l->cfg.weights};
    HD_TRY(hd_model_files_open(l->src, &l->files, err));
    HD_TRY(hd_backend_open(&device, &l->dry_be, err));
    return hd_model_open_files(l->src, l->files, l->dry_be, &opts, &l->dry, err);
}

// Refuses what certainly does not fit before it is read, because the system may end the process
// for it.
static hd_status check_size(const hd_loaded *l, hd_err *err)
{
    const uint64_t bytes = l->dry->weight_bytes;
    HD_CHECK(
        bytes - bytes / 16 <= l->cfg.memory, err, HD_E_LIMIT,
        "memory: the weights need about %.0f MiB, allowed are %.0f MiB; raise --memory, choose "
        "a smaller type for --weights or a smaller model",
        (double)bytes / (1 << 20), (double)l->cfg.memory / (1 << 20));
    return HD_OK;
}

// Sizes and costs; says early what cannot be computed at all.
static hd_status plan(hd_loaded *l, uint64_t out_bytes, hd_err *err)
{
    HD_TRY(open_dry(l, err));
    HD_TRY(check_size(l, err));
    return hd_room_plan(l->dry, &l->cfg, out_bytes, &l->caps, &l->need, err);
}

// ---- weights -------------------------------------------------------------------------------

static hd_status open_weights(hd_loaded *l, hd_err *err)
{
    const int64_t t0 = hd_mono_ns();
    const hd_model_opts opts = {
        .weights = l->cfg.weights,
        .pool = l->pool,
        .progress = weights_progress,
        .progress_ctx = l,
        .cancel = l->cfg.cancel,
    };
    hd_load_progress(l, HD_LOAD_WEIGHTS, 0, 0);
    HD_TRY(hd_model_open_files(l->src, l->files, l->be, &opts, &l->model, err));
    hd_model_files_close(l->files); // packed weights need it no more
    l->files = NULL;
    HD_CHECK(!hd_load_cancelled(l), err, HD_E_CANCELLED, "loading was cancelled");
    const int32_t known = known_ids(l);
    l->vocab = known > 0 && known < l->model->cfg.vocab ? known : l->model->cfg.vocab;
    HD_LOG(HD_LOG_INFO, "load", "weights packed", hd_f_str("arch", l->model->arch->name),
           hd_f_f64("mib", (double)l->model->weight_bytes / (1 << 20), 1),
           hd_f_f64("seconds", seconds_since(t0), 2));
    return HD_OK;
}

// ---- memory --------------------------------------------------------------------------------

static hd_status share_memory(hd_loaded *l, hd_err *err)
{
    const hd_engine_cfg *c = &l->cfg;
    const int32_t wanted = l->need.context, most = l->model->cfg.max_context;
    hd_memory_share share;
    if (c->max_context > most)
        HD_LOG(HD_LOG_WARN, "load", "max_context lowered to what the model was made for",
               hd_f_int("asked", c->max_context), hd_f_int("context", most));
    l->need.weights = l->model->weight_bytes;
    HD_TRY(hd_memory_fit(&l->need, &share, err));
    if (share.context < wanted)
        HD_LOG(HD_LOG_WARN, "load", "max_context lowered to what memory allows",
               hd_f_int("wanted", wanted), hd_f_int("context", share.context));
    l->caps.vocab = l->vocab;
    l->caps.max_context = share.context;
    l->facts.max_context = share.context;
    l->facts.kv_pages = share.pages;
    l->facts.kv_bytes = share.kv;
    l->facts.scratch_bytes = l->need.buffers;
    return HD_OK;
}

static hd_status make_room(hd_loaded *l, hd_err *err)
{
    hd_load_progress(l, HD_LOAD_PLAN, 0, 0);
    HD_TRY(share_memory(l, err));
    HD_TRY(hd_kvpool_create(l->model->arch, &l->model->cfg, l->be, l->cfg.kv, l->facts.kv_pages,
                            l->cfg.prefix_cache, &l->kv, err));
    return hd_stepper_create(l->model, l->kv, &l->caps, &l->step, err);
}

static void fill_facts(hd_loaded *l)
{
    hd_model_facts *f = &l->facts;
    f->src = l->src;
    f->cfg = l->model->cfg;
    f->tokenizer = l->tokenizer;
    f->threads = hd_pool_size(l->pool);
    f->device = l->be->ops->name;
    f->isa = l->isa;
    f->weight_bytes = l->model->weight_bytes;
}

hd_status hd_load(const hd_engine_cfg *cfg, hd_load_what what, uint64_t out_bytes, hd_loaded *out,
                  hd_err *err)
{
    memset(out, 0, sizeof(*out));
    HD_TRY(check_cfg(cfg, err));
    out->cfg = *cfg;
    out->began_ns = hd_mono_ns();
    hd_status st = open_files(out, what, err);
    if (st == HD_OK) st = open_device(out, err);
    if (st == HD_OK) st = plan(out, out_bytes, err);
    if (st == HD_OK) st = open_weights(out, err);
    if (st == HD_OK) st = make_room(out, err);
    if (st == HD_OK)
        fill_facts(out);
    else
        hd_loaded_close(out);
    return st;
}

void hd_loaded_close(hd_loaded *l)
{
    hd_stepper_destroy(l->step);
    hd_kvpool_destroy(l->kv);
    hd_model_files_close(l->files);
    hd_model_close(l->model);
    hd_model_close(l->dry);
    hd_backend_close(l->dry_be);
    hd_backend_close(l->be);
    hd_pool_destroy(l->pool);
    if (l->tokenizer) hd_tokenizer_close(l->tokenizer);
    hd_model_src_close(l->src);
    memset(l, 0, sizeof(*l));
}

void hd_load_log_ready(const hd_loaded *l)
{
    const hd_model_facts *f = &l->facts;
    HD_LOG(HD_LOG_INFO, "load", "model ready", hd_f_str("model", f->src->name),
           hd_f_str("arch", l->model->arch->name), hd_f_str("device", f->device),
           hd_f_str("isa", f->isa), hd_f_int("threads", f->threads),
           hd_f_f64("weights_mib", (double)f->weight_bytes / (1 << 20), 1),
           hd_f_f64("buffers_mib", (double)f->scratch_bytes / (1 << 20), 1),
           hd_f_f64("cache_mib", (double)f->kv_bytes / (1 << 20), 1),
           hd_f_int("cache_pages", f->kv_pages), hd_f_int("context", f->max_context),
           hd_f_int("seqs", l->cfg.max_seqs), hd_f_int("step_tokens", l->cfg.max_step_tokens),
           hd_f_int("prompt_ms", l->cfg.max_prompt_ms), hd_f_int("speculate", l->cfg.speculate),
           hd_f_bool("prefix_cache", l->cfg.prefix_cache),
           hd_f_bool("deterministic", l->cfg.deterministic),
           hd_f_f64("seconds", seconds_since(l->began_ns), 2));
}
