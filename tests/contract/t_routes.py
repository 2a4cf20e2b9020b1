"""Routes beside /invocations, keys, and honest refusals."""
import time

import kit
from kit import Server, test


@test
def SM_102_generate(s):
    body = {"inputs": "One two", "parameters": {"max_new_tokens": 4, "details": True}}
    array = s.post(body).json
    a = s.post(body, "/generate")
    assert a.status == 200 and a.json == array[0]
    assert s.post({**body, "stream": True}, "/generate").json == array[0]
    assert s.post(body, "/").json == array
    assert s.events({**body, "stream": True}, "/") == s.events(body, "/generate_stream")
    last = s.events(body, "/generate_stream")[-1]
    assert last["generated_text"] == a.json["generated_text"] and last["details"]["generated_tokens"] == 4
    a = s.post({"inputs": ""}, "/generate")
    assert a.status == 422 and a.json["error_type"] == "validation"
    assert s.post({"prompt": "a"}, "/generate").status == 422


@test
def SM_102_info(s):
    a = s.request("GET", "/info").json
    assert a["max_total_tokens"] == 4096 and a["max_input_tokens"] == 4095 and a["max_best_of"] == 2
    assert a["model_pipeline_tag"] == "text-generation" and a["version"] and a["model_id"]


@test
def SM_102_116_tokenize(s):
    text = "Hello, wörld 🙂 end"
    a = s.post({"inputs": text}, "/tokenize").json
    assert all(set(t) == {"id", "text", "start", "stop"} for t in a)
    covered = [t for t in a if t["stop"] > t["start"]]
    assert covered[0]["start"] == 0 and covered[-1]["stop"] == len(text)
    assert "".join(text[t["start"]:t["stop"]] for t in covered if "�" not in t["text"]).startswith("Hello,")
    b = s.post({"prompt": text, "return_token_strs": True}, "/tokenize").json
    ids = [t["id"] for t in a]
    assert b["tokens"] == ids and b["count"] == len(ids) == len(b["token_strs"]) and b["max_model_len"] == 4096
    usage = s.post({"prompt": text, "max_tokens": 1}).json["usage"]
    assert usage["prompt_tokens"] == len(ids)
    chat = s.post(kit.chat("Hi"), "/tokenize").json
    assert chat["count"] == s.post({**kit.chat("Hi"), "max_tokens": 1}).json["usage"]["prompt_tokens"]
    c = s.post({"tokens": ids}, "/detokenize").json
    assert c["prompt"].endswith(text), c
    for body, path in (({}, "/tokenize"), ({"prompt": 3}, "/tokenize"), ({"prompt": ""}, "/tokenize"),
                       ({"tokens": [10**8]}, "/detokenize"), ({"tokens": "a"}, "/detokenize"), ([], "/tokenize")):
        assert s.post(body, path).status == 400, body
    assert s.post({"inputs": ""}, "/tokenize").status == 422


@test
def SM_116_version_and_routes_that_are_not_there(s):
    assert s.request("GET", "/version").json["version"]
    for path in ("/v1/responses", "/v1/messages", "/v1/embeddings"):
        assert s.post({}, path).status == 404


@test
def SM_112_embeddings_are_refused_by_name(s):
    a = s.post({"input": "x"})
    assert a.status == 400 and "does not support embeddings" in a.json["error"]["message"]


@test
def SM_156_adapters_are_501(s):
    for method, path in (("POST", "/adapters"), ("GET", "/adapters"), ("GET", "/adapters/x"), ("DELETE", "/adapters/x"),
                         ("POST", "/adapters/x/update")):
        a = s.request(method, path, b'{"name":"x","src":"/etc"}' if method == "POST" else None)
        assert a.status == 501 and a.json["error"]["code"] == 501, (method, path, a.status)


