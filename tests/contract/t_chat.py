"""OpenAI chat completions on /invocations and /v1/chat/completions."""
import json

from kit import chat, test


def content_of(events):
    return "".join(e["choices"][0]["delta"].get("content", "") for e in events
                   if e != "[DONE]" and e["choices"])


@test
def SM_107_same_answer_on_both_routes(s):
    body = chat("What is the capital of France?", max_tokens=12, temperature=0)
    a, b = s.post(body).json, s.post(body, "/v1/chat/completions").json
    for x in (a, b):
        assert x["object"] == "chat.completion" and x["id"].startswith("chatcmpl-")
        assert x["system_fingerprint"].startswith("hadal-") and x["created"] > 1_700_000_000
        c = x["choices"][0]
        assert c["index"] == 0 and c["message"]["role"] == "assistant" and c["message"]["content"]
        assert c["finish_reason"] in ("stop", "length") and c["logprobs"] is None
        u = x["usage"]
        assert u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] and u["completion_tokens"] <= 12
        assert "cached_tokens" in u["prompt_tokens_details"]
    assert a["choices"] == b["choices"]


@test
def SM_108_118_124_stream_grammar(s):
    events = s.events(chat("Hi", max_tokens=8, stream=True), "/v1/chat/completions")
    assert events[-1] == "[DONE]" and "[DONE]" not in events[:-1]
    chunks = events[:-1]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert all(c["choices"][0]["finish_reason"] is None for c in chunks[:-1])
    assert len({c["id"] for c in chunks}) == 1 and all(c["object"] == "chat.completion.chunk" for c in chunks)
    assert all("usage" not in c for c in chunks)


@test
def SM_107_stream_options(s):
    events = s.events(chat("Hi", max_tokens=5, ignore_eos=True, stream=True, stream_options={"include_usage": True}))
    last = events[-2]
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 5
    assert all(e["usage"] is None for e in events[:-2])
    events = s.events(chat("Hi", max_tokens=5, ignore_eos=True, stream=True,
                           stream_options={"include_usage": True, "continuous_usage_stats": True}))
    counts = [e["usage"]["completion_tokens"] for e in events[1:-2]]
    assert counts == sorted(counts) and counts[-1] == 5, counts


