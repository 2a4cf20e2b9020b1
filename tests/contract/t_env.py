"""Environments written for other images, and what the platform and its SDKs set."""
import os
import pathlib
import re
import socket
import subprocess
import tempfile

import kit
from kit import Server, test
from t_system import as_root, namespaces


def settings(s):
    """{setting: (value, origin)} of the start line."""
    line = re.search(r".*area=config msg=settings (.*)", s.log())[1]
    out = {}
    for name, quoted, bare in re.findall(r'([a-z-]+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))', line):
        value, _, origin = (quoted or bare).rpartition("(")
        out[name] = (value.rstrip(), origin.rstrip(")"))
    return out


def refused(env, *args, model=True):
    """Exit code and error line of a server that does not start."""
    line = [Server.binary, "serve", "--port", "0", *(["--model", kit.MODEL] if model else []), *args]
    p = subprocess.run(line, capture_output=True, text=True, timeout=60, env=kit.clean_env(env))
    return p.returncode, p.stderr.splitlines()[-1]


@test(own=True)
def SM_38_start_line_shows_every_setting_and_its_origin(_):
    env = {"HADAL_MAX_SEQS": "3", "OPTION_MAX_MODEL_LEN": "512", "HADAL_API_KEY": "canary"}
    with Server("--max-queue", "7", env=env) as s:
        got = settings(s)
        assert got["max-queue"] == ("7", "--max-queue")
        assert got["max-seqs"] == ("3", "HADAL_MAX_SEQS")
        assert got["max-context"] == ("512", "OPTION_MAX_MODEL_LEN")
        assert got["drain-seconds"] == ("25", "default")
        assert got["api-key"] == ("***", "HADAL_API_KEY")
        assert got["inputs-profile"] == ("lmi", "OPTION_MAX_MODEL_LEN")
        listed = subprocess.run([Server.binary, "serve", "--help"], capture_output=True, text=True).stdout
        flags = set(re.findall(r"^  --([a-z-]+)", listed, re.M)) - {"help"}
        assert flags == set(got), flags ^ set(got)


@test(own=True)
def SM_38_precedence(_):
    env = {"MAX_TOTAL_TOKENS": "256", "SM_VLLM_MAX_MODEL_LEN": "300"}
    with Server(env=env, wait=False) as s:
        assert settings(s)["max-context"] == ("256", "MAX_TOTAL_TOKENS")
        assert re.search(r'level=warn.*set twice.*SM_VLLM_MAX_MODEL_LEN \(MAX_TOTAL_TOKENS\)', s.log())
    with Server(env={**env, "HADAL_MAX_CONTEXT": "512"}, wait=False) as s:
        assert settings(s)["max-context"] == ("512", "HADAL_MAX_CONTEXT")
    with Server("--max-context", "640", env={**env, "HADAL_MAX_CONTEXT": "512"}, wait=False) as s:
        assert settings(s)["max-context"] == ("640", "--max-context")


@test(own=True)
def SM_37_unknown_names_under_known_prefixes_are_one_warning(_):
    env = {f"FOREIGN_{i}": "x" for i in range(60)}
    env.update({"SM_VLLM_NOTHING": "1", "SM_LLAMA_CPP_NOTHING": "1", "OPTION_NOTHING": "1", "SERVING_NOTHING": "1"})
    with Server(env=env) as s:
        lines = [x for x in s.log().splitlines() if "unknown names" in x]
        assert len(lines) == 1 and "FOREIGN" not in s.log(), lines
        for name in ("SM_VLLM_NOTHING", "SM_LLAMA_CPP_NOTHING", "OPTION_NOTHING", "SERVING_NOTHING"):
            assert name in lines[0]
    code, line = refused({"HADAL_MAX_QUEU": "3"})
    assert code == 64 and "did you mean HADAL_MAX_QUEUE?" in line, line


@test(own=True)
def SM_39_spellings_of_booleans_and_numbers(_):
    for value, want in (("1", "true"), ("True", "true"), ("YES", "true"), ("on", "true"), ("off", "false"),
                        ("False", "false"), ("0", "false"), ("no", "false")):
        with Server(env={"SAGEMAKER_BATCH": value, "MAX_TOTAL_TOKENS": " 512 "}, wait=False) as s:
            assert settings(s)["force-unary"] == (want, "SAGEMAKER_BATCH"), value
            assert settings(s)["max-context"][0] == "512"
    with Server(env={"TENSOR_PARALLEL_DEGREE": "max", "SM_SGLANG_CHUNKED_PREFILL_SIZE": "-1"}, wait=False) as s:
        assert settings(s)["max-step-tokens"] == ("512", "default")
    assert refused({"SM_VLLM_MAX_MODEL_LEN": "many"})[0] == 64


