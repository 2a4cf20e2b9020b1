"""Model folders as the platform delivers them, and bodies of errors."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import kit
from kit import Server, test

LONG_CANARY = "canary prompt " * 50


def tree(folder, *paths):
    """Copies (hard links where possible) of the model at these places; other names are filled with text."""
    for p in paths:
        to = pathlib.Path(folder, p)
        to.parent.mkdir(parents=True, exist_ok=True)
        if not p.endswith(".gguf"):
            to.write_text("" if p.endswith(".empty") else "{}")
            continue
        try:
            os.link(kit.MODEL, to)
        except OSError:
            to.write_bytes(pathlib.Path(kit.MODEL).read_bytes())


def need_file():
    if not kit.MODEL.endswith(".gguf"):
        raise kit.Skip("the model is not a GGUF file")


@test(own=True)
def SM_61_62_63_folders_as_delivered(_):
    need_file()
    for paths in (["model.gguf"], ["1/model.gguf"], ["model/model.gguf"], ["a/b/model.gguf"],
                  ["model.gguf", "code/inference.py", "code/requirements.txt", ".cache/x.gguf", "README.md"]):
        with tempfile.TemporaryDirectory() as folder:
            tree(folder, *paths)
            with Server(model=False, env={"HF_MODEL_ID": folder}) as s:
                assert s.post({"prompt": "a", "max_tokens": 1}).status == 200, paths
                assert "code" not in s.request("GET", "/v1/models").body.decode()
    for names, words in ((("one.gguf", "two.gguf"), "found 2 GGUF models"), (("x/one.gguf", "y/two.gguf"), "/x, ")):
        folder = tempfile.mkdtemp()
        tree(folder, *names)
        p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", folder], capture_output=True, text=True,
                           timeout=60 * kit.SLOW, env=kit.clean_env({}))
        last = p.stderr.splitlines()[-1]
        shutil.rmtree(folder)
        assert p.returncode == 64 and (words in last or "/y, " in last), last
    with tempfile.TemporaryDirectory() as folder:
        p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", folder], capture_output=True, text=True,
                           timeout=60 * kit.SLOW, env=kit.clean_env({}))
        assert p.returncode == 66 and folder in p.stderr.splitlines()[-1], p.stderr


@test
def SM_69_accepting_a_licence_changes_nothing(s):
    body = {"prompt": "a", "max_tokens": 2, "temperature": 0}
    a = s.post(body, headers={"X-Amzn-SageMaker-Custom-Attributes": "accept_eula=true; x-synchronous=true"})
    assert a.status == 200 and a.json["choices"] == s.post(body).json["choices"]


@test
def SM_89_90_error_bodies(s):
    lmi = {"X-Amzn-SageMaker-Custom-Attributes": "inputs_profile=lmi"}
    long = LONG_CANARY * 60
    cases = [({"messages": [{"role": "user", "content": LONG_CANARY}], "temperature": "x"}, {}, 400),
             ({"messages": [{"role": "robot", "content": LONG_CANARY}]}, {}, 400),
             ({"messages": LONG_CANARY}, {}, 400), ({"prompt": LONG_CANARY, "n": -1}, {}, 400),
             ({"prompt": long}, {}, 400), ({"inputs": LONG_CANARY, "parameters": {"top_p": 7}}, {}, 422),
             ({"inputs": long}, {}, 422), ({"inputs": LONG_CANARY, "parameters": {"top_p": 7}}, lmi, 424),
             ({"inputs": long}, lmi, 424), ({"prompt": "a", "stop": [LONG_CANARY * 3]}, {}, 400),
             ({"prompt": "a", "logit_bias": {"x": 1}}, {}, 400),
             ({"prompt": "a", "model": LONG_CANARY, "top_k": "x"}, {}, 400)]
    for body, headers, status in cases:
        for stream in (False, True):
            a = s.post({**body, "stream": stream}, headers=headers)
            assert a.status == status, (str(body)[:80], a.status, a.body[:200])
            assert a.headers["Content-Type"] == "application/json" and len(a.body) <= 2048
            text = json.dumps(a.json)
            assert "canary prompt canary" not in text and not re.search(r"/(work|root|home|usr|tmp)/", text), text


@test
def SM_101_times_in_headers(s):
    a = s.post({"inputs": "One two", "parameters": {"max_new_tokens": 3}})
    assert a.headers["x-generated-tokens"] == "3" and int(a.headers["x-prompt-tokens"]) >= 2
    assert float(a.headers["x-compute-time"]) > 0
    for name in ("x-total-time", "x-queue-time", "x-inference-time", "x-time-per-token"):
        assert int(a.headers[name]) >= 0, name


@test
def SM_58_67_180_the_readme_says_it(s):
    text = " ".join((kit.ROOT / "README.md").read_text().split())
    assert "ContainerStartupHealthCheckTimeoutInSeconds" in text and "not on Graviton" in text
    assert "put what is always the same first, in prompts and in bodies" in text
    assert s.metric("hadal_load_seconds", phase="weights") >= 0 and "hadal_load_seconds" in text
