// Schemas, reading: what bodies are read as and what they are refused with.
#include "tests/unit/schemas_kit.h"

#include <math.h>
#include <stdio.h>

static void chat_fields(void)
{
    open_kit();
    hd_gen_request *rq = parsed(&hd_schema_openai_chat, "{" CHAT "}");
    EXPECT_INT(rq->kind, HD_INPUT_CHAT);
    EXPECT_INT(rq->max_new_tokens, 0);
    EXPECT_INT(rq->n, 1);
    EXPECT(!rq->stream && !rq->has_seed && !rq->parse_special && rq->split_reasoning);
    EXPECT(rq->chat.add_generation_prompt && rq->chat.thinking == HD_UNSET);
    EXPECT(hd_slice_eq_str(rq->model, "served"));
    EXPECT_STR(kit.call.id, "chatcmpl-r1");
    rq = parsed(&hd_schema_openai_chat,
                "{" CHAT ",\"model\":\"m\",\"max_tokens\":7,\"max_completion_tokens\":5,"
                "\"temperature\":0,\"top_p\":0.5,\"top_k\":-1,\"min_p\":0.1,\"seed\":-1,"
                "\"frequency_penalty\":-2,\"presence_penalty\":2,\"repetition_penalty\":1.5,"
                "\"stop\":[\"a\",\"b\"],\"stop_token_ids\":[5],\"n\":3,\"logprobs\":true,"
                "\"top_logprobs\":4,\"logit_bias\":{\"7\":-100,\"8\":1.5},\"min_tokens\":2,"
                "\"ignore_eos\":true,\"stream\":true,\"unknown\":{\"x\":[1]},"
                "\"stream_options\":{\"include_usage\":true},\"skip_special_tokens\":false}");
    EXPECT(hd_slice_eq_str(rq->model, "m"));
    EXPECT_INT(rq->max_new_tokens, 5);
    EXPECT_NEAR(rq->sample.temperature, 0, 0);
    EXPECT_NEAR(rq->sample.top_p, 0.5, 0);
    EXPECT_INT(rq->sample.top_k, 0);
    EXPECT(rq->has_seed && rq->sample.seed == UINT64_MAX);
    EXPECT_INT(rq->n_stop, 2);
    EXPECT(hd_slice_eq_str(rq->stop[1], "b"));
    EXPECT_INT(rq->stop_ids[0], 5);
    EXPECT_INT(rq->n, 3);
    EXPECT_INT(rq->sample.n_logprobs, 4);
    EXPECT(rq->sample.want_logprob && kit.call.keep_tokens);
    EXPECT_INT(rq->n_bias, 2);
    EXPECT_INT(rq->bias[1].id, 8);
    EXPECT(rq->sample.ignore_eos && rq->stream && rq->include_usage && rq->show_special);
    hd_schema_kit_close(&kit);
}

static void chat_thinking_switches(void)
{
    static const struct {
        const char *body;
        hd_tristate want;
    } c[] = {
        {"{" CHAT ",\"chat_template_kwargs\":{\"enable_thinking\":false}}", HD_NO},
        {"{" CHAT ",\"chat_template_kwargs\":{\"thinking\":true}}", HD_YES},
        {"{" CHAT ",\"thinking\":{\"type\":\"disabled\"}}", HD_NO},
        {"{" CHAT ",\"thinking\":{\"type\":\"enabled\"}}", HD_YES},
        {"{" CHAT ",\"reasoning_effort\":\"none\"}", HD_NO},
        {"{" CHAT ",\"reasoning_effort\":\"high\"}", HD_YES},
        {"{" CHAT ",\"reasoning_effort\":\"high\",\"chat_template_kwargs\":{\"thinking\":false}}",
         HD_NO},
        {"{" CHAT ",\"reasoning_effort\":null,\"chat_template_kwargs\":null}", HD_UNSET},
    };
    open_kit();
    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++)
        EXPECT_INT(parsed(&hd_schema_openai_chat, c[i].body)->chat.thinking, c[i].want);
    hd_gen_request *rq = parsed(&hd_schema_openai_chat,
                                "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                                "{\"role\":\"assistant\",\"content\":\"a\"}],"
                                "\"continue_final_message\":true,\"add_generation_prompt\":false}");
    EXPECT(rq->chat.continue_final && !rq->chat.add_generation_prompt);
    hd_schema_kit_close(&kit);
}

