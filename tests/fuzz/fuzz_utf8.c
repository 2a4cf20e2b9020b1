// Any bytes: the repaired text is valid, valid text is left alone, and the stream agrees with the
// whole for the cut that the first byte chooses.
#include "kernels/base/status.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    hd_slice text = {(const char *)data + 1, size - 1};
    hd_buf whole = {0}, parts = {0};
    hd_utf8_stream s = {0};
    hd_utf8_append_lossy(&whole, text);
    HD_ASSERT(hd_utf8_is_valid(hd_buf_slice(&whole)));
    size_t good = hd_utf8_valid(text.p, text.n);
    HD_ASSERT(hd_slice_starts(hd_buf_slice(&whole), hd_slice_of(text.p, good)));
    HD_ASSERT((good == text.n) == hd_slice_eq(text, hd_buf_slice(&whole)));
    size_t step = 1 + data[0] % 7;
    for (size_t at = 0; at < text.n; at += step) {
        size_t n = text.n - at < step ? text.n - at : step;
        hd_utf8_push(&s, &parts, hd_slice_of(text.p + at, n));
        HD_ASSERT(s.n_held >= 0 && s.n_held <= 3);
    }
    hd_utf8_flush(&s, &parts);
    HD_ASSERT(hd_slice_eq(hd_buf_slice(&whole), hd_buf_slice(&parts)));
    hd_buf_fini(&whole);
    hd_buf_fini(&parts);
    return 0;
}
