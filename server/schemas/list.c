// The dialects, in order of precedence, and which of them a body is in.
#include "server/schema.h"

#include <stddef.h>

const hd_schema *const hd_schema_list[] = {&hd_schema_openai_chat, &hd_schema_openai_completions,
                                           &hd_schema_tgi, &hd_schema_lmi, NULL};

#define KEYS "'messages' (chat), 'prompt' (completions) or 'inputs' (text generation)"

hd_status hd_schema_pick(const hd_json *body, hd_inputs_profile profile, const hd_schema **out,
                         hd_err *err)
{
    static const char *const foreign[] = {"text_1", "text_2", "query", "documents", "texts"};
    *out = NULL;
    HD_CHECK(hd_json_type(body) == HD_JSON_OBJECT, err, HD_E_INVAL,
             "body: found %s, expected an object with " KEYS, hd_json_type_name(body));
    HD_CHECK(!hd_json_get(body, "requestType"), err, HD_E_UNSUPPORTED, HD_NO_SESSIONS);
    for (size_t i = 0; hd_schema_list[i] && !*out; i++)
        if (!hd_json_is_null(hd_json_get(body, hd_schema_list[i]->key))) *out = hd_schema_list[i];
    if (*out == &hd_schema_tgi && profile == HD_PROFILE_LMI) *out = &hd_schema_lmi;
    if (*out) return HD_OK;
    const hd_json *input = hd_json_get(body, "input");
    HD_CHECK(!input || hd_json_get(body, "instructions") ||
                 hd_json_get(hd_json_first(input), "role"),
             err, HD_E_UNSUPPORTED, "input: this model does not support embeddings");
    HD_CHECK(!input, err, HD_E_UNSUPPORTED,
             "input: the Responses API is not offered here; send a chat with 'messages'");
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        HD_CHECK(!hd_json_get(body, foreign[i]), err, HD_E_UNSUPPORTED,
                 "%s: scoring and reranking are not supported by this model", foreign[i]);
    return HD_FAIL(err, HD_E_INVAL, "body: none of the accepted keys found, expected " KEYS);
}
