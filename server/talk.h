// A conversation on the command line: settings to a generation request, pieces to the terminal.
// Shared by `run` and `chat`.
#ifndef HADAL_SERVER_TALK_H
#define HADAL_SERVER_TALK_H

#include "server/cli.h"
#include "server/gen.h"

// The request's sampling and length from the settings; the model's defaults where nothing was
// given.
void hd_talk_request(const hd_config *c, const hd_model_facts *facts, hd_gen_request *rq);

typedef struct hd_talk_result {
    hd_finish finish;
    hd_usage usage;
} hd_talk_result;

// Runs one generation and prints its text as it comes; content is also appended to `content` when
// not NULL. interrupted: polled between events; non-zero cancels.
hd_status hd_talk(hd_engine *e, const hd_gen_request *rq, const volatile int *interrupted,
                  hd_buf *content, hd_talk_result *out, hd_err *err);

#endif
