// Open-addressing hash maps with 32-bit values: names and packed integer keys to indexes.
//
// Keys of hd_map are borrowed byte ranges that must outlive the map. Built once, then read by any
// thread. Neither map supports removal; growth keeps the load at or below one half.
#ifndef HADAL_KERNELS_BASE_MAP_H
#define HADAL_KERNELS_BASE_MAP_H

#include "kernels/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// 64-bit hash of a byte range, the same on every machine (also used for page and file hashes).
uint64_t hd_hash_bytes(const void *p, size_t n, uint64_t seed);

typedef struct hd_map_slot {
    hd_slice key; // key.p == NULL: free
    uint32_t hash, value;
} hd_map_slot;
typedef struct hd_map { // a zeroed map is empty
    hd_map_slot *slot;
    uint32_t cap, count;
} hd_map;

typedef enum hd_map_put_result { HD_MAP_NEW, HD_MAP_EXISTS, HD_MAP_NOMEM } hd_map_put_result;

// Inserts only when the key is new; on HD_MAP_EXISTS the old value stays.
hd_map_put_result hd_map_put(hd_map *m, hd_slice key, uint32_t value);
bool hd_map_get(const hd_map *m, hd_slice key, uint32_t *value); // value may be NULL
bool hd_map_reserve(hd_map *m, uint32_t n_keys);
void hd_map_fini(hd_map *m);

typedef struct hd_u64map { // key UINT64_MAX is reserved
    uint64_t *key;
    uint64_t *value;
    uint32_t cap, count;
} hd_u64map;

hd_map_put_result hd_u64map_put(hd_u64map *m, uint64_t key, uint64_t value);
bool hd_u64map_get(const hd_u64map *m, uint64_t key, uint64_t *value);
bool hd_u64map_reserve(hd_u64map *m, uint32_t n_keys);
void hd_u64map_fini(hd_u64map *m);

#ifdef __cplusplus
}
#endif

#endif
