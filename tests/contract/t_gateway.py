"""Through the local gateway: what the platform does to requests and answers. Standard library only."""
import http.client
import json
import pathlib
import tempfile

import eventstream
import kit
from eventstream import Decoder
from gateway import Container, Gateway, transform
from kit import Server, test

DATA = bytes.fromhex(
    "0000007800000059be379d370d3a6d6573736167652d747970650700056576656e740b3a6576656e742d7479706507000b5061796c6f"
    "6164506172740d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d646174613a207b"
    "2261223a317d0a0af7f69631")
BROKEN = bytes.fromhex(
    "000000980000005e0887cf4b0d3a6d6573736167652d74797065070009657863657074696f6e0f3a657863657074696f6e2d74797065"
    "0700104d6f64656c53747265616d4572726f720d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b22"
    "4d657373616765223a2278222c224572726f72436f6465223a2253747265616d42726f6b656e227db53d3885")
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")


def front(s, **more):
    limits = {k: more.pop(k) for k in ("sync_seconds", "stream_seconds") if k in more}
    return Gateway(Container("127.0.0.1", s.port, **limits), **more)


def call(g, path, body, headers=None):
    c = http.client.HTTPConnection("127.0.0.1", g.server_address[1], timeout=60 * kit.SLOW)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        c.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
        return kit.Answer(c.getresponse())
    finally:
        c.close()


def invoke(g, body, headers=None):
    return call(g, "/endpoints/e/invocations", body, headers)


def stream(g, body, headers=None):
    """(answer, bytes of all parts, parts, exception or None)."""
    a = call(g, "/endpoints/e/invocations-response-stream", body, headers)
    if a.status != 200:
        return a, b"", [], None
    parts, error = [], None
    for h, payload in Decoder().feed(a.body):
        if h[":message-type"] == "event":
            assert h[":event-type"] == "PayloadPart"
            parts.append(payload)
        else:
            error = json.loads(payload)
    return a, b"".join(parts), parts, error


@test(own=True)
def SM_190_eventstream_vectors(_):
    assert eventstream.part(b'data: {"a":1}\n\n') == DATA
    assert eventstream.exception("ModelStreamError", b'{"Message":"x","ErrorCode":"StreamBroken"}') == BROKEN
    assert eventstream.encode({}) == EMPTY
    whole = DATA + BROKEN + EMPTY
    want = list(Decoder().feed(whole))
    assert [p for _, p in want] == [b'data: {"a":1}\n\n', b'{"Message":"x","ErrorCode":"StreamBroken"}', b""]
    for i in range(len(whole) + 1):
        d = Decoder()
        assert list(d.feed(whole[:i])) + list(d.feed(whole[i:])) == want, i
    for i in range(len(DATA)):
        bad = bytearray(DATA)
        bad[i] ^= 0x20
        try:
            assert list(Decoder().feed(bytes(bad) + b"\0" * 64)) == [], i
        except (eventstream.BadMessage, UnicodeDecodeError):
            continue
        raise AssertionError(f"a flipped bit at {i} went unnoticed")


@test
def SM_188_87_invoke_through_the_gateway(s):
    with front(s) as g:
        for body in ({"prompt": "a", "max_tokens": 2, "temperature": 0}, {**kit.chat("a"), "max_tokens": 2, "temperature": 0},
                     {"inputs": "a", "parameters": {"max_new_tokens": 2}}):
            a, direct = invoke(g, body), s.post(body)
            assert a.status == 200 and a.headers["Content-Type"] == "application/json"
            assert type(a.json) is type(direct.json)
            assert "X-Request-Id" not in a.headers and "Retry-After" not in a.headers
            assert "x-amzn-RequestId" in a.headers
        a = invoke(g, {"prompt": "a", "max_tokens": 1}, {"X-Amzn-SageMaker-Inference-Id": "i-1",
                                                        "Authorization": "x", "Cookie": "y"})
        assert a.json["id"] == "cmpl-i-1"
        lmi = {"X-Amzn-SageMaker-Custom-Attributes": "inputs_profile=lmi"}
        assert "generated_text" in invoke(g, {"inputs": "a", "parameters": {"max_new_tokens": 1}}, lmi).json


@test
def SM_81_headers_of_the_platform_change_nothing(s):
    body = {"prompt": "a", "max_tokens": 3, "temperature": 0}
    every = {"X-Amzn-SageMaker-" + k: v for k, v in {
        "Custom-Attributes": "accept_eula=true", "Target-Model": "m", "Target-Variant": "v",
        "Target-Container-Hostname": "h", "Inference-Id": "id", "Enable-Explanations": "`x`",
        "Inference-Component": "ic", "Prefix-Aware-Id": "p", "Forwarded-Api": "InvokeEndpoint"}.items()}
    every.update({"X-Amzn-Trace-Id": "Root=1", "traceparent": "00-1-1-01", "X-Forwarded-For": "1.2.3.4",
                  "Accept": "*/*"})
    plain, full = s.post(body).json, s.post(body, headers=every).json
    assert plain["choices"] == full["choices"] and plain["usage"] == full["usage"] and full["id"] == "cmpl-id"


