// Recognising a model's chat template without interpreting it.
//
// Known texts are known by hash. Others are squeezed to a form in which layout variants agree (no
// white space, no \n escapes, one kind of quote, no trimming dashes, m['x'] as m.x), and must show
// the expressions that decide a layout and none of those that change it. Says nothing rather than
// guess.
#include "kernels/base/map.h"
#include "models/chat/render.h"

#include <string.h>

// ---- known texts ---------------------------------------------------------------------------

typedef struct known {
    uint64_t hash; // hd_hash_bytes of the text, seed 0
    const char *name;
} known;

static const known known_texts[] = {
    {0xB155CBC16F46B2B4, "deepseek-llm"},        // V2 chat
    {0x6A20F8EBB3D05C75, "deepseek-coder"},      // 33B instruct
    {0xD9106D7A22248BB0, "deepseek-v3"},         // V3
    {0xE0AD36B5D3F1BC2B, "deepseek-v3.1"},       // V3.1, as engines reformat it
    {0x5B63CCCC66A036E1, "deepseek-r1-distill"}, // Llama 8B, Qwen 32B
    {0x9CA82EB98F0B1348, "deepseek-r1-distill"}, // Llama 8B, reformatted
    {0x5C58A8B6011B0D99, "deepseek-r1-distill"}, // Qwen 32B, edited
    {0xCEB56DFB999828F8, "llama3"},              // 8B instruct
    {0x90E697ACB47BE08B, "llama3.1"},            // 3.1 and 3.3 instruct
    {0x3D04852F7CCFED76, "llama3.2"},            // 3B instruct
    {0x06E2224B64BE63CF, "chatml"},              // OpenHermes 2.5
    {0x7FF6FB1681C56E91, "chatml-smollm2"},      // 135M instruct
    {0x034E9C41E4118E91, "qwen2.5"},             // 7B instruct
    {0xB617452121D10593, "qwen3"},               // 0.6B and its size mates
};

const char *hd_chat_match_hash(hd_slice text)
{
    uint64_t h = hd_hash_bytes(text.p, text.n, 0);
    for (size_t i = 0; i < sizeof(known_texts) / sizeof(known_texts[0]); i++)
        if (known_texts[i].hash == h) return known_texts[i].name;
    return NULL;
}

// ---- structure -----------------------------------------------------------------------------

static bool is_ident(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Length of ['ident'] at p[0..n), 0 when it is something else.
static size_t subscript_len(const char *p, size_t n)
{
    if (n < 5 || p[0] != '[' || (p[1] != '\'' && p[1] != '"')) return 0;
    size_t i = 2;
    while (i < n && is_ident(p[i]))
        i++;
    return i > 2 && i + 1 < n && p[i] == p[1] && p[i + 1] == ']' ? i + 2 : 0;
}

static bool is_trim_dash(hd_slice s, size_t i)
{
    bool opens = i >= 2 && s.p[i - 2] == '{' && strchr("{%#", s.p[i - 1]);
    bool closes = i + 2 < s.n && s.p[i + 2] == '}' && strchr("}%#", s.p[i + 1]);
    return s.p[i] == '-' && (opens || closes);
}

static void squeeze(hd_slice s, hd_buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        size_t sub = subscript_len(s.p + i, s.n - i);
        if (sub > 0) {
            hd_buf_putc(out, '.');
            hd_buf_put(out, s.p + i + 2, sub - 4);
            i += sub - 1;
        } else if (c == '\\' && i + 1 < s.n && s.p[i + 1] == 'n') {
            i++;
        } else if (c == ' ' || (c >= '\t' && c <= '\r') || is_trim_dash(s, i)) {
            continue;
        } else {
            hd_buf_putc(out, c == '"' ? '\'' : c);
        }
    }
}

typedef struct rule {
    const char *name;
    const char *has[4], *lacks[4]; // squeezed
} rule;

#define DS_USER   "'<｜User｜>'+message.content"
#define DS_FORCED "'<｜Assistant｜><think>'}}" // the turn is opened inside the reasoning
#define DS_LAST   "ns.system_prompt=message.content"
#define IM_SYSTEM "<|im_start|>system"

