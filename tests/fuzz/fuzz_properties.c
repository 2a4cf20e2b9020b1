// Any text as serving.properties: settings stay in their bounds, and a refusal has a message.
#include "kernels/base/log.h"
#include "server/config_alias.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hd_config c;
    hd_err err = {0};
    hd_buf text = {0};
    bool stop;
    int known;
    if (memchr(data, 0, size)) return 0; // refused before it is looked at
    if (hd_config_load(&c, HD_CMD_SERVE, 0, NULL, &stop, &err) != HD_OK) return 0;
    hd_log_set_level(HD_LOG_OFF);
    hd_buf_put(&text, data, size);
    hd_status st = hd_alias_properties(&c, &text, &known, &err);
    HD_ASSERT(known >= 0 && (st == HD_OK || err.msg[0] != '\0'));
    HD_ASSERT(c.max_context >= 0 && c.max_context <= HD_MAX_CONTEXT);
    HD_ASSERT(c.max_seqs >= 1 && c.max_seqs <= 4096 && c.max_step_tokens >= 1);
    hd_buf_fini(&text);
    return 0;
}
