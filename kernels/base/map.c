// Hashing and the two hash maps: linear probing, power-of-two capacity, load at most one half.
// The hash resists accidents, not adversaries: it has no secret.
#include "kernels/base/map.h"

#include "kernels/base/mem.h"
#include "kernels/base/status.h"

#include <string.h>

// ---- hash ----------------------------------------------------------------------------------

__extension__ typedef unsigned __int128 u128;

// Fractional parts of the square roots of 2, 3, 5, 7, 11, 13.
static const uint64_t k0 = 0x6A09E667F3BCC908, k1 = 0xBB67AE8584CAA73B, k2 = 0x3C6EF372FE94F82B,
                      k3 = 0xA54FF53A5F1D36F1, k4 = 0x510E527FADE682D1, k5 = 0x9B05688C2B3E6C1F;

// Both halves of the product and both factors: a zero factor does not wipe out the other one.
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    u128 m = (u128)a * b;
    return (a ^ (uint64_t)m) ^ (b ^ (uint64_t)(m >> 64));
}

// Little-endian loads on every machine; compilers make one instruction of them.
static inline uint64_t load32(const unsigned char *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}
static inline uint64_t load64(const unsigned char *p)
{
    return load32(p) | load32(p + 4) << 32;
}

uint64_t hd_hash_bytes(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = fold(seed ^ k0, (uint64_t)n ^ k1);
    size_t left = n;
    if (left >= 32) {
        uint64_t g = h ^ k2; // second lane, so that two products are under way at once
        for (; left >= 32; left -= 32, p += 32) {
            h = fold(load64(p) ^ k3, load64(p + 8) ^ h);
            g = fold(load64(p + 16) ^ k4, load64(p + 24) ^ g);
        }
        h = fold(h ^ k5, g);
    }
    if (left >= 16) {
        h = fold(load64(p) ^ k3, load64(p + 8) ^ h);
        left -= 16;
        p += 16;
    }
    // The rest in two words that may overlap; n is in the hash already.
    uint64_t a = 0, b = 0;
    if (left >= 8) {
        a = load64(p);
        b = load64(p + left - 8);
    } else if (left >= 4) {
        a = load32(p);
        b = load32(p + left - 4);
    } else if (left > 0) {
        a = (uint64_t)p[0] | (uint64_t)p[left / 2] << 8 | (uint64_t)p[left - 1] << 16;
    }
    h = fold(a ^ k1, b ^ h);
    return fold(h ^ k2, h >> 32 ^ k4);
}

static uint64_t hash_u64(uint64_t key)
{
    return fold(key ^ k0, k3);
}

// ---- capacities ----------------------------------------------------------------------------

enum { FIRST_CAP = 16 };
static const uint32_t max_keys = (uint32_t)1 << 30;

// Smallest capacity that holds n_keys at half load; 0 when there is none.
static uint32_t cap_for(uint32_t n_keys)
{
    if (n_keys > max_keys) return 0;
    uint32_t cap = FIRST_CAP;
    while (cap / 2 < n_keys)
        cap *= 2;
    return cap;
}

// ---- byte keys -----------------------------------------------------------------------------

// The slot that holds key, or the free one where it belongs. Needs a free slot.
static hd_map_slot *find(const hd_map *m, hd_slice key, uint32_t hash)
{
    for (uint32_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        hd_map_slot *s = &m->slot[i];
        if (!s->key.p || (s->hash == hash && hd_slice_eq(s->key, key))) return s;
    }
}

bool hd_map_reserve(hd_map *m, uint32_t n_keys)
{
    uint32_t cap = cap_for(n_keys);
    if (cap == 0) return false;
    if (cap <= m->cap) return true;
    hd_map_slot *slot = hd_calloc(cap, sizeof(*slot));
    if (!slot) return false;
    for (uint32_t i = 0; i < m->cap; i++) {
        if (!m->slot[i].key.p) continue;
        uint32_t at = m->slot[i].hash & (cap - 1);
        while (slot[at].key.p)
            at = (at + 1) & (cap - 1);
        slot[at] = m->slot[i];
    }
    hd_free(m->slot);
    m->slot = slot;
    m->cap = cap;
    return true;
}