# What AWS's and Hugging Face's deployment examples set, image by image.
EXAMPLES = {
    "LMI": {"HF_MODEL_ID": "MODEL", "OPTION_ROLLING_BATCH": "vllm", "OPTION_TENSOR_PARALLEL_DEGREE": "max",
            "OPTION_MAX_MODEL_LEN": "1024", "OPTION_MAX_ROLLING_BATCH_SIZE": "8", "OPTION_DTYPE": "fp16",
            "SERVING_FAIL_FAST": "true", "OPTION_ASYNC_MODE": "true", "OPTION_ENTRYPOINT": "djl_python.lmi_vllm.vllm_async_service"},
    "TGI": {"HF_MODEL_ID": "MODEL", "SM_NUM_GPUS": "1", "MAX_INPUT_LENGTH": "900", "MAX_TOTAL_TOKENS": "1024",
            "MAX_BATCH_PREFILL_TOKENS": "1024", "MESSAGES_API_ENABLED": "true", "HF_TOKEN": "canary",
            "MAX_BATCH_SIZE": "8"},
    "vLLM": {"SM_VLLM_MODEL": "MODEL", "SM_VLLM_MAX_MODEL_LEN": "1024", "SM_VLLM_MAX_NUM_SEQS": "8",
             "SM_VLLM_TENSOR_PARALLEL_SIZE": "1", "SM_VLLM_ENFORCE_EAGER": "true",
             "SM_VLLM_SERVED_MODEL_NAME": "theirs", "HF_TOKEN": "canary"},
    "SGLang": {"SM_SGLANG_MODEL_PATH": "MODEL", "SM_SGLANG_CONTEXT_LENGTH": "1024",
               "SM_SGLANG_MAX_RUNNING_REQUESTS": "8", "SM_SGLANG_TP_SIZE": "1",
               "SM_SGLANG_SERVED_MODEL_NAME": "theirs"},
    "llama.cpp": {"SM_LLAMA_CPP_MODEL": "MODEL", "SM_LLAMA_CPP_CTX_SIZE": "1024", "SM_LLAMA_CPP_PARALLEL": "8",
                  "SM_LLAMA_CPP_N_GPU_LAYERS": "99", "SM_LLAMA_CPP_ALIAS": "theirs", "SM_LLAMA_CPP_JINJA": "true"},
    "JumpStart": {"HF_MODEL_ID": "MODEL", "ENDPOINT_SERVER_TIMEOUT": "3600", "MODEL_CACHE_ROOT": "/opt/ml/model",
                  "SAGEMAKER_ENV": "1", "SAGEMAKER_MODEL_SERVER_WORKERS": "1", "SAGEMAKER_PROGRAM": "inference.py",
                  "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code", "OPTION_MAX_MODEL_LEN": "1024"},
}


@test(own=True)
def SM_42_113_114_images_are_replaced_with_their_environment_kept(_):
    for image, env in EXAMPLES.items():
        env = {k: kit.MODEL if v == "MODEL" else v for k, v in env.items()}
        with Server(env=env, model=False) as s:
            got = settings(s)
            assert got["max-context"][0] == "1024", (image, got["max-context"])
            assert image == "JumpStart" or got["max-seqs"][0] == "8", image
            assert "unknown names" not in s.log(), (image, s.log())
            assert "canary" not in s.log()
            served = s.request("GET", "/v1/models").json["data"][0]
            assert served["max_model_len"] == 1024 and ("theirs" in str(env.values())) == (served["id"] == "theirs")
            reply = s.post({"inputs": "x", "parameters": {"max_new_tokens": 1}}).json
            lmi = image in ("LMI", "JumpStart")
            text = reply["generated_text"] if lmi else reply[0]["generated_text"]
            assert isinstance(text, str), (image, reply)


@test(own=True)
def SM_114_other_tasks_do_not_start(_):
    code, line = refused({"HF_TASK": "summarization"})
    assert code == 64 and "expected text-generation" in line, line
    with Server(env={"HF_TASK": "text-generation"}, wait=False) as s:
        assert s.port