// null is the same as absent, for every optional field.
static void nulls(void)
{
    static const char *const openai[] = {"model",
                                         "max_tokens",
                                         "max_completion_tokens",
                                         "temperature",
                                         "top_p",
                                         "top_k",
                                         "min_p",
                                         "typical_p",
                                         "frequency_penalty",
                                         "presence_penalty",
                                         "repetition_penalty",
                                         "stop",
                                         "stop_token_ids",
                                         "seed",
                                         "n",
                                         "logprobs",
                                         "top_logprobs",
                                         "logit_bias",
                                         "stream",
                                         "stream_options",
                                         "tools",
                                         "tool_choice",
                                         "response_format",
                                         "chat_template_kwargs",
                                         "reasoning_effort",
                                         "thinking",
                                         "include_reasoning",
                                         "echo",
                                         "ignore_eos",
                                         "min_tokens",
                                         "skip_special_tokens",
                                         "include_stop_str_in_output",
                                         "truncate_prompt_tokens",
                                         "best_of",
                                         "add_generation_prompt",
                                         "continue_final_message",
                                         "add_special_tokens",
                                         "guided_json",
                                         "structured_outputs",
                                         "functions",
                                         "suffix",
                                         "use_beam_search",
                                         "prompt_logprobs"};
    static const char *const hf[] = {"max_new_tokens",
                                     "do_sample",
                                     "temperature",
                                     "top_k",
                                     "top_p",
                                     "typical_p",
                                     "repetition_penalty",
                                     "frequency_penalty",
                                     "seed",
                                     "stop",
                                     "stop_sequences",
                                     "return_full_text",
                                     "truncate",
                                     "watermark",
                                     "details",
                                     "decoder_input_details",
                                     "best_of",
                                     "top_n_tokens",
                                     "grammar",
                                     "adapter_id",
                                     "n",
                                     "stop_token_ids",
                                     "ignore_eos_token"};
    char body[256];
    open_kit();
    for (size_t i = 0; i < sizeof(openai) / sizeof(openai[0]); i++) {
        snprintf(body, sizeof(body), "{" CHAT ",\"%s\":null}", openai[i]);
        parsed(&hd_schema_openai_chat, body);
        snprintf(body, sizeof(body), "{\"prompt\":\"p\",\"%s\":null}", openai[i]);
        parsed(&hd_schema_openai_completions, body);
    }
    for (size_t i = 0; i < sizeof(hf) / sizeof(hf[0]); i++) {
        snprintf(body, sizeof(body),
                 "{\"inputs\":\"p\",\"stream\":null,\"parameters\":{\"%s\":null}}", hf[i]);
        parsed(&hd_schema_tgi, body);
        parsed(&hd_schema_lmi, body);
    }
    hd_schema_kit_close(&kit);
}

// The same three in every dialect.
static void scheduling(void)
{
    static const struct {
        const hd_schema *s;
        const char *before, *behind;
    } dialect[] = {
        {&hd_schema_openai_chat, "{" CHAT ",", "}"},
        {&hd_schema_openai_completions, "{\"prompt\":\"a\",", "}"},
        {&hd_schema_tgi, "{\"inputs\":\"a\",\"parameters\":{", "}}"},
        {&hd_schema_lmi, "{\"inputs\":\"a\",\"parameters\":{", "}}"},
    };
    static const char *const fields[] = {
        "\"seed\":1",
        "\"priority\":5,\"cache_salt\":\"a\",\"speculate\":false",
        "\"cache_salt\":\"b\"",
    };
    open_kit();
    for (size_t i = 0; i < sizeof(dialect) / sizeof(dialect[0]); i++) {
        hd_gen_request got[3];
        for (int k = 0; k < 3; k++) {
            char body[256];
            snprintf(body, sizeof(body), "%s%s%s", dialect[i].before, fields[k], dialect[i].behind);
            got[k] = *parsed(dialect[i].s, body);
        }
        EXPECT(got[0].priority == 0 && got[0].cache_salt == 0 && !got[0].no_speculation);
        EXPECT_INT(got[1].priority, -5); // a lower number goes first
        EXPECT(got[1].no_speculation);
        EXPECT(got[1].cache_salt != 0 && got[2].cache_salt != 0);
        EXPECT(got[1].cache_salt != got[2].cache_salt);
    }
    hd_schema_kit_close(&kit);
}

