"""Several records in one request, and what batch transform asks before."""
import json

import kit
from kit import Server, test

LINES = {"Content-Type": "application/jsonlines"}


def one(text, **more):
    return {"prompt": text, "max_tokens": 3, "temperature": 0, **more}


def post_lines(s, records, headers=LINES, gap=b"\n", end=b"\n"):
    data = gap.join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in records) + end
    return s.request("POST", "/invocations", data, headers)


def texts(lines):
    return [x["choices"][0]["text"] for x in lines]


@test
def SM_136_lines_are_answered_in_order(s):
    records = [one(f"{i} and", max_tokens=1 + (7 * i) % 5) for i in range(40)]
    a = post_lines(s, records)
    assert a.status == 200 and a.headers["Content-Type"] == "application/jsonlines"
    assert int(a.headers["Content-Length"]) == len(a.body) and not a.body.endswith(b"\n")
    got = [json.loads(x) for x in a.body.split(b"\n")]
    assert texts(got) == [s.post(r).json["choices"][0]["text"] for r in records]
    assert len({x["id"] for x in got}) == 40
    for kind in ("application/x-jsonlines", "application/jsonl", "application/x-ndjson; charset=utf-8"):
        assert len(post_lines(s, records[:3], {"Content-Type": kind}).body.split(b"\n")) == 3, kind


@test
def SM_136_line_ends_blanks_and_other_types(s):
    records = [one("a"), one("b"), {"inputs": "c", "parameters": {"max_new_tokens": 1}}, {**kit.chat("d"), "max_tokens": 1}]
    plain = post_lines(s, records).body.split(b"\n")
    assert isinstance(json.loads(plain[2]), list) and json.loads(plain[3])["object"] == "chat.completion"
    for gap, end in ((b"\r\n", b"\r\n"), (b"\n", b""), (b"\n\n  \n", b"\n\n")):
        got = post_lines(s, records[:2], gap=gap, end=end)
        assert texts(map(json.loads, got.body.split(b"\n"))) == texts(map(json.loads, plain[:2])), (gap, end)
    got = post_lines(s, records[:2], {"Content-Type": "application/json"})
    assert got.headers["Content-Type"] == "application/jsonlines" and len(got.body.split(b"\n")) == 2
    single = post_lines(s, records[:1])
    assert single.headers["Content-Type"] == "application/json" and single.json["object"] == "text_completion"
    pretty = json.dumps(one("a"), indent=2).encode()
    assert s.request("POST", "/invocations", pretty).json["choices"][0]["text"] == single.json["choices"][0]["text"]
    assert s.request("POST", "/invocations", b"\n \r\n", LINES).status == 400


@test(own=True)
def SM_136_1000_lines(_):
    with Server("--max-queue", "4") as s:
        a = post_lines(s, [{} if i % 5 else one(f"{i}", max_tokens=1) for i in range(1000)])
        got = [json.loads(x) for x in a.body.split(b"\n")]
        assert ["choices" in x for x in got] == [i % 5 == 0 for i in range(1000)]
        assert s.metric("vllm:request_success_total", finished_reason="length") == 200


@test
def SM_137_arrays(s):
    records = [one("a"), one("b"), {"prompt": 3}, one("a", max_tokens=1)]
    a = s.post(records)
    assert a.status == 200 and a.headers["Content-Type"] == "application/json" and len(a.json) == 4
    assert texts([a.json[0]]) == texts([s.post(records[0]).json])
    assert a.json[2]["error"]["code"] == 400
    assert s.post([]).status == 400 and s.post([1, "a"]).status == 400
    assert s.post([[one("a")]]).status == 400


