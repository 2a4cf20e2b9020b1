// hadal inspect: what a model is and what it will need, without running it.
#include "kernels/base/json.h"
#include "models/chat/chat.h"
#include "models/config.h"
#include "models/weights/source.h"
#include "server/cli.h"
#include "server/cmd.h"
#include "server/inspect_plan.h"

#include <inttypes.h>
#include <string.h>

// ---- rendering a conversation --------------------------------------------------------------

static hd_status get_tristate(const hd_json *in, const char *key, hd_tristate *out, hd_err *err)
{
    bool on;
    if (hd_json_is_null(hd_json_get(in, key))) return HD_OK;
    HD_TRY(hd_json_field_bool(in, key, HD_JSON_OPTIONAL, &on, err));
    *out = on ? HD_YES : HD_NO;
    return HD_OK;
}

static hd_status read_conversation(const hd_json *in, hd_arena *a, hd_conversation *c, hd_err *err)
{
    HD_CHECK(hd_json_type(in) == HD_JSON_OBJECT, err, HD_E_INVAL, "found %s, expected an object",
             hd_json_type_name(in));
    HD_TRY(hd_conversation_parse(hd_json_get(in, "messages"), 100000, a, c, err));
    const hd_json *tools = hd_json_get(in, "tools");
    if (!hd_json_is_null(tools)) {
        HD_CHECK(hd_json_type(tools) == HD_JSON_ARRAY, err, HD_E_INVAL,
                 "field 'tools': found %s, expected an array", hd_json_type_name(tools));
        c->tools = tools;
    }
    c->add_generation_prompt = false;
    HD_TRY(hd_json_field_bool(in, "add_generation_prompt", HD_JSON_OPTIONAL,
                              &c->add_generation_prompt, err));
    HD_TRY(hd_json_field_bool(in, "continue_final_message", HD_JSON_OPTIONAL, &c->continue_final,
                              err));
    c->thinking = HD_UNSET;
    HD_TRY(get_tristate(in, "thinking", &c->thinking, err));
    HD_TRY(get_tristate(in, "enable_thinking", &c->thinking, err));
    c->vars = in;
    return HD_OK;
}

static hd_status print_rendering(const hd_prompt *p, const hd_ids *ids, hd_err *err)
{
    hd_buf out = {0};
    hd_buf_puts(&out, "{\"text\": ");
    hd_json_put_str(&out, hd_buf_slice(&p->text));
    hd_buf_puts(&out, ", \"ids\": [");
    for (size_t i = 0; i < ids->n; i++)
        hd_buf_printf(&out, "%s%" PRId32, i ? ", " : "", ids->v[i]);
    hd_buf_puts(&out, "]}\n");
    hd_status st = out.failed ? HD_FAIL(err, HD_E_NOMEM, "out of memory") : HD_OK;
    if (st == HD_OK) fwrite(out.data, 1, out.len, stdout);
    hd_buf_fini(&out);
    return st;
}

static hd_status render(const hd_config *c, const hd_model_src *src, hd_err *err)
{
    hd_json *in = NULL;
    hd_tokenizer *t = NULL;
    const hd_chat_template *tmpl = NULL;
    const char *why;
    hd_arena arena;
    hd_conversation conv;
    hd_prompt prompt = {0};
    hd_ids ids = {0};
    hd_arena_init(&arena, 64 << 10, 256 << 20);
    memset(&conv, 0, sizeof(conv));
    hd_status st = hd_tokenizer_open(src, &t, err);
    if (st == HD_OK) st = hd_chat_select(src, t, c->chat_template, &tmpl, &why, err);
    if (st == HD_OK && !tmpl)
        st = HD_FAIL(err, HD_E_INVAL, "--chat-template none cannot render a conversation");
    if (st == HD_OK) st = hd_json_parse_file(c->render, &hd_json_request_limits, &in, err);
    if (st == HD_OK) {
        st = read_conversation(in, &arena, &conv, err);
        if (st != HD_OK) hd_err_prefix(err, st, "%s", c->render);
    }
    if (st == HD_OK) st = tmpl->render(&conv, t, &prompt, err);
    if (st == HD_OK) st = hd_tokenize_prompt(t, &prompt, 0, &ids, err);
    if (st == HD_OK) st = print_rendering(&prompt, &ids, err);
    hd_prompt_fini(&prompt);
    hd_ids_fini(&ids);
    hd_arena_fini(&arena);
    hd_json_free(in);
    hd_tokenizer_close(t);
    return st;
}

