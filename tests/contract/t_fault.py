"""A device that breaks: plugin_faulty.c under the name of the CUDA plugin, in the real binary.

It computes on the CPU until a file appears; from then on it fails, as a device that has fallen off
the bus does.
"""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

import kit
from kit import Server, test
from t_system import limited


def plugins():
    folder = pathlib.Path(Server.binary).resolve().parent.parent / "tests" / "faulty"
    if not (folder / "libhadal_cuda.so").exists():
        raise kit.Skip(f"{folder} has no plugin")
    return folder


class Faulty(Server):
    def __init__(self, *args, **more):
        folder = plugins()
        self.folder = tempfile.TemporaryDirectory()
        self.fault = pathlib.Path(self.folder.name, "fault")
        env = {"FAULTY_DEVICE": str(self.fault), **more.pop("env", {})}
        super().__init__("--plugin-dir", folder, "--device", "cuda:0", "--max-context", "4096", *args, env=env, **more)

    def breaks(self):
        self.fault.touch()

    def kill(self):
        super().kill()
        self.folder.cleanup()


BODIES = {
    "chat": {**kit.chat("Count to a hundred."), "max_tokens": 3000, "ignore_eos": True},
    "text": {**kit.LONG, "max_tokens": 3000},
    "tgi": {"inputs": "One, two,", "parameters": {"max_new_tokens": 3000}},
    "lmi": {"inputs": "One, two,", "parameters": {"max_new_tokens": 3000, "ignore_eos_token": True}},
}


def ask(s, kind, stream):
    """Waits until it has begun; what it returns reads the rest."""
    extra = "Connection: close\r\n"
    if kind == "lmi":
        extra += "X-Amzn-SageMaker-Custom-Attributes: inputs_profile=lmi\r\n"
    c = s.socket(60)
    c.sendall(kit.post_bytes({**BODIES[kind], "stream": stream}, extra=extra))
    begun = kit.read_until(c, b"\r\n\r\n") if stream else b""

    def rest():
        with c:
            head, _, body = (begun + kit.read_all(c)).partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if b"chunked" in head:
            assert body.endswith(b"0\r\n\r\n"), body[-200:]  # a normal end, as the words before it are
            body = b"".join(x.partition(b"\r\n")[2] for x in split_chunks(body))
        return status, body
    return rest


def split_chunks(data):
    while data:
        size, _, rest = data.partition(b"\r\n")
        n = int(size, 16)
        yield size + b"\r\n" + rest[:n]
        data = rest[n + 2:]


@test(own=True)
def SM_79_89_123_a_broken_device_ends_requests_and_the_process(_):
    with Faulty("--max-seqs", "16") as s:
        waiting = {(kind, stream): ask(s, kind, stream) for kind in BODIES for stream in (True, False)}
        kit.wait_for(lambda: s.metric("vllm:num_requests_running") == len(waiting), 20)
        s.breaks()
        start = time.monotonic()
        got = {key: rest() for key, rest in waiting.items()}
        code = s.wait_exit(10)
        assert code == 70 and time.monotonic() - start < 5 * kit.SLOW, code
        assert "level=error" in s.log().splitlines()[-1] and "device" in s.log().splitlines()[-1]
    # Streams end with their dialect's error and terminator, whole answers with its status.
    for kind in ("chat", "text"):
        status, body = got[kind, True]
        events = kit.parse_sse(body)
        assert status == 200 and events[-1] == "[DONE]" and events[-2]["error"]["code"] == 500, events[-2:]
        status, body = got[kind, False]
        assert status == 500 and json.loads(body)["error"]["code"] == 500, body
    status, body = got["tgi", True]
    last = kit.parse_sse(body)[-1]
    assert status == 200 and last["error_type"] == "generation" and last["error"], last
    status, body = got["tgi", False]
    assert status == 424 and json.loads(body)["error_type"] == "generation", (status, body)
    status, body = got["lmi", True]
    last = json.loads(body.splitlines()[-1])
    assert status == 200 and last["code"] == 424 and last["error"] and last["token"]["id"] == -1, last
    assert last["details"]["finish_reason"] == "error" and last["generated_text"] is None, last
    status, body = got["lmi", False]
    assert status == 424 and json.loads(body)["code"] == 424, (status, body)


