// What the tests of the schemas share: one parsed call at a time.
#ifndef HADAL_TESTS_UNIT_SCHEMAS_KIT_H
#define HADAL_TESTS_UNIT_SCHEMAS_KIT_H

#include "tests/harness/schema_kit.h"
#include "tests/harness/test.h"

#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static hd_schema_kit kit;

static inline void open_kit(void)
{
    if (!hd_schema_kit_open(&kit)) hd_test_fail(__FILE__, __LINE__, "%s", kit.err.msg);
}

static inline hd_gen_request *parsed(const hd_schema *s, const char *body)
{
    if (hd_schema_kit_parse(&kit, s, hd_slice_str(body)) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", body, kit.err.msg);
    return &kit.call.rq;
}

#endif