@test(own=True)
def SM_43_where_the_model_is_found(_):
    with Server(model=False, env={"HF_MODEL_ID": "org/name", "SM_VLLM_MODEL": kit.MODEL}, wait=False) as s:
        assert settings(s)["model"] == (kit.MODEL, "SM_VLLM_MODEL")
    with Server(model=False, env={"HADAL_MODEL": kit.MODEL, "HF_MODEL_ID": "/nothing"}, wait=False) as s:
        assert settings(s)["model"] == (kit.MODEL, "HADAL_MODEL")
    with Server(model=False, env={"SAGEMAKER_MODEL_PATH": kit.MODEL}, wait=False) as s:
        assert settings(s)["model"] == (kit.MODEL, "SAGEMAKER_MODEL_PATH")
    code, line = refused({"OPTION_MODEL_ID": "s3://bucket/prefix/"}, model=False)
    assert code == 66 and "ModelDataSource" in line and "OPTION_MODEL_ID" in line, line
    if not pathlib.Path("/opt/ml/model").exists():
        code, line = refused({"HF_MODEL_ID": "org/name"}, model=False)
        assert code == 66 and "not downloaded" in line and "HF_MODEL_ID=org/name" in line, line


@test(own=True)
def SM_44_serving_properties(_):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "serving.properties")
        path.write_text(f"# comment\nengine=Python\noption.model_id={kit.MODEL}\r\noption.max_model_len = 512\n"
                        "option.max_rolling_batch_size=5\noption.nothing=1\n")
        env = {"SAGEMAKER_MODEL_PATH": folder, "OPTION_MAX_ROLLING_BATCH_SIZE": "4"}
        with Server(model=False, env=env) as s:
            got = settings(s)
            assert got["model"] == (kit.MODEL, "serving.properties"), got["model"]
            assert got["max-context"] == ("512", "serving.properties")
            assert got["max-seqs"] == ("4", "OPTION_MAX_ROLLING_BATCH_SIZE")
            assert re.search(r"level=warn.*unknown names.*engine option.nothing", s.log())
            assert "generated_text" in s.post({"inputs": "x", "parameters": {"max_new_tokens": 1}}).json


@test(own=True)
def SM_64_files_that_are_not_mapped(_):
    body = {"inputs": "Once upon a time", "parameters": {"max_new_tokens": 24, "details": True, "decoder_input_details": True}}
    answers = []
    for value in ("on", "off"):
        with Server(env={"HADAL_MMAP": value, "HADAL_DETERMINISTIC": "true"}) as s:
            assert settings(s)["mmap"] == ("true" if value == "on" else "false", "HADAL_MMAP")
            maps = pathlib.Path(f"/proc/{s.process.pid}/maps").read_text()
            assert (os.path.realpath(kit.MODEL) in maps) == (value == "on")
            answers.append(s.post(body).json)
    assert answers[0] == answers[1] and len(answers[0][0]["details"]["tokens"]) == 24


@test(own=True)
def SM_65_additional_sources(_):
    as_root()
    unshare = namespaces("--mount")
    with tempfile.TemporaryDirectory() as folder:
        base = "/opt/ml/additional-model-data-sources/base-1.5b"
        run = pathlib.Path(folder, "hadal")
        run.write_text("#!/bin/sh\nexec " + " ".join(unshare) + " sh " + folder + '/in "$@"\n')
        pathlib.Path(folder, "in").write_text(
            f"mount -t tmpfs none /opt && mkdir -p {base} /opt/ml/model && cp {kit.MODEL} {base}/model.gguf &&\n"
            f"echo option.model_id=base-1.5b >/opt/ml/model/serving.properties && exec {Server.binary} \"$@\"\n")
        run.chmod(0o755)
        was, Server.binary = Server.binary, str(run)
        try:
            # By name, by path, and from a folder that holds nothing but the name.
            for env, origin in (({"HADAL_MODEL": "base-1.5b"}, "HADAL_MODEL"), ({"HF_MODEL_ID": base}, "HF_MODEL_ID"),
                                ({"OPTION_MODEL_ID": "base-1.5b"}, "OPTION_MODEL_ID"), ({}, "serving.properties")):
                with Server(model=False, env=env) as s:
                    assert settings(s)["model"][1] == origin, (env, settings(s)["model"])
                    assert base in s.log()
                    assert "generated_text" in s.post({"inputs": "x", "parameters": {"max_new_tokens": 1}}).body.decode()
            with Server(model=False, env={"HADAL_MODEL": "base-2"}, wait=False) as s:
                assert s.wait_exit() == 66 and "base-2: not found" in s.log(), s.log()
        finally:
            Server.binary = was


def free_ports(n):
    probes = [socket.socket() for _ in range(n)]
    for p in probes:
        p.bind(("127.0.0.1", 0))
    ports = [p.getsockname()[1] for p in probes]
    for p in probes:
        p.close()
    return ports