// ---- facts ---------------------------------------------------------------------------------

static void show_attention(const hd_model_cfg *cfg)
{
    const hd_mla_cfg *a = &cfg->mla;
    if (a->d_latent > 0)
        hd_inspect_row("attention",
                       "latent: %d heads of %d + %d, values of %d, latent %d, query latent %d",
                       (int)cfg->n_heads, (int)a->d_nope, (int)a->d_rope, (int)a->d_v,
                       (int)a->d_latent, (int)a->q_lora);
    else
        hd_inspect_row("attention", "%d heads of %d, %d key/value heads%s%s", (int)cfg->n_heads,
                       (int)cfg->d_head, (int)cfg->n_kv_heads, cfg->qk_norm ? ", q/k norm" : "",
                       cfg->bias_qkv ? ", biases" : "");
}

static void show_experts(const hd_model_cfg *cfg)
{
    static const char *const score[] = {"softmax", "sigmoid", "sqrtsoftplus"};
    const hd_moe_cfg *e = &cfg->moe;
    char groups[64] = "";
    int sparse = 0;
    if (e->n_experts == 0) return;
    for (int32_t l = 0; l < cfg->n_layers; l++)
        sparse += hd_cfg_is_sparse(cfg, l);
    if (e->group != HD_GROUP_NONE)
        snprintf(groups, sizeof(groups), ", %d of %d groups", (int)e->topk_group, (int)e->n_group);
    hd_inspect_row("experts", "%d of %d and %d shared, each %d wide, in %d layers; %s%s",
                   (int)e->n_active, (int)e->n_experts, (int)e->n_shared, (int)e->d_expert, sparse,
                   score[e->score], groups);
}

static void show_config(const hd_model_cfg *cfg)
{
    static const char *const scaling[] = {"none", "linear", "llama3", "yarn", "factors"};
    hd_inspect_row("architecture", "%s", cfg->arch);
    hd_inspect_row("layers", "%d x d_model %d, d_ff %d", (int)cfg->n_layers, (int)cfg->d_model,
                   (int)cfg->d_ff);
    show_attention(cfg);
    show_experts(cfg);
    if (cfg->n_mtp > 0)
        hd_inspect_row("further ahead", "%d layer%s, not used", (int)cfg->n_mtp,
                       cfg->n_mtp == 1 ? "" : "s");
    hd_inspect_row("vocabulary", "%d%s", (int)cfg->vocab,
                   cfg->tied ? ", head tied to the embedding" : "");
    hd_inspect_row("context", "%d", (int)cfg->max_context);
    hd_inspect_row("rope", "theta %g, scaling %s%s", cfg->rope.theta, scaling[cfg->rope.scaling],
                   cfg->rope.pairing == HD_ROPE_INTERLEAVED ? ", interleaved" : "");
    if (cfg->fp8_rows > 0)
        hd_inspect_row("stored as", "fp8 with scales over blocks of %d x %d", (int)cfg->fp8_rows,
                       (int)cfg->fp8_cols);
}

static void show_tensors(const hd_source *s, bool all)
{
    struct {
        uint64_t n, bytes;
    } per[HD_DTYPE_COUNT] = {{0}};
    char text[32];
    for (size_t i = 0; i < hd_source_count(s); i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        per[t->dtype].n++;
        per[t->dtype].bytes += t->bytes;
        if (!all) continue;
        printf("  %-10s [", hd_dtype_name(t->dtype));
        for (int r = 0; r < t->rank; r++)
            printf("%s%" PRIu64, r ? ", " : "", t->shape[r]);
        printf("] %.*s\n", (int)t->name.n, t->name.p);
    }
    hd_inspect_row("files", "%d", (int)hd_source_files(s));
    for (int d = 0; d < HD_DTYPE_COUNT; d++)
        if (per[d].n)
            hd_inspect_row(hd_dtype_name((hd_dtype)d), "%" PRIu64 " tensors, %s", per[d].n,
                           hd_inspect_human((double)per[d].bytes, text));
}

