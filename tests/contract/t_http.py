"""The HTTP edge, with the real routes."""
import json
import time

import kit
import storm
from kit import test


def status_of(data):
    return int(data.split(b" ", 2)[1]) if data else 0


@test
def SM_19_keep_alive_and_http_1_0(s):
    c = s.connect()
    for _ in range(3):
        c.request("GET", "/ping")
        r = c.getresponse()
        assert r.status == 200 and r.read() == b"" and not r.will_close
    c.close()
    a = s.raw(b"GET /ping HTTP/1.0\r\n\r\n")
    assert status_of(a) == 200, a
    body = json.dumps({"prompt": "a", "max_tokens": 3, "stream": True}).encode()
    a = s.raw(b"POST /invocations HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), 60)
    assert b"chunked" not in a and a.endswith(b"data: [DONE]\n\n"), a


@test
def SM_22_chunked_bodies(s):
    body = json.dumps({"inputs": "abc", "parameters": {"max_new_tokens": 1}}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7))
    a = s.raw(b"POST /invocations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
              b"Connection: close\r\n\r\n" + chunks + b"0\r\n\r\n", 60)
    assert status_of(a) == 200, a


@test
def SM_23_expect_100_continue(s):
    body = json.dumps({"inputs": "abc", "parameters": {"max_new_tokens": 1}}).encode()
    with s.socket(60) as c:
        c.sendall(b"POST /invocations HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nConnection: close\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body))
        got = kit.read_until(c, b"100 Continue\r\n\r\n")
        c.sendall(body)
        got = kit.read_all(c)
        assert status_of(got) == 200, got


@test(own=True)
def SM_24_90_too_large_bodies_are_413(_):
    with kit.Server("--max-body-bytes", "100000") as s:
        a = s.raw(b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\n")
        assert status_of(a) == 413 and b"Connection: close" in a, a
        assert "100000" in json.loads(a.partition(b"\r\n\r\n")[2])["error"]["message"]
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        a = s.raw(b"POST /invocations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 7)
        assert status_of(a) == 413, a
        big = {"inputs": "a" * 90000, "parameters": {"truncate": 8, "max_new_tokens": 1}}
        assert s.post(big).status == 200


@test
def SM_24_megabytes_of_body_are_read(s):
    a = s.post({"inputs": "word " * 1_000_000, "parameters": {"truncate": 16, "max_new_tokens": 1}})
    assert a.status == 200, a.body[:200]
    a = s.post({"inputs": "word " * 1_000_000})
    assert a.status == 422 and "`inputs` must have less than 4096 tokens. Given: " in a.json["error"]


@test(own=True)
def SM_24_memory_follows_what_has_come(_):
    with kit.Server("--max-body-bytes", "3800M") as s:
        before = storm.resident(s.process.pid)
        with s.socket(30) as c:  # much is announced, little comes
            c.sendall(b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 3900000000\r\n\r\n0123456789")
            time.sleep(0.5)
            assert storm.resident(s.process.pid) - before < 8 << 20
        a = s.raw(b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\n0123456789")
        assert status_of(a) == 413 and storm.resident(s.process.pid) - before < 8 << 20
    with kit.Server() as s:  # the largest record of a transform job, under the default cap
        body = json.dumps({"prompt": "a", "max_tokens": 1, "ignored": "x" * 100_000_000}).encode()
        assert len(body) > 100_000_000
        for _ in range(2):
            a = s.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            assert a.status == 200, a.body[:200]
        if not kit.sanitized():  # and it is given back
            kit.wait_for(lambda: storm.resident(s.process.pid) - before < 150 << 20, 5)


@test(own=True)
def SM_132_large_bodies_where_the_cap_is_raised(_):
    with kit.Server("--max-body-bytes", "1G") as s:
        c = s.connect()
        start = b'{"prompt":"a","max_tokens":1,"ignored":"'
        c.putrequest("POST", "/invocations")
        c.putheader("Content-Length", str(len(start) + 300_000_000 + 2))
        c.endheaders(start)
        for _ in range(300):
            c.send(b"x" * 1_000_000)
        c.send(b'"}')
        r = c.getresponse()
        assert r.status == 200, r.read()[:200]
        c.close()


@test
def SM_25_exact_content_length_everywhere(s):
    for method, path, body in (("GET", "/ping", None), ("GET", "/v1/models", None), ("GET", "/x", None),
                               ("POST", "/invocations", b"{"), ("PUT", "/ping", None),
                               ("POST", "/invocations", b'{"prompt":"a","max_tokens":2}')):
        a = s.request(method, path, body)
        assert int(a.headers["Content-Length"]) == len(a.body), (method, path)


@test
def SM_28_30_headers(s):
    body = json.dumps({"inputs": "abc", "parameters": {"max_new_tokens": 1}}).encode()

    def ask(extra):
        return s.raw(b"POST /invocations HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + extra +
                     b"cOnTeNt-lEnGtH: %d\r\n\r\n" % len(body) + body, 60)
    assert status_of(ask(b"CONTENT-TYPE: application/json\r\nX-Unknown: 1\r\nX-Unknown: 2\r\n")) == 200
    assert status_of(ask(b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n")) == 200
    assert status_of(ask(b"Content-Encoding: gzip\r\n")) == 415
    assert status_of(ask(b"Content-Encoding: identity\r\n")) == 200
    assert status_of(ask(b"Host: two\r\n")) == 400
    assert status_of(ask(b"Content-Length: %d\r\n" % len(body))) == 400


@test
def SM_29_404_405_head_options(s):
    for path in ("/nothing", "/v1", "/invocations/x", "/PING"):
        a = s.request("GET", path)
        assert a.status == 404 and a.json["error"]["code"] == 404, path
    for method, path, allow in (("GET", "/invocations", "POST, OPTIONS"),
                                ("DELETE", "/ping", "GET, POST, HEAD, OPTIONS"),
                                ("POST", "/v1/models", "GET, HEAD, OPTIONS")):
        a = s.request(method, path)
        assert a.status == 405 and a.headers["Allow"] == allow and a.json["error"]["code"] == 405
    a = s.request("HEAD", "/v1/models")
    assert a.status == 200 and a.body == b"" and int(a.headers["Content-Length"]) > 50
    a = s.request("OPTIONS", "/invocations")
    assert a.status == 204 and a.headers["Allow"] == "POST, OPTIONS" and a.body == b""


@test
def SM_31_trailing_slash_query_absolute_form(s):
    for target in (b"/ping/", b"/ping?x=1", b"http://h/ping", b"http://h:8080/ping/?a=b"):
        assert status_of(s.raw(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")) == 200
    assert s.post({"prompt": "a", "max_tokens": 1}, "/invocations/?q").status == 200


@test
def SM_83_request_ids(s):
    body = {"prompt": "a", "max_tokens": 1}
    a = s.post(body, headers={"X-Amzn-SageMaker-Inference-Id": "abc-1.2"})
    assert a.json["id"] == "cmpl-abc-1.2" and a.headers["X-Request-Id"] == "abc-1.2"
    a = s.post(body, headers={"X-Amzn-SageMaker-Inference-Id": 'a"b\\c' + "x" * 100})
    assert a.json["id"].startswith("cmpl-a_b_cxxx") and len(a.json["id"]) == 5 + 64
    one, two = s.post(body).json["id"], s.post(body).json["id"]
    assert one != two and len(one) == 5 + 32


@test
def SM_85_content_types(s):
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    good = (None, "application/json", "application/json; charset=utf-8", "application/vnd.x+json",
            "application/octet-stream", "text/plain", "*/*", "application/x-www-form-urlencoded",
            "APPLICATION/JSON")
    for t in good:
        a = s.request("POST", "/invocations", body, {"Content-Type": t} if t else {})
        assert a.status == 200, (t, a.body)
    for t in ("image/png", "text/html", "multipart/form-data"):
        a = s.request("POST", "/invocations", body, {"Content-Type": t})
        assert a.status == 415 and a.json["error"]["code"] == 415, t
    a = s.request("POST", "/invocations", b"a=b", {"Content-Type": "application/x-www-form-urlencoded"})
    assert a.status == 415
    assert s.request("POST", "/invocations", b"\xef\xbb\xbf" + body).status == 200
    assert s.request("POST", "/invocations", b'{"prompt":"\xff","max_tokens":1}').status == 400


@test
def SM_86_accept_never_406(s):
    body = {"prompt": "a", "max_tokens": 1, "temperature": 0}
    for accept in ("application/json", "*/*", "text/csv", "application/jsonlines", ""):
        a = s.post(body, headers={"Accept": accept})
        assert a.status == 200 and a.headers["Content-Type"] == "application/json", accept
    a = s.post({**body, "stream": True}, headers={"Accept": "application/jsonlines"})
    assert a.headers["Content-Type"] == "application/jsonlines"
    lines = a.body.decode().splitlines()
    assert json.loads(lines[-1])["choices"][0]["finish_reason"] == "length", lines
    tgi = {"inputs": "a", "stream": True, "parameters": {"max_new_tokens": 2}}
    lmi = {"X-Amzn-SageMaker-Custom-Attributes": "inputs_profile=lmi"}
    assert s.post(tgi, headers=lmi).headers["Content-Type"] == "application/jsonlines"
    a = s.post(tgi, headers={**lmi, "Accept": "text/event-stream"})
    assert a.headers["Content-Type"] == "text/event-stream" and a.body.startswith(b"data: {")


@test
def SM_82_route_in_custom_attributes(s):
    def ask(attributes, body):
        return s.post(body, headers={"X-Amzn-SageMaker-Custom-Attributes": attributes})
    both = {"prompt": "a", "max_tokens": 1, **kit.chat("b")}
    assert ask("accept_eula=true", both).json["object"] == "chat.completion"
    assert ask("accept_eula=true,route=/v1/completions", both).json["object"] == "text_completion"
    for bad in ("route=/models/x", "route=/adapters", "route=/ping", "route=/v1/../ping"):
        assert ask(bad, both).status == 400, bad


@test
def SM_89_98_bad_json_is_400(s):
    for path in sorted(kit.shared("json-parsing").glob("n_*.json")):
        a = s.request("POST", "/invocations", path.read_bytes(), {"Content-Type": "application/json"})
        assert a.status == 400, (path.name, a.status, a.body[:200])
        error = a.json["error"]
        assert error["code"] == 400 and error["message"].startswith("body: "), (path.name, error)
        assert len(a.body) <= 2048
    for text in (b"", b'{"inputs":"\\u0000"}', b'{"inputs":"\\ud800"}', b'{"inputs":1e999}',
                 b"[" * 200 + b"]" * 200, b'{"inputs":"a"} x', b'{"temperature":NaN}'):
        assert s.request("POST", "/invocations", text).status == 400, text


@test
def SM_27_slow_heads_are_cut(_s):
    with kit.Server("--header-seconds", "1", "--body-idle-seconds", "1", wait=False) as s, s.socket() as c:
        start = time.monotonic()
        c.sendall(b"GET /ping HTTP/1.1\r\nX-Slow: ")
        got = kit.read_all(c)
        assert status_of(got) == 408 and time.monotonic() - start < 3 * kit.SLOW, got


@test
def SM_35_117_118_119_events_leave_one_by_one(s):
    with s.socket(60) as c:
        c.sendall(kit.post_bytes({"prompt": "One two three", "max_tokens": 20, "ignore_eos": True,
                                  "stream": True}, extra="Connection: close\r\n"))
        parts = []
        while True:
            part = c.recv(65536)
            if not part:
                break
            parts.append(part)
        head = b"".join(parts).partition(b"\r\n\r\n")[0].decode().lower()
        for line in ("transfer-encoding: chunked", "cache-control: no-cache", "x-accel-buffering: no",
                     "content-type: text/event-stream"):
            assert line in head, head
        assert len(parts) >= 15, len(parts)  # 20 events and two more; the kernel may join some


@test
def SM_115_models(s):
    a = s.request("GET", "/v1/models").json
    assert a["object"] == "list" and len(a["data"]) == 1
    m = a["data"][0]
    assert m["object"] == "model" and m["max_model_len"] == 4096 and m["created"] > 1_700_000_000
    assert s.request("GET", "/v1/models/" + m["id"]).json == m
    assert s.request("GET", "/v1/models/" + m["id"].replace("-", "%2D")).json == m
    a = s.request("GET", "/v1/models/other")
    assert a.status == 404 and a.json["error"]["code"] == 404
