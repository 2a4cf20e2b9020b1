// Any bytes as the body of a text generation (TGI and LMI) request; what is checked is in
// fuzz_request.h.
#include "tests/fuzz/fuzz_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(&hd_schema_tgi, data, size);
    fuzz_request(&hd_schema_lmi, data, size);
    return 0;
}
