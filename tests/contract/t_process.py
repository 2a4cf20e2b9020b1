"""Start, health, port, signals, failures to load."""
import signal
import socket
import subprocess
import threading
import time

import kit
from kit import Server, test


@test(own=True)
def SM_1_2_starts_with_serve_and_without_arguments(_):
    for command in (("serve",), (), ("serve", "serve")):
        with Server(command=command) as s:
            assert s.request("GET", "/ping").status == 200
            s.signal()
            assert s.wait_exit() == 0, s.log()


@test(own=True)
def SM_2_unknown_commands_exit_64_and_train_says_why(_):
    for word, text in (("fly", "unknown command 'fly'"), ("train", "'train' is not supported")):
        p = subprocess.run([Server.binary, word], capture_output=True, text=True, env=kit.clean_env({}))
        assert p.returncode == 64 and text in p.stderr, (p.returncode, p.stderr)


@test(own=True)
def SM_15_listens_at_once_and_SM_73_ping_is_503_while_loading(_):
    with Server(wait=False) as s:
        listening = time.monotonic() - s.started
        a = s.request("GET", "/ping")
        if a.status == 200:
            raise kit.Skip("the model loaded faster than a request")
        assert listening < 0.5 * kit.SLOW, listening  # process start and Python's polling included
        assert a.status == 503 and a.headers["Retry-After"] == "5"
        state = a.json
        assert state["status"] == "loading" and 0 <= state["progress"] <= 1, state
        b = s.post({"inputs": "x"})
        assert b.status == 503 and "loading" in b.json["error"]["message"], b.body
        assert s.request("GET", "/health").status in (200, 503)
        assert s.request("GET", "/live").status == 200
        s.wait_ready()
        a = s.request("GET", "/ping")
        assert a.status == 200 and a.body == b"" and a.headers["Content-Length"] == "0"
        assert s.post({"inputs": "x", "parameters": {"max_new_tokens": 1}}).status == 200


@test(own=True)
def SM_4_stops_while_loading(_):
    with Server(wait=False) as s:
        s.signal()
        assert s.wait_exit(30) == 0, s.log()


@test(own=True)
def SM_13_wrong_model_is_one_error_line_and_the_last(_):
    p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", "/nonexistent/model"],
                       capture_output=True, text=True, timeout=60, env=kit.clean_env({}))
    lines = [line for line in p.stderr.splitlines() if line]
    errors = [line for line in lines if "level=error" in line]
    assert p.returncode == 66, (p.returncode, p.stderr)
    assert len(errors) == 1 and lines[-1] == errors[0], p.stderr
    assert "/nonexistent/model" in errors[0], errors


@test(own=True)
def SM_16_port_from_the_platform_wins_over_ours(_):
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    env = kit.clean_env({"SAGEMAKER_BIND_TO_PORT": str(ports[0]), "HADAL_PORT": str(ports[1])})
    p = subprocess.Popen([Server.binary, "serve", "--model", kit.MODEL], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10 * kit.SLOW
        while time.monotonic() < end:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", ports[0])) == 0:
                    break
            time.sleep(0.02)
        else:
            raise AssertionError("not listening")
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", ports[1])) != 0
    finally:
        p.terminate()
        assert p.wait(60 * kit.SLOW) == 0


@test(own=True)
def SM_18_port_in_use_is_one_clear_line(_):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        p = subprocess.run([Server.binary, "serve", "--port", str(port), "--model", kit.MODEL],
                           capture_output=True, text=True, timeout=60, env=kit.clean_env({}))
    errors = [line for line in p.stderr.splitlines() if "level=error" in line]
    assert p.returncode == 73, (p.returncode, p.stderr)
    assert len(errors) == 1 and f"port {port} is in use; choose another with --port" in errors[0]


@test(own=True)
def SM_16_port_8080_when_nothing_is_said(_):
    p = subprocess.Popen([Server.binary, "serve", "--model", kit.MODEL], env=kit.clean_env({}), stderr=subprocess.PIPE,
                         text=True)
    try:  # somebody else may have it here
        assert any("msg=listening port=8080" in x or "port 8080 is in use" in x for x in iter(p.stderr.readline, ""))
    finally:
        p.terminate()
        p.communicate()


@test(own=True)
def SM_20_72_73_connections_are_accepted_while_loading(_):
    with Server("--weights", "q6_k", wait=False) as s:
        seen = []
        while not seen or seen[-1][2] == 503:
            start = time.monotonic()
            with s.socket(10) as c:
                connected = time.monotonic() - start
                c.sendall(b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                got = kit.read_all(c)
            seen.append((connected, time.monotonic() - start, int(got.split(b" ")[1])))
            time.sleep(0.01)
        if len(seen) < 5:
            raise kit.Skip("the model loaded too fast")
        assert seen[-1][2] == 200 and max(x[0] for x in seen) < 0.25 * kit.SLOW, max(x[0] for x in seen)
        assert max(x[1] for x in seen) < 2 * kit.SLOW, max(x[1] for x in seen)


@test
def SM_70_71_80_health_routes_and_methods(s):
    for path in ("/ping", "/ping/", "/ping?x=1", "/health", "/v1/health", "/live"):
        for method in ("GET", "POST", "HEAD"):
            a = s.request(method, path, b"ignored" if method == "POST" else None)
            assert (a.status, a.body, a.headers["Content-Length"]) == (200, b"", "0"), (path, method)


@test
def SM_72_ping_is_fast_under_load(s):
    slowest = kit.slowest_while_busy(s, "/ping")
    assert slowest < 1 * kit.SLOW, slowest


@test(own=True)
def SM_5_drain_lets_a_running_stream_finish(_):
    with Server("--drain-seconds", int(25 * kit.SLOW)) as s, s.socket(60) as c:
        c.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 60, "stream": True}))
        head = kit.read_until(c, b"data: ")
        s.signal()
        s.wait_log("draining", 5)
        a = s.request("GET", "/ping")
        assert a.status == 503 and a.json == {"status": "draining"}, a.body
        b = s.post({"inputs": "x"})
        assert b.status == 503 and b.headers["Connection"] == "close" and b.headers["Retry-After"] == "1"
        body = head + kit.read_all(c)
        assert b'"finish_reason":"length"' in body and body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), body[-300:]
        assert s.wait_exit() == 0, s.log()