@test
def SM_155_unknown_adapter_is_404(s):
    head = {"X-Amzn-SageMaker-Adapter-Identifier": "x"}
    assert s.post({"inputs": "a"}, headers=head).status == 404
    assert s.post({**kit.chat("a"), "max_tokens": 1}, "/v1/chat/completions", head).json["error"]["code"] == 404


@test
def SM_47_146_149_multi_model_routes_outside_its_mode(s):
    assert s.request("GET", "/models").json == s.request("GET", "/v1/models").json
    for method, path in (("POST", "/models"), ("DELETE", "/models/x"), ("POST", "/models/x/invoke"), ("GET", "/models/x")):
        a = s.request(method, path, b"{}" if method == "POST" else None)
        assert a.status == 404 and a.json["error"]["code"] == 404, (method, path)


@test
def SM_46_163_bidirectional_streaming_is_501(s):
    a = s.raw(b"GET /invocations-bidirectional-stream HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: close, "
              b"Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert a.split(b" ", 2)[1] == b"501", a


@test
def SM_160_sessions_are_refused(s):
    words = "Invalid payload. stateful sessions not enabled"
    a = s.post({"requestType": "NEW_SESSION"})
    assert a.status == 400 and a.json["error"]["message"] == words
    for value in ("NEW_SESSION", "abc-1"):
        a = s.post({"prompt": "a", "max_tokens": 1}, headers={"X-Amzn-SageMaker-Session-Id": value})
        assert a.status == 400 and a.json["error"]["message"] == words


@test(own=True)
def SM_172_keys(_):
    good, bad = {"Authorization": "Bearer secret-1"}, {"Authorization": "Bearer secret-2"}
    chat = {**kit.chat("a"), "max_tokens": 1}
    for env in ({"HADAL_API_KEY": "secret-1"}, {"API_KEY": "secret-1"}, {"SM_VLLM_API_KEY": "secret-1"}):
        with Server(env=env) as s:
            for path in ("/ping", "/health", "/v1/health", "/metrics", "/live", "/execution-parameters"):
                assert s.request("GET", path).status == 200, path
            assert s.post(chat).status == 200
            for head in ({}, bad, {"Authorization": "Basic secret-1"}, {"Authorization": "Bearer secret-1x"},
                         {"Authorization": "Bearer secret-"}, {"Authorization": "Bearer"}):
                a = s.post(chat, "/v1/chat/completions", head)
                assert a.status == 401 and a.headers["WWW-Authenticate"] == "Bearer" and a.json["error"]["code"] == 401
                assert "secret" not in a.body.decode()
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("POST", "/generate"),
                                 ("POST", "/tokenize"), ("POST", "/"), ("GET", "/info"), ("GET", "/models")):
                assert s.request(method, path, b"{}" if method == "POST" else None).status == 401, path
            assert s.post(chat, "/v1/chat/completions", good).status == 200
            assert s.post(chat, "/v1/chat/completions", {"Authorization": "bearer  secret-1"}).status == 200
    with Server(env={"HADAL_API_KEY": "secret-1", "HADAL_API_KEY_SCOPE": "all"}) as s:
        assert s.post(chat).status == 401 and s.post(chat, headers=good).status == 200
        assert s.request("GET", "/ping").status == 200


@test(own=True)
def SM_29_cors_is_off_unless_asked_for(_):
    with Server(wait=False) as s:
        assert "Access-Control-Allow-Origin" not in s.request("OPTIONS", "/invocations").headers
    with Server(env={"HADAL_CORS_ORIGIN": "https://a.example"}) as s:
        a = s.request("OPTIONS", "/invocations")
        assert a.status == 204 and a.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "POST" in a.headers["Access-Control-Allow-Methods"]
        assert s.post({"prompt": "a", "max_tokens": 1}).headers["Access-Control-Allow-Origin"] == "https://a.example"