@test(own=True)
def SM_78_79_a_broken_device_is_unhealthy(_):
    with Faulty("--exit-on-device-failure=false") as s:
        assert s.request("GET", "/ping").status == 200
        s.breaks()
        assert s.post({"prompt": "a", "max_tokens": 5}).status == 500
        start = time.monotonic()
        kit.wait_for(lambda: s.request("GET", "/ping").status == 503, 5)
        assert time.monotonic() - start < 1.5 * kit.SLOW  # two checks, half a second apart
        assert s.request("GET", "/ping").json["status"] == "unhealthy"
        for path in ("/health", "/v1/health"):
            assert s.request("GET", path).status == 503
        assert s.request("GET", "/live").status == 200 and s.metric("hadal_ready") == 0
        assert s.post({"prompt": "a", "max_tokens": 5}).status in (500, 503)
        time.sleep(1)
        s.signal()
        assert s.wait_exit() == 0


@test(own=True)
def SM_50_device_libraries_are_opened_at_run_time(_):
    with Faulty(env={}) as s:  # a plugin that is there is used
        maps = pathlib.Path(f"/proc/{s.process.pid}/maps").read_text()
        assert "libhadal_cuda.so" in maps and s.post({"prompt": "a", "max_tokens": 1}).status == 200
    needed = subprocess.run(["ldd", Server.binary], capture_output=True, text=True).stdout
    assert "libcuda" not in needed and "libcublas" not in needed and "libnvidia" not in needed, needed
    with Server() as s:  # one that is not there is not missed
        assert re.search(r"level=info.*using the CPU", s.log()) and s.post({"prompt": "a", "max_tokens": 1}).status == 200
    with tempfile.TemporaryDirectory() as folder:  # nor one that cannot be opened
        pathlib.Path(folder, "libhadal_cuda.so").write_bytes(b"\x7fELF no library")
        with Server("--plugin-dir", folder) as s:
            assert re.search(r"level=warn.*using the CPU.*" + folder, s.log())
            assert s.post({"prompt": "a", "max_tokens": 1}).status == 200
        p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", kit.MODEL, "--device", "cuda:0", "--plugin-dir",
                            folder], capture_output=True, text=True, timeout=60 * kit.SLOW, env=kit.clean_env({}))
        assert p.returncode not in (0, -6, -11) and folder in p.stderr.splitlines()[-1], p.stderr


@test(own=True)
def SM_184_one_setup_for_every_host(_):
    """The same settings with a device and without, with one processor and with all."""
    env = {"HADAL_PLUGIN_DIR": str(plugins()), "HADAL_MAX_CONTEXT": "1024"}
    body = {"prompt": "One two three", "max_tokens": 4, "temperature": 0}
    cpus = sorted(os.sched_getaffinity(0))
    seen = set()
    for more, mine in (({}, cpus), ({}, cpus[:1]), ({"HADAL_PLUGIN_DIR": "/nonexistent"}, cpus)):
        with limited(env={**env, **more}, preexec_fn=lambda: os.sched_setaffinity(0, mine)) as s:
            maps = pathlib.Path(f"/proc/{s.process.pid}/maps").read_text()
            seen.add("libhadal_cuda.so" in maps)
            a = s.post(body)
            assert a.status == 200 and a.json["usage"]["completion_tokens"] == 4, a.body
            assert s.metric("hadal_threads") <= len(mine)
    assert seen == {True, False}


@test(own=True)
def SM_75_slow_loading_is_reported_and_warned_about(_):
    """The loader gets what an idle process would get, beside one that is never idle."""
    cpu = min(os.sched_getaffinity(0))
    hog = subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    try:
        # Converting the weights is work; the machine's mercy ends once the port is open.
        with Server("--startup-seconds", "4", "--weights", "q6_k", wait=False) as s:
            for task in pathlib.Path(f"/proc/{s.process.pid}/task").iterdir():
                tid = int(task.name)
                os.sched_setaffinity(tid, {cpu})
                if tid != s.process.pid:
                    os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0))
            try:
                hint = s.wait_log(r"still loading[^\n]*ContainerStartupHealthCheckTimeoutInSeconds[^\n]*", 10)[0]
            except AssertionError:
                if "msg=ready" in s.log():
                    raise kit.Skip("the model was loaded too soon") from None
                raise
            assert "startup_seconds=4" in hint and "level=warn" in s.log()
            took = time.monotonic() - s.started
            assert 2.8 < took < 5 * kit.SLOW, took
            line = s.wait_log(r"msg=loading [^\n]*", 10)[0]
            assert all(x in line for x in ("percent=", "mb=", "mb_per_second=", "seconds=")), line
            assert s.log().count("still loading") == 1
            s.process.kill()
    finally:
        hog.kill()
        hog.wait()
