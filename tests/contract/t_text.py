"""Completions, TGI's and LMI's text generation."""
import json

import kit
from kit import test

LMI = {"X-Amzn-SageMaker-Custom-Attributes": "inputs_profile=lmi"}


def tgi(s, text="Once upon a time", stream=False, headers=None, **parameters):
    return s.post({"inputs": text, "stream": stream, "parameters": parameters}, headers=headers)


# ---- completions ---------------------------------------------------------------------------

@test
def SM_111_completions(s):
    body = {"prompt": "Once upon a time", "temperature": 0}
    a = s.post(body).json
    assert a["object"] == "text_completion" and a["id"].startswith("cmpl-")
    c = a["choices"][0]
    assert c["text"] and c["logprobs"] is None and c["finish_reason"] == "length" and c["stop_reason"] is None
    assert a["usage"]["completion_tokens"] == 16  # the dialect's default
    assert s.post(body, "/v1/completions").json["choices"] == a["choices"]
    events = s.events({**body, "stream": True})
    assert events[-1] == "[DONE]" and events[-2]["choices"][0]["finish_reason"] == "length"
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == c["text"]


@test
def SM_111_prompts_of_every_kind(s):
    ids = s.post({"prompt": "ab cd", "max_tokens": 2, "temperature": 0}).json
    a = s.post({"prompt": ["ab cd", "Hello"], "n": 2, "max_tokens": 3, "temperature": 0}).json
    assert [c["index"] for c in a["choices"]] == [0, 1, 2, 3]
    assert a["choices"][0]["text"] == a["choices"][1]["text"] and a["choices"][0]["text"].startswith(ids["choices"][0]["text"])
    assert a["choices"][2]["text"] != a["choices"][0]["text"]
    details = tgi(s, "ab cd", details=True, decoder_input_details=True, max_new_tokens=1).json[0]["details"]
    tokens = [t["id"] for t in details["prefill"]]
    one = s.post({"prompt": tokens, "max_tokens": 3, "temperature": 0}).json["choices"][0]["text"]
    two = s.post({"prompt": [tokens], "max_tokens": 3, "temperature": 0}).json["choices"][0]["text"]
    assert one == two == a["choices"][0]["text"]
    assert s.post({"prompt": [999999], "max_tokens": 1}).status == 400


@test
def SM_111_echo_and_logprobs(s):
    body = {"prompt": "The sea is", "max_tokens": 4, "temperature": 0, "echo": True, "logprobs": 2}
    c = s.post(body).json["choices"][0]
    p = c["logprobs"]
    assert c["text"].startswith("The sea is") and "".join(p["tokens"]) == c["text"]
    assert p["token_logprobs"][0] is None and all(x < 0 for x in p["token_logprobs"][1:])
    assert [c["text"][o:o + len(t)] for o, t in zip(p["text_offset"], p["tokens"])] == p["tokens"]
    assert p["top_logprobs"][0] is None and all(len(t) == 2 for t in p["top_logprobs"][1:])
    events = s.events({**body, "stream": True, "logprobs": None})
    assert events[0]["choices"][0]["text"] == "The sea is"
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == c["text"]


@test
def SM_111_refusals(s):
    for field, value in (("suffix", "x"), ("best_of", 2), ("max_tokens", 0), ("logprobs", 21), ("n", 1000)):
        a = s.post({"prompt": "a", field: value})
        assert a.status == 400 and a.json["error"]["param"] == field, (field, a.body)
    a = s.post({"prompt": [1] * 5000})
    assert a.status == 400 and "maximum context length is 4096 tokens" in a.json["error"]["message"], a.body
    for prompt in ("", [], [[]], [1, "a"], {}, 3, [None]):
        a = s.post({"prompt": prompt})
        assert a.status == 400, (prompt, a.body)


# ---- TGI -----------------------------------------------------------------------------------

@test
def SM_99_114_unary(s):
    a = tgi(s, max_new_tokens=5)
    assert a.headers["Content-Type"] == "application/json"
    assert isinstance(a.json, list) and list(a.json[0]) == ["generated_text"]
    d = tgi(s, max_new_tokens=5, details=True, decoder_input_details=True, top_n_tokens=2).json[0]
    assert d["generated_text"] == a.json[0]["generated_text"]  # greedy unless asked otherwise
    x = d["details"]
    assert x["finish_reason"] == "length" and x["generated_tokens"] == 5 and x["seed"] is None
    assert "".join(t["text"] for t in x["tokens"]) == d["generated_text"]
    assert x["prefill"][0]["logprob"] is None and all(t["logprob"] < 0 for t in x["prefill"][1:])
    assert "".join(t["text"] for t in x["prefill"]) == "Once upon a time"
    assert all(len(t) == 2 and t[0]["id"] == y["id"] for t, y in zip(x["top_tokens"], x["tokens"]))
    full = tgi(s, max_new_tokens=5, return_full_text=True).json[0]["generated_text"]
    assert full == "Once upon a time" + d["generated_text"]


