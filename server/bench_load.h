// Clients in a closed loop against an engine: who waits how long for what. Prints nothing.
#ifndef HADAL_SERVER_BENCH_LOAD_H
#define HADAL_SERVER_BENCH_LOAD_H

#include "engine/engine.h"

typedef struct hd_load_case {
    int32_t clients, requests; // all of them together
    int32_t prompt, answer;    // tokens of each request
    int32_t intrude;           // hd_load_intrude: tokens of the prompt that arrives
} hd_load_case;

typedef struct hd_load_waits { // milliseconds
    double p50, p99, max;
    size_t n;
} hd_load_waits;

typedef struct hd_load_result {
    double seconds;
    int64_t answered; // tokens of answers
    // From submission to the first token; between two deliveries of one answer. A delivery that
    // brings several tokens is one.
    hd_load_waits first, between;
    // hd_load_intrude: between deliveries before the long prompt came and until it was read, and
    // how long it waited for its own first token.
    hd_load_waits calm, disturbed;
    double intruder_ms;
} hd_load_result;

// Every client has one request at a time, with a prompt that nobody had before (*seed moves on).
hd_status hd_load_run(hd_engine *e, const hd_load_case *c, uint64_t *seed, hd_load_result *out,
                      hd_err *err);
// Lets all clients read long answers and a long prompt arrive meanwhile.
hd_status hd_load_intrude(hd_engine *e, const hd_load_case *c, uint64_t *seed, hd_load_result *out,
                          hd_err *err);
// Longest answer of the clients in hd_load_intrude.
enum { HD_LOAD_INTRUDE_ANSWER = 1024 };

#endif
