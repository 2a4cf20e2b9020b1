"""Unmodified clients: boto3 through the gateway, the OpenAI SDK directly and through the gateway.

They are skipped, with a message, where the packages are not installed (tests/run.sh installs them
into an environment of their own; HD_TEST_PYTHON names its interpreter).
"""
import asyncio
import importlib
import json
import pathlib
import tempfile

import kit
from gateway import Container, Gateway
from kit import Server, test

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def need(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise kit.Skip(f"{name} is not installed") from None


def front(s, **more):
    limits = {k: more.pop(k) for k in ("sync_seconds", "stream_seconds") if k in more}
    return Gateway(Container("127.0.0.1", s.port, **limits), **more)


def runtime(g, **config):
    boto3 = need("boto3")
    botocore = need("botocore.config")
    return boto3.client("sagemaker-runtime", endpoint_url=g.url, region_name="eu-west-1", aws_access_key_id="x",
                        aws_secret_access_key="y", config=botocore.Config(**config))


def parts(answer):
    return b"".join(e["PayloadPart"]["Bytes"] for e in answer["Body"])


@test
def SM_188_boto3_invoke_endpoint(s):
    need("boto3")
    with front(s) as g:
        c = runtime(g)
        for body, read in (({"inputs": "a", "parameters": {"max_new_tokens": 2}}, lambda x: x[0]["generated_text"]),
                           ({**kit.chat("a"), "max_tokens": 2}, lambda x: x["choices"][0]["message"]["content"]),
                           ({"prompt": "a", "max_tokens": 2}, lambda x: x["choices"][0]["text"])):
            a = c.invoke_endpoint(EndpointName="e", Body=json.dumps(body), InferenceId="id-1")
            assert a["ContentType"] == "application/json" and a["InvokedProductionVariant"] == "AllTraffic"
            assert isinstance(read(json.loads(a["Body"].read())), str)
        a = c.invoke_endpoint(EndpointName="e", Body=json.dumps({"prompt": "a", "max_tokens": 1}), Accept="application/json",
                              ContentType="application/json", CustomAttributes="route=/v1/completions")
        assert a["ResponseMetadata"]["HTTPStatusCode"] == 200


@test
def SM_119_190_boto3_response_stream(s):
    need("boto3")
    tgi = {"inputs": "Once", "stream": True, "parameters": {"max_new_tokens": 8, "details": True}}
    chat = {**kit.chat("Say 🙂"), "max_tokens": 8, "stream": True}
    for how in ("asis", "random", "whole"):
        with front(s, parts=how) as g:
            c = runtime(g)
            a = c.invoke_endpoint_with_response_stream(EndpointName="e", Body=json.dumps(tgi), ContentType="application/json")
            assert a["ContentType"] == "text/event-stream"
            events = kit.parse_sse(parts(a))
            assert events[-1]["details"]["generated_tokens"] == len(events) or events[-1]["generated_text"] is not None
            a = c.invoke_endpoint_with_response_stream(EndpointName="e", Body=json.dumps(chat))
            assert kit.parse_sse(parts(a))[-1] == "[DONE]"
            a = c.invoke_endpoint_with_response_stream(EndpointName="e", Body=json.dumps(chat), Accept="application/jsonlines")
            assert a["ContentType"] == "application/jsonlines"
            assert all(json.loads(x) for x in parts(a).splitlines())


@test
def SM_171_189_boto3_errors(s):
    need("boto3")
    errors = need("botocore.exceptions")
    with front(s) as g:
        c = runtime(g, retries={"total_max_attempts": 1})
        for call in (c.invoke_endpoint, c.invoke_endpoint_with_response_stream):
            try:
                call(EndpointName="e", Body=b'{"nothing":1}')
                raise AssertionError("no error")
            except c.exceptions.ModelError as e:
                assert e.response["OriginalStatusCode"] == 400 and e.response["LogStreamArn"]
                assert json.loads(e.response["OriginalMessage"])["error"]["code"] == 400
    with front(s, stream_seconds=1) as g:
        a = runtime(g).invoke_endpoint_with_response_stream(EndpointName="e", Body=json.dumps(
            {**kit.LONG, "max_tokens": 3000, "stream": True}))
        try:
            parts(a)
            raise AssertionError("no error")
        except errors.EventStreamError as e:
            assert "ModelStreamError" in str(e), e


@test(own=True)
def SM_92_a_full_queue_is_one_model_error(_):
    need("boto3")
    with Server("--max-seqs", "1", "--max-queue", "1", "--max-context", "4096") as s, front(s) as g:
        c = runtime(g, retries={"mode": "standard"})
        long = {**kit.LONG, "max_tokens": 3000, "stream": True}
        with s.socket(60) as one, s.socket(60) as two:
            one.sendall(kit.post_bytes(long))
            kit.read_until(one, b"data: ")
            two.sendall(kit.post_bytes(long))
            kit.wait_for(lambda: s.metric("vllm:num_requests_waiting") == 1, 10)
            before = s.metric("hadal_refused_total", status="429")
            try:
                c.invoke_endpoint(EndpointName="e", Body=json.dumps({"prompt": "a"}))
                raise AssertionError("no error")
            except c.exceptions.ModelError as e:
                assert e.response["OriginalStatusCode"] == 429
            assert s.metric("hadal_refused_total", status="429") == before + 1


@test
def SM_130_boto3_async(s):
    need("boto3")
    with tempfile.TemporaryDirectory() as folder, front(s, store=folder) as g:
        source = pathlib.Path(folder, "bucket", "in.json")
        source.parent.mkdir()
        source.write_text(json.dumps({"prompt": "a", "max_tokens": 2}))
        a = runtime(g).invoke_endpoint_async(EndpointName="e", InputLocation="s3://bucket/in.json",
                                             ContentType="application/json")
        out = g.path(a["OutputLocation"])
        kit.wait_for(out.exists, 30)
        assert json.loads(out.read_text())["id"] == "cmpl-" + a["InferenceId"]


# ---- OpenAI --------------------------------------------------------------------------------

def clients(s, g, **more):
    openai = need("openai")
    for url in (f"http://127.0.0.1:{s.port}/v1", f"{g.url}/endpoints/e/openai/v1"):
        yield openai.OpenAI(base_url=url, api_key="none", max_retries=0, **more), url


@test
def SM_107_169_openai_chat(s):
    need("openai")
    with front(s) as g:
        for c, _ in clients(s, g):
            a = c.chat.completions.create(model="", messages=kit.chat("Hi")["messages"], max_tokens=4, logprobs=True,
                                          top_logprobs=2, n=2, seed=1)
            assert len(a.choices) == 2 and a.choices[0].finish_reason and a.usage.total_tokens > 4
            assert len(a.choices[0].logprobs.content[0].top_logprobs) == 2
            chunks = list(c.chat.completions.create(model="", messages=kit.chat("Hi")["messages"], max_tokens=4,
                                                    stream=True, stream_options={"include_usage": True}))
            text = "".join(x.choices[0].delta.content or "" for x in chunks if x.choices)
            assert text and chunks[-1].usage.completion_tokens == 4 or chunks[-2].choices[0].finish_reason == "stop"


@test
def SM_107_openai_completions_and_models(s):
    openai = need("openai")
    c = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none", max_retries=0)
    a = c.completions.create(model="x", prompt=["One", "Two"], max_tokens=3, temperature=0, logprobs=1)
    assert len(a.choices) == 2 and a.choices[0].logprobs.tokens and a.model == "x"
    text = "".join(x.choices[0].text for x in c.completions.create(model="x", prompt="One", max_tokens=3, temperature=0,
                                                                   stream=True))
    assert text == a.choices[0].text
    served = c.models.list().data[0].id
    assert c.models.retrieve(served).id == served


@test
def SM_107_openai_async_client(s):
    openai = need("openai")

    async def run():
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none", max_retries=0) as c:
            async def one(i):
                out = []
                async for x in await c.chat.completions.create(model="m", messages=kit.chat(f"{i}")["messages"],
                                                               max_tokens=3, stream=True):
                    out.append(x.choices[0].finish_reason)
                return out
            return await asyncio.gather(*(one(i) for i in range(8)))
    assert all(x[-1] in ("stop", "length") for x in asyncio.run(run()))


@test
def SM_171_openai_errors(s):
    openai = need("openai")
    with front(s) as g:
        for c, _ in clients(s, g):
            for error, more in ((openai.BadRequestError, {"temperature": -1}), (openai.BadRequestError, {"tools": TOOLS}),
                                (openai.BadRequestError, {"stream": True, "max_tokens": 10**6})):
                try:
                    c.chat.completions.create(model="", messages=kit.chat("a")["messages"], **more)
                    raise AssertionError(f"no error: {more}")
                except error as e:
                    assert e.body["code"] == 400 and e.body["message"] and e.body["type"] == "BadRequestError", e.body
        c = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none", max_retries=0)
        try:
            c.models.retrieve("nothing")
            raise AssertionError("no error")
        except openai.NotFoundError as e:
            assert e.body["code"] == 404


@test(own=True)
def SM_172_openai_key(_):
    openai = need("openai")
    with Server(env={"HADAL_API_KEY": "k"}) as s:
        for key, good in (("k", True), ("x", False)):
            c = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key=key, max_retries=0)
            try:
                c.models.list()
                assert good
            except openai.AuthenticationError:
                assert not good
