// Answering one parsed request: choices are submitted, collected, written by the schema.
//
// Shared by all generation routes. Runs on the connection's thread; looks after departed clients,
// the server's end, silence on streams, and writes the request's one log line.
#ifndef HADAL_SERVER_ANSWER_H
#define HADAL_SERVER_ANSWER_H

#include "server/schema.h"
#include "server/server.h"

typedef struct hd_answer hd_answer;

// In the request's arena. The call has been parsed; doc (the parsed body) is moved here. NULL:
// memory (doc is freed).
hd_answer *hd_answer_create(hd_server *sv, hd_http_req *rq, const hd_call *call, hd_json *doc,
                            int64_t start_ns);
// Submits, then replies or streams; exactly one of both. Releases the answer in the end.
void hd_answer_run(hd_answer *a, hd_http_rsp *rs);

// Replies an error in the words of a schema (NULL: OpenAI's), with Retry-After where it helps, and
// logs the request.
void hd_answer_error(hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema, const hd_err *err,
                     int64_t start_ns);
// The same with a status that no hd_status has (415).
void hd_answer_refuse(hd_http_req *rq, hd_http_rsp *rs, int status, const char *message,
                      int64_t start_ns);

#endif