@test
def SM_189_errors_as_the_caller_sees_them(s):
    with front(s) as g:
        for body, status in (({"nothing": 1}, 400), ({"inputs": ""}, 422), ({"prompt": "a " * 5000}, 400)):
            for route in ("invocations", "invocations-response-stream"):
                a = call(g, f"/endpoints/e/{route}", {**body, "stream": route != "invocations"})
                assert a.status == 424 and a.headers["x-amzn-errortype"] == "ModelError", a.body
                e = a.json
                assert e["OriginalStatusCode"] == status and json.loads(e["OriginalMessage"])["error"], e
                assert f"client error ({status})" in e["Message"] and e["LogStreamArn"]
    with front(s, sync_seconds=0.5) as g:
        a = invoke(g, kit.LONG)
        assert a.status == 424 and a.json["OriginalStatusCode"] == 0 and "timed out" in a.json["Message"]
    with Gateway(Container("127.0.0.1", 1)) as g:
        assert invoke(g, {}).status == 503


@test
def SM_117_119_streams_survive_any_cut(s):
    body = {**kit.chat("Say 🙂 and ünïcode."), "max_tokens": 16, "temperature": 0, "stream": True,
            "ignore_eos": True}
    for how in ("asis", "random", "whole"):
        with front(s, parts=how) as g:
            a, data, parts, error = stream(g, body)
            assert a.headers["Content-Type"] == "application/vnd.amazon.eventstream"
            assert a.headers["X-Amzn-SageMaker-Content-Type"] == "text/event-stream" and error is None
            events = kit.parse_sse(data)
            assert events[-1] == "[DONE]" and events[-2]["choices"][0]["finish_reason"]
            if how == "asis":
                whole = [p for p in parts if p.startswith(b"data: ") and p.endswith(b"\n\n")]
                assert len(whole) == len(parts) >= 10, parts  # no part begins or ends inside an event
            if how == "random":
                assert len(parts) > len(events)
    with front(s) as g:
        _, data, _, _ = stream(g, body, {"X-Amzn-SageMaker-Accept": "application/jsonlines"})
        assert all(json.loads(x) for x in data.decode().splitlines())


@test
def SM_122_126_stream_time_is_limited(s):
    with front(s, stream_seconds=1.5) as g:
        a, data, parts, error = stream(g, {**kit.LONG, "max_tokens": 3000, "stream": True})
        assert parts and error["ErrorCode"] == "ModelInvocationTimeExceeded" and b"[DONE]" not in data


@test(own=True)
def SM_123_a_crash_is_a_broken_stream(_):
    with Server("--max-context", "4096") as s, front(s) as g:
        import threading
        got = {}
        t = threading.Thread(target=lambda: got.update(r=stream(g, {**kit.LONG, "stream": True})))
        t.start()
        kit.wait_for(lambda: s.metric("vllm:generation_tokens_total") > 0 or s.metric("vllm:num_requests_running") > 0, 20)
        s.process.kill()
        t.join()
        a, data, parts, error = got["r"]
        assert a.status != 200 or error["ErrorCode"] == "StreamBroken", (a.status, error)
        assert b"[DONE]" not in data


@test
def SM_130_asynchronous_requests(s):
    with tempfile.TemporaryDirectory() as folder, front(s, store=folder) as g:
        def later(body, where=None):
            if where:
                path = g.path(where)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(json.dumps(body).encode())
            a = call(g, "/endpoints/e/async-invocations", b"" if where else body,
                     {**({"X-Amzn-SageMaker-InputLocation": where} if where else {}),
                      "X-Amzn-SageMaker-Content-Type": "application/json"})
            assert a.status == 202 and a.json["InferenceId"], a.body
            good = g.path(a.headers["X-Amzn-SageMaker-OutputLocation"])
            bad = g.path(a.headers["X-Amzn-SageMaker-FailureLocation"])
            kit.wait_for(lambda: good.exists() or bad.exists(), 30)
            return a, good, bad
        a, good, _ = later({"prompt": "a", "max_tokens": 2}, "s3://bucket/in/1.json")
        assert json.loads(good.read_bytes())["id"] == "cmpl-" + a.json["InferenceId"]
        _, good, _ = later({"inputs": "a", "parameters": {"max_new_tokens": 1}})
        assert json.loads(good.read_bytes())[0]["generated_text"]
        _, _, bad = later({"nothing": 1})
        assert json.loads(bad.read_bytes())["OriginalStatusCode"] == 400
        _, _, bad = later({"prompt": "a", "max_tokens": 2, "stream": True})  # why SM-131 warns of it
        assert "Content-Length" in json.loads(bad.read_bytes())["Message"]