hd_map_put_result hd_map_put(hd_map *m, hd_slice key, uint32_t value)
{
    if (!key.p) key = hd_slice_of("", 0);
    uint32_t hash = (uint32_t)hd_hash_bytes(key.p, key.n, 0);
    hd_map_slot *s = m->cap ? find(m, key, hash) : NULL;
    if (s && s->key.p) return HD_MAP_EXISTS;
    if (m->count >= m->cap / 2) {
        if (!hd_map_reserve(m, m->count + 1)) return HD_MAP_NOMEM;
        s = find(m, key, hash);
    }
    s->key = key;
    s->hash = hash;
    s->value = value;
    m->count++;
    return HD_MAP_NEW;
}

bool hd_map_get(const hd_map *m, hd_slice key, uint32_t *value)
{
    if (m->cap == 0) return false;
    const hd_map_slot *s = find(m, key, (uint32_t)hd_hash_bytes(key.p, key.n, 0));
    if (!s->key.p) return false;
    if (value) *value = s->value;
    return true;
}

void hd_map_fini(hd_map *m)
{
    hd_free(m->slot);
    memset(m, 0, sizeof(*m));
}

// ---- integer keys --------------------------------------------------------------------------

static const uint64_t free_key = UINT64_MAX;

static uint32_t find_u64(const uint64_t *keys, uint32_t cap, uint64_t key)
{
    uint32_t i = (uint32_t)hash_u64(key) & (cap - 1);
    while (keys[i] != free_key && keys[i] != key)
        i = (i + 1) & (cap - 1);
    return i;
}

bool hd_u64map_reserve(hd_u64map *m, uint32_t n_keys)
{
    uint32_t cap = cap_for(n_keys);
    if (cap == 0) return false;
    if (cap <= m->cap) return true;
    uint64_t *keys = hd_reallocarray(NULL, cap, sizeof(*keys));
    uint64_t *values = hd_reallocarray(NULL, cap, sizeof(*values));
    if (!keys || !values) {
        hd_free(keys);
        hd_free(values);
        return false;
    }
    memset(keys, 0xFF, cap * sizeof(*keys)); // free_key everywhere
    for (uint32_t i = 0; i < m->cap; i++) {
        if (m->key[i] == free_key) continue;
        uint32_t at = find_u64(keys, cap, m->key[i]);
        keys[at] = m->key[i];
        values[at] = m->value[i];
    }
    hd_free(m->key);
    hd_free(m->value);
    m->key = keys;
    m->value = values;
    m->cap = cap;
    return true;
}

hd_map_put_result hd_u64map_put(hd_u64map *m, uint64_t key, uint64_t value)
{
    HD_ASSERT(key != free_key);
    uint32_t at = m->cap ? find_u64(m->key, m->cap, key) : 0;
    if (m->cap && m->key[at] == key) return HD_MAP_EXISTS;
    if (m->count >= m->cap / 2) {
        if (!hd_u64map_reserve(m, m->count + 1)) return HD_MAP_NOMEM;
        at = find_u64(m->key, m->cap, key);
    }
    m->key[at] = key;
    m->value[at] = value;
    m->count++;
    return HD_MAP_NEW;
}

bool hd_u64map_get(const hd_u64map *m, uint64_t key, uint64_t *value)
{
    if (m->cap == 0 || key == free_key) return false;
    uint32_t at = find_u64(m->key, m->cap, key);
    if (m->key[at] != key) return false;
    if (value) *value = m->value[at];
    return true;
}

void hd_u64map_fini(hd_u64map *m)
{
    hd_free(m->key);
    hd_free(m->value);
    memset(m, 0, sizeof(*m));
}