@test(own=True)
def SM_5_123_drain_cuts_what_takes_too_long(_):
    with Server("--drain-seconds", "1", "--max-context", "4096") as s:
        body = {**kit.LONG, "max_tokens": 3500}
        unary = {}
        t = threading.Thread(target=lambda: unary.update(a=s.post(body)))
        t.start()
        with s.socket(60) as c, s.socket(60) as d:
            c.sendall(kit.post_bytes({**body, "stream": True}))
            d.sendall(kit.post_bytes({"inputs": "Count:", "stream": True, "parameters": {
                "max_new_tokens": 3500, "do_sample": True, "seed": 3}}))
            head = kit.read_until(c, b"data: ")
            kit.read_until(d, b"data: ")
            start = time.monotonic()
            s.signal()
            openai = head + kit.read_all(c)
            tgi = kit.read_all(d)
            t.join()
            assert s.wait_exit() == 0, s.log()
            assert time.monotonic() - start < 6 * kit.SLOW
        events = kit.parse_sse(dechunk(openai))
        assert events[-1] == "[DONE]" and events[-2]["error"]["code"] == 503, events[-2:]
        if b'"error_type":"generation"' not in tgi:  # it may have ended by itself before
            assert b'"generated_text":"' in tgi, tgi[-500:]
        assert unary["a"].status == 503, unary["a"].body


def dechunk(data):
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"chunked" in head.lower(), head
    out = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        n = int(size, 16)
        out += rest[:n]
        if n == 0:
            return out
        rest = rest[n + 2:]
    raise AssertionError("no last chunk")


@test(own=True)
def SM_5_second_signal_ends_at_once(_):
    for sig, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        with Server("--max-context", "4096") as s, s.socket(60) as c:
            c.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 3500, "stream": True}))
            kit.read_until(c, b"data: ")
            s.signal(signal.SIGINT)
            s.wait_log("draining", 5)
            start = time.monotonic()
            s.signal(sig)
            assert s.wait_exit() == code, s.log()
            assert time.monotonic() - start < 6 * kit.SLOW


@test(own=True)
def SM_94_profile_of_inputs_from_the_environment(_):
    cases = (({}, list), ({"OPTION_DTYPE": "fp16"}, dict), ({"SM_NUM_GPUS": "1"}, list),
             ({"OPTION_TGI_COMPAT": "true"}, list), ({"ENDPOINT_SERVER_TIMEOUT": "3600"}, dict))
    for env, kind in cases:
        with Server(env=env) as s:
            a = s.post({"inputs": "x", "parameters": {"max_new_tokens": 2}})
            assert a.status == 200 and isinstance(a.json, kind), (env, a.body)
            s.signal()
            s.wait_exit()


@test(own=True)
def SM_173_174_log_lines_without_content(_):
    with Server() as s:
        s.post({"inputs": "canary-prompt", "parameters": {"max_new_tokens": 3}},
               headers={"X-Amzn-SageMaker-Inference-Id": "id-7"})
        line = s.wait_log(r".*area=request.*id=id-7.*", 5)[0]
        for field in ("dialect=tgi", "status=200", "tokens_in=", "tokens_out=3", "queue_ms=", "ttft_ms=",
                      "total_ms=", "finish=length"):
            assert field in line, line
        assert "canary" not in s.log()
        assert "/ping" not in s.log()