@test
def SM_162_sessions_are_not_created_by_streams(s):
    with front(s) as g:
        a, *_ = stream(g, {"prompt": "a"}, {"X-Amzn-SageMaker-Session-Id": "NEW_SESSION"})
        assert a.status == 400 and a.headers["x-amzn-errortype"] == "ValidationError"


@test
def SM_169_170_171_openai_path(s):
    with front(s) as g:
        for path in ("/endpoints/e/openai/v1/chat/completions",
                     "/endpoints/e/inference-components/ic/openai/v1/chat/completions"):
            a = call(g, path, {**kit.chat("a"), "model": "", "max_tokens": 2})
            assert a.status == 200 and a.json["object"] == "chat.completion" and a.json["model"]
            a = call(g, path, {**kit.chat("a"), "model": "", "max_tokens": 2, "stream": True})
            assert a.headers["Content-Type"] == "text/event-stream" and kit.parse_sse(a.body)[-1] == "[DONE]"
            for body in ({"model": ""}, {**kit.chat("a"), "temperature": "x"}, {**kit.chat("a " * 5000), "stream": True}):
                a = call(g, path, body)
                assert a.status == 400 and set(a.json["error"]) == {"message", "type", "param", "code"}


@test
def SM_136_138_batch_transform(s):
    with tempfile.TemporaryDirectory() as folder:
        lines = [{"inputs": str(i), "parameters": {"max_new_tokens": 1}} for i in range(5)]
        source = pathlib.Path(folder, "in.jsonl")
        source.write_text("\n".join(map(json.dumps, lines)) + "\n")
        bad = pathlib.Path(folder, "bad.jsonl")
        bad.write_text("{}\n{}\n")
        c = Container("127.0.0.1", s.port)
        for strategy in ("MultiRecord", "SingleRecord"):
            kind = "application/jsonlines"
            assert transform(c, [source], folder, "Line", strategy, "Line", kind) == []
            out = pathlib.Path(folder, "in.jsonl.out").read_text()
            assert out.endswith("\n") and len(out.splitlines()) == 5 and "\n\n" not in out
            assert all(json.loads(x)[0]["generated_text"] for x in out.splitlines())
        assert transform(c, [bad], folder, "Line", "MultiRecord", "Line", retries=0) == ["bad.jsonl"]
        assert transform(c, [source], folder, "None", content_type="application/jsonlines") == []
        assert len(pathlib.Path(folder, "in.jsonl.out").read_text().splitlines()) == 5


@test
def SM_181_the_same_request_twice(s):
    body = {"prompt": "a b c", "max_tokens": 5, "temperature": 0}
    head = {"X-Amzn-SageMaker-Inference-Id": "twice"}
    with front(s) as g:
        one, two = kit.parallel(2, lambda i: invoke(g, body, head).json)
        assert one["choices"] == two["choices"] and one["id"] == two["id"]


@test(own=True)
def SM_187_local_mode(_):
    with Server(env={"SAGEMAKER_BATCH": "True", "AWS_ACCESS_KEY_ID": "x"}, wait=False) as s:
        kit.wait_for(lambda: s.request("GET", "/ping").status == 200, 60)
        assert s.request("GET", "/execution-parameters").status == 200
        a = s.request("POST", "/invocations", json.dumps({"prompt": "a", "max_tokens": 1}).encode(), {
            "Content-type": "application/json", "Accept": "application/json",
            "X-Amzn-SageMaker-Custom-Attributes": "a=b", "X-Amzn-SageMaker-Target-Model": "m",
            "X-Amzn-SageMaker-Target-Variant": "v", "X-Amzn-SageMaker-Inference-Id": "local"})
        assert a.status == 200 and a.json["id"] == "cmpl-local"


@test
def SM_20_72_health_loop_during_work(s):
    c = Container("127.0.0.1", s.port)
    seen = []
    import threading
    t = threading.Thread(target=lambda: kit.parallel(6, lambda i: s.post({"prompt": "a " * 200, "max_tokens": 8})))
    t.start()
    while t.is_alive() or not seen:
        seen.append(c.health())
    assert all(x[0] == 200 for x in seen)
    assert max(x[1] for x in seen) < 0.25 * kit.SLOW and max(x[2] for x in seen) < 2 * kit.SLOW
