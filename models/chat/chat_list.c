// The table of templates and the rule that picks one for a model:
//
//   1. the name given by the operator;
//   2. the exact bytes of the model's own template text, if they are known ("template hash");
//   3. the expressions in that text that decide the layout ("template structure");
//   4. for a model without template text: its special tokens, where they leave no doubt.
//
// A model whose text is not recognised gets no guess: a prompt that is nearly right makes answers
// that are quietly worse.
#include "models/chat/render.h"

#include <string.h>

const hd_chat_template *const hd_chat_list[] = {
    &hd_chat_deepseek_llm,
    &hd_chat_deepseek_coder,
    &hd_chat_deepseek_v25,
    &hd_chat_deepseek_v3,
    &hd_chat_deepseek_v3_0324,
    &hd_chat_deepseek_v31,
    &hd_chat_deepseek_r1,
    &hd_chat_deepseek_r1_0528,
    &hd_chat_deepseek_r1_distill,
    &hd_chat_llama3,
    &hd_chat_llama31,
    &hd_chat_llama32,
    &hd_chat_chatml,
    &hd_chat_chatml_smollm2,
    &hd_chat_qwen2,
    &hd_chat_qwen25,
    &hd_chat_qwen3,
    NULL,
};

const hd_chat_template *hd_chat_by_name(const char *name)
{
    for (const hd_chat_template *const *t = hd_chat_list; *t && name; t++)
        if (strcmp((*t)->name, name) == 0) return *t;
    return NULL;
}

// The names must fit into the message, so what is said before them is short.
static hd_status refuse(const char *what, hd_err *err)
{
    hd_buf names = {0};
    for (const hd_chat_template *const *t = hd_chat_list; *t; t++)
        hd_buf_printf(&names, " %s", (*t)->name);
    hd_status st = HD_FAIL(err, HD_E_UNSUPPORTED, "%s, one of:%s", what, hd_buf_slice(&names).p);
    hd_buf_fini(&names);
    return st;
}

static hd_status choose(const hd_model_src *src, const hd_tokenizer *t, const char **name,
                        const char **why, hd_err *err)
{
    hd_buf text = {0};
    hd_err ignored = {0};
    hd_status st = hd_model_src_chat_template(src, &text, err ? err : &ignored);
    bool failed = false;
    if (st == HD_E_NOTFOUND) {
        *why = "special tokens";
        *name = hd_chat_match_tokens(t);
        st = HD_OK;
    } else if (st == HD_OK) {
        *why = "template hash";
        *name = hd_chat_match_hash(hd_buf_slice(&text));
        if (!*name) {
            *why = "template structure";
            *name = hd_chat_match_text(hd_buf_slice(&text), &failed);
        }
        if (failed) st = HD_FAIL(err, HD_E_NOMEM, "out of memory while reading the chat template");
    }
    hd_buf_fini(&text);
    return st;
}

hd_status hd_chat_select(const hd_model_src *src, const hd_tokenizer *t, const char *wanted,
                         const hd_chat_template **out, const char **why, hd_err *err)
{
    const char *name = wanted, *how = "name";
    *out = NULL;
    if (wanted) {
        if (!hd_chat_by_name(wanted)) return refuse("--chat-template: no such name", err);
    } else {
        HD_TRY(choose(src, t, &name, &how, err));
        if (!name) return refuse("--chat-template must be given", err);
    }
    *out = hd_chat_by_name(name);
    HD_ASSERT(*out);
    if (why) *why = how;
    return HD_OK;
}