@test
def SM_99_sampling_rules_and_seed(s):
    a = tgi(s, max_new_tokens=8, do_sample=True, seed=7, details=True).json[0]
    b = tgi(s, max_new_tokens=8, temperature=1.0, seed=7, details=True).json[0]
    assert a["details"]["seed"] == 7 and a["generated_text"] == b["generated_text"]
    c = tgi(s, max_new_tokens=8, top_p=0.95, details=True).json[0]
    seed = c["details"]["seed"]
    assert isinstance(seed, int)
    again = tgi(s, max_new_tokens=8, top_p=0.95, seed=seed, details=True).json[0]
    assert again["generated_text"] == c["generated_text"]  # the reported seed reproduces the answer


@test
def SM_99_stream(s):
    a = s.post({"inputs": "Once upon a time", "stream": True, "parameters": {"max_new_tokens": 6, "details": True}})
    assert a.headers["Content-Type"] == "text/event-stream"
    events = kit.parse_sse(a.body)
    assert "[DONE]" not in events and [e["index"] for e in events] == [1, 2, 3, 4, 5, 6]
    for e in events[:-1]:
        assert e["generated_text"] is None and e["details"] is None and set(e["token"]) == {"id", "text", "logprob", "special"}
    last = events[-1]
    assert last["generated_text"] == "".join(e["token"]["text"] for e in events)
    assert last["details"]["finish_reason"] == "length" and last["details"]["generated_tokens"] == 6
    assert last["details"]["input_length"] == 4
    assert tgi(s, max_new_tokens=6).json[0]["generated_text"] == last["generated_text"]


@test
def SM_99_stop_sequences_stay_in_the_text(s):
    free = tgi(s, max_new_tokens=20).json[0]["generated_text"]
    stop = free[8:12]
    end = free.index(stop) + len(stop)
    for key in ("stop", "stop_sequences"):
        d = tgi(s, max_new_tokens=20, details=True, **{key: [stop]}).json[0]
        assert d["generated_text"] == free[:end] and d["details"]["finish_reason"] == "stop_sequence", (free, d)
    events = s.events({"inputs": "Once upon a time", "stream": True,
                       "parameters": {"max_new_tokens": 20, "stop": [stop], "details": True}})
    assert events[-1]["generated_text"] == free[:end] == "".join(e["token"]["text"] for e in events)


@test
def SM_99_end_of_sequence_and_truncate(s):
    prompt = "<|im_start|>user\nSay only: hi<|im_end|>\n<|im_start|>assistant\n"
    d = tgi(s, prompt, max_new_tokens=200, details=True).json[0]
    assert d["details"]["finish_reason"] == "eos_token", d["details"]["finish_reason"]
    last = d["details"]["tokens"][-1]
    assert last["special"] and last["text"] == "<|im_end|>" and "<|im_end|>" not in d["generated_text"]
    d = tgi(s, "a b c d e f g h", truncate=3, details=True, decoder_input_details=True, max_new_tokens=1).json[0]
    assert len(d["details"]["prefill"]) == 3


