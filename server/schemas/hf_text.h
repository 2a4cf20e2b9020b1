// The "inputs" dialects: Hugging Face TGI and AWS LMI (DJL). Private to hf_*.c.
#ifndef HADAL_SERVER_SCHEMAS_HF_TEXT_H
#define HADAL_SERVER_SCHEMAS_HF_TEXT_H

#include "server/schemas/common.h"

typedef struct hd_hf { // hd_call.extra of both
    hd_arena *a;
    bool lmi, details, prefill, full_text, sampled, list; // list: inputs was an array
    hd_slice *inputs;                                     // texts of the prompts
    // Streams (one choice): events so far, and the last token, which waits for the end because it
    // is sent together with it.
    int32_t index;
    int32_t last_id;
    bool has_last, last_special;
    float last_logprob;
    hd_slice last_text, last_top;
} hd_hf;

// Allocates call->extra and reads "inputs" and "stream". LMI takes an array of strings too.
hd_status hd_hf_inputs(const hd_fields *f, hd_call *call, bool lmi);

void hd_hf_answer(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);
void hd_hf_begin(hd_buf *w, const hd_call *c, int32_t choice);
void hd_hf_delta(hd_buf *w, const hd_call *c, int32_t choice, const hd_gen_delta *d);
void hd_hf_end(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);

#endif
