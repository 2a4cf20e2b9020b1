// Drop-in variables: what wins, what is moved into bounds, what is refused. The whole environments
// of other images are tried on the binary by the contract tests.
#include "server/config_alias.h"
#include "server/metrics.h"
#include "tests/harness/test.h"

#include <stdlib.h>

static hd_config c;
static hd_err err;

static hd_status apply(void)
{
    static hd_alias_text text;
    bool stop;
    memset(&err, 0, sizeof(err));
    EXPECT_INT(hd_config_load(&c, HD_CMD_SERVE, 0, NULL, &stop, &err), HD_OK);
    hd_log_set_level(HD_LOG_OFF);
    hd_alias_text_fini(&text);
    hd_status st = hd_alias_apply(&c, "/nonexistent/standard", &text, &err);
    hd_log_set_level(HD_LOG_OFF);
    return st;
}

static void upper_rows_win_and_ours_wins_over_them(void)
{
    setenv("SM_VLLM_MAX_MODEL_LEN", "100", 1);
    setenv("OPTION_MAX_MODEL_LEN", "200", 1);
    EXPECT_INT(apply(), HD_OK);
    EXPECT_INT(c.max_context, 200);
    setenv("HADAL_MAX_CONTEXT", "300", 1);
    EXPECT_INT(apply(), HD_OK);
    EXPECT_INT(c.max_context, 300);
}

static void numbers_are_moved_into_bounds(void)
{
    setenv("MAX_BATCH_PREFILL_TOKENS", "10000000", 1);
    setenv("MAX_BATCH_SIZE", "0", 1);
    EXPECT_INT(apply(), HD_OK);
    EXPECT_INT(c.max_step_tokens, 65536);
    EXPECT_INT(c.max_seqs, 1);
    setenv("MAX_BATCH_SIZE", "-1", 1);
    EXPECT_INT(apply(), HD_OK);
    EXPECT_INT(c.max_seqs, 16);
    setenv("MAX_BATCH_SIZE", "12x", 1);
    EXPECT_INT(apply(), HD_E_INVAL);
    EXPECT_STR(err.msg, "MAX_BATCH_SIZE: found '12x', expected a whole number");
}

static void models_of_hubs_and_buckets_are_refused(void)
{
    EXPECT_INT(apply(), HD_OK);
    EXPECT_STR(c.model, "/nonexistent/standard");
    setenv("HF_MODEL_ID", "org/name", 1);
    EXPECT_INT(apply(), HD_E_NOTFOUND);
    EXPECT_CONTAINS(err.msg, "HF_MODEL_ID=org/name: no such path");
    setenv("MODEL_ID", "s3://b/k", 1);
    EXPECT_INT(apply(), HD_E_NOTFOUND);
    EXPECT_CONTAINS(err.msg, "MODEL_ID=s3://b/k");
    setenv("SM_SGLANG_MODEL_PATH", "/", 1);
    EXPECT_INT(apply(), HD_OK);
    EXPECT_STR(c.model, "/");
}

static void waits_are_estimated_from_what_was(void)
{
    static hd_metrics m;
    const hd_usage u = {.prompt_tokens = 3,
                        .completion_tokens = 2,
                        .prefill_ns = 1000000000,
                        .decode_ns = 3000000000};
    EXPECT_INT(hd_metrics_wait_ns(&m, 100, 4), 0);
    hd_metrics_choice(&m, &u, HD_FINISH_STOP);
    hd_metrics_choice(&m, &u, HD_FINISH_LENGTH);
    hd_metrics_choice(&m, &u, HD_FINISH_CANCELLED); // tells nothing
    EXPECT_INT(hd_metrics_wait_ns(&m, 8, 4), INT64_C(8000000000));
    EXPECT_INT(hd_metrics_wait_ns(&m, 0, 4), 0);
}

HD_TEST_MAIN("alias",
             {"upper_rows_win_and_ours_wins_over_them", upper_rows_win_and_ours_wins_over_them},
             {"numbers_are_moved_into_bounds", numbers_are_moved_into_bounds},
             {"models_of_hubs_and_buckets_are_refused", models_of_hubs_and_buckets_are_refused},
             {"waits_are_estimated_from_what_was", waits_are_estimated_from_what_was})
