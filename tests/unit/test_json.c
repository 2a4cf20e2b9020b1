// The JSON layer: grammar, limits, exact numbers, writing, fields, exhausted memory.
#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"

#include <dirent.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static hd_json *parse(const char *text)
{
    hd_json *v;
    hd_err err = {0};
    if (hd_json_parse(hd_slice_str(text), &hd_json_request_limits, &v, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", text, err.msg);
    return v;
}

// Scans and parses; both must agree. The message of a failure is in *err.
static hd_status judge(hd_slice text, const hd_json_limits *lim, hd_err *err)
{
    hd_json *v;
    hd_err scan_err = {0};
    hd_status scanned = hd_json_scan(text, lim, &scan_err);
    *err = (hd_err){0};
    EXPECT_INT(hd_json_parse(text, lim, &v, err), scanned);
    EXPECT((v != NULL) == (scanned == HD_OK));
    EXPECT_STR(err->msg, scan_err.msg);
    hd_json_free(v);
    return scanned;
}

// ---- grammar -------------------------------------------------------------------------------

// 2^1024 - 2^970, the least integer whose nearest double is infinite, and the one before.
#define LEAST_INFINITE_BUT_LAST_DIGIT                                                              \
    "17976931348623158079372897140530341507993413271003782693617377898044496829276475"             \
    "09466490179775872070963302864166928879109465555478519404026306574886715058206819"             \
    "08902000708383676273854845817711531764475730270069855571366959622842914819860834"             \
    "93647529271907416844436551070434271155969950809304288017790417449779"

static const char *const legal[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "12",
    "-1.5e+10",
    "0e0",
    "1E-2",
    "1.7976931348623157e308",
    "1.7976931348623158e308", // rounds down to the largest double
    LEAST_INFINITE_BUT_LAST_DIGIT "1",
    LEAST_INFINITE_BUT_LAST_DIGIT "1.999999999",
    "-" LEAST_INFINITE_BUT_LAST_DIGIT "19e-1",
    "0.00000000001e319",
    "1e-999999999999999999999",
    "0e999999999999999999999",
    "\"\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
    "\"\\u00e9\\uD83D\\uDE00\\ud83d\\ude00\"",
    "\"\\uD800\\uDC00\\uDBFF\\uDFFF\\uD7FF\\uE000\"",
    "\"\\uFFFF \\uFDD0 \\u2028\"",
    "\"\\\\u0000\"", // a backslash and "u0000"
    "\"\x7F\xC2\x80\xEF\xBF\xBF\xF4\x8F\xBF\xBF\"",
    " \t\r\n[ \t\r\n] \t\r\n",
    "{}",
    "{\"\":0}",
    "{\"a\" : [1 , {\"b\":null}], \"a\":2}",
    "[[],[[]],{}]",
    "\xEF\xBB\xBF[1]",
};

static const struct {
    const char *text, *message;
} illegal[] = {
    {"", "line 1 column 1: expected a value, found the end"},
    {" \n ", "line 2 column 2: expected a value, found the end"},
    {"\xEF\xBB\xBF", "line 1 column 1: expected a value, found the end"},
    {"\xEF\xBB\xBF\xEF\xBB\xBF[]", "line 1 column 1: expected a value, found byte 0xef"},
    {"[1,]", "line 1 column 4: expected a value, found ']'"},
    {"[,1]", "expected a value or ']', found ','"},
    {"[1 2]", "column 4: expected ',' or ']', found '2'"},
    {"[1", "column 3: expected ',' or ']', found the end"},
    {"[1}", "expected ',' or ']', found '}'"},
    {"[1]]", "column 4: expected the end of the text, found ']'"},
    {"1 2", "column 3: expected the end of the text, found '2'"},
    {"{\"a\":1,}", "column 8: expected a key in quotes, found '}'"},
    {"{a:1}", "column 2: expected a key in quotes or '}', found 'a'"},
    {"{\"a\" 1}", "column 6: expected ':', found '1'"},
    {"{\"a\":}", "column 6: expected a value, found '}'"},
    {"{\"a\":1]", "column 7: expected ',' or '}', found ']'"},
    {"{\"a\":1", "expected ',' or '}', found the end"},
    {"{\"a\"", "expected ':', found the end"},
    {"01", "column 2: expected the end of the text, found '1'"},
    {"-", "column 2: expected a digit, found the end"},
    {"-a", "column 2: expected a digit, found 'a'"},
    {"+1", "expected a value, found '+'"},
    {".5", "expected a value, found '.'"},
    {"1.", "column 3: expected a digit, found the end"},
    {"1.e5", "column 3: expected a digit, found 'e'"},
    {"1e", "expected a digit, found the end"},
    {"1e+", "expected a digit, found the end"},
    {"0x10", "expected the end of the text, found 'x'"},
    {"NaN", "expected a value, found 'N'"},
    {"Infinity", "expected a value, found 'I'"},
    {"nul", "column 4: expected true, false or null, found the end"},
    {"truE", "column 4: expected true, false or null, found 'E'"},
    {"nullx", "expected the end of the text, found 'x'"},
    {"'a'", "expected a value, found '''"},
    {"\"a", "column 3: expected '\"', found the end"},
    {"\"\\", "column 3: expected one of \"\\/bfnrtu behind '\\', found the end"},
    {"\"\\x41\"", "column 3: expected one of \"\\/bfnrtu behind '\\', found 'x'"},
    {"\"\\u12g4\"", "column 6: expected four hexadecimal digits, found 'g'"},
    {"\"\\u12", "expected four hexadecimal digits, found the end"},
    {"\"a\\u0000\"", "column 3: expected no NUL, found \\u0000"},
    {"{\"\\u0000\":1}", "column 3: expected no NUL, found \\u0000"},
    {"\"\\uDC00\"", "column 2: expected a high surrogate first, found a low one"},
    {"\"\\uD800\"", "column 8: expected the escape of a low surrogate, found '\"'"},
    {"\"\\uD800\\n\"", "expected the escape of a low surrogate, found '\\'"},
    {"\"\\uD800\\uD800\"", "column 8: expected the escape of a low surrogate, found '\\'"},
    {"\"\\uD800\\uDBFF\"", "expected the escape of a low surrogate, found '\\'"},
    {"\"\\uDFFF\"", "expected a high surrogate first, found a low one"},
    {"\"\\uD800\\uE000\"", "expected the escape of a low surrogate, found '\\'"},
    {"\"\\uD800\\u0041\"", "column 8: expected the escape of a low surrogate, found '\\'"},
    {"\"\t\"", "column 2: expected control characters to be escaped, found byte 0x09"},
    {"[\"\n\"]", "line 1 column 3: expected control characters to be escaped, found byte 0x0a"},
    {"\"\xFF\"", "column 2: expected valid UTF-8, found byte 0xff"},
    {"\"\xC0\xAF\"", "expected valid UTF-8, found byte 0xc0"},
    {"\"\xED\xA0\x80\"", "expected valid UTF-8, found byte 0xed"},
    {"\"\xE2\x82", "expected valid UTF-8, found byte 0xe2"},
    {"[1]\xC2\xA0", "expected the end of the text, found byte 0xc2"},
    {"[1,\f2]", "expected a value, found byte 0x0c"},
    {"[1] // no", "expected the end of the text, found '/'"},
    {"1e309", "column 1: expected a number that a double can hold, found a larger one"},
    {"-1e999999999999999999999", "expected a number that a double can hold"},
    {"1.7976931348623159e308", "expected a number that a double can hold"},
    {LEAST_INFINITE_BUT_LAST_DIGIT "2", "expected a number that a double can hold"},
    {LEAST_INFINITE_BUT_LAST_DIGIT "20000e-4", "expected a number that a double can hold"},
    {"17976931348623159e292", "expected a number that a double can hold"},
    {"0.00000000001e320", "expected a number that a double can hold"},
    // The column counts characters, not bytes.
    {"{\n \"\xC3\xA9\xE2\x82\xAC\": x}", "line 2 column 8: expected a value, found 'x'"},
};

static void accepts_what_is_legal(void)
{
    hd_err err;
    for (size_t i = 0; i < COUNT(legal); i++)
        if (judge(hd_slice_str(legal[i]), &hd_json_request_limits, &err) != HD_OK)
            hd_test_fail(__FILE__, __LINE__, "%s: %s", legal[i], err.msg);
}

static void explains_what_is_illegal(void)
{
    hd_err err;
    for (size_t i = 0; i < COUNT(illegal); i++) {
        hd_status st = judge(hd_slice_str(illegal[i].text), &hd_json_request_limits, &err);
        if (st != HD_E_INVAL) hd_test_fail(__FILE__, __LINE__, "%s: accepted", illegal[i].text);
        EXPECT_CONTAINS(err.msg, illegal[i].message);
    }
    hd_slice nul = {"[1]\0", 4}, inside = {"\"a\0b\"", 5};
    EXPECT_INT(judge(nul, &hd_json_request_limits, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "column 4: expected the end of the text, found byte 0x00");
    EXPECT_INT(judge(inside, &hd_json_request_limits, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "column 3: expected control characters");
    for (char c = 1; c < 0x20; c++) {
        char text[] = {'"', c, '"'};
        EXPECT_INT(judge(hd_slice_of(text, 3), &hd_json_request_limits, &err), HD_E_INVAL);
        EXPECT_CONTAINS(err.msg, "column 2: expected control characters to be escaped");
    }
    EXPECT_INT(hd_json_scan(hd_slice_of(NULL, 0), &hd_json_request_limits, NULL), HD_E_INVAL);
}

// Every beginning of a container or string is incomplete.
static void refuses_every_truncation(void)
{
    static const char text[] =
        "{\"k\\u00e9\\ud83d\\ude00\": [-1.5e+3, true, \"\xE2\x82\xAC\", {}, null]}";
    hd_err err;
    size_t n = sizeof(text) - 1;
    EXPECT_INT(judge(hd_slice_of(text, n), &hd_json_request_limits, &err), HD_OK);
    for (size_t k = 0; k < n; k++)
        EXPECT_INT(judge(hd_slice_of(text, k), &hd_json_request_limits, &err), HD_E_INVAL);
}

// Legal by the grammar, refused by us: a NUL cannot live in a C string.
static bool has_nul_escape(const char *name)
{
    return strcmp(name, "y_string_null_escape.json") == 0 ||
           strcmp(name, "y_object_escaped_null_in_key.json") == 0;
}

static void agrees_with_the_parsing_suite(void)
{
    const char *folder = hd_test_shared("json-parsing");
    int seen[3] = {0, 0, 0};
    DIR *dir = opendir(folder);
    EXPECT(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[1024];
        hd_buf text = {0};
        hd_err err = {0};
        if (e->d_name[1] != '_') continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        EXPECT_INT(hd_file_read(path, 1 << 20, &text, &err), HD_OK);
        hd_status st = judge(hd_buf_slice(&text), &hd_json_request_limits, &err);
        bool good = e->d_name[0] == 'y' && !has_nul_escape(e->d_name);
        if (e->d_name[0] != 'i' && good != (st == HD_OK))
            hd_test_fail(__FILE__, __LINE__, "%s: %s", e->d_name, st ? err.msg : "accepted");
        seen[e->d_name[0] == 'y' ? 0 : e->d_name[0] == 'n' ? 1 : 2]++;
        hd_buf_fini(&text);
    }
    closedir(dir);
    EXPECT(seen[0] >= 90 && seen[1] >= 180 && seen[2] >= 30);
}

// ---- limits --------------------------------------------------------------------------------

static void limits_depth(void)
{
    hd_err err;
    hd_json_limits lim = {1000, 1000, 3};
    EXPECT_INT(judge(hd_slice_str("[[[1]]]"), &lim, &err), HD_OK);
    EXPECT_INT(judge(hd_slice_str("[{\"a\":[]},[[]]]"), &lim, &err), HD_OK);
    EXPECT_INT(judge(hd_slice_str("[{\"a\":\n[[]]}]"), &lim, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "line 2 column 2: nested too deeply, expected at most 3");
    lim.max_depth = 0;
    EXPECT_INT(judge(hd_slice_str("7"), &lim, &err), HD_OK);
    EXPECT_INT(judge(hd_slice_str("[]"), &lim, &err), HD_E_LIMIT);
    // The request limit itself, through cJSON, with both kinds of container across word borders.
    hd_buf text = {0};
    for (int i = 0; i < 128; i++)
        hd_buf_puts(&text, i % 3 ? "[" : "{\"k\":");
    hd_buf_puts(&text, "1");
    for (int i = 127; i >= 0; i--)
        hd_buf_puts(&text, i % 3 ? "]" : "}");
    EXPECT_INT(judge(hd_buf_slice(&text), &hd_json_request_limits, &err), HD_OK);
    hd_buf deeper = {0};
    hd_buf_printf(&deeper, "[%s]", text.data);
    EXPECT_INT(judge(hd_buf_slice(&deeper), &hd_json_request_limits, &err), HD_E_LIMIT);
    hd_buf_fini(&text);
    hd_buf_fini(&deeper);
}

static void limits_nodes_and_bytes(void)
{
    hd_err err;
    hd_json_limits lim = {10, 4, 5};
    EXPECT_INT(judge(hd_slice_str("[1,[2]]   "), &lim, &err), HD_OK);
    EXPECT_INT(judge(hd_slice_str("{\"a\":{}}"), &lim, &err), HD_OK); // keys are not values
    EXPECT_INT(judge(hd_slice_str("[1,[2],3]"), &lim, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "line 1 column 8: too many values, expected at most 4");
    EXPECT_INT(judge(hd_slice_str("[1,[2]]    "), &lim, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "JSON text: found 11 bytes, expected at most 10");
}

static void refuses_a_flood_before_allocating(void)
{
    hd_buf text = {0};
    enum { ZEROS = 12500000 };
    EXPECT(hd_buf_reserve(&text, 2 * ZEROS + 4));
    hd_buf_puts(&text, "[0");
    for (int i = 1; i < ZEROS; i++)
        hd_buf_puts(&text, ",0");
    hd_buf_puts(&text, "]");
    hd_json *v;
    hd_err err = {0};
    uint64_t before = hd_mem_thread_allocs();
    EXPECT_INT(hd_json_parse(hd_buf_slice(&text), &hd_json_request_limits, &v, &err), HD_E_LIMIT);
    EXPECT_INT(hd_mem_thread_allocs() - before, 0);
    EXPECT_CONTAINS(err.msg, "expected at most 1000000");
    hd_buf_fini(&text);
}

// ---- reading -------------------------------------------------------------------------------

static void finds_the_last_of_duplicates(void)
{
    hd_json *v = parse("{\"a\":1,\"A\":2,\"a\":3,\"\":4,\"b\":null}");
    int64_t i = 0;
    EXPECT(hd_json_i64(hd_json_get(v, "a"), &i) && i == 3);
    EXPECT(hd_json_i64(hd_json_get(v, "A"), &i) && i == 2);
    EXPECT(hd_json_i64(hd_json_get(v, ""), &i) && i == 4);
    EXPECT(hd_json_get(v, "B") == NULL && hd_json_get(v, "b") != NULL);
    EXPECT(hd_json_is_null(hd_json_get(v, "b")) && hd_json_is_null(hd_json_get(v, "c")));
    EXPECT_INT(hd_json_len(v), 5);
    const hd_json *c = hd_json_first(v);
    EXPECT(hd_slice_eq_str(hd_json_key(c), "a") && hd_json_i64(c, &i) && i == 1);
    EXPECT(hd_slice_eq_str(hd_json_key(hd_json_next(c)), "A"));
    hd_json_free(v);
}

static void answers_for_absent_and_wrong_types(void)
{
    hd_json *v = parse("[null,true,1.5,\"x\\u00e9\",[],{}]");
    static const char *const names[] = {"null",     "a boolean", "a number",
                                        "a string", "an array",  "an object"};
    hd_slice s;
    bool b = true;
    double f = 7;
    int64_t i = 7;
    uint64_t u = 7;
    int kind = 0;
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c), kind++) {
        s = hd_slice_of("kept", 4);
        EXPECT_INT(hd_json_type(c), kind);
        EXPECT_STR(hd_json_type_name(c), names[kind]);
        EXPECT(hd_json_is_null(c) == (kind == HD_JSON_NULL));
        if (kind != HD_JSON_BOOL) EXPECT(!hd_json_bool(c, &b) && b);
        if (kind != HD_JSON_NUMBER) EXPECT(!hd_json_f64(c, &f) && f == 7);
        if (kind != HD_JSON_STRING) EXPECT(!hd_json_str(c, &s) && s.n == 4);
        EXPECT(!hd_json_i64(c, &i) && i == 7 && !hd_json_u64(c, &u) && u == 7);
        EXPECT(hd_json_get(c, "a") == NULL && hd_json_len(c) == 0 && hd_json_key(c).n == 0);
        if (kind == HD_JSON_STRING) EXPECT(hd_json_str(c, &s) && strcmp(s.p, "x\xC3\xA9") == 0);
    }
    EXPECT_INT(kind, 6);
    hd_json_free(v);
    EXPECT(hd_json_type(NULL) == HD_JSON_NULL && !hd_json_first(NULL) && !hd_json_next(NULL));
    EXPECT(hd_json_is_null(NULL) && hd_json_len(NULL) == 0 && hd_json_key(NULL).n == 0);
    EXPECT(!hd_json_get(NULL, "a") && !hd_json_str(NULL, &s) && !hd_json_bool(NULL, &b));
    EXPECT(!hd_json_f64(NULL, &f) && !hd_json_i64(NULL, &i) && !hd_json_u64(NULL, &u));
    hd_json_free(NULL);
}

static void keeps_integers_exact(void)
{
    static const struct {
        const char *text;
        bool is_i, is_u;
        int64_t i;
        uint64_t u;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"-0", true, true, 0, 0},
        {"-0.0", true, true, 0, 0},
        {"3.0", true, true, 3, 3},
        {"1e3", true, true, 1000, 1000},
        {"-1.50E2", true, false, -150, 0},
        {"12000e-3", true, true, 12, 12},
        {"0e99999999999", true, true, 0, 0},
        {"999999999999999", true, true, 999999999999999, 999999999999999},
        {"9007199254740993", true, true, 9007199254740993, 9007199254740993},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", false, true, 0, 9223372036854775808u},
        {"-9223372036854775808", true, false, INT64_MIN, 0},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", false, true, 0, UINT64_MAX},
        {"18446744073709551615.000", false, true, 0, UINT64_MAX},
        {"1844674407370955161.5e1", false, true, 0, UINT64_MAX},
        {"18446744073709551616", false, false, 0, 0},
        {"99999999999999999999999", false, false, 0, 0},
        {"1e19", false, true, 0, 10000000000000000000u},
        {"1e20", false, false, 0, 0},
        {"1e300", false, false, 0, 0},
        {"3.5", false, false, 0, 0},
        {"1e-3", false, false, 0, 0},
        {"-1", true, false, -1, 0},
        {"3.00000000000000000000000000001", false, false, 0, 0}, // although its double is 3
        // Longer than cJSON reads, among others so that order matters.
        {"0.000000000000000000000000000000000000000000000000000000000000000001e66", true, true, 1,
         1},
        {"-700000000000000000000000000000000000000000000000000000000000000000000e-68", true, false,
         -7, 0},
    };
    hd_buf text = {0};
    hd_buf_puts(&text, "[\"1e5 \\\" 2\",{\"3\":");
    for (size_t k = 0; k < COUNT(cases); k++)
        hd_buf_printf(&text, "%s%s", k ? (k % 5 ? "," : ",[],17,") : "[", cases[k].text);
    hd_buf_puts(&text, "]}]");
    hd_json *v = parse(text.data);
    const hd_json *c = hd_json_first(hd_json_first(hd_json_next(hd_json_first(v))));
    for (size_t k = 0; k < COUNT(cases); k++, c = hd_json_next(c)) {
        int64_t i = 0;
        uint64_t u = 0;
        if (k && k % 5 == 0) c = hd_json_next(hd_json_next(c));
        if (hd_json_i64(c, &i) != cases[k].is_i || hd_json_u64(c, &u) != cases[k].is_u)
            hd_test_fail(__FILE__, __LINE__, "%s: integer or not?", cases[k].text);
        if (i != cases[k].i || u != cases[k].u)
            hd_test_fail(__FILE__, __LINE__, "%s: got %lld, %llu", cases[k].text, (long long)i,
                         (unsigned long long)u);
    }
    EXPECT(c == NULL);
    hd_json_free(v);
    hd_buf_fini(&text);
}

static void reads_doubles_of_any_length(void)
{
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"0.1", 0.1},
        {"-1.5e-7", -1.5e-7},
        {"1.7976931348623157e308", DBL_MAX},
        {"4.9e-324", 0x1p-1074},
        {"1e-400", 0},
        {"123456789012345678", 123456789012345680.0},
        {"0.3333333333333333333333333333333333333333333333333333333333333333333333333", 1.0 / 3},
        // 63 characters, which cJSON reads, and 64, which it does not.
        {"0.50000000000000000000000000000000000000000000000000000000000e2", 50},
        {"0.500000000000000000000000000000000000000000000000000000000000e2", 50},
        {"-100000000000000000000000000000000000000000000000000000000000000000000000000", -1e74},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        hd_json *v = parse(cases[k].text);
        double f = -77;
        if (!hd_json_f64(v, &f) || f != cases[k].value)
            hd_test_fail(__FILE__, __LINE__, "%s: got %.17g", cases[k].text, f);
        hd_json_free(v);
    }
}

static void checks_fields(void)
{
    hd_json *v = parse("{\"i\":8,\"big\":70000,\"f\":0.25,\"s\":\"secret\",\"b\":true,\"n\":null,"
                       "\"x\":1e300,\"l\":[]}");
    hd_err err;
    int64_t i = -1;
    double f = -1;
    bool b = false;
    hd_slice s = {0};
    EXPECT_INT(hd_json_field_i64(v, "i", HD_JSON_REQUIRED, 1, 8, &i, &err), HD_OK);
    EXPECT_INT(i, 8);
    EXPECT_INT(hd_json_field_i64(v, "none", HD_JSON_OPTIONAL, 1, 2, &i, &err), HD_OK);
    EXPECT_INT(hd_json_field_i64(v, "n", HD_JSON_OPTIONAL, 1, 2, &i, &err), HD_OK);
    EXPECT_INT(i, 8);
    EXPECT_INT(hd_json_field_i64(v, "none", HD_JSON_REQUIRED, 1, 2, &i, &err), HD_E_NOTFOUND);
    EXPECT_STR(err.msg, "missing field 'none'");
    EXPECT_INT(hd_json_field_i64(v, "n", HD_JSON_REQUIRED, 1, 2, &i, &err), HD_E_NOTFOUND);
    EXPECT_INT(hd_json_field_i64(v, "s", HD_JSON_OPTIONAL, 1, 65536, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "field 's': found a string, expected an integer in [1, 65536]");
    EXPECT_INT(hd_json_field_i64(v, "big", HD_JSON_OPTIONAL, -5, 65536, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "field 'big': found 70000, expected an integer in [-5, 65536]");
    EXPECT_INT(hd_json_field_i64(v, "f", HD_JSON_OPTIONAL, 0, 1, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "field 'f': found 0.25, expected an integer in [0, 1]");
    EXPECT_INT(hd_json_field_i64(v, "i", HD_JSON_OPTIONAL, 9, 10, &i, NULL), HD_E_INVAL);
    EXPECT_INT(i, 8);
    EXPECT_INT(hd_json_field_f64(v, "f", HD_JSON_REQUIRED, 0, 0.25, &f, &err), HD_OK);
    EXPECT(f == 0.25);
    EXPECT_INT(hd_json_field_f64(v, "i", HD_JSON_REQUIRED, 0, 8, &f, &err), HD_OK);
    EXPECT(f == 8);
    EXPECT_INT(hd_json_field_f64(v, "x", HD_JSON_REQUIRED, 0, 2, &f, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "field 'x': found 1e300, expected a number in [0, 2]");
    EXPECT(f == 8);
    EXPECT_INT(hd_json_field_bool(v, "b", HD_JSON_REQUIRED, &b, &err), HD_OK);
    EXPECT(b);
    EXPECT_INT(hd_json_field_bool(v, "l", HD_JSON_REQUIRED, &b, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "field 'l': found an array, expected a boolean");
    EXPECT_INT(hd_json_field_bool(v, "n", HD_JSON_OPTIONAL, &b, &err), HD_OK);
    EXPECT_INT(hd_json_field_str(v, "s", HD_JSON_REQUIRED, &s, &err), HD_OK);
    EXPECT(hd_slice_eq_str(s, "secret"));
    EXPECT_INT(hd_json_field_str(v, "i", HD_JSON_OPTIONAL, &s, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "field 'i': found a number, expected a string");
    EXPECT_INT(hd_json_field_str(NULL, "i", HD_JSON_REQUIRED, &s, &err), HD_E_NOTFOUND);
    hd_json_free(v);
}

// ---- writing -------------------------------------------------------------------------------

static void expect_text(hd_buf *got, const char *want)
{
    EXPECT(!got->failed);
    EXPECT_STR(hd_buf_slice(got).p, want);
    hd_buf_fini(got);
}

// What json.dumps(json.loads(text), ensure_ascii=False) gives, computed with Python.
static void writes_like_python(void)
{
    static const struct {
        const char *text, *python;
    } cases[] = {
        {"{\"b\":[1,2.50,\"x\"],\"a\":{}}", "{\"b\": [1, 2.5, \"x\"], \"a\": {}}"},
        {" [ ] ", "[]"},
        {"[true,false,null]", "[true, false, null]"},
        {"[-0,-0.0,0e5,1.0,1e5,1E-5,1e16,123e13]",
         "[0, -0.0, 0.0, 1.0, 100000.0, 1e-05, 1e+16, 1230000000000000.0]"},
        {"[999999999999999,1000000000000000,-12345678901234567890123]",
         "[999999999999999, 1000000000000000, -12345678901234567890123]"},
        {"1000000000000000000000000000000000000000000000000000000000000000000000",
         "1000000000000000000000000000000000000000000000000000000000000000000000"},
        {"9007199254740993.0", "9007199254740992.0"},
        {"\"\\u00e9\\/\\u007f\\u001F\\ud83d\\ude00\\u2028\"",
         "\"\xC3\xA9/\x7F\\u001f\xF0\x9F\x98\x80\xE2\x80\xA8\""},
        {"{\"k\\\"\\n\":1}", "{\"k\\\"\\n\": 1}"},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        hd_json *v = parse(cases[k].text);
        hd_buf b = {0};
        hd_json_put(&b, v, HD_JSON_PYTHON);
        expect_text(&b, cases[k].python);
        hd_json_free(v);
    }
}

static void writes_compact_and_indented(void)
{
    hd_json *v = parse("{\"a\": [1, 2.0, {}], \"b\": {\"c\": [], \"d\": \"e\"}}");
    hd_buf b = {0};
    hd_json_put(&b, v, HD_JSON_COMPACT);
    expect_text(&b, "{\"a\":[1,2.0,{}],\"b\":{\"c\":[],\"d\":\"e\"}}");
    hd_json_put_indent(&b, v, 2);
    expect_text(&b, "{\n  \"a\": [\n    1,\n    2.0,\n    {}\n  ],\n  \"b\": {\n    \"c\": [],\n"
                    "    \"d\": \"e\"\n  }\n}");
    hd_json_put_indent(&b, v, 0);
    expect_text(&b, "{\n\"a\": [\n1,\n2.0,\n{}\n],\n\"b\": {\n\"c\": [],\n\"d\": \"e\"\n}\n}");
    hd_json_put(&b, NULL, HD_JSON_PYTHON);
    expect_text(&b, "null");
    hd_json_put(&b, hd_json_get(v, "b"), HD_JSON_COMPACT); // a subtree, without its siblings
    expect_text(&b, "{\"c\":[],\"d\":\"e\"}");
    hd_json_free(v);
}

static void escapes_strings(void)
{
    hd_buf b = {0};
    hd_json_put_str(&b, hd_slice_of("\0\x01\b\t\n\v\f\r\x1F \"\\/\x7F", 14));
    expect_text(&b, "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f \\\"\\\\/\x7F\"");
    hd_json_put_str(&b, hd_slice_str("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
    expect_text(&b, "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    hd_json_put_str(&b, hd_slice_str("a\xFF\xE2\x82\"\xE2\x82"));
    expect_text(&b, "\"a\xEF\xBF\xBD\xEF\xBF\xBD\\\"\xEF\xBF\xBD\"");
    hd_json_put_str(&b, hd_slice_of(NULL, 0));
    expect_text(&b, "\"\"");
}

static void writes_shortest_doubles(void)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100, "100.0"},
        {123456.75, "123456.75"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {9007199254740993.0, "9007199254740992.0"},
        {1.5e300, "1.5e+300"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1e-05"},
        {-2.5e-10, "-2.5e-10"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {0x1p-1074, "5e-324"},
        {0x1p-1073, "1e-323"},
        {0x1p-44, "5.684341886080802e-14"}, // the nearest 16 digits end in 1 and do not read back
        {9.5e22, "9.5e+22"},
        {1e23, "1e+23"},
        {NAN, "null"},
        {-INFINITY, "null"},
    };
    hd_buf b = {0};
    for (size_t k = 0; k < COUNT(cases); k++) {
        hd_json_put_f64(&b, cases[k].v);
        expect_text(&b, cases[k].text);
    }
    static const struct {
        float v;
        const char *text;
    } singles[] = {
        {0.1f, "0.1"},        {1.0f / 3, "0.33333334"},   {16777216.0f, "16777216.0"},
        {-7.0f, "-7.0"},      {FLT_MAX, "3.4028235e+38"}, {FLT_MIN, "1.1754944e-38"},
        {0x1p-149f, "1e-45"}, {-1.5e-5f, "-1.5e-05"},     {NAN, "null"},
    };
    for (size_t k = 0; k < COUNT(singles); k++) {
        hd_json_put_f32(&b, singles[k].v);
        expect_text(&b, singles[k].text);
    }
}

// Written doubles read back bit for bit, through our own parser.
static void round_trips_doubles(void)
{
    uint64_t x = 88172645463325252u;
    for (int k = 0; k < 20000; k++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        double v, back = 0;
        memcpy(&v, &x, sizeof(v));
        if (k < 2046) v = ldexp(1, k - 1023);
        if (!isfinite(v)) continue;
        hd_buf b = {0};
        hd_json_put_f64(&b, v);
        hd_json *n = parse(b.data);
        EXPECT(hd_json_f64(n, &back) && memcmp(&v, &back, sizeof(v)) == 0);
        hd_json_free(n);
        hd_buf_fini(&b);
    }
}

// ---- surroundings --------------------------------------------------------------------------

static void write_file(const char *name, const char *content, char path[512])
{
    hd_err err = {0};
    snprintf(path, 512, "%s/%s", hd_test_tmpdir(), name);
    if (hd_file_write(path, hd_slice_str(content), &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static void reads_files(void)
{
    char path[512];
    hd_json *v;
    hd_err err = {0};
    int64_t i = 0;
    write_file("good.json", "\xEF\xBB\xBF{\"a\": 5}\n", path);
    EXPECT_INT(hd_json_parse_file(path, &hd_json_file_limits, &v, &err), HD_OK);
    EXPECT(hd_json_i64(hd_json_get(v, "a"), &i) && i == 5);
    hd_json_free(v);
    hd_json_limits tiny = {4, 100, 10};
    EXPECT_INT(hd_json_parse_file(path, &tiny, &v, &err), HD_E_LIMIT);
    EXPECT(v == NULL);
    EXPECT_CONTAINS(err.msg, "good.json: found 12 bytes, expected at most 4");
    write_file("bad.json", "{\"a\": 5,\n}", path);
    EXPECT_INT(hd_json_parse_file(path, &hd_json_file_limits, &v, &err), HD_E_INVAL);
    EXPECT(v == NULL);
    EXPECT_CONTAINS(err.msg, "bad.json: line 2 column 1: expected a key in quotes, found '}'");
    write_file("empty.json", "", path);
    EXPECT_INT(hd_json_parse_file(path, &hd_json_file_limits, &v, &err), HD_E_INVAL);
    EXPECT_INT(hd_json_parse_file(hd_test_tmpdir(), &hd_json_file_limits, &v, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "found a folder, expected a file");
    snprintf(path, sizeof(path), "%s/absent.json", hd_test_tmpdir());
    EXPECT_INT(hd_json_parse_file(path, &hd_json_file_limits, &v, &err), HD_E_NOTFOUND);
    EXPECT_CONTAINS(err.msg, "absent.json: cannot open: No such file or directory");
}

static const char mixed[] = "{\"list\":[1,2.5,18446744073709551615,\"x\\u00e9\",[],{\"a\":{}}],"
                            "\"long\":0.10000000000000000000000000000000000000000000000000000000000"
                            "0000000000001,\"t\":true,\"n\":null}";

// Parses and writes a document; false when that failed for lack of memory.
static bool work_through(const char *path)
{
    hd_json *v;
    hd_buf b = {0};
    hd_err err = {0};
    hd_status st = path ? hd_json_parse_file(path, &hd_json_file_limits, &v, &err)
                        : hd_json_parse(hd_slice_str(mixed), &hd_json_request_limits, &v, &err);
    if (st != HD_OK) {
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT_INT(err.code, HD_E_NOMEM);
        EXPECT(v == NULL);
        return false;
    }
    hd_json_put_indent(&b, v, 40);
    bool done = !b.failed;
    hd_buf_fini(&b);
    hd_json_free(v);
    return done;
}

static void survives_exhausted_memory(void)
{
    char path[512];
    write_file("mixed.json", mixed, path);
    for (int from_file = 0; from_file < 2; from_file++)
        for (int persistent = 0; persistent < 2; persistent++) {
            int n = 1;
            for (bool done = false; !done && n < 1000; n += !done) {
                hd_mem_fail_at(n, persistent);
                done = work_through(from_file ? path : NULL);
                hd_mem_fail_at(0, false);
            }
            // 16 nodes, 4 strings, 5 keys, 3 number texts, a copy without long numbers, the output.
            EXPECT(n > 25 && n < 200);
        }
}

// Documents placed flush against a protected page.
static void reads_nothing_behind_the_end(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    hd_err err;
    EXPECT(base != MAP_FAILED && mprotect(base + page, page, PROT_NONE) == 0);
    for (size_t i = 0; i < COUNT(legal) + COUNT(illegal) + 1; i++) {
        const char *text = i < COUNT(legal)                    ? legal[i]
                           : i < COUNT(legal) + COUNT(illegal) ? illegal[i - COUNT(legal)].text
                                                               : mixed;
        for (size_t n = 0; n <= strlen(text); n++) {
            char *p = memcpy(base + page - n, text, n);
            (void)judge(hd_slice_of(p, n), &hd_json_request_limits, &err);
        }
    }
    munmap(base, 2 * page);
}

static void *parse_often(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 200; i++)
        EXPECT(work_through(NULL));
    return NULL;
}

static void parses_in_many_threads(void)
{
    pthread_t t[4];
    for (size_t i = 0; i < COUNT(t); i++)
        EXPECT_INT(pthread_create(&t[i], NULL, parse_often, NULL), 0);
    for (size_t i = 0; i < COUNT(t); i++)
        pthread_join(t[i], NULL);
}

static void parses_a_real_tokenizer(void)
{
    const char *path = hd_test_shared("tokenizers/deepseek-v3/tokenizer.json");
    hd_json *v;
    hd_err err = {0};
    if (hd_json_parse_file(path, &hd_json_file_limits, &v, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    const hd_json *model = hd_json_get(v, "model");
    EXPECT_INT(hd_json_len(hd_json_get(model, "vocab")), 128000);
    EXPECT_INT(hd_json_len(hd_json_get(v, "added_tokens")), 818);
    hd_buf b = {0};
    hd_json_put(&b, v, HD_JSON_COMPACT);
    EXPECT(!b.failed);
    EXPECT_INT(hd_json_scan(hd_buf_slice(&b), &hd_json_file_limits, &err), HD_OK);
    hd_buf_fini(&b);
    hd_json_free(v);
}

HD_TEST_MAIN("json", {"accepts_what_is_legal", accepts_what_is_legal},
             {"explains_what_is_illegal", explains_what_is_illegal},
             {"refuses_every_truncation", refuses_every_truncation},
             {"agrees_with_the_parsing_suite", agrees_with_the_parsing_suite},
             {"limits_depth", limits_depth}, {"limits_nodes_and_bytes", limits_nodes_and_bytes},
             {"refuses_a_flood_before_allocating", refuses_a_flood_before_allocating},
             {"finds_the_last_of_duplicates", finds_the_last_of_duplicates},
             {"answers_for_absent_and_wrong_types", answers_for_absent_and_wrong_types},
             {"keeps_integers_exact", keeps_integers_exact},
             {"reads_doubles_of_any_length", reads_doubles_of_any_length},
             {"checks_fields", checks_fields}, {"writes_like_python", writes_like_python},
             {"writes_compact_and_indented", writes_compact_and_indented},
             {"escapes_strings", escapes_strings},
             {"writes_shortest_doubles", writes_shortest_doubles},
             {"round_trips_doubles", round_trips_doubles}, {"reads_files", reads_files},
             {"survives_exhausted_memory", survives_exhausted_memory},
             {"reads_nothing_behind_the_end", reads_nothing_behind_the_end},
             {"parses_in_many_threads", parses_in_many_threads},
             {"parses_a_real_tokenizer", parses_a_real_tokenizer})