static void completion_prompts(void)
{
    open_kit();
    hd_gen_request *rq = parsed(&hd_schema_openai_completions, "{\"prompt\":\"one\"}");
    EXPECT_INT(rq->max_new_tokens, 16);
    EXPECT(rq->parse_special);
    EXPECT_INT(kit.call.n_prompts, 1);
    EXPECT(hd_slice_eq_str(kit.call.prompts[0].text, "one"));
    rq = parsed(&hd_schema_openai_completions, "{\"prompt\":[\"one\",\"two\"],\"n\":2}");
    EXPECT_INT(kit.call.n_prompts, 2);
    EXPECT_INT(rq->n, 2);
    EXPECT(hd_slice_eq_str(kit.call.prompts[1].text, "two"));
    parsed(&hd_schema_openai_completions, "{\"prompt\":[1,2,3]}");
    EXPECT_INT(kit.call.n_prompts, 1);
    EXPECT_INT(kit.call.prompts[0].kind, HD_INPUT_IDS);
    EXPECT_INT(kit.call.prompts[0].n_ids, 3);
    parsed(&hd_schema_openai_completions, "{\"prompt\":[[1,2],[3]],\"echo\":true,\"logprobs\":0}");
    EXPECT_INT(kit.call.n_prompts, 2);
    EXPECT_INT(kit.call.prompts[1].ids[0], 3);
    EXPECT(kit.call.rq.prompt_logprobs);
    hd_schema_kit_close(&kit);
}

static void tgi_fields(void)
{
    open_kit();
    hd_gen_request *rq = parsed(&hd_schema_tgi, "{\"inputs\":\"p\"}"); // no parameters: sampling
    EXPECT_NEAR(rq->sample.temperature, 1, 0);
    EXPECT_INT(rq->max_new_tokens, 0);
    EXPECT(rq->keep_stop && rq->parse_special);
    rq = parsed(&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{}}");
    EXPECT_NEAR(rq->sample.temperature, 0, 0);
    rq = parsed(&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_p\":0.9}}");
    EXPECT_NEAR(rq->sample.temperature, 1, 0);
    rq = parsed(&hd_schema_tgi,
                "{\"inputs\":\"p\",\"stream\":true,\"parameters\":{\"do_sample\":true,"
                "\"temperature\":0.5,\"seed\":18446744073709551615,\"stop\":[\"x\"],\"truncate\":3,"
                "\"max_new_tokens\":9,\"details\":true,\"top_n_tokens\":5,\"watermark\":true}}");
    EXPECT_NEAR(rq->sample.temperature, 0.5, 0);
    EXPECT(rq->sample.seed == UINT64_MAX);
    EXPECT_INT(rq->truncate, 3);
    EXPECT_INT(rq->sample.n_logprobs, 5);
    EXPECT(rq->stream && rq->framing == HD_FRAME_SSE && !kit.call.keep_tokens);
    rq = parsed(&hd_schema_lmi, "{\"inputs\":\"p\",\"parameters\":{}}");
    EXPECT_INT(rq->max_new_tokens, 30);
    EXPECT_NEAR(rq->sample.temperature, 1, 0);
    EXPECT_INT(rq->framing, HD_FRAME_JSONL);
    EXPECT(!rq->keep_stop);
    rq = parsed(&hd_schema_lmi,
                "{\"inputs\":\"p\",\"parameters\":{\"do_sample\":false,\"temperature\":0.7}}");
    EXPECT_NEAR(rq->sample.temperature, 0, 0);
    parsed(&hd_schema_lmi, "{\"inputs\":[\"p\",\"q\"]}");
    EXPECT_INT(kit.call.n_prompts, 2);
    hd_schema_kit_close(&kit);
}