@test(own=True)
def SM_138_bad_lines(_):
    records = [one("a"), b"{", {"nothing": 1}, {"inputs": ""}, one("b")]
    with Server() as s:
        a = post_lines(s, records)
        got = [json.loads(x) for x in a.body.split(b"\n")]
        assert a.status == 200 and len(got) == 5
        assert "choices" in got[0] and "choices" in got[4]
        assert got[1]["error"]["code"] == 400 and got[2]["error"]["code"] == 400
        assert got[3]["error_type"] == "validation"
        a = post_lines(s, records[1:3])
        assert a.status == 400 and a.json["error"]["message"].startswith("record 1 of 2: "), a.body
    with Server(env={"HADAL_BATCH_STRICT": "true"}) as s:
        a = post_lines(s, records)
        assert a.status == 400 and a.json["error"]["message"].startswith("record 2 of 5: "), a.body
        assert post_lines(s, [one("a"), one("b")]).status == 200


@test
def SM_139_ids_go_through(s):
    lmi = {**LINES, "X-Amzn-SageMaker-Custom-Attributes": "inputs_profile=lmi"}
    text = {"inputs": "a", "parameters": {"max_new_tokens": 1}}
    a = post_lines(s, [{**text, "custom_id": 'x"1'}, {**text, "id": "y"}, text, {"custom_id": "z", "inputs": 3}], lmi)
    got = [json.loads(x) for x in a.body.split(b"\n")]
    assert [x.get("custom_id", x.get("id")) for x in got] == ['x"1', "y", None, "z"], got
    a = post_lines(s, [{**one("a"), "custom_id": "q"}, one("b")])
    assert json.loads(a.body.split(b"\n")[0])["custom_id"] == "q"


@test
def SM_140_other_record_formats_are_415(s):
    for kind in ("application/x-recordio-protobuf", "application/x-recordio", "text/csv", "application/x-tfexample"):
        a = s.request("POST", "/invocations", b"1,2\n3,4\n", {"Content-Type": kind})
        assert a.status == 415 and "application/jsonlines" in a.json["error"]["message"], a.body


@test(own=True)
def SM_131_135_batch_mode_never_streams(_):
    for env in ({"SAGEMAKER_BATCH": "True"}, {"HADAL_FORCE_UNARY": "true"}):
        with Server(env=env) as s:
            a = s.post({**one("a"), "stream": True})
            assert a.headers["Content-Type"] == "application/json" and a.json["object"] == "text_completion"
            a = s.post({"inputs": "a", "stream": True, "parameters": {"max_new_tokens": 1, "details": True}})
            assert len(a.json[0]["details"]["tokens"]) == 1
            a = s.post({**kit.chat("a"), "max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}})
            assert a.json["object"] == "chat.completion"


@test(own=True)
def SM_134_execution_parameters(_):
    for args, env, n, strategy in (((), {}, 16, "SINGLE_RECORD"), (("--max-seqs", "3"), {}, 3, "SINGLE_RECORD"),
                                   (("--max-seqs", "64"), {"HADAL_BATCH_MULTI": "true"}, 16, "MULTI_RECORD")):
        with Server(*args, env=env, wait=False) as s:
            a = s.request("GET", "/execution-parameters")
            assert a.status == 200 and a.json == {"MaxConcurrentTransforms": n, "BatchStrategy": strategy,
                                                  "MaxPayloadInMB": 6}, a.body
            assert a.json["MaxConcurrentTransforms"] * a.json["MaxPayloadInMB"] <= 100


@test(own=True)
def SM_34_136_a_departed_client_ends_its_batch(_):
    with Server("--max-context", "4096") as s:
        with s.socket(60) as c:
            body = "\n".join(json.dumps({**kit.LONG, "max_tokens": 3000}) for _ in range(40)).encode()
            c.sendall(b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: application/jsonlines\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            s_running = lambda: s.metric("vllm:num_requests_running") + s.metric("vllm:num_requests_waiting")
            kit.wait_for(lambda: s_running() > 8, 10)
        kit.wait_for(lambda: s_running() == 0, 15)
        assert s.request("GET", "/ping").status == 200
