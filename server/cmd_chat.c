// hadal chat: a conversation in the terminal. Line editing and history by libedit; Ctrl-C stops the
// answer, not the program; Ctrl-D leaves.
#include "kernels/base/mem.h"
#include "server/cmd.h"
#include "server/talk.h"

#include <editline/readline.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TURNS = 4096 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

typedef struct talk { // messages and the text they borrow
    hd_message message[MAX_TURNS];
    char *text[MAX_TURNS];
    size_t n;
} talk;

static hd_status say(talk *t, hd_role role, hd_slice text, hd_err *err)
{
    HD_CHECK(t->n < MAX_TURNS, err, HD_E_LIMIT, "the conversation has %d messages; /clear it",
             MAX_TURNS);
    char *copy = hd_strndup(text.p, text.n);
    HD_CHECK(copy, err, HD_E_NOMEM, "out of memory");
    t->text[t->n] = copy;
    t->message[t->n] =
        (hd_message){.role = role, .content = hd_slice_of(copy, text.n), .has_content = true};
    t->n++;
    return HD_OK;
}

static void forget(talk *t, size_t keep)
{
    while (t->n > keep)
        hd_free(t->text[--t->n]);
}

static void show_help(void)
{
    puts("/clear   forget the conversation\n"
         "/stats   speed of the last answer\n"
         "/help    this list\n"
         "/quit    leave (also Ctrl-D)\n"
         "Ctrl-C stops an answer.");
}

static void show_stats(const hd_talk_result *r)
{
    double prefill = (double)r->usage.prefill_ns / 1e9, decode = (double)r->usage.decode_ns / 1e9;
    printf("prompt %d tokens in %.2f s; answer %d tokens", (int)r->usage.prompt_tokens, prefill,
           (int)r->usage.completion_tokens);
    if (decode > 0 && r->usage.completion_tokens > 1)
        printf(", %.1f tokens/s", (r->usage.completion_tokens - 1) / decode);
    putchar('\n');
}

// The answer to what has been said so far; a failed or stopped turn leaves the program running.
static void answer(const hd_config *c, hd_engine *e, talk *t, hd_talk_result *result)
{
    hd_gen_request rq;
    hd_buf content = {0};
    hd_err err = {0};
    hd_talk_request(c, hd_engine_facts(e), &rq);
    rq.kind = HD_INPUT_CHAT;
    rq.split_reasoning = true;
    rq.chat = (hd_conversation){.messages = t->message,
                                .n_messages = t->n,
                                .add_generation_prompt = true,
                                .thinking = HD_UNSET};
    interrupted = 0;
    hd_status st = hd_talk(e, &rq, &interrupted, &content, result, &err);
    putchar('\n');
    if (st == HD_OK && interrupted) puts("[stopped]");
    if (st == HD_OK) st = say(t, HD_ROLE_ASSISTANT, hd_buf_slice(&content), &err);
    if (st != HD_OK) {
        printf("error: %s\n", err.msg);
        forget(t, t->n - 1); // the question that could not be answered
    }
    hd_buf_fini(&content);
}

// False: leave.
static bool command(const char *line, talk *t, size_t n_system, const hd_talk_result *last)
{
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) return false;
    if (strcmp(line, "/clear") == 0)
        forget(t, n_system);
    else if (strcmp(line, "/stats") == 0)
        show_stats(last);
    else
        show_help();
    return true;
}

// A line from the terminal with editing, or from a pipe without; NULL at the end.
static char *next_line(void)
{
    char *line = NULL;
    if (isatty(STDIN_FILENO)) {
        do {
            interrupted = 0;
            line = readline("> ");
            if (!line) putchar('\n');
        } while (!line && interrupted); // Ctrl-C drops the line, not the program
        return line;
    }
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    if (n > 0 && line[n - 1] == '\n') line[n - 1] = 0;
    return line;
}

static void converse(const hd_config *c, hd_engine *e, talk *t)
{
    hd_talk_result last = {0};
    hd_err err = {0};
    size_t n_system = 0;
    if (c->system && say(t, HD_ROLE_SYSTEM, hd_slice_str(c->system), &err) == HD_OK) n_system = 1;
    for (char *line; (line = next_line());) {
        bool go_on = true;
        if (line[0] == '/') {
            go_on = command(line, t, n_system, &last);
        } else if (line[0]) {
            if (isatty(STDIN_FILENO)) add_history(line);
            if (say(t, HD_ROLE_USER, hd_slice_str(line), &err) == HD_OK)
                answer(c, e, t, &last);
            else
                printf("error: %s\n", err.msg);
        }
        free(line); // readline's own allocation
        if (!go_on || hd_cli_flush(&err) != HD_OK) break;
    }
}

int hd_cmd_chat(int argc, char **argv)
{
    hd_config c;
    hd_engine_cfg cfg;
    hd_engine *e = NULL;
    hd_err err = {0};
    hd_cli_meter meter = {0};
    talk *t = NULL;
    int code;
    if (!hd_cli_settings(&c, HD_CMD_CHAT, argc, argv, &code)) return code;
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
    hd_status st = hd_config_engine(&c, &cfg, &err);
    cfg.need_chat = true;
    cfg.max_seqs = 1;
    cfg.progress = hd_cli_progress;
    cfg.progress_ctx = &meter;
    cfg.cancel = &interrupted;
    if (st == HD_OK) st = hd_engine_open(&cfg, &e, &err);
    hd_cli_progress_end(&meter);
    if (st == HD_OK && !(t = hd_calloc(1, sizeof(*t))))
        st = HD_FAIL(&err, HD_E_NOMEM, "out of memory");
    if (st == HD_OK) {
        printf("%s, template %s. /help lists commands.\n", hd_engine_facts(e)->src->name,
               hd_engine_facts(e)->chat->name);
        converse(&c, e, t);
        forget(t, 0);
    }
    code = st == HD_OK ? 0 : hd_cli_fail(&err);
    hd_free(t);
    hd_engine_close(e, 0);
    return code;
}
