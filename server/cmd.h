// The subcommands of the binary. Each gets the arguments behind its name and returns an exit code.
#ifndef HADAL_SERVER_CMD_H
#define HADAL_SERVER_CMD_H

int hd_cmd_serve(int argc, char **argv);
int hd_cmd_run(int argc, char **argv);
int hd_cmd_chat(int argc, char **argv);
int hd_cmd_inspect(int argc, char **argv);
int hd_cmd_tokenize(int argc, char **argv);
int hd_cmd_score(int argc, char **argv);
int hd_cmd_bench(int argc, char **argv);

#endif
