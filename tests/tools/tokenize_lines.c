// Encodes many texts with one tokenizer, for comparison with a reference.
//
// Usage: tokenize_lines MODEL [special] < texts > ids
//   MODEL is a folder with tokenizer.json or a GGUF file.
//   Input: records of u32 length (little-endian) and that many bytes.
//   Output: one line per record with its ids, blank-separated; then a line "decoded N" and the
//   decoded text of N bytes.
//        tokenize_lines MODEL time < file
//   Encodes all of standard input and prints seconds, bytes and tokens.
#include "kernels/base/clock.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "models/tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

static bool read_record(hd_buf *b)
{
    unsigned char head[4];
    hd_buf_clear(b);
    if (fread(head, 1, 4, stdin) != 4) return false;
    size_t n =
        (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (!hd_buf_reserve(b, n + 1)) return false;
    b->len = fread(b->data, 1, n, stdin);
    b->data[b->len] = '\0';
    return b->len == n;
}

static hd_status answer(const hd_tokenizer *t, hd_slice text, unsigned flags, hd_err *err)
{
    hd_ids ids = {0};
    hd_buf back = {0};
    hd_status st = hd_tokenize(t, text, flags, &ids, err);
    if (st == HD_OK) st = hd_detokenize(t, ids.v, ids.n, 0, &back, err);
    if (st == HD_OK) {
        for (size_t i = 0; i < ids.n; i++)
            printf(i ? " %d" : "%d", (int)ids.v[i]);
        printf("\ndecoded %zu\n", back.len);
        fwrite(back.data, 1, back.len, stdout);
        putchar('\n');
    }
    hd_ids_fini(&ids);
    hd_buf_fini(&back);
    return st;
}

static hd_status time_all(const hd_tokenizer *t, hd_err *err)
{
    static char chunk[1 << 16];
    hd_buf text = {0};
    hd_ids ids = {0};
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), stdin)) > 0;)
        hd_buf_put(&text, chunk, n);
    int64_t start = hd_mono_ns();
    hd_status st = hd_tokenize(t, hd_buf_slice(&text), 0, &ids, err);
    double s = (double)(hd_mono_ns() - start) * 1e-9;
    printf("%.3f s  %zu bytes  %zu tokens  %.1f MB/s\n", s, text.len, ids.n,
           (double)text.len / 1e6 / s);
    hd_ids_fini(&ids);
    hd_buf_fini(&text);
    return st;
}

static hd_status open_folder(const char *path, hd_tokenizer **out, hd_err *err)
{
    hd_json *json = NULL, *config = NULL;
    char *file = hd_path_join(path, "tokenizer.json");
    char *more = hd_path_join(path, "tokenizer_config.json");
    hd_status st = HD_E_NOMEM;
    if (file && more) st = hd_json_parse_file(file, &hd_json_file_limits, &json, err);
    if (st == HD_OK && hd_path_stat(more, NULL) == HD_PATH_FILE)
        st = hd_json_parse_file(more, &hd_json_file_limits, &config, err);
    if (st == HD_OK) st = hd_tokenizer_from_json(json, config, out, err);
    hd_json_free(json);
    hd_json_free(config);
    hd_free(file);
    hd_free(more);
    return st;
}

static hd_status open_any(const char *path, hd_tokenizer **out, hd_err *err)
{
    hd_gguf *g = NULL;
    if (hd_path_stat(path, NULL) == HD_PATH_DIR) return open_folder(path, out, err);
    hd_status st = hd_gguf_open(path, HD_FILE_MAP, &g, err);
    if (st == HD_OK) st = hd_tokenizer_from_gguf(g, out, err);
    hd_gguf_close(g);
    return st;
}

int main(int argc, char **argv)
{
    hd_err err = {0};
    hd_tokenizer *t = NULL;
    hd_buf text = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: tokenize_lines MODEL [special|time]\n");
        return 2;
    }
    const char *mode = argc > 2 ? argv[2] : "";
    int64_t start = hd_mono_ns();
    hd_status st = open_any(argv[1], &t, &err);
    if (st == HD_OK)
        fprintf(stderr, "opened in %.0f ms, pre-tokenizer %s\n",
                (double)(hd_mono_ns() - start) * 1e-6, hd_tokenizer_facts(t)->pretok);
    if (st == HD_OK && strcmp(mode, "time") == 0)
        st = time_all(t, &err);
    else
        while (st == HD_OK && read_record(&text))
            st = answer(t, hd_buf_slice(&text), strcmp(mode, "special") == 0 ? HD_TOK_SPECIAL : 0,
                        &err);
    if (st != HD_OK) fprintf(stderr, "%s\n", err.msg);
    hd_tokenizer_close(t);
    hd_buf_fini(&text);
    return st == HD_OK ? 0 : 1;
}
