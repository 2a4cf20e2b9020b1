"""Larger client libraries, unmodified from the package index: the SageMaker SDK, LiteLLM, LangChain.

Each test is skipped, with a message, where its package is not installed; CI does not install them
(half a gigabyte). To run them:
    python3 -m venv V && V/bin/pip install 'sagemaker<3' litellm langchain-openai langchain-aws
    HD_TEST_PYTHON=V/bin/python tests/contract/run.py BINARY sdks.
"""
import asyncio
import json
import os

import kit
from kit import test
from t_clients import TOOLS, front, need, parts, runtime

CHAT = {**kit.chat("Say hello."), "max_tokens": 6, "temperature": 0}
TGI = {"inputs": "Once upon a time", "parameters": {"max_new_tokens": 6}}


# ---- SageMaker Python SDK ------------------------------------------------------------------

def predictor(g, kind=None, **more):
    need("sagemaker")
    boto3 = need("boto3")
    import sagemaker
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.serializers import JSONSerializer
    session = sagemaker.Session(
        boto3.Session(aws_access_key_id="x", aws_secret_access_key="y", region_name="eu-west-1"),
        sagemaker_client=boto3.client("sagemaker", endpoint_url=g.url, region_name="eu-west-1", aws_access_key_id="x",
                                      aws_secret_access_key="y"),
        sagemaker_runtime_client=runtime(g), default_bucket="bucket")
    if kind:
        return kind(endpoint_name="e", sagemaker_session=session)
    return sagemaker.Predictor("e", session, serializer=JSONSerializer(), deserializer=more.pop("read", JSONDeserializer()))


@test
def SM_188_sagemaker_predictor(s):
    with front(s) as g:
        p = predictor(g)
        assert p.predict(TGI)[0]["generated_text"]
        assert p.predict(CHAT)["choices"][0]["message"]["content"]
        assert p.predict({"prompt": "a", "max_tokens": 2}, custom_attributes="route=/v1/completions",
                         inference_id="id-7")["id"] == "cmpl-id-7"
        try:
            p.predict({"nothing": 1})
            raise AssertionError("no error")
        except p.sagemaker_session.sagemaker_runtime_client.exceptions.ModelError as e:
            assert e.response["OriginalStatusCode"] == 400


@test
def SM_114_188_sagemaker_huggingface_predictor(s):
    need("sagemaker")
    from sagemaker.huggingface.model import HuggingFacePredictor
    with front(s) as g:
        answer = predictor(g, HuggingFacePredictor).predict(TGI)
        assert isinstance(answer[0]["generated_text"], str), answer


@test
def SM_119_190_sagemaker_predict_stream(s):
    need("sagemaker")
    from sagemaker.iterators import LineIterator
    for how in ("asis", "random"):
        with front(s, parts=how) as g:
            p = predictor(g)
            lines = [bytes(x).decode() for x in p.predict_stream({**CHAT, "stream": True}, iterator=LineIterator)]
            lines = [x[6:] for x in lines if x.startswith("data: ")]
            assert lines[-1] == "[DONE]"
            text = "".join(c["delta"].get("content") or "" for x in lines[:-1] for c in json.loads(x)["choices"])
            assert text == p.predict(CHAT)["choices"][0]["message"]["content"]


# ---- LiteLLM -------------------------------------------------------------------------------

def litellm():
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no download at import
    return need("litellm")


def openai_like(s):
    return {"api_base": f"http://127.0.0.1:{s.port}/v1", "api_key": "none", "max_retries": 0}


@test
def SM_107_litellm_openai(s):
    lib = litellm()
    whole = lib.completion(model="openai/any", **CHAT, **openai_like(s))
    assert whole.choices[0].message.content and whole.usage.completion_tokens
    chunks = list(lib.completion(model="openai/any", **CHAT, stream=True, **openai_like(s)))
    assert "".join(x.choices[0].delta.content or "" for x in chunks if x.choices) == whole.choices[0].message.content
    assert any(x.choices and x.choices[0].finish_reason for x in chunks)
    text = lib.text_completion(model="text-completion-openai/any", prompt="One two", max_tokens=3, **openai_like(s))
    assert isinstance(text.choices[0].text, str)

    async def many():
        return await asyncio.gather(*(lib.acompletion(model="openai/any", **CHAT, **openai_like(s)) for _ in range(4)))
    assert {x.choices[0].message.content for x in asyncio.run(many())} == {whole.choices[0].message.content}


@test
def SM_171_litellm_errors(s):
    lib = litellm()
    for more in ({"tools": TOOLS}, {"temperature": -1}, {"max_tokens": 10**6}):
        try:
            lib.completion(model="openai/any", **{**CHAT, **more}, **openai_like(s))
            raise AssertionError(f"no error: {more}")
        except lib.BadRequestError as e:
            assert e.status_code == 400, e


@test
def SM_169_188_litellm_sagemaker(s):
    lib = litellm()
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "aws_region_name": "eu-west-1"}
    with front(s) as g:
        url = f"{g.url}/endpoints/e/invocations"
        whole = lib.completion(model="sagemaker_chat/e", **CHAT, sagemaker_base_url=url, **keys)
        assert whole.choices[0].message.content
        chunks = list(lib.completion(model="sagemaker_chat/e", **CHAT, stream=True,
                                     sagemaker_base_url=url + "-response-stream", **keys))
        text = "".join(x.choices[0].delta.content or "" for x in chunks if x.choices)
        assert text == whole.choices[0].message.content, text


# ---- LangChain -----------------------------------------------------------------------------

@test
def SM_107_langchain_openai(s):
    need("langchain_openai")
    from langchain_openai import ChatOpenAI
    llm = ChatOpenAI(model="any", base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none", max_retries=0, temperature=0,
                     max_tokens=6)
    whole = llm.invoke([("system", "Be short."), ("human", "Say hello.")])
    assert whole.content and whole.usage_metadata["output_tokens"]
    assert "".join(x.content for x in llm.stream([("system", "Be short."), ("human", "Say hello.")])) == whole.content
    assert len(llm.batch(["a", "b", "c"])) == 3
    try:
        llm.bind_tools(TOOLS).invoke("a")
        raise AssertionError("no error")
    except need("openai").BadRequestError as e:
        assert "tools" in e.body["message"], e


@test
def SM_114_188_langchain_aws(s):
    need("langchain_aws")
    need("boto3")
    from langchain_aws.llms.sagemaker_endpoint import LLMContentHandler, SagemakerEndpoint

    class Handler(LLMContentHandler):
        content_type = accepts = "application/json"

        def transform_input(self, prompt, model_kwargs):
            return json.dumps({"inputs": prompt, "parameters": model_kwargs}).encode()

        def transform_output(self, output):
            return json.loads(output.read())[0]["generated_text"]
    with front(s) as g:
        llm = SagemakerEndpoint(endpoint_name="e", client=runtime(g), content_handler=Handler(),
                                model_kwargs={"max_new_tokens": 6})
        whole = llm.invoke("Once upon a time")
        answer = runtime(g).invoke_endpoint_with_response_stream(EndpointName="e", Body=json.dumps({**TGI, "stream": True}))
        assert kit.parse_sse(parts(answer))[-1]["generated_text"] == whole