@test(own=True)
def SM_18_port_precedence(_):
    platform, ours, theirs = free_ports(3)
    cases = (({"SM_VLLM_PORT": theirs, "HADAL_PORT": ours, "SAGEMAKER_BIND_TO_PORT": platform}, platform),
             ({"SM_VLLM_PORT": theirs, "HADAL_PORT": ours}, ours), ({"SM_VLLM_PORT": theirs}, theirs),
             ({"SM_SGLANG_PORT": theirs}, theirs), ({"SM_LLAMA_CPP_PORT": theirs}, theirs),
             ({"PORT": theirs, "MAX_TOTAL_TOKENS": 512}, theirs), ({"PORT": theirs, "HADAL_PORT": ours}, ours))
    for env, want in cases:
        p = subprocess.Popen([Server.binary, "serve", "--model", kit.MODEL], stderr=subprocess.PIPE, text=True,
                             env=kit.clean_env({k: str(v) for k, v in env.items()}))
        port = None
        for line in p.stderr:
            found = re.search(r"msg=listening port=(\d+)", line)
            if found:
                port = int(found[1])
                break
        p.terminate()
        p.communicate()
        assert port == want, (env, port)
    for bad in ("-1", "http", "70000"):
        assert refused({"SAGEMAKER_BIND_TO_PORT": bad})[0] == 64, bad


@test(own=True)
def SM_41_variables_of_the_platform(_):
    rows = (({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "300"}, "max-body-bytes", str(300 << 20)),
            ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}, "max-body-bytes", str(128 << 20)),
            ({"SAGEMAKER_MAX_REQUEST_SIZE": "5000000"}, "max-body-bytes", "5000000"),
            ({"SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD"}, "batch-multi", "true"),
            ({"SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "20"}, "max-seqs", "20"),
            ({"SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4"}, "max-seqs", "16"),
            ({"SAGEMAKER_CONTAINER_LOG_LEVEL": "10"}, "log-level", "debug"),
            ({"SAGEMAKER_CONTAINER_LOG_LEVEL": "20"}, "log-level", "info"),
            ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "70"}, "request-seconds", "70"),
            ({"SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "71"}, "request-seconds", "71"),
            ({"ENDPOINT_SERVER_TIMEOUT": "3600"}, "request-seconds", "3600"),
            ({"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}, "threads", "0"),
            ({"SAGEMAKER_ENABLE_LOAD_AWARE": "1"}, "threads", "0"),
            ({"OMP_NUM_THREADS": "1"}, "threads", "1"), ({"OPENBLAS_NUM_THREADS": "100000"}, "threads", "0"),
            ({"SAGEMAKER_REGION": "eu-west-1", "AWS_REGION": "x", "TS_X": "1", "MMS_Y": "1",
              "CUSTOM_SCRIPT_FILENAME": "a.py", "SUPERVISOR_X": "1", "SAGEMAKER_SAFE_PORT_RANGE": "1-2",
              "NVIDIA_VISIBLE_DEVICES": "all", "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "false"}, "threads", "0"))
    for env, name, want in rows:
        with Server(env=env, wait=False) as s:
            value = settings(s)[name][0]
            if "OMP_NUM_THREADS" in env and len(os.sched_getaffinity(0)) == 1:
                continue  # nothing to bound
            assert value == want, (env, name, value)
    for env in ({"SM_NEO_EXECUTION_CONTEXT": "1"}, {"SAGEMAKER_MULTI_MODEL": "true"}):
        assert refused(env)[0] == 64, env


@test(own=True)
def SM_36_long_values(_):
    with Server(env={"HADAL_SERVED_NAME": "n" * 1000}) as s:
        assert s.request("GET", "/v1/models").json["data"][0]["id"] == "n" * 1000


@test(own=True)
def SM_104_108_output_formatter(_):
    body = {"inputs": "x", "stream": True, "parameters": {"max_new_tokens": 2}}
    chat = {**kit.chat("x"), "max_tokens": 2, "stream": True}
    lines, events = "application/jsonlines", "text/event-stream"
    for env, text, talk in (({"OPTION_DTYPE": "fp16"}, lines, events),
                            ({"OPTION_OUTPUT_FORMATTER": "sse"}, events, events),
                            ({"OPTION_OUTPUT_FORMATTER": "jsonlines"}, lines, lines)):
        with Server(env=env) as s:
            assert s.post(body).headers["Content-Type"] == text, env
            assert s.post(chat).headers["Content-Type"] == talk, env
            assert s.post(chat, "/v1/chat/completions").headers["Content-Type"] == events, env
            for accept in (lines, events):
                assert s.post(body, headers={"Accept": accept}).headers["Content-Type"] == accept
