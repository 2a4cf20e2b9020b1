// From a path to a model that can step: files, tokenizer, template, device, weights, memory.
//
// What serving and direct stepping share. Everything is opened in order and closed in reverse; the
// opening thread owns it until it hands the whole to another one.
#ifndef HADAL_ENGINE_LOAD_H
#define HADAL_ENGINE_LOAD_H

#include "engine/engine.h"
#include "engine/room.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_loaded {
    hd_engine_cfg cfg; // effective numbers; its text pointers are only good while loading
    hd_model_src *src;
    hd_tokenizer *tokenizer; // NULL: HD_LOAD_IDS
    hd_source *files;        // open while loading
    hd_pool *pool;
    hd_backend *be, *dry_be;
    hd_model *dry; // of the same files and types: sizes and costs
    hd_model *model;
    hd_stepper_caps caps;
    hd_memory_need need;
    hd_kvpool *kv;
    hd_stepper *step;
    int32_t vocab; // ids that exist: the smaller of tokenizer and model
    hd_model_facts facts;
    int64_t began_ns;
    bool bind;
    char isa[96], why[240];
} hd_loaded;

// IDS: neither tokenizer nor template is opened, nor needs to be there.
typedef enum hd_load_what { HD_LOAD_IDS, HD_LOAD_TEXT } hd_load_what;

// out_bytes: memory for rows of logits beyond one for each of cfg->max_seqs sequences.
hd_status hd_load(const hd_engine_cfg *cfg, hd_load_what what, uint64_t out_bytes, hd_loaded *out,
                  hd_err *err);
void hd_loaded_close(hd_loaded *l); // a zeroed one is legal
void hd_load_progress(const hd_loaded *l, hd_load_phase phase, uint64_t done, uint64_t total);
bool hd_load_cancelled(const hd_loaded *l);
// The one line that says what is ready.
void hd_load_log_ready(const hd_loaded *l);

#ifdef __cplusplus
}
#endif

#endif
