// hadal: picks the subcommand. Without one it serves, because containers are started that way.
#include "server/cmd.h"
#include "server/config_table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_LEAK_CHECK 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(WITH_LEAK_CHECK)
#define WITH_LEAK_CHECK 1
#endif

enum { EXIT_USAGE = 64 };

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

static const command commands[] = {
    {"serve", hd_cmd_serve, "serve a model over HTTP (the default)"},
    {"run", hd_cmd_run, "answer one prompt and stop"},
    {"chat", hd_cmd_chat, "talk to a model in the terminal"},
    {"inspect", hd_cmd_inspect, "show what a model is and what it will need"},
    {"tokenize", hd_cmd_tokenize, "text to token ids and back"},
    {"score", hd_cmd_score, "perplexity or logits of given tokens"},
    {"bench", hd_cmd_bench, "measure speed against the memory roofline"},
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void usage(FILE *to)
{
    fprintf(to,
            "hadal %s: runs DeepSeek-family language models and serves them.\n\n"
            "usage: hadal COMMAND [settings]\n\n",
            HADAL_VERSION);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-10s%s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\n'hadal COMMAND --help' lists the settings of a command.\n"
                "A model is a folder in Hugging Face layout or a GGUF file.\n");
}

static int unknown(const char *word)
{
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = hd_config_nearest(word, names, N_COMMANDS);
    if (strcmp(word, "train") == 0)
        fprintf(stderr, "hadal: 'train' is not supported: this image serves models\n");
    else if (near)
        fprintf(stderr, "hadal: unknown command '%s'; did you mean '%s'?\n", word, near);
    else
        fprintf(stderr, "hadal: unknown command '%s'\n\n", word);
    if (!near && strcmp(word, "train") != 0) usage(stderr);
    return EXIT_USAGE;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) return hd_cmd_serve(0, argv + argc);
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        printf("hadal %s\n", HADAL_VERSION);
        return 0;
    }
    if (word[0] == '-') return hd_cmd_serve(argc - 1, argv + 1);
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--version") == 0) {
            printf("hadal %s\n", HADAL_VERSION);
            return 0;
        }
    int skip = 2;
    // Platforms append "serve" to whatever the image already says.
    if (strcmp(word, "serve") == 0)
        while (skip < argc && strcmp(argv[skip], "serve") == 0)
            skip++;
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0) return commands[i].run(argc - skip, argv + skip);
    return unknown(word);
}

int main(int argc, char **argv)
{
    int code = dispatch(argc, argv);
    // OpenBLAS waits at exit for its own threads, and one of them that found no memory when the
    // library was loaded never ends.
    fflush(NULL);
#ifndef WITH_LEAK_CHECK // it runs at exit
    _exit(code);
#endif
    return code;
}
