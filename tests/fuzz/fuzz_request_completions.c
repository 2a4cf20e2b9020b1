// Any bytes as the body of a completion request; what is checked is in fuzz_request.h.
#include "tests/fuzz/fuzz_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(&hd_schema_openai_completions, data, size);
    return 0;
}
