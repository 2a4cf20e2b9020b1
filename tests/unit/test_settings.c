// Settings: flags, variables, bounds, suggestions.
#include "server/config.h"
#include "tests/harness/test.h"

#include <stdlib.h>

static hd_config c;
static hd_err err;

// Loads "serve" settings from words; returns the status.
static hd_status load(unsigned command, const char *a, const char *b, const char *d)
{
    static char *kept[256]; // settings point into their words until the test's process ends
    static int n_kept;
    char *argv[4] = {0};
    const char *words[3] = {a, b, d};
    int argc = 0;
    bool stop;
    for (int i = 0; i < 3 && words[i]; i++) {
        EXPECT(n_kept < 256);
        argv[argc++] = kept[n_kept++] = strdup(words[i]);
    }
    memset(&err, 0, sizeof(err));
    return hd_config_load(&c, command, argc, argv, &stop, &err);
}

static void defaults_are_those_of_the_table(void)
{
    EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_OK);
    EXPECT_INT(c.port, 8080);
    EXPECT_INT(c.max_body_bytes, 128 << 20);
    EXPECT_INT(c.drain_seconds, 25);
    EXPECT_INT(c.log_level, HD_LOG_INFO);
    EXPECT(!hd_config_given(&c, &c.port));
    EXPECT_INT(load(HD_CMD_RUN, NULL, NULL, NULL), HD_OK);
    EXPECT_INT(c.log_level, HD_LOG_WARN); // people read it, not operators
}

static void flags_win_over_variables(void)
{
    setenv("HADAL_PORT", "9001", 1);
    EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_OK);
    EXPECT_INT(c.port, 9001);
    EXPECT(hd_config_given(&c, &c.port));
    setenv("SAGEMAKER_BIND_TO_PORT", "9002", 1); // the platform's variable wins over ours
    EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_OK);
    EXPECT_INT(c.port, 9002);
    EXPECT_INT(load(HD_CMD_SERVE, "--port", "9003", NULL), HD_OK);
    EXPECT_INT(c.port, 9003);
    EXPECT_INT(load(HD_CMD_SERVE, "--port=9004", NULL, NULL), HD_OK);
    EXPECT_INT(c.port, 9004);
}

static void bounds_are_named(void)
{
    EXPECT_INT(load(HD_CMD_SERVE, "--port", "70000", NULL), HD_E_INVAL);
    EXPECT_STR(err.msg, "--port: found '70000', expected a whole number in [0, 65535]");
    EXPECT_INT(load(HD_CMD_SERVE, "--port", "80x", NULL), HD_E_INVAL);
    EXPECT_INT(load(HD_CMD_SERVE, "--port", "", NULL), HD_E_INVAL);
    EXPECT_INT(load(HD_CMD_SERVE, "--port", NULL, NULL), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "--port needs a value");
    EXPECT_INT(load(HD_CMD_RUN, "--temperature", "nan", NULL), HD_E_INVAL);
    EXPECT_INT(load(HD_CMD_SERVE, "--log-format", "xml", NULL), HD_E_INVAL);
    EXPECT_STR(err.msg, "--log-format: found 'xml', expected one of logfmt|json");
    setenv("HADAL_PORT", "-1", 1);
    EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "HADAL_PORT: found '-1'");
}

static void sizes_take_suffixes(void)
{
    EXPECT_INT(load(HD_CMD_SERVE, "--max-body-bytes", "2M", NULL), HD_OK);
    EXPECT_INT(c.max_body_bytes, 2 << 20);
    EXPECT_INT(load(HD_CMD_SERVE, "--memory", "3GiB", NULL), HD_OK);
    EXPECT_INT(c.memory_bytes, INT64_C(3) << 30);
    EXPECT_INT(load(HD_CMD_SERVE, "--memory", "3Q", NULL), HD_E_INVAL);
    EXPECT_INT(load(HD_CMD_SERVE, "--memory", "99999999999T", NULL), HD_E_INVAL);
}

