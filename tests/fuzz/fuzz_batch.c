// Any bytes as a body: telling records on lines from one document reads nothing beyond the text,
// and says lines only of text that has several.
#include "server/batch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_slice text = {(const char *)data, size};
    bool by_type = hd_batch_is_lines(text, true), by_look = hd_batch_is_lines(text, false);
    HD_ASSERT(by_type || !by_look);
    HD_ASSERT(!by_type || memchr(data, '\n', size));
    hd_err err = {0};
    if (by_look) HD_ASSERT(hd_json_scan(text, &hd_json_request_limits, &err) != HD_OK);
    return 0;
}