typedef struct refusal {
    const hd_schema *schema;
    const char *body, *message; // message: what it begins with
} refusal;

static const refusal refused[] = {
    {&hd_schema_openai_chat, "{}", "messages"},
    {&hd_schema_openai_chat, "{\"messages\":\"x\"}", "messages"},
    {&hd_schema_openai_chat, "{\"messages\":[]}", "messages"},
    {&hd_schema_openai_chat, "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"},
    {&hd_schema_openai_chat, "{" CHAT ",\"temperature\":-0.1}",
     "temperature: found -0.1, expected a number in [0, 100]"},
    {&hd_schema_openai_chat, "{" CHAT ",\"temperature\":\"1\"}",
     "temperature: found a string, expected a number in [0, 100]"},
    {&hd_schema_openai_chat, "{" CHAT ",\"max_tokens\":\"100\"}",
     "max_tokens: found a string, expected an integer in [1, 2147483647]"},
    {&hd_schema_openai_chat, "{" CHAT ",\"max_tokens\":0}", "max_tokens: found 0, expected"},
    {&hd_schema_openai_chat, "{" CHAT ",\"max_tokens\":1.5}",
     "max_tokens: found 1.5, expected an integer"},
    {&hd_schema_openai_chat, "{" CHAT ",\"max_tokens\":true}",
     "max_tokens: found a boolean, expected"},
    {&hd_schema_openai_chat, "{" CHAT ",\"max_tokens\":99999999999}",
     "max_tokens: found 99999999999, expected"},
    {&hd_schema_openai_chat, "{" CHAT ",\"top_p\":0}", "top_p: found 0"},
    {&hd_schema_openai_chat, "{" CHAT ",\"top_p\":1.1}", "top_p: found 1.1"},
    {&hd_schema_openai_chat, "{" CHAT ",\"top_k\":-2}", "top_k: found -2"},
    {&hd_schema_openai_chat, "{" CHAT ",\"min_p\":2}", "min_p: found 2"},
    {&hd_schema_openai_chat, "{" CHAT ",\"frequency_penalty\":2.5}",
     "frequency_penalty: found 2.5"},
    {&hd_schema_openai_chat, "{" CHAT ",\"presence_penalty\":-3}", "presence_penalty: found -3"},
    {&hd_schema_openai_chat, "{" CHAT ",\"repetition_penalty\":0}", "repetition_penalty: found 0"},
    {&hd_schema_openai_chat, "{" CHAT ",\"seed\":1.5}",
     "seed: found 1.5, expected a 64-bit integer"},
    {&hd_schema_openai_chat, "{" CHAT ",\"stop\":\"\"}", "stop: found an empty string"},
    {&hd_schema_openai_chat, "{" CHAT ",\"stop\":[1]}", "stop: found 1, expected strings"},
    {&hd_schema_openai_chat, "{" CHAT ",\"stop\":{}}", "stop: found an object"},
    {&hd_schema_openai_chat, "{" CHAT ",\"stop_token_ids\":[-1]}", "stop_token_ids[0]: found -1"},
    {&hd_schema_openai_chat, "{" CHAT ",\"n\":0}", "n: found 0, expected an integer in [1, 128]"},
    {&hd_schema_openai_chat, "{" CHAT ",\"n\":129}", "n: found 129"},
    {&hd_schema_openai_chat, "{" CHAT ",\"best_of\":2}", "best_of: not supported"},
    {&hd_schema_openai_chat, "{" CHAT ",\"logprobs\":1}", "logprobs: found 1, expected a boolean"},
    {&hd_schema_openai_chat, "{" CHAT ",\"top_logprobs\":2}",
     "top_logprobs: found 2 without logprobs"},
    {&hd_schema_openai_chat, "{" CHAT ",\"logprobs\":true,\"top_logprobs\":21}",
     "top_logprobs: found 21"},
    {&hd_schema_openai_chat, "{" CHAT ",\"logit_bias\":[1]}", "logit_bias: found an array"},
    {&hd_schema_openai_chat, "{" CHAT ",\"logit_bias\":{\"x\":1}}",
     "logit_bias: found the key 'x'"},
    {&hd_schema_openai_chat, "{" CHAT ",\"logit_bias\":{\"99999\":1}}",
     "logit_bias: found the key '99999'"},
    {&hd_schema_openai_chat, "{" CHAT ",\"logit_bias\":{\"1\":101}}",
     "logit_bias.1: expected a number"},
    {&hd_schema_openai_chat, "{" CHAT ",\"stream\":\"yes\"}", "stream: found a string"},
    {&hd_schema_openai_chat, "{" CHAT ",\"stream_options\":1}", "stream_options: found a number"},
    {&hd_schema_openai_chat, "{" CHAT ",\"response_format\":{\"type\":\"json_object\"}}",
     "response_format: only"},
    {&hd_schema_openai_chat, "{" CHAT ",\"tools\":[{\"type\":\"function\"}]}",
     "tools: not supported yet"},
    {&hd_schema_openai_chat, "{" CHAT ",\"tool_choice\":\"required\"}",
     "tool_choice: not supported yet"},
    {&hd_schema_openai_chat, "{" CHAT ",\"guided_regex\":\"a\"}", "guided_regex: not supported"},
    {&hd_schema_openai_chat, "{" CHAT ",\"typical_p\":0.5}", "typical_p: not supported"},
    {&hd_schema_openai_chat, "{" CHAT ",\"min_tokens\":5,\"max_tokens\":4}", "min_tokens: found 5"},
    {&hd_schema_openai_chat, "{" CHAT ",\"continue_final_message\":true}",
     "continue_final_message"},
    {&hd_schema_openai_chat, "{" CHAT ",\"thinking_token_budget\":5}", "thinking_token_budget"},
    {&hd_schema_openai_chat, "{" CHAT ",\"chat_template_kwargs\":1}",
     "chat_template_kwargs: found a number"},
    {&hd_schema_openai_chat, "{" CHAT ",\"model\":3}", "model: found 3, expected a string"},
    {&hd_schema_openai_chat,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
     "messages[0].content[0]: parts of type 'image_url'"},
    {&hd_schema_openai_completions, "{\"prompt\":1}", "prompt: found a number, expected a string"},
    {&hd_schema_openai_completions, "{\"prompt\":\"\"}", "prompt: found an empty string"},
    {&hd_schema_openai_completions, "{\"prompt\":[]}", "prompt: found an empty array"},
    {&hd_schema_openai_completions, "{\"prompt\":[[]]}", "prompt: found an empty array"},
    {&hd_schema_openai_completions, "{\"prompt\":[1,\"a\"]}",
     "prompt[1]: found a string, expected a token id"},
    {&hd_schema_openai_completions, "{\"prompt\":[\"a\",1]}",
     "prompt: found 1, expected an array of token ids"},
    {&hd_schema_openai_completions, "{\"prompt\":\"p\",\"suffix\":\"s\"}", "suffix: not supported"},
    {&hd_schema_openai_completions, "{\"prompt\":\"p\",\"logprobs\":true}",
     "logprobs: found a boolean"},
    {&hd_schema_openai_completions, "{\"prompt\":[\"a\",\"b\"],\"n\":100}",
     "prompt: found 2 prompts times n = 100"},
    {&hd_schema_tgi, "{\"inputs\":\"\"}", "`inputs` cannot be empty"},
    {&hd_schema_tgi, "{\"inputs\":[\"a\"]}", "inputs: found an array, expected a string"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":[]}", "parameters: found an array"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"temperature\":0}}",
     "`temperature` must be strictly positive"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"temperature\":\"a\"}}",
     "parameters.temperature: found a string"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_k\":0}}",
     "`top_k` must be strictly positive"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_p\":0}}",
     "`top_p` must be > 0.0 and < 1.0"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"typical_p\":2}}",
     "`typical_p` must be > 0.0 and < 1.0"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"typical_p\":0.5}}",
     "`typical_p` is not supported"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"repetition_penalty\":0}}",
     "`repetition_penalty` must be strictly positive"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"max_new_tokens\":0}}",
     "`max_new_tokens` must be strictly positive"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"truncate\":64}}",
     "`truncate` must be strictly positive and less than 64. Given: 64"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"best_of\":2}}", "you must use sampling"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_n_tokens\":6}}",
     "parameters.top_n_tokens"},
    {&hd_schema_tgi, "{\"inputs\":\"p\",\"parameters\":{\"grammar\":{\"type\":\"json\"}}}",
     "parameters.grammar: not supported"},
    {&hd_schema_tgi,
     "{\"inputs\":\"p\",\"stream\":true,\"parameters\":{\"decoder_input_details\":true}}",
     "`decoder_input_details` == true is not supported when streaming tokens"},
    {&hd_schema_tgi,
     "{\"inputs\":\"p\",\"parameters\":{\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\","
     "\"8\",\"9\",\"10\",\"11\",\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}}",
     "`stop` supports up to 16 stop sequences. Given: 17"},
    {&hd_schema_lmi, "{\"inputs\":[]}", "inputs: found an array of 0"},
    {&hd_schema_lmi, "{\"inputs\":[\"a\"],\"stream\":true}",
     "inputs: found an array, expected a string"},
    {&hd_schema_lmi, "{\"inputs\":\"p\",\"parameters\":{\"num_beams\":4}}", "parameters.num_beams"},
};

