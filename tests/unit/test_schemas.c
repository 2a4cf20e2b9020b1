// Schemas: what bodies are read as, what they are refused with, and the exact text of answers.
#include "tests/harness/schema_kit.h"
#include "tests/harness/test.h"

#include <math.h>
#include <stdio.h>

static hd_schema_kit kit;

static void open_kit(void)
{
    if (!hd_schema_kit_open(&kit)) hd_test_fail(__FILE__, __LINE__, "%s", kit.err.msg);
}

static hd_gen_request *parsed(const hd_schema *s, const char *body)
{
    if (hd_schema_kit_parse(&kit, s, hd_slice_str(body)) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", body, kit.err.msg);
    return &kit.call.rq;
}

// ---- reading -------------------------------------------------------------------------------

#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

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

static void refusals(void)
{
    const hd_schema *chat = &hd_schema_openai_chat, *text = &hd_schema_openai_completions;
    const hd_schema *tgi = &hd_schema_tgi, *lmi = &hd_schema_lmi;
    const refusal c[] = {
        {chat, "{}", "messages"},
        {chat, "{\"messages\":\"x\"}", "messages"},
        {chat, "{\"messages\":[]}", "messages"},
        {chat, "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"},
        {chat, "{" CHAT ",\"temperature\":-0.1}",
         "temperature: found -0.1, expected a number in [0, 100]"},
        {chat, "{" CHAT ",\"temperature\":\"1\"}",
         "temperature: found a string, expected a number in [0, 100]"},
        {chat, "{" CHAT ",\"max_tokens\":\"100\"}",
         "max_tokens: found a string, expected an integer in [1, 2147483647]"},
        {chat, "{" CHAT ",\"max_tokens\":0}", "max_tokens: found 0, expected"},
        {chat, "{" CHAT ",\"max_tokens\":1.5}", "max_tokens: found 1.5, expected an integer"},
        {chat, "{" CHAT ",\"max_tokens\":true}", "max_tokens: found a boolean, expected"},
        {chat, "{" CHAT ",\"max_tokens\":99999999999}", "max_tokens: found 99999999999, expected"},
        {chat, "{" CHAT ",\"top_p\":0}", "top_p: found 0"},
        {chat, "{" CHAT ",\"top_p\":1.1}", "top_p: found 1.1"},
        {chat, "{" CHAT ",\"top_k\":-2}", "top_k: found -2"},
        {chat, "{" CHAT ",\"min_p\":2}", "min_p: found 2"},
        {chat, "{" CHAT ",\"frequency_penalty\":2.5}", "frequency_penalty: found 2.5"},
        {chat, "{" CHAT ",\"presence_penalty\":-3}", "presence_penalty: found -3"},
        {chat, "{" CHAT ",\"repetition_penalty\":0}", "repetition_penalty: found 0"},
        {chat, "{" CHAT ",\"seed\":1.5}", "seed: found 1.5, expected a 64-bit integer"},
        {chat, "{" CHAT ",\"stop\":\"\"}", "stop: found an empty string"},
        {chat, "{" CHAT ",\"stop\":[1]}", "stop: found 1, expected strings"},
        {chat, "{" CHAT ",\"stop\":{}}", "stop: found an object"},
        {chat, "{" CHAT ",\"stop_token_ids\":[-1]}", "stop_token_ids[0]: found -1"},
        {chat, "{" CHAT ",\"n\":0}", "n: found 0, expected an integer in [1, 128]"},
        {chat, "{" CHAT ",\"n\":129}", "n: found 129"},
        {chat, "{" CHAT ",\"best_of\":2}", "best_of: not supported"},
        {chat, "{" CHAT ",\"logprobs\":1}", "logprobs: found 1, expected a boolean"},
        {chat, "{" CHAT ",\"top_logprobs\":2}", "top_logprobs: found 2 without logprobs"},
        {chat, "{" CHAT ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs: found 21"},
        {chat, "{" CHAT ",\"logit_bias\":[1]}", "logit_bias: found an array"},
        {chat, "{" CHAT ",\"logit_bias\":{\"x\":1}}", "logit_bias: found the key 'x'"},
        {chat, "{" CHAT ",\"logit_bias\":{\"99999\":1}}", "logit_bias: found the key '99999'"},
        {chat, "{" CHAT ",\"logit_bias\":{\"1\":101}}", "logit_bias.1: expected a number"},
        {chat, "{" CHAT ",\"stream\":\"yes\"}", "stream: found a string"},
        {chat, "{" CHAT ",\"stream_options\":1}", "stream_options: found a number"},
        {chat, "{" CHAT ",\"response_format\":{\"type\":\"json_object\"}}",
         "response_format: only"},
        {chat, "{" CHAT ",\"tools\":[{\"type\":\"function\"}]}", "tools: not supported yet"},
        {chat, "{" CHAT ",\"tool_choice\":\"required\"}", "tool_choice: not supported yet"},
        {chat, "{" CHAT ",\"guided_regex\":\"a\"}", "guided_regex: not supported"},
        {chat, "{" CHAT ",\"typical_p\":0.5}", "typical_p: not supported"},
        {chat, "{" CHAT ",\"min_tokens\":5,\"max_tokens\":4}", "min_tokens: found 5"},
        {chat, "{" CHAT ",\"continue_final_message\":true}", "continue_final_message"},
        {chat, "{" CHAT ",\"thinking_token_budget\":5}", "thinking_token_budget"},
        {chat, "{" CHAT ",\"chat_template_kwargs\":1}", "chat_template_kwargs: found a number"},
        {chat, "{" CHAT ",\"model\":3}", "model: found 3, expected a string"},
        {chat, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
         "messages[0].content[0]: parts of type 'image_url'"},
        {text, "{\"prompt\":1}", "prompt: found a number, expected a string"},
        {text, "{\"prompt\":\"\"}", "prompt: found an empty string"},
        {text, "{\"prompt\":[]}", "prompt: found an empty array"},
        {text, "{\"prompt\":[[]]}", "prompt: found an empty array"},
        {text, "{\"prompt\":[1,\"a\"]}", "prompt[1]: found a string, expected a token id"},
        {text, "{\"prompt\":[\"a\",1]}", "prompt: found 1, expected an array of token ids"},
        {text, "{\"prompt\":\"p\",\"suffix\":\"s\"}", "suffix: not supported"},
        {text, "{\"prompt\":\"p\",\"logprobs\":true}", "logprobs: found a boolean"},
        {text, "{\"prompt\":[\"a\",\"b\"],\"n\":100}", "prompt: found 2 prompts times n = 100"},
        {tgi, "{\"inputs\":\"\"}", "`inputs` cannot be empty"},
        {tgi, "{\"inputs\":[\"a\"]}", "inputs: found an array, expected a string"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":[]}", "parameters: found an array"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"temperature\":0}}",
         "`temperature` must be strictly positive"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"temperature\":\"a\"}}",
         "parameters.temperature: found a string"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_k\":0}}",
         "`top_k` must be strictly positive"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_p\":0}}", "`top_p` must be > 0.0 and < 1.0"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"typical_p\":2}}",
         "`typical_p` must be > 0.0 and < 1.0"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"typical_p\":0.5}}",
         "`typical_p` is not supported"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"repetition_penalty\":0}}",
         "`repetition_penalty` must be strictly positive"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"max_new_tokens\":0}}",
         "`max_new_tokens` must be strictly positive"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"truncate\":64}}",
         "`truncate` must be strictly positive and less than 64. Given: 64"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"best_of\":2}}", "you must use sampling"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"top_n_tokens\":6}}", "parameters.top_n_tokens"},
        {tgi, "{\"inputs\":\"p\",\"parameters\":{\"grammar\":{\"type\":\"json\"}}}",
         "parameters.grammar: not supported"},
        {tgi, "{\"inputs\":\"p\",\"stream\":true,\"parameters\":{\"decoder_input_details\":true}}",
         "`decoder_input_details` == true is not supported when streaming tokens"},
        {tgi,
         "{\"inputs\":\"p\",\"parameters\":{\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\","
         "\"8\",\"9\",\"10\",\"11\",\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}}",
         "`stop` supports up to 16 stop sequences. Given: 17"},
        {lmi, "{\"inputs\":[]}", "inputs: found an array of 0"},
        {lmi, "{\"inputs\":[\"a\"],\"stream\":true}", "inputs: found an array, expected a string"},
        {lmi, "{\"inputs\":\"p\",\"parameters\":{\"num_beams\":4}}", "parameters.num_beams"},
    };
    open_kit();
    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        hd_status st = hd_schema_kit_parse(&kit, c[i].schema, hd_slice_str(c[i].body));
        if (st == HD_OK || strncmp(kit.err.msg, c[i].message, strlen(c[i].message)) != 0)
            hd_test_fail(__FILE__, __LINE__, "%s: got %s \"%s\", want \"%s\"", c[i].body,
                         hd_status_name(st), kit.err.msg, c[i].message);
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

// ---- writing -------------------------------------------------------------------------------

static hd_buf out;

static void expect_out(int line, const char *want)
{
    if (strcmp(out.data ? out.data : "", want) != 0)
        hd_test_fail(__FILE__, line, "got\n%s\nwant\n%s", out.data ? out.data : "", want);
    hd_json *doc = NULL;
    if (want[0] == '{' || want[0] == '[') // whole bodies are JSON
        EXPECT(hd_json_parse(hd_buf_slice(&out), &hd_json_request_limits, &doc, NULL) == HD_OK);
    hd_json_free(doc);
    hd_buf_clear(&out);
}
#define EXPECT_OUT(want) expect_out(__LINE__, want)

// A token 'c' whose text is visible at once.
static hd_gen_delta token(const char *text, bool last)
{
    hd_gen_delta d = {.kind = HD_GEN_TOKEN, .last = last, .stop_id = -1};
    d.token = (hd_token_out){.id = (unsigned char)text[0], .logprob = -0.5f, .n_top = 1};
    d.token.top[0] = (hd_alt){'z', -0.25f};
    d.token_text = hd_slice_str(text);
    d.piece[0] = (hd_piece){HD_PIECE_CONTENT, hd_slice_str(text)};
    d.n_pieces = text[0] != 0;
    d.usage = (hd_usage){.prompt_tokens = 3, .completion_tokens = 1};
    return d;
}

static hd_gen_delta eos(void)
{
    hd_gen_delta d = {.kind = HD_GEN_TOKEN, .last = true, .ends = true, .special = true};
    d.token = (hd_token_out){.id = KIT_EOS, .logprob = -0.125f};
    d.token_text = hd_slice_str("<|im_end|>");
    d.stop_id = -1;
    return d;
}

static hd_choice choice(const char *content, hd_finish finish)
{
    return (hd_choice){.content = hd_slice_str(content),
                       .reasoning = hd_slice_str(""),
                       .stop = hd_slice_str(""),
                       .stop_id = -1,
                       .finish = finish,
                       .usage = {.prompt_tokens = 3, .cached_tokens = 1, .completion_tokens = 2},
                       .seed = 42};
}

#define CHAT_HEAD                                                                                  \
    "{\"id\":\"chatcmpl-r1\",\"object\":\"chat.completion\",\"created\":1700000000,"               \
    "\"model\":\"served\",\"system_fingerprint\":\"hadal-" HADAL_VERSION "\",\"choices\":["
#define CHUNK_HEAD                                                                                 \
    "data: {\"id\":\"chatcmpl-r1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"   \
    "\"model\":\"served\",\"system_fingerprint\":\"hadal-" HADAL_VERSION "\",\"choices\":["
#define TEXT_HEAD                                                                                  \
    "{\"id\":\"cmpl-r1\",\"object\":\"text_completion\",\"created\":1700000000,"                   \
    "\"model\":\"served\",\"system_fingerprint\":\"hadal-" HADAL_VERSION "\",\"choices\":["
#define USAGE                                                                                      \
    "{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5,\"prompt_tokens_details\":"   \
    "{\"cached_tokens\":1},\"completion_tokens_details\":{\"reasoning_tokens\":0}}"

static void chat_answers(void)
{
    const hd_schema *s = &hd_schema_openai_chat;
    open_kit();
    parsed(s, "{" CHAT "}");
    hd_choice c = choice("say \"hi\"\n\xC3\xA9", HD_FINISH_STOP);
    s->answer(&out, &kit.call, &c, 1);
    EXPECT_OUT(CHAT_HEAD
               "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
               "\"say \\\"hi\\\"\\n\xC3\xA9\"},\"logprobs\":null,\"finish_reason\":\"stop\","
               "\"stop_reason\":null}],\"usage\":" USAGE "}");
    c = choice("a", HD_FINISH_STOP);
    c.reasoning = hd_slice_str("why");
    c.stop = hd_slice_str("END");
    s->answer(&out, &kit.call, &c, 1);
    EXPECT_OUT(CHAT_HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\","
                         "\"reasoning_content\":\"why\",\"reasoning\":\"why\"},\"logprobs\":null,"
                         "\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}],\"usage\":" USAGE
                         "}");
    parsed(s, "{" CHAT ",\"logprobs\":true,\"top_logprobs\":1,\"n\":2}");
    hd_gen_delta t[2] = {token("a", false), eos()};
    hd_choice two[2] = {choice("a", HD_FINISH_LENGTH), choice("", HD_FINISH_STOP)};
    two[0].token = t;
    two[0].n_tokens = 2;
    two[1].stop_id = 7;
    s->answer(&out, &kit.call, two, 2);
    EXPECT_OUT(
        CHAT_HEAD
        "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"logprobs\":"
        "{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":"
        "[{\"token\":\"z\",\"logprob\":-0.25,\"bytes\":[122]}]}]},\"finish_reason\":\"length\","
        "\"stop_reason\":null},{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"\"},"
        "\"logprobs\":{\"content\":[]},\"finish_reason\":\"stop\",\"stop_reason\":7}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7,"
        "\"prompt_tokens_details\":{\"cached_tokens\":1},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}");
    hd_schema_kit_close(&kit);
    hd_buf_fini(&out);
}

static void chat_streams(void)
{
    const hd_schema *s = &hd_schema_openai_chat;
    open_kit();
    parsed(s, "{" CHAT ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    kit.call.rq.framing = HD_FRAME_SSE;
    s->begin(&out, &kit.call, 0);
    EXPECT_OUT(CHUNK_HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                          "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n");
    hd_gen_delta d = token("a", false);
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT(CHUNK_HEAD "{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":null,"
                          "\"finish_reason\":null}],\"usage\":null}\n\n");
    d = token("", false); // held back: the event comes all the same
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT(CHUNK_HEAD "{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,"
                          "\"finish_reason\":null}],\"usage\":null}\n\n");
    d = token("r", false);
    d.piece[0].kind = HD_PIECE_REASONING;
    d.piece[1] = (hd_piece){HD_PIECE_CONTENT, hd_slice_str("c")};
    d.n_pieces = 2;
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT(CHUNK_HEAD "{\"index\":0,\"delta\":{\"reasoning_content\":\"r\",\"reasoning\":\"r\","
                          "\"content\":\"c\"},\"logprobs\":null,\"finish_reason\":null}],"
                          "\"usage\":null}\n\n");
    d = eos();
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT("");
    d = (hd_gen_delta){.kind = HD_GEN_DONE, .finish = HD_FINISH_STOP, .stop_id = -1};
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT(CHUNK_HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                          "\"stop_reason\":null}],\"usage\":null}\n\n");
    hd_choice c = choice("a", HD_FINISH_STOP);
    s->end(&out, &kit.call, &c, 1);
    EXPECT_OUT(CHUNK_HEAD "],\"usage\":" USAGE "}\n\ndata: [DONE]\n\n");
    kit.call.rq.framing = HD_FRAME_JSONL; // lines have neither prefix nor terminator
    parsed(s, "{" CHAT ",\"stream\":true}");
    kit.call.rq.framing = HD_FRAME_JSONL;
    s->end(&out, &kit.call, &c, 1);
    EXPECT_OUT("");
    hd_schema_kit_close(&kit);
    hd_buf_fini(&out);
}

static void completion_answers(void)
{
    const hd_schema *s = &hd_schema_openai_completions;
    open_kit();
    parsed(s, "{\"prompt\":[\"ab\",\"cd\"],\"echo\":true,\"logprobs\":1}");
    hd_token_out prompt[2] = {{.id = 'a', .logprob = NAN}, {.id = 'b', .logprob = -1, .n_top = 1}};
    prompt[1].top[0] = (hd_alt){'q', -0.75f};
    hd_gen_delta t[1] = {token("x", true)};
    hd_choice c[2] = {choice("x", HD_FINISH_LENGTH), choice("y", HD_FINISH_STOP)};
    c[0].prompt = prompt;
    c[0].n_prompt = 2;
    c[0].token = t;
    c[0].n_tokens = 1;
    s->answer(&out, &kit.call, c, 2);
    EXPECT_OUT(
        TEXT_HEAD
        "{\"index\":0,\"text\":\"abx\",\"logprobs\":{\"tokens\":[\"a\",\"b\",\"x\"],"
        "\"token_logprobs\":[null,-1.0,-0.5],\"top_logprobs\":[null,{\"q\":-0.75},{\"z\":-0.25}],"
        "\"text_offset\":[0,1,2]},\"finish_reason\":\"length\",\"stop_reason\":null},"
        "{\"index\":1,\"text\":\"cdy\",\"logprobs\":{\"tokens\":[],\"token_logprobs\":[],"
        "\"top_logprobs\":[],\"text_offset\":[]},\"finish_reason\":\"stop\","
        "\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":4,"
        "\"total_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":2},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}");
    parsed(s, "{\"prompt\":\"ab\",\"echo\":true,\"stream\":true}");
    kit.call.rq.framing = HD_FRAME_SSE;
    s->begin(&out, &kit.call, 0);
    EXPECT_OUT("data: " TEXT_HEAD "{\"index\":0,\"text\":\"ab\",\"logprobs\":null,"
               "\"finish_reason\":null,\"stop_reason\":null}]}\n\n");
    s->delta(&out, &kit.call, 0, &t[0]);
    EXPECT_OUT("data: " TEXT_HEAD "{\"index\":0,\"text\":\"x\",\"logprobs\":null,"
               "\"finish_reason\":null,\"stop_reason\":null}]}\n\n");
    hd_gen_delta d = {.kind = HD_GEN_DONE, .finish = HD_FINISH_LENGTH, .stop_id = -1};
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT("data: " TEXT_HEAD "{\"index\":0,\"text\":\"\",\"logprobs\":null,"
               "\"finish_reason\":\"length\",\"stop_reason\":null}]}\n\n");
    s->end(&out, &kit.call, c, 1);
    EXPECT_OUT("data: [DONE]\n\n");
    hd_schema_kit_close(&kit);
    hd_buf_fini(&out);
}

static void tgi_answers(void)
{
    const hd_schema *s = &hd_schema_tgi;
    open_kit();
    hd_choice c = choice("xy", HD_FINISH_STOP);
    parsed(s, "{\"inputs\":\"p\",\"parameters\":{}}");
    s->answer(&out, &kit.call, &c, 1);
    EXPECT_OUT("[{\"generated_text\":\"xy\"}]");
    parsed(s, "{\"inputs\":\"p\",\"parameters\":{\"details\":true,\"decoder_input_details\":true,"
              "\"top_n_tokens\":1,\"return_full_text\":true,\"do_sample\":true}}");
    hd_token_out prompt = {.id = 'p', .logprob = NAN};
    hd_gen_delta t[2] = {token("x", false), eos()};
    c.prompt = &prompt;
    c.n_prompt = 1;
    c.token = t;
    c.n_tokens = 2;
    s->answer(&out, &kit.call, &c, 1);
    EXPECT_OUT("[{\"generated_text\":\"pxy\",\"details\":{\"finish_reason\":\"eos_token\","
               "\"generated_tokens\":2,\"seed\":42,\"prefill\":[{\"id\":112,\"text\":\"p\","
               "\"logprob\":null}],\"tokens\":[{\"id\":120,\"text\":\"x\",\"logprob\":-0.5,"
               "\"special\":false},{\"id\":256,\"text\":\"<|im_end|>\",\"logprob\":-0.125,"
               "\"special\":true}],\"top_tokens\":[[{\"id\":122,\"text\":\"z\",\"logprob\":-0.25,"
               "\"special\":false}],[]]}}]");
    s = &hd_schema_lmi;
    parsed(s, "{\"inputs\":\"p\",\"parameters\":{\"details\":true,\"do_sample\":false}}");
    c.n_prompt = 0;
    c.n_tokens = 1;
    c.stop = hd_slice_str("z");
    s->answer(&out, &kit.call, &c, 1);
    EXPECT_OUT("{\"generated_text\":\"xy\",\"details\":{\"finish_reason\":\"stop_sequence\","
               "\"generated_tokens\":2,\"seed\":null,\"prefill\":[],\"tokens\":[{\"id\":120,"
               "\"text\":\"x\",\"logprob\":-0.5,\"log_prob\":-0.5,\"special\":false}]}}");
    hd_choice two[2] = {choice("1", HD_FINISH_LENGTH), choice("2", HD_FINISH_LENGTH)};
    parsed(s, "{\"inputs\":[\"a\",\"b\"]}");
    s->answer(&out, &kit.call, two, 2);
    EXPECT_OUT("[{\"generated_text\":\"1\"},{\"generated_text\":\"2\"}]");
    hd_schema_kit_close(&kit);
    hd_buf_fini(&out);
}

static void tgi_streams(void)
{
    const hd_schema *s = &hd_schema_tgi;
    open_kit();
    hd_choice c = choice("ab", HD_FINISH_STOP);
    parsed(s, "{\"inputs\":\"p\",\"stream\":true,\"parameters\":{\"details\":true}}");
    s->begin(&out, &kit.call, 0);
    EXPECT_OUT("");
    hd_gen_delta d = token("a", false);
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT("data: {\"index\":1,\"token\":{\"id\":97,\"text\":\"a\",\"logprob\":-0.5,"
               "\"special\":false},\"generated_text\":null,\"details\":null}\n\n");
    d = eos();
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT("");
    d = (hd_gen_delta){.kind = HD_GEN_DONE, .finish = HD_FINISH_STOP};
    s->delta(&out, &kit.call, 0, &d);
    EXPECT_OUT("");
    s->end(&out, &kit.call, &c, 1);
    EXPECT_OUT(
        "data: {\"index\":2,\"token\":{\"id\":256,\"text\":\"<|im_end|>\",\"logprob\":-0.125,"
        "\"special\":true},\"generated_text\":\"ab\",\"details\":{\"finish_reason\":"
        "\"eos_token\",\"generated_tokens\":2,\"seed\":null,\"input_length\":3}}\n\n");
    s = &hd_schema_lmi; // text held back behind the last token joins it
    parsed(s, "{\"inputs\":\"p\",\"stream\":true}");
    s->begin(&out, &kit.call, 0);
    d = token("a", true);
    s->delta(&out, &kit.call, 0, &d);
    d = (hd_gen_delta){.kind = HD_GEN_TEXT, .n_pieces = 1};
    d.piece[0] = (hd_piece){HD_PIECE_CONTENT, hd_slice_str("b")};
    s->delta(&out, &kit.call, 0, &d);
    s->end(&out, &kit.call, &c, 1);
    EXPECT_OUT(
        "{\"index\":0,\"token\":{\"id\":97,\"text\":\"ab\",\"logprob\":-0.5,\"log_prob\":-0.5,"
        "\"special\":false},\"generated_text\":\"ab\",\"details\":null}\n");
    hd_schema_kit_close(&kit);
    hd_buf_fini(&out);
}

static void errors(void)
{
    const hd_err bad = {HD_E_INVAL, "temperature: found \"x\""}, busy = {HD_E_BUSY, "queue full"};
    const hd_err device = {HD_E_DEVICE, "the device failed"};
    const hd_schema *s = &hd_schema_openai_chat;
    EXPECT_INT(s->status(&bad), 400);
    EXPECT_INT(s->status(&busy), 429);
    EXPECT_INT(s->status(&device), 500);
    s->error(&out, &bad, 400, false, HD_FRAME_SSE);
    EXPECT_OUT("{\"error\":{\"message\":\"temperature: found \\\"x\\\"\",\"type\":"
               "\"BadRequestError\",\"param\":\"temperature\",\"code\":400}}");
    s->error(&out, &device, 500, true, HD_FRAME_SSE);
    EXPECT_OUT(
        "data: {\"error\":{\"message\":\"the device failed\",\"type\":\"InternalServerError\","
        "\"param\":null,\"code\":500}}\n\ndata: [DONE]\n\n");
    s = &hd_schema_tgi;
    EXPECT_INT(s->status(&bad), 422);
    EXPECT_INT(s->status(&busy), 429);
    EXPECT_INT(s->status(&device), 424);
    s->error(&out, &bad, 422, false, HD_FRAME_SSE);
    EXPECT_OUT("{\"error\":\"Input validation error: temperature: found \\\"x\\\"\",\"error_type\":"
               "\"validation\"}");
    s->error(&out, &busy, 429, false, HD_FRAME_SSE);
    EXPECT_OUT("{\"error\":\"Model is overloaded: queue full\",\"error_type\":\"overloaded\"}");
    s->error(&out, &device, 424, true, HD_FRAME_SSE);
    EXPECT_OUT("data: {\"error\":\"Request failed during generation: the device failed\","
               "\"error_type\":\"generation\"}\n\n");
    s = &hd_schema_lmi;
    EXPECT_INT(s->status(&bad), 424);
    s->error(&out, &bad, 424, false, HD_FRAME_JSONL);
    EXPECT_OUT("{\"error\":\"temperature: found \\\"x\\\"\",\"code\":424}");
    s->error(&out, &device, 424, false, HD_FRAME_JSONL);
    EXPECT_OUT(
        "{\"error\":\"the device failed\",\"code\":424,\"message\":\"invoke handler failure\"}");
    s->error(&out, &device, 424, true, HD_FRAME_JSONL);
    EXPECT_OUT(
        "{\"error\":\"the device failed\",\"code\":424,\"generated_text\":null,\"token\":"
        "{\"id\":-1,\"text\":\"\",\"logprob\":-1,\"log_prob\":-1,\"special\":true},\"details\":"
        "{\"finish_reason\":\"error\",\"generated_tokens\":null,\"inputs\":null}}\n");
    hd_buf_fini(&out);
}

// Parsing with one allocation failing after another ends in an error or in success, never worse.
static void memory_runs_out(void)
{
    static const char body[] = "{" CHAT ",\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"1\":1},"
                               "\"stop_token_ids\":[1,2],\"continue_final_message\":false}";
    open_kit();
    for (int64_t nth = 1; nth < 200; nth++) {
        hd_mem_fail_at(nth, false);
        hd_status st = hd_schema_kit_parse(&kit, &hd_schema_openai_chat, hd_slice_str(body));
        hd_mem_fail_at(0, false);
        EXPECT(st == HD_OK || st == HD_E_NOMEM);
        EXPECT((st == HD_OK) == (kit.err.msg[0] == 0));
    }
    hd_schema_kit_close(&kit);
}

HD_TEST_MAIN("schemas", {"chat_fields", chat_fields},
             {"chat_thinking_switches", chat_thinking_switches}, {"nulls", nulls},
             {"completion_prompts", completion_prompts}, {"tgi_fields", tgi_fields},
             {"refusals", refusals}, {"choice_of_dialect", choice_of_dialect},
             {"chat_answers", chat_answers}, {"chat_streams", chat_streams},
             {"completion_answers", completion_answers}, {"tgi_answers", tgi_answers},
             {"tgi_streams", tgi_streams}, {"errors", errors}, {"memory_runs_out", memory_runs_out})
