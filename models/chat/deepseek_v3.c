// DeepSeek V2.5, V3 (December 2024), R1 (January 2025) and the R1 distills: one layout.
//
//   BOS system | <User>q | <Assistant>a EOS | ... | <Assistant> [<think>LF]
//
// The shipped Jinja leaves a single tool call unclosed, loses the begin tokens of a second round,
// and drops calls of a message that has content. Here every block is closed, every round is
// complete, and after tool results the assistant goes on without its own token, as the model does
// when it generates. Reasoning never returns to the prompt: of a past turn only what follows the
// last </think> is kept. Tool definitions have no place in this layout.
#include "models/chat/deepseek.h"

typedef struct style {
    const char *name;
    bool last_system; // only the last system message counts
    bool reasons;     // past reasoning is cut off, the turn is opened inside <think>
} style;

static const style v25 = {"deepseek-v2.5", true, false};
static const style v3 = {"deepseek-v3", false, false};
static const style r1 = {"deepseek-r1", false, true};
static const style distill = {"deepseek-r1-distill", true, true};

// ---- shared with the later layouts ---------------------------------------------------------

void hd_ds_put_system(hd_prompt *p, const hd_conversation *c, bool only_last)
{
    const hd_message *last = NULL;
    for (size_t i = 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        if (m->role != HD_ROLE_SYSTEM) continue;
        if (!only_last) {
            if (last) hd_prompt_trusted_str(p, "\n\n");
            hd_prompt_user(p, m->content);
        }
        last = m;
    }
    if (only_last && last) hd_prompt_user(p, last->content);
}

void hd_ds_put_calls(hd_prompt *p, const hd_message *m)
{
    hd_prompt_trusted_str(p, HD_DS_CALLS_BEGIN);
    for (size_t i = 0; i < m->n_calls; i++) {
        if (i > 0) hd_prompt_trusted_str(p, "\n");
        hd_prompt_trusted_str(p, HD_DS_CALL_BEGIN "function" HD_DS_SEP);
        hd_prompt_user(p, m->calls[i].name);
        hd_prompt_trusted_str(p, "\n```json\n");
        hd_prompt_user(p, m->calls[i].arguments);
        hd_prompt_trusted_str(p, "\n```" HD_DS_CALL_END);
    }
    hd_prompt_trusted_str(p, HD_DS_CALLS_END);
}

void hd_ds_put_output(hd_prompt *p, const hd_message *m, bool first)
{
    hd_prompt_trusted_str(p, first ? HD_DS_OUTPUTS_BEGIN : "\n");
    hd_prompt_trusted_str(p, HD_DS_OUTPUT_BEGIN);
    hd_prompt_user(p, m->content);
    hd_prompt_trusted_str(p, HD_DS_OUTPUT_END);
}

// ---- this layout ---------------------------------------------------------------------------

static void put_assistant(const style *s, hd_prompt *p, const hd_message *m, bool open,
                          bool after_tool)
{
    hd_prompt_trusted_str(p, after_tool ? HD_DS_OUTPUTS_END : HD_DS_ASSISTANT);
    if (open && s->reasons) {
        hd_chat_put_open(p, m, HD_DS_THINK "\n", "\n" HD_DS_THINK_END "\n\n");
        return;
    }
    hd_prompt_user(p, s->reasons ? hd_text_after_last(m->content, HD_DS_THINK_END) : m->content);
    if (open) return;
    if (m->n_calls > 0) hd_ds_put_calls(p, m);
    hd_prompt_trusted_str(p, HD_DS_EOS);
}

static hd_status render(const style *s, const hd_conversation *c, const hd_tokenizer *t,
                        hd_prompt *p, hd_err *err)
{
    HD_TRY(hd_chat_check(c, s->name, HD_CHAT_TOOL_TURNS, err));
    bool in_tool = false; // the last thing written is a tool result
    hd_chat_put_bos(p, t);
    hd_ds_put_system(p, c, s->last_system);
    for (size_t i = 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        switch (m->role) {
        case HD_ROLE_SYSTEM:
            continue;
        case HD_ROLE_USER:
            hd_prompt_trusted_str(p, HD_DS_USER);
            hd_prompt_user(p, m->content);
            break;
        case HD_ROLE_ASSISTANT:
            put_assistant(s, p, m, hd_chat_is_open(c, i), in_tool);
            break;
        case HD_ROLE_TOOL:
            hd_ds_put_output(p, m, !in_tool);
            break;
        }
        in_tool = m->role == HD_ROLE_TOOL;
    }
    if (in_tool) {
        hd_prompt_trusted_str(p, HD_DS_OUTPUTS_END);
    } else if (hd_chat_wants_turn(c)) {
        hd_prompt_trusted_str(p, HD_DS_ASSISTANT);
        if (s->reasons) hd_prompt_trusted_str(p, HD_DS_THINK "\n");
        // Not official: an empty reasoning block makes these models answer at once.
        if (s->reasons && c->thinking == HD_NO) hd_prompt_trusted_str(p, HD_DS_THINK_END);
    }
    return hd_chat_done(p, err);
}

// The role of the last message that is not a system message; user when there is none.
static hd_role last_role(const hd_conversation *c)
{
    for (size_t i = c->n_messages; i-- > 0;)
        if (c->messages[i].role != HD_ROLE_SYSTEM) return c->messages[i].role;
    return HD_ROLE_USER;
}

static hd_think_start think(const hd_conversation *c)
{
    if (c->continue_final) return hd_chat_ends_in_reasoning(c) ? HD_THINK_OPEN : HD_THINK_NONE;
    if (!c->add_generation_prompt || last_role(c) == HD_ROLE_TOOL) return HD_THINK_DETECT;
    return c->thinking == HD_NO ? HD_THINK_NONE : HD_THINK_OPEN;
}

static hd_status render_v25(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                            hd_err *err)
{
    return render(&v25, c, t, p, err);
}

static hd_status render_v3(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                           hd_err *err)
{
    return render(&v3, c, t, p, err);
}

static hd_status render_r1(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                           hd_err *err)
{
    return render(&r1, c, t, p, err);
}

static hd_status render_distill(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                                hd_err *err)
{
    return render(&distill, c, t, p, err);
}

const hd_chat_template hd_chat_deepseek_v25 = {"deepseek-v2.5",
                                               "DeepSeek V2.5; the last system message counts",
                                               render_v25, hd_chat_think_none};
const hd_chat_template hd_chat_deepseek_v3 = {"deepseek-v3", "DeepSeek V3 (December 2024)",
                                              render_v3, hd_chat_think_none};
const hd_chat_template hd_chat_deepseek_r1 = {
    "deepseek-r1", "DeepSeek R1 (January 2025); answers start inside <think>", render_r1, think};
const hd_chat_template hd_chat_deepseek_r1_distill = {
    "deepseek-r1-distill", "R1 distills on Qwen2.5 and Llama 3; the last system message counts",
    render_distill, think};