static void show_tokenizer(const hd_config *c, const hd_model_src *src)
{
    hd_err err = {0};
    hd_tokenizer *t = NULL;
    const hd_chat_template *tmpl = NULL;
    const char *why = "";
    if (hd_tokenizer_open(src, &t, &err) != HD_OK) {
        hd_inspect_row("tokenizer", "%s", err.msg);
        return;
    }
    const hd_tokenizer_info *f = hd_tokenizer_facts(t);
    hd_inspect_row("tokenizer", "%s, pre-tokenizer %s, %d tokens, %d added", f->kind, f->pretok,
                   (int)f->n_vocab, (int)f->n_added);
    size_t n;
    const int32_t *stop = hd_tokenizer_stops(t, &n);
    printf("%-18s", "stop tokens");
    for (size_t i = 0; i < n; i++) {
        hd_slice s = hd_token_bytes(t, stop[i]);
        printf("%s%d %.*s", i ? ", " : "", (int)stop[i], (int)s.n, s.p);
    }
    putchar('\n');
    if (hd_chat_select(src, t, c->chat_template, &tmpl, &why, &err) != HD_OK)
        hd_inspect_row("chat template", "%s", err.msg);
    else
        hd_inspect_row("chat template", "%s (by %s)", tmpl ? tmpl->name : "none", why);
    hd_tokenizer_close(t);
}

static hd_status show_model(const hd_config *c, const hd_model_src *src, hd_err *err)
{
    hd_model_cfg cfg;
    hd_forecast f;
    hd_source *s = NULL;
    hd_err why = {HD_OK, ""};
    hd_weight_types types;
    hd_dtype kv;
    HD_TRY(hd_config_types(c, &types, &kv, err));
    HD_TRY(hd_config_read(src, &cfg, err));
    const hd_status st = hd_inspect_plan(c, src, &cfg, &f, c->json ? err : &why);
    if (c->json) return st == HD_OK ? hd_inspect_plan_json(&f, err) : st;
    hd_inspect_row("model", "%s (%s)", src->path, src->gguf ? "GGUF" : "Hugging Face folder");
    show_config(&cfg);
    HD_TRY(src->gguf ? hd_source_open_gguf(src->gguf, &s, err)
                     : hd_source_open_safetensors(src->path, src->access, &s, err));
    show_tensors(s, c->tensors);
    hd_source_close(s);
    show_tokenizer(c, src);
    // What cannot be planned is still worth showing.
    if (st == HD_OK)
        hd_inspect_plan_rows(&f);
    else
        hd_inspect_row("plan", "%s", why.msg);
    return HD_OK;
}

// A configuration alone: types of weights are those of the published checkpoints.
static hd_status show_plan_file(const hd_config *c, hd_err *err)
{
    hd_json *config = NULL;
    hd_model_cfg cfg;
    hd_forecast f;
    HD_TRY(hd_json_parse_file(c->plan, &hd_json_file_limits, &config, err));
    hd_status st = hd_config_from_json(config, &cfg, err);
    if (st != HD_OK) hd_err_prefix(err, st, "%s", c->plan);
    if (st == HD_OK) st = hd_inspect_plan(c, NULL, &cfg, &f, err);
    hd_json_free(config);
    if (st != HD_OK) return st;
    if (c->json) return hd_inspect_plan_json(&f, err);
    show_config(&cfg);
    hd_inspect_plan_rows(&f);
    return HD_OK;
}

int hd_cmd_inspect(int argc, char **argv)
{
    hd_config c;
    hd_err err = {0};
    hd_model_src *src = NULL;
    hd_status st = HD_OK;
    int code;
    if (!hd_cli_settings(&c, HD_CMD_INSPECT, argc, argv, &code)) return code;
    if (!c.model && c.n_rest == 1) c.model = c.rest[0];
    if (c.show_config) {
        hd_buf out = {0};
        hd_config_json(&c, HD_CMD_SERVE | HD_CMD_INSPECT, &out);
        fwrite(out.data, 1, out.len, stdout);
        hd_buf_fini(&out);
    } else if (c.plan) {
        st = show_plan_file(&c, &err);
    } else {
        if (!c.model)
            st = HD_FAIL(&err, HD_E_INVAL, "no model: give --model PATH or set HADAL_MODEL");
        if (st == HD_OK) st = hd_model_src_open(c.model, HD_FILE_MAP, &src, &err);
        if (st == HD_OK) st = c.render ? render(&c, src, &err) : show_model(&c, src, &err);
    }
    if (st == HD_OK) st = hd_cli_flush(&err);
    code = st == HD_OK ? 0 : hd_cli_fail(&err);
    hd_model_src_close(src);
    return code;
}