@test(own=True)
def SM_82_attributes_are_echoed_only_on_request(_):
    head = {"X-Amzn-SageMaker-Custom-Attributes": "a=b,c"}
    body = {"prompt": "a", "max_tokens": 1}
    with Server(env={"HADAL_ECHO_CUSTOM_ATTRIBUTES": "true"}) as s:
        for b in (body, {**body, "stream": True}, {"prompt": 3}):
            assert s.post(b, headers=head).headers["X-Amzn-SageMaker-Custom-Attributes"] == "a=b,c"
    with Server() as s:
        assert "X-Amzn-SageMaker-Custom-Attributes" not in s.post(body, headers=head).headers


@test(own=True)
def SM_95_strict_model_name(_):
    with Server("--served-name", "mine", env={"HADAL_STRICT_MODEL_NAME": "true"}) as s:
        for name, status in (("mine", 200), ("", 200), (None, 200), ("other", 404)):
            a = s.post({"prompt": "a", "max_tokens": 1, "model": name}, "/v1/completions")
            assert a.status == status, (name, a.body)


@test(own=True)
def SM_96_strict_mode_names_the_nearest_field(_):
    with Server(env={"HADAL_STRICT": "true"}) as s:
        for body, word, near in (({"prompt": "a", "max_token": 1}, "max_token", "max_tokens"),
                                 ({**kit.chat("a"), "temprature": 1}, "temprature", "temperature"),
                                 ({**kit.chat("a"), "stream_options": {"include_usag": 1}}, "stream_options.include_usag",
                                  "include_usage")):
            a = s.post(body)
            assert a.status == 400, a.body
            assert a.json["error"]["message"] == f"{word}: unknown field; did you mean '{near}'?"
            assert a.json["error"]["param"] == word
        a = s.post({"inputs": "a", "parameters": {"max_new_token": 1}})
        assert a.status == 422 and "max_new_tokens" in a.json["error"]
        assert s.post({**kit.chat("a"), "max_tokens": 1, "user": "u", "metadata": {}, "store": False}).status == 200
        assert s.post({"inputs": "a", "parameters": {"max_new_tokens": 1, "watermark": False}}).status == 200


SLOW_ONE = {**kit.LONG, "max_tokens": 3500}


@test(own=True)
def SM_84_126_soft_deadlines(_):
    env = {"HADAL_DEADLINE_SYNC_S": "1", "HADAL_DEADLINE_STREAM_S": "2"}
    with Server("--max-context", "4096", env=env) as s:
        def ask(api, **more):
            start = time.monotonic()
            a = s.post({**SLOW_ONE, **more}, headers={"X-Amzn-SageMaker-Forwarded-Api": api} if api else {})
            return a, time.monotonic() - start
        a, took = ask("InvokeEndpoint")
        choice = a.json["choices"][0]
        assert choice["finish_reason"] == "length" and choice["stop_reason"] == "deadline" and choice["text"]
        assert 0.9 < took < 2 * kit.SLOW, took
        assert s.metric("hadal_deadline_truncated_total") == 1
        a, took = ask("InvokeEndpointWithResponseStream", stream=True)
        events = kit.parse_sse(a.body)
        assert events[-1] == "[DONE]" and events[-2]["choices"][0]["stop_reason"] == "deadline"
        assert 1.9 < took < 4 * kit.SLOW, took
        a, took = ask("Other", max_tokens=10)
        assert a.json["choices"][0]["stop_reason"] is None


@test(own=True)
def SM_89_129_hard_limit_is_504(_):
    with Server("--max-context", "4096", env={"ENDPOINT_SERVER_TIMEOUT": "1"}) as s:
        a = s.post(SLOW_ONE)
        assert a.status == 504 and a.json["error"]["code"] == 504, a.body
        events = kit.parse_sse(s.post({**SLOW_ONE, "stream": True}).body)
        assert events[-1] == "[DONE]" and events[-2]["error"]["code"] == 504
        a = s.post({"inputs": "Count:", "parameters": {"max_new_tokens": 3500, "do_sample": True}})
        assert a.status in (200, 504)
        assert s.post({"prompt": "a", "max_tokens": 1}).status == 200