@test
def SM_100_validation_words(s):
    cases = (({"temperature": 0}, "`temperature` must be strictly positive"),
             ({"top_p": 0}, "`top_p` must be > 0.0 and < 1.0"), ({"top_p": 1.5}, "`top_p` must be > 0.0 and < 1.0"),
             ({"top_k": 0}, "`top_k` must be strictly positive"),
             ({"repetition_penalty": 0}, "`repetition_penalty` must be strictly positive"),
             ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
             ({"max_new_tokens": 4096}, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4 `inputs` tokens and 4096 `max_new_tokens`"),
             ({"stop": ["x"] * 17}, "`stop` supports up to 16 stop sequences. Given: 17"),
             ({"grammar": {"type": "json", "value": {}}}, "parameters.grammar: not supported"),
             ({"best_of": 3, "do_sample": True}, "`best_of` must be > 0 and <= 2. Given: 3"),
             ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
             ({"best_of": 2, "do_sample": True, "seed": 1}, "`seed` must not be set when `best_of` > 1"))
    for parameters, words in cases:
        for stream in (False, True):
            a = s.post({"inputs": "Once upon a time", "stream": stream, "parameters": parameters})
            assert a.status == 422 and a.json["error_type"] == "validation", a.body
            assert a.json["error"].startswith("Input validation error: " + words), a.json
    a = s.post({"inputs": ""})
    assert a.status == 422 and a.json["error"] == "Input validation error: `inputs` cannot be empty"
    assert s.post({"inputs": 5}).status == 422
    assert s.post({"inputs": "a", "parameters": 5}).status == 422


# ---- LMI -----------------------------------------------------------------------------------

@test
def SM_103_106_lmi(s):
    a = s.post({"inputs": "Once upon a time"}, headers=LMI)
    assert a.status == 200 and list(a.json) == ["generated_text"]
    d = tgi(s, headers=LMI, details=True, do_sample=False, ignore_eos_token=True).json
    assert d["details"]["generated_tokens"] == 30 and d["details"]["finish_reason"] == "length"
    t = d["details"]["tokens"][0]
    assert t["logprob"] == t["log_prob"] and t["special"] is False
    a = tgi(s, stream=True, headers=LMI, details=True, do_sample=False, max_new_tokens=5)
    assert a.headers["Content-Type"] == "application/jsonlines"
    lines = [json.loads(line) for line in a.body.decode().splitlines()]
    assert len(lines) == 5 and lines[-1]["details"]["generated_tokens"] == 5
    assert lines[-1]["generated_text"] == "".join(x["token"]["text"] for x in lines)
    assert d["generated_text"].startswith(lines[-1]["generated_text"])


@test
def SM_103_lmi_errors(s):
    a = tgi(s, headers=LMI, top_p=5)
    assert a.status == 424 and a.json["code"] == 424 and "parameters.top_p: found 5" in a.json["error"], a.body


@test
def SM_105_lmi_list_of_inputs(s):
    a = s.post({"inputs": ["One", "Two"], "parameters": {"max_new_tokens": 3, "do_sample": False}}, headers=LMI).json
    one = s.post({"inputs": "One", "parameters": {"max_new_tokens": 3, "do_sample": False}}, headers=LMI).json
    assert len(a) == 2 and a[0] == one and a[1] != one


@test
def SM_99_best_of(s):
    a = tgi(s, best_of=2, do_sample=True, details=True, max_new_tokens=4).json
    d = a[0]["details"]
    other, = d["best_of_sequences"]
    mean = lambda x: sum(t["logprob"] for t in x["tokens"]) / len(x["tokens"])
    assert len(a) == 1 and mean(d) >= mean(other) and other["seed"] != d["seed"]
    assert set(other) == {"generated_text", "finish_reason", "generated_tokens", "seed", "prefill", "tokens"}
    assert set(tgi(s, best_of=2, temperature=1.0, max_new_tokens=2).json[0]) == {"generated_text"}
    a = s.post({"inputs": "a", "stream": True, "parameters": {"best_of": 2, "do_sample": True}})
    assert a.status == 422 and "not supported when streaming" in a.json["error"]


# ---- choice of dialect ---------------------------------------------------------------------

@test
def SM_93_truth_table(s):
    messages, prompt, inputs = [{"role": "user", "content": "a"}], "a", "a"
    more = {"max_tokens": 1, "parameters": {"max_new_tokens": 1}}
    assert s.post({"messages": messages, "prompt": prompt, "inputs": inputs, **more}).json["object"] == "chat.completion"
    assert s.post({"prompt": prompt, "inputs": inputs, **more}).json["object"] == "text_completion"
    assert isinstance(s.post({"inputs": inputs, **more}).json, list)
    assert isinstance(s.post({"messages": None, "inputs": inputs, **more}).json, list)
    for body, words in (({}, "'messages'"), ([], "0 records"), ({"input": "x"}, "embeddings"),
                        ({"input": [{"role": "user", "content": "x"}]}, "Responses API"),
                        ({"query": "a", "documents": []}, "query"), ({"text_1": "a"}, "text_1"),
                        ({"requestType": "NEW_SESSION"}, "sessions")):
        a = s.post(body)
        assert a.status == 400 and words in a.json["error"]["message"], (body, a.body)