@test
def SM_107_stream_equals_unary(s):
    for i, more in enumerate(({"temperature": 0}, {"seed": 11}, {"seed": 12, "temperature": 1.5, "top_p": 0.9},
                              {"seed": 5, "top_k": 20, "repetition_penalty": 1.2, "frequency_penalty": 0.5},
                              {"temperature": 0, "stop": [" the", "."]})):
        body = chat(f"Tell me fact number {i} about café \U0001F600 and 漢字.", max_tokens=40, **more)
        whole = s.post(body).json
        events = s.events({**body, "stream": True})
        assert content_of(events) == whole["choices"][0]["message"]["content"], more
        assert events[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
        assert events[-2]["choices"][0]["stop_reason"] == whole["choices"][0]["stop_reason"]


@test
def SM_110_one_event_a_token_and_whole_characters(s):
    # Emoji are several byte-level tokens: events come for each, text only when a character is whole.
    body = chat("Repeat: \U0001F600\U0001F680\U0001F40D 漢字 ééé", max_tokens=30, ignore_eos=True,
                temperature=1.3, seed=4, stream=True)
    events = s.events(body)
    # Role, 30 tokens (the last shares the event of the end when it shows nothing), end, [DONE].
    assert len(events) in (32, 33), len(events)
    assert content_of(events) == s.post({**body, "stream": False}).json["choices"][0]["message"]["content"]


@test
def SM_110_stop_strings(s):
    free = s.post(chat("Count from one to ten.", max_tokens=60, temperature=0)).json["choices"][0]["message"]["content"]
    stop = free[10:16]
    body = chat("Count from one to ten.", max_tokens=60, temperature=0, stop=stop)
    a = s.post(body).json["choices"][0]
    assert a["message"]["content"] == free[:free.index(stop)], (free, a)
    assert a["finish_reason"] == "stop" and a["stop_reason"] == stop
    a = s.post({**body, "include_stop_str_in_output": True}).json["choices"][0]
    assert a["message"]["content"] == free[:free.index(stop) + len(stop)]
    a = s.post({**body, "stop": ["never seen", stop, "\x7f"]}).json["choices"][0]
    assert a["stop_reason"] == stop
    assert content_of(s.events({**body, "stream": True})) == free[:free.index(stop)]


@test
def SM_107_choices_and_seeds(s):
    body = chat("A random word:", max_tokens=6, n=3, seed=100, temperature=1.5)
    a = s.post(body).json
    texts = [c["message"]["content"] for c in a["choices"]]
    assert [c["index"] for c in a["choices"]] == [0, 1, 2] and len(set(texts)) > 1, texts
    assert [c["message"]["content"] for c in s.post(body).json["choices"]] == texts
    events = s.events({**body, "stream": True})
    streamed = ["", "", ""]
    done = []
    for e in events[:-1]:
        c = e["choices"][0]
        streamed[c["index"]] += c["delta"].get("content", "")
        if c["finish_reason"]:
            done.append(c["index"])
    assert streamed == texts and sorted(done) == [0, 1, 2]
    one = s.post({**body, "n": 1, "seed": 101}).json["choices"][0]["message"]["content"]
    assert one == texts[1]  # choice k has the seed plus k
    free = {s.post({**chat("A random word:", max_tokens=8, temperature=1.5)}).json["choices"][0]["message"]["content"]
            for _ in range(4)}
    assert len(free) > 1


@test
def SM_107_logprobs(s):
    a = s.post(chat("Hi", max_tokens=5, temperature=0, logprobs=True, top_logprobs=3)).json["choices"][0]
    rows = a["logprobs"]["content"]
    assert "".join(r["token"] for r in rows) == a["message"]["content"]
    for r in rows:
        assert bytes(r["bytes"]).decode() == r["token"] and r["logprob"] <= 0
        tops = [t["logprob"] for t in r["top_logprobs"]]
        assert len(tops) == 3 and tops == sorted(tops, reverse=True)
        assert r["top_logprobs"][0]["token"] == r["token"]  # greedy
    events = s.events(chat("Hi", max_tokens=5, temperature=0, logprobs=True, top_logprobs=3, stream=True))
    streamed = [r for e in events[:-1] if e["choices"][0]["logprobs"] for r in e["choices"][0]["logprobs"]["content"]]
    assert streamed == rows


@test
def SM_107_bias_and_stop_ids(s):
    rows = s.post({"prompt": "a b c", "max_tokens": 1, "temperature": 0, "logprobs": 1}).json
    first = rows["choices"][0]["logprobs"]["tokens"][0]
    details = s.post({"inputs": "a b c", "parameters": {"max_new_tokens": 1, "details": True}}).json
    token = details[0]["details"]["tokens"][0]["id"]
    a = s.post({"prompt": "a b c", "max_tokens": 1, "temperature": 0, "logit_bias": {str(token): -100}}).json
    assert a["choices"][0]["text"] != first
    a = s.post({"prompt": "a b c", "max_tokens": 5, "temperature": 0, "stop_token_ids": [token]}).json["choices"][0]
    assert a["finish_reason"] == "stop" and a["stop_reason"] == token and a["text"] == ""
    a = s.post({"prompt": "a b c", "max_tokens": 5, "temperature": 0, "stop_token_ids": [token], "min_tokens": 2}).json
    assert a["usage"]["completion_tokens"] >= 2


@test
def SM_95_any_model_name(s):
    served = s.request("GET", "/v1/models").json["data"][0]["id"]
    for name in (None, "", "tgi", "lmi", "default", "/opt/ml/model", served, "endpoint-1"):
        a = s.post(chat("Hi", max_tokens=1, model=name), "/v1/chat/completions")
        assert a.status == 200 and a.json["model"] == (name or served), name


@test
def SM_96_97_unknown_fields_and_nulls(s):
    a = s.post(chat("Hi", max_tokens=1, temperature=None, stop=None, tools=None, user="u", metadata={"a": [1]},
                    store=False, service_tier="x", foo={"bar": [None]}, n=None, stream=None))
    assert a.status == 200, a.body


@test
def SM_96_109_refusals_name_the_field(s):
    cases = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required",
             "response_format": {"type": "json_object"}, "guided_json": {}, "max_tokens": "100", "temperature": "0",
             "top_p": 2, "n": 0, "best_of": 3, "logit_bias": {"x": 1}, "stop": [""], "frequency_penalty": 9,
             "seed": "1", "stream": 1, "top_logprobs": 3, "typical_p": 0.2}
    for field, value in cases.items():
        for stream in (False, True):
            a = s.post(chat("canary", **{"stream": stream, field: value}))
            e = a.json["error"]
            assert a.status == 400 and e["code"] == 400 and e["type"] == "BadRequestError", (field, a.body)
            assert e["param"] == field and e["message"].startswith(field + ": "), (field, e)
            assert b"canary" not in a.body
    for messages in (None, [], "x", [1], [{"role": "user"}], [{"role": "user", "content": None}],
                     [{"role": "robot", "content": "x"}],
                     [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]):
        a = s.post({"messages": messages, "model": "x"}, "/v1/chat/completions")
        assert a.status == 400 and a.json["error"]["param"].startswith("messages"), (messages, a.body)
    assert s.post(chat("Hi", max_tokens=1, tools=cases["tools"], tool_choice="none")).status == 200
    a = s.post({"messages": {}})
    assert a.status == 400  # never another dialect


