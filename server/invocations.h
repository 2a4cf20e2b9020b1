// From a body to a parsed call: shared by the generation routes and by batches.
#ifndef HADAL_SERVER_INVOCATIONS_H
#define HADAL_SERVER_INVOCATIONS_H

#include "server/answer.h"

typedef struct hd_reading { // how a body is to be read
    hd_server *sv;
    hd_http_req *rq;
    const hd_schema *forced; // NULL: the body's keys decide
    hd_call_shape shape;
    const char *id; // of the request, or of one record of it
    int64_t start_ns;
} hd_reading;

// Fills call from a parsed body. On failure *schema is the dialect to answer in, or NULL.
hd_status hd_call_read(const hd_reading *r, const hd_json *doc, const hd_schema **schema,
                       hd_call *call, hd_err *err);

#endif