static void refusals(void)
{
    open_kit();
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        hd_status st = hd_schema_kit_parse(&kit, refused[i].schema, hd_slice_str(refused[i].body));
        if (st == HD_OK ||
            strncmp(kit.err.msg, refused[i].message, strlen(refused[i].message)) != 0)
            hd_test_fail(__FILE__, __LINE__, "%s: got %s \"%s\", want \"%s\"", refused[i].body,
                         hd_status_name(st), kit.err.msg, refused[i].message);
        EXPECT(st == HD_E_INVAL || st == HD_E_LIMIT || st == HD_E_UNSUPPORTED);
    }
    hd_schema_kit_close(&kit);
}

static void choice_of_dialect(void)
{
    static const struct {
        const char *body, *tgi, *lmi;
    } c[] = {
        {"{\"messages\":1,\"prompt\":1,\"inputs\":1}", "openai_chat", "openai_chat"},
        {"{\"inputs\":1,\"prompt\":1}", "openai_completions", "openai_completions"},
        {"{\"inputs\":1}", "tgi", "lmi"},
        {"{\"messages\":null,\"inputs\":1}", "tgi", "lmi"},
        {"{\"Messages\":1}", NULL, NULL},
        {"{}", NULL, NULL},
        {"[]", NULL, NULL},
        {"1", NULL, NULL},
        {"{\"input\":\"x\"}", NULL, NULL},
        {"{\"requestType\":\"NEW_SESSION\",\"inputs\":1}", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        for (int lmi = 0; lmi < 2; lmi++) {
            const hd_schema *s;
            hd_json *doc;
            hd_err err = {0};
            const char *want = lmi ? c[i].lmi : c[i].tgi;
            EXPECT(hd_json_parse(hd_slice_str(c[i].body), &hd_json_request_limits, &doc, &err) ==
                   HD_OK);
            hd_status st = hd_schema_pick(doc, lmi ? HD_PROFILE_LMI : HD_PROFILE_TGI, &s, &err);
            EXPECT((st == HD_OK) == (want != NULL));
            if (want) EXPECT_STR(s->name, want);
            if (!want) EXPECT(err.msg[0] != 0 && s == NULL);
            hd_json_free(doc);
        }
    }
}

HD_TEST_MAIN("schemas", {"chat_fields", chat_fields},
             {"chat_thinking_switches", chat_thinking_switches}, {"nulls", nulls},
             {"scheduling", scheduling}, {"completion_prompts", completion_prompts},
             {"tgi_fields", tgi_fields}, {"refusals", refusals},
             {"choice_of_dialect", choice_of_dialect})
