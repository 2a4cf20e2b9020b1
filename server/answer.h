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

// ---- many answers in one reply (batch.c): the caller drives them and writes the reply

// HD_E_BUSY leaves the answer as it was: it may be begun again.
hd_status hd_answer_begin(hd_answer *a, hd_err *err);
// Waits up to timeout_ms for something to happen. ended: the answer is there, or has failed.
typedef enum hd_progress { HD_PROGRESS_NONE, HD_PROGRESS_SOME, HD_PROGRESS_ENDED } hd_progress;
hd_progress hd_answer_poll(hd_answer *a, int timeout_ms);
void hd_answer_set_error(hd_answer *a, const hd_err *err); // it has failed, or is not wanted more
const hd_err *hd_answer_why(const hd_answer *a);           // code HD_OK: none
// Appends the answer, or its error object. Returns the HTTP status it would have had alone.
int hd_answer_take(hd_answer *a, hd_buf *body);
void hd_answer_free(hd_answer *a); // logs the request

// Replies an error in the words of a schema (NULL: OpenAI's), with Retry-After where it helps, and
// logs the request.
void hd_answer_error(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema,
                     const hd_err *err, int64_t start_ns);
// The same with a status that no hd_status has (415).
void hd_answer_refuse(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema,
                      int status, const char *message, int64_t start_ns);
// Only the error object; returns its status.
int hd_answer_error_body(hd_server *sv, const hd_schema *schema, const hd_err *err, hd_buf *body);

#endif