// The first rule that fits wins. The tools of "{%iftools" are those of edited DeepSeek templates.
static const rule rules[] = {
    {"deepseek-v3.1",
     {DS_USER "}}", "notthinking", "split('</think>',1)", "ns.is_last_user"},
     {"DSML", "{%iftools"}},
    {"deepseek-r1-0528",
     {DS_USER "+'<｜Assistant｜>'}}", "split('</think>')", "ns.is_last_user"},
     {"DSML", "{%iftools", "notthinking"}},
    {"deepseek-r1-0528",
     {"'<｜User｜>'+content+'<｜Assistant｜>'}}", "split('</think>')", "ns.is_last_user"},
     {"DSML", "{%iftools", "notthinking"}},
    {"deepseek-v3-0324",
     {DS_USER "+'<｜Assistant｜>'}}", "ns.is_last_user"},
     {"DSML", "{%iftools", "think"}},
    {"deepseek-r1-distill",
     {DS_USER "}}", DS_FORCED, DS_LAST, "split('</think>')"},
     {"DSML", "{%iftools", "is_first_sp", "is_last_user"}},
    {"deepseek-r1",
     {DS_USER "}}", DS_FORCED, "is_first_sp", "split('</think>')"},
     {"DSML", "{%iftools", "is_last_user"}},
    {"deepseek-v3",
     {DS_USER "}}", "is_first_sp", "'<｜Assistant｜>'}}"},
     {"think", "is_last_user"}},
    {"deepseek-v2.5", {DS_USER "}}", DS_LAST, "'<｜Assistant｜>'}}"}, {"think", "is_first_sp"}},
    {"deepseek-llm", {"'User:'+message.content", "'Assistant:'+message.content+eos_token"}, {NULL}},
    {"deepseek-coder",
     {"'###Instruction:'+message.content", "'###Response:'+message.content", "<|EOT|>",
      "DeepseekCodermodel,developedbyDeepseekCompany"},
     {NULL}},
    {"llama3.2",
     {"<|start_header_id|>ipython", "CuttingKnowledgeDate:December2023", "strftime_now",
      "message.content|trim+'<|eot_id|>'"},
     {NULL}},
    {"llama3.1",
     {"<|start_header_id|>ipython", "CuttingKnowledgeDate:December2023", "'26Jul2024'",
      "message.content|trim+'<|eot_id|>'"},
     {"strftime_now"}},
    {"llama3",
     {"'<|start_header_id|>'+message.role+'<|end_header_id|>'+message.content|trim+'<|eot_id|>'"},
     {"tools", "CuttingKnowledge"}},
    {"qwen3",
     {IM_SYSTEM, "last_query_index", "enable_thinkingisfalse", "<tool_response>"},
     {"<function=", "vision", "YouareQwen"}},
    {"qwen2.5",
     {IM_SYSTEM "YouareQwen,createdbyAlibabaCloud.Youareahelpfulassistant.<|im_end|>",
      "<tool_response>", "<tools>"},
     {"<function=", "vision", "think"}},
    {"chatml-smollm2",
     {IM_SYSTEM "YouareahelpfulAIassistantnamedSmolLM,trainedbyHuggingFace<|im_end|>",
      "'<|im_start|>'+message.role+''+message.content+'<|im_end|>'"},
     {"tools", "think"}},
    {"qwen2",
     {IM_SYSTEM "Youareahelpfulassistant.<|im_end|>",
      "'<|im_start|>'+message.role+''+message.content+'<|im_end|>'"},
     {"tools", "think"}},
    {"chatml",
     {"'<|im_start|>'+message.role+''+message.content+'<|im_end|>'"},
     {IM_SYSTEM, "tools", "think", "system"}},
};

static bool contains(hd_slice text, const char *literal)
{
    return hd_slice_find(text, hd_slice_str(literal), 0) >= 0;
}

static bool fits(const rule *r, hd_slice text)
{
    for (size_t i = 0; i < sizeof(r->has) / sizeof(r->has[0]); i++)
        if (r->has[i] && !contains(text, r->has[i])) return false;
    for (size_t i = 0; i < sizeof(r->lacks) / sizeof(r->lacks[0]); i++)
        if (r->lacks[i] && contains(text, r->lacks[i])) return false;
    return true;
}

const char *hd_chat_match_text(hd_slice text, bool *failed)
{
    hd_buf squeezed = {0};
    const char *name = NULL;
    squeeze(text, &squeezed);
    *failed = squeezed.failed;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && !name && !*failed; i++)
        if (fits(&rules[i], hd_buf_slice(&squeezed))) name = rules[i].name;
    hd_buf_fini(&squeezed);
    return name;
}

// ---- special tokens ------------------------------------------------------------------------

static bool has_token(const hd_tokenizer *t, const char *text)
{
    return hd_token_special(t, hd_slice_str(text)) >= 0;
}

const char *hd_chat_match_tokens(const hd_tokenizer *t)
{
    const char *pretok = hd_tokenizer_facts(t)->pretok;
    if (has_token(t, "｜DSML｜")) return NULL; // V3.2 and V4 have encoders of their own
    if (has_token(t, "<｜User｜>")) {
        // <think>: any of R1, R1-0528, the distills, V3.1. Without it and with the vocabulary of
        // V2 to V2.5 the token may be there unused.
        bool v3 = !has_token(t, "<think>") && pretok && strcmp(pretok, "deepseek-v3") == 0;
        return v3 ? "deepseek-v3" : NULL;
    }
    if (has_token(t, "<｜begin▁of▁sentence｜>"))
        return has_token(t, "<|EOT|>") ? "deepseek-coder" : "deepseek-llm";
    if (has_token(t, "<|start_header_id|>") && has_token(t, "<|eot_id|>")) return "llama3";
    if (has_token(t, "<|im_start|>") && has_token(t, "<|im_end|>"))
        return has_token(t, "<think>") ? "qwen3" : "chatml";
    return NULL;
}
