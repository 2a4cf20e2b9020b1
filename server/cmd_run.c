// hadal run: one prompt, one answer, printed as it comes.
#include "server/cmd.h"
#include "server/talk.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

// --prompt, else the words behind the options, else standard input.
static hd_status read_prompt(const hd_config *c, hd_buf *out, hd_err *err)
{
    if (c->prompt) hd_buf_puts(out, c->prompt);
    for (int i = 0; !c->prompt && i < c->n_rest; i++) {
        if (i) hd_buf_putc(out, ' ');
        hd_buf_puts(out, c->rest[i]);
    }
    if (!c->prompt && c->n_rest == 0) {
        char chunk[4096];
        for (size_t n; (n = fread(chunk, 1, sizeof(chunk), stdin)) > 0;)
            hd_buf_put(out, chunk, n);
        HD_CHECK(!ferror(stdin), err, HD_E_IO, "standard input: %s", strerror(errno));
    }
    HD_CHECK(!out->failed, err, HD_E_NOMEM, "out of memory");
    HD_CHECK(c->raw || out->len > 0, err, HD_E_INVAL, "no prompt: give one behind the options");
    return HD_OK;
}

static hd_status answer(const hd_config *c, hd_engine *e, hd_slice prompt, hd_err *err)
{
    const hd_model_facts *facts = hd_engine_facts(e);
    hd_gen_request rq;
    hd_message messages[2];
    hd_talk_result result;
    size_t n = 0;
    hd_talk_request(c, facts, &rq);
    memset(messages, 0, sizeof(messages));
    if (c->raw) {
        rq.kind = HD_INPUT_TEXT;
        rq.text = prompt;
        rq.parse_special = c->special;
    } else {
        if (c->system)
            messages[n++] = (hd_message){
                .role = HD_ROLE_SYSTEM, .content = hd_slice_str(c->system), .has_content = true};
        messages[n++] = (hd_message){.role = HD_ROLE_USER, .content = prompt, .has_content = true};
        rq.kind = HD_INPUT_CHAT;
        rq.split_reasoning = true;
        rq.chat = (hd_conversation){.messages = messages,
                                    .n_messages = n,
                                    .add_generation_prompt = true,
                                    .thinking = HD_UNSET};
    }
    HD_TRY(hd_talk(e, &rq, &interrupted, NULL, &result, err));
    if (!c->raw) putchar('\n');
    HD_CHECK(result.finish != HD_FINISH_CANCELLED, err, HD_E_CANCELLED, "interrupted");
    return hd_cli_flush(err);
}

int hd_cmd_run(int argc, char **argv)
{
    hd_config c;
    hd_engine_cfg cfg;
    hd_engine *e = NULL;
    hd_err err = {0};
    hd_buf prompt = {0};
    hd_cli_meter meter = {0};
    int code;
    if (!hd_cli_settings(&c, HD_CMD_RUN, argc, argv, &code)) return code;
    signal(SIGINT, on_interrupt);
    signal(SIGPIPE, SIG_IGN);
    hd_status st = hd_config_engine(&c, &cfg, &err);
    cfg.need_chat = !c.raw;
    cfg.max_seqs = 1;
    cfg.progress = hd_cli_progress;
    cfg.progress_ctx = &meter;
    cfg.cancel = &interrupted;
    if (st == HD_OK) st = read_prompt(&c, &prompt, &err);
    if (st == HD_OK) st = hd_engine_open(&cfg, &e, &err);
    hd_cli_progress_end(&meter);
    if (st == HD_OK) st = answer(&c, e, hd_buf_slice(&prompt), &err);
    code = st == HD_OK ? 0 : hd_cli_fail(&err);
    hd_engine_close(e, 0);
    hd_buf_fini(&prompt);
    return code;
}