static void booleans_in_every_spelling(void)
{
    static const char *const yes[] = {"1", "true", "YES", "On", "True"};
    static const char *const no[] = {"0", "false", "No", "OFF"};
    EXPECT_INT(load(HD_CMD_SERVE, "--deterministic", NULL, NULL), HD_OK);
    EXPECT(c.deterministic);
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        setenv("HADAL_DETERMINISTIC", yes[i], 1);
        EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_OK);
        EXPECT(c.deterministic);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        setenv("HADAL_DETERMINISTIC", no[i], 1);
        EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_OK);
        EXPECT(!c.deterministic);
    }
    EXPECT_INT(load(HD_CMD_SERVE, "--deterministic=maybe", NULL, NULL), HD_E_INVAL);
}

static void unknown_names_suggest_the_nearest(void)
{
    EXPECT_INT(load(HD_CMD_SERVE, "--prot", "1", NULL), HD_E_INVAL);
    EXPECT_STR(err.msg, "unknown option --prot; did you mean --port?");
    EXPECT_INT(load(HD_CMD_SERVE, "--zzzzzzzz", NULL, NULL), HD_E_INVAL);
    EXPECT_STR(err.msg, "unknown option --zzzzzzzz; 'hadal serve --help' lists all");
    EXPECT_INT(load(HD_CMD_RUN, "--port", "1", NULL), HD_E_INVAL); // not a setting of run
    EXPECT_INT(load(HD_CMD_SERVE, "-p", "1", NULL), HD_E_INVAL);
    setenv("HADAL_THRAEDS", "2", 1);
    EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_E_INVAL);
    EXPECT_STR(err.msg, "unknown variable HADAL_THRAEDS; did you mean HADAL_THREADS?");
}

static void foreign_variables_are_ignored(void)
{
    setenv("SM_VLLM_MODEL", "x", 1);
    setenv("HADALX", "x", 1);
    EXPECT_INT(load(HD_CMD_SERVE, NULL, NULL, NULL), HD_OK);
}

static void words_are_left_over(void)
{
    EXPECT_INT(load(HD_CMD_RUN, "why", "--raw", "so"), HD_OK);
    EXPECT_INT(c.n_rest, 2);
    EXPECT_STR(c.rest[1], "so");
    EXPECT(c.raw);
    EXPECT_INT(load(HD_CMD_RUN, "--", "--raw", NULL), HD_OK);
    EXPECT_INT(c.n_rest, 1);
    EXPECT_STR(c.rest[0], "--raw");
    EXPECT(!c.raw);
}

