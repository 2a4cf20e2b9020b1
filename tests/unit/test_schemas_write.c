// Schemas, writing: the exact text of answers, streams and errors.
#include "tests/unit/schemas_kit.h"

#include <math.h>
#include <stdio.h>

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

HD_TEST_MAIN("schemas_write", {"chat_answers", chat_answers}, {"chat_streams", chat_streams},
             {"completion_answers", completion_answers}, {"tgi_answers", tgi_answers},
             {"tgi_streams", tgi_streams}, {"errors", errors}, {"memory_runs_out", memory_runs_out})