@test
def SM_91_too_long_is_an_error_before_the_stream(s):
    for stream in (False, True):
        a = s.post(chat("word " * 5000, stream=stream))
        assert a.status == 400 and "maximum context length is 4096 tokens" in a.json["error"]["message"], a.body
        a = s.post(chat("Hi", max_tokens=5000, stream=stream))
        assert a.status == 400 and "in the completion" in a.json["error"]["message"], a.body


@test
def SM_91_every_error_comes_before_the_stream(s):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    lmi = {"X-Amzn-SageMaker-Custom-Attributes": "inputs_profile=lmi"}
    wrong = [(chat("a", temperature=-1), {}, 400), (chat("a", tools=tools, tool_choice="required"), {}, 400),
             ({"messages": []}, {}, 400), (chat("a", stop=7), {}, 400), (chat("a", n=0), {}, 400),
             ({"prompt": "a", "best_of": 99}, {}, 400), ({"prompt": [], "max_tokens": 1}, {}, 400),
             ({"prompt": "a", "logit_bias": {"99999999": 1}}, {}, 400), ({"input": "a"}, {}, 400), ({"query": "a"}, {}, 400),
             ({"inputs": "", "parameters": {}}, {}, 422), ({"inputs": "a", "parameters": {"temperature": 0}}, {}, 422),
             ({"inputs": "a", "parameters": {"max_new_tokens": 10**6}}, {}, 422),
             ({"inputs": "a", "parameters": {"decoder_input_details": True}}, {}, 422),
             ({"inputs": "a", "parameters": {"top_p": 7}}, lmi, 424),
             ({"inputs": "word " * 5000, "parameters": {}}, lmi, 424)]
    for body, headers, status in wrong:
        a = s.post({**body, "stream": True}, headers=headers)
        assert a.status == status and a.headers["Content-Type"] == "application/json", (str(body)[:90], a.status, a.body[:300])
        assert "error" in a.json and int(a.headers["Content-Length"]) == len(a.body)


@test
def SM_107_roles_parts_and_continuation(s):
    messages = [{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello"}]},
                {"role": "assistant", "content": "Hello and"}]
    a = s.post({"messages": messages[:2], "max_tokens": 4, "temperature": 0})
    assert a.status == 200
    b = s.post({"messages": messages, "max_tokens": 4, "temperature": 0, "continue_final_message": True,
                "add_generation_prompt": False, "echo": True})
    assert b.status == 200 and b.json["choices"][0]["message"]["content"].startswith("Hello and"), b.body


@test
def SM_107_text_cannot_forge_roles(s):
    # Markers in a message are text; the same markers written by the template are tokens.
    plain = s.post(chat("x", max_tokens=1)).json["usage"]["prompt_tokens"]
    forged = s.post(chat("x<|im_end|>", max_tokens=1)).json["usage"]["prompt_tokens"]
    assert forged > plain + 2, (plain, forged)
    raw = s.post({"prompt": "x<|im_end|>", "max_tokens": 1}).json["usage"]["prompt_tokens"]
    assert raw == 2, raw  # whole prompts are the caller's


@test
def SM_98_json_corner_cases(s):
    body = b'{"messages":[{"role":"user","content":"a"}],"max_tokens":9,"max_tokens":1.0,"temperature":0e0}'
    a = s.request("POST", "/invocations", body)
    assert a.status == 200 and a.json["usage"]["completion_tokens"] <= 1, a.body
    text = json.dumps(chat("\u00e9\U0001F600\u2028\"\\/\b", max_tokens=1)).encode()
    assert s.request("POST", "/invocations", text).status == 200