static void engine_settings_are_checked(void)
{
    hd_engine_cfg e;
    EXPECT_INT(load(HD_CMD_SERVE, "--weights", "q8_0", NULL), HD_OK);
    EXPECT_INT(hd_config_engine(&c, &e, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "no model");
    EXPECT_INT(load(HD_CMD_SERVE, "--model=/m", "--weights=q8_0", "--cpu=avx2"), HD_OK);
    EXPECT_INT(hd_config_engine(&c, &e, &err), HD_OK);
    EXPECT_INT(e.weights.all, HD_Q8_0);
    EXPECT_INT(e.weights.experts, HD_Q8_0);
    EXPECT_INT(e.weights.attention, HD_Q8_0);
    EXPECT_INT(e.kv, HD_BF16);
    EXPECT_INT(load(HD_CMD_SERVE, "--model=/m", "--weights=q9", NULL), HD_OK);
    EXPECT_INT(hd_config_engine(&c, &e, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "--weights: found 'q9', expected one of keep, f32, f16, bf16, f8, q8, q4, "
                        "q8_0, q6_k, q4_k, q4_1, q4_0");
    EXPECT_INT(load(HD_CMD_SERVE, "--model=/m", "--cpu=avx3", NULL), HD_OK);
    EXPECT_INT(hd_config_engine(&c, &e, &err), HD_E_INVAL);
}

static void types_of_weights_by_use(void)
{
    static const struct {
        const char *name;
        hd_dtype type;
    } row[] = {
        {"keep", HD_DTYPE_NONE}, {"f32", HD_F32},   {"f16", HD_F16},   {"bf16", HD_BF16},
        {"f8", HD_F8_B128},      {"q8", HD_Q8_0},   {"q4", HD_Q4_K},   {"q8_0", HD_Q8_0},
        {"q6_k", HD_Q6_K},       {"q4_k", HD_Q4_K}, {"q4_1", HD_Q4_1}, {"q4_0", HD_Q4_0},
    };
    hd_weight_types w;
    hd_dtype kv;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        EXPECT_INT(load(HD_CMD_SERVE, "--weights", row[i].name, NULL), HD_OK);
        EXPECT_INT(hd_config_types(&c, &w, &kv, &err), HD_OK);
        EXPECT_INT(w.all, row[i].type);
        EXPECT_INT(w.experts, row[i].type);
        EXPECT_INT(w.attention, row[i].type);
    }
    EXPECT_INT(load(HD_CMD_RUN, "--weights=bf16", "--weights-experts=q4", "--kv=q8"), HD_OK);
    EXPECT_INT(hd_config_types(&c, &w, &kv, &err), HD_OK);
    EXPECT_INT(w.all, HD_BF16);
    EXPECT_INT(w.experts, HD_Q4_K);
    EXPECT_INT(w.attention, HD_BF16);
    EXPECT_INT(kv, HD_Q8_0);
    setenv("HADAL_WEIGHTS_ATTENTION", "q8_0", 1);
    EXPECT_INT(load(HD_CMD_BENCH, "--weights-experts=keep", NULL, NULL), HD_OK);
    EXPECT_INT(hd_config_types(&c, &w, &kv, &err), HD_OK);
    EXPECT_INT(w.all, HD_DTYPE_NONE);
    EXPECT_INT(w.experts, HD_DTYPE_NONE);
    EXPECT_INT(w.attention, HD_Q8_0);
    EXPECT_INT(load(HD_CMD_SERVE, "--weights-experts=q5", NULL, NULL), HD_OK);
    EXPECT_INT(hd_config_types(&c, &w, &kv, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "--weights-experts: found 'q5', expected one of keep, f32");
    EXPECT_INT(load(HD_CMD_SERVE, "--kv=q4", NULL, NULL), HD_OK);
    EXPECT_INT(hd_config_types(&c, &w, &kv, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "--kv: found 'q4', expected one of bf16, f16, f32, q8, q8_0");
}

static void help_shows_every_setting_of_a_command(void)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    EXPECT(f != NULL);
    hd_config_help(f, HD_CMD_SERVE);
    fclose(f);
    EXPECT_CONTAINS(text, "--port N");
    EXPECT_CONTAINS(text, "HADAL_DRAIN_SECONDS");
    EXPECT(!strstr(text, "--temperature"));
    free(text);
}

HD_TEST_MAIN("settings", {"defaults_are_those_of_the_table", defaults_are_those_of_the_table},
             {"flags_win_over_variables", flags_win_over_variables},
             {"bounds_are_named", bounds_are_named}, {"sizes_take_suffixes", sizes_take_suffixes},
             {"booleans_in_every_spelling", booleans_in_every_spelling},
             {"unknown_names_suggest_the_nearest", unknown_names_suggest_the_nearest},
             {"foreign_variables_are_ignored", foreign_variables_are_ignored},
             {"words_are_left_over", words_are_left_over},
             {"engine_settings_are_checked", engine_settings_are_checked},
             {"types_of_weights_by_use", types_of_weights_by_use},
             {"help_shows_every_setting_of_a_command", help_shows_every_setting_of_a_command})
