// Runs a fuzz target without a fuzzer: every seed file, every truncation of small ones, and a fixed
// number of seeded mutations. Enough to keep targets alive in ordinary and sanitizer builds.
#include "kernels/base/rng.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS = 300, SMALL = 4096 };

// A copy of exactly `size` bytes, so that a read past the end is caught by the sanitizer.
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) exit(2);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void mutate(uint8_t *d, size_t *size, hd_rng *r)
{
    static const uint8_t odd[] = {0x00, 0xff, 0x7f, 0x80, '"', '{', '[', '\\'};
    int n = 1 + (int)hd_rng_below(r, 4);
    for (int i = 0; i<n && * size> 0; i++) {
        size_t at = hd_rng_below(r, (uint32_t)*size);
        switch (hd_rng_below(r, 4)) {
        case 0:
            d[at] ^= (uint8_t)(1u << hd_rng_below(r, 8));
            break;
        case 1:
            d[at] = odd[hd_rng_below(r, sizeof(odd))];
            break;
        case 2:
            memmove(d + at, d + at + 1, *size - at - 1);
            (*size)--;
            break;
        default:
            d[at] = (uint8_t)hd_rng_u64(r);
        }
    }
}

static int replay(const char *path, uint64_t seed)
{
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    static uint8_t data[1 << 20], work[1 << 20];
    size_t size = fread(data, 1, sizeof(data), f);
    fclose(f);
    run(data, size);
    if (size <= SMALL)
        for (size_t n = 0; n < size; n++)
            run(data, n);
    hd_rng rng;
    hd_rng_seed(&rng, seed);
    for (int i = 0; i < MUTATIONS; i++) {
        size_t n = size;
        memcpy(work, data, size);
        mutate(work, &n, &rng);
        run(work, n);
    }
    return 1;
}

int main(int argc, char **argv)
{
    int n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            fprintf(stderr, "%s: no such folder of seeds\n", argv[i]);
            return 2;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            char path[1024];
            snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
            if (e->d_name[0] != '.') n += replay(path, 1 + (uint64_t)n);
        }
        closedir(dir);
    }
    printf("%d seeds replayed with %d mutations each\n", n, MUTATIONS);
    return n > 0 ? 0 : 2;
}
