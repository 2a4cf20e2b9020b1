// What a model needs before any of its weights is read: computed on a model that is open on the dry
// backend. Loading and `hadal inspect` share it, so that a plan says what loading will do.
#ifndef HADAL_ENGINE_ROOM_H
#define HADAL_ENGINE_ROOM_H

#include "engine/engine.h"
#include "engine/memory.h"
#include "engine/step.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_ROOM_OUT_BYTES = 16 << 20 }; // for rows of logits that prompt log-probabilities need

// Fills in threads and memory where the settings leave them to the machine. bind: whether threads
// should be bound to processors.
void hd_room_machine(hd_engine_cfg *cfg, bool *bind);

// The largest step of these settings and the memory it leads to. out_bytes: for rows of logits
// beyond one for each of max_seqs sequences. need->weights are the dry model's. HD_E_UNSUPPORTED
// when a step cannot be computed with these types.
hd_status hd_room_plan(hd_model *dry, const hd_engine_cfg *cfg, uint64_t out_bytes,
                       hd_stepper_caps *caps, hd_memory_need *need, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
