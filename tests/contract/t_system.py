"""The process and its surroundings: users, limits, files, sockets, time."""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import kit
from kit import Server, test

ONE = {"prompt": "a", "max_tokens": 1}
CLIENT = """
import fcntl, http.client, json, os, re, signal, socket, struct, subprocess, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # the loopback of a new network is down
fcntl.ioctl(s, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))
p = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
port = next(int(m[1]) for m in (re.search(r"msg=listening port=(\\d+)", x) for x in p.stderr) if m)
def ask(method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, body)
    r = c.getresponse()
    return r.status, r.read()
while ask("GET", "/ping")[0] != 200:
    time.sleep(0.05)
assert ask("POST", "/invocations", json.dumps({"prompt": "a", "max_tokens": 1}))[0] == 200
p.terminate()
p.communicate()
sys.exit(p.returncode)
"""


def as_root():
    if os.geteuid() != 0:
        raise kit.Skip("needs root")


def namespaces(*flags):
    """unshare with these flags, where it is allowed."""
    if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode != 0:
        raise kit.Skip(f"unshare {' '.join(flags)} is not allowed here")
    return ["unshare", *flags]


def limited(*args, env=None, model=None, **how):
    """A server started with preexec_fn, user, ... of subprocess."""
    popen = subprocess.Popen
    subprocess.Popen = lambda *a, **k: popen(*a, **{**k, **how})
    try:
        return Server(*args, env=env, model=model)
    finally:
        subprocess.Popen = popen


def snapshot(*folders):
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for f in folders for p in pathlib.Path(f).rglob("*")}


@test(own=True)
def SM_3_as_process_1(_):
    as_root()
    line = [*namespaces("--pid", "--fork", "--kill-child"), Server.binary, "serve", "--port", "0", "--model", kit.MODEL]
    p = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=kit.clean_env({}))
    for x in p.stderr:
        if "msg=ready" in x:
            break
    child = pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()[0]
    status = pathlib.Path(f"/proc/{child}/status").read_text()
    assert re.search(r"NSpid:\s+\d+\s+1\n", status), status
    assert os.readlink(f"/proc/{child}/exe") == os.path.realpath(Server.binary)
    start = time.monotonic()
    os.kill(int(child), signal.SIGTERM)
    out = p.communicate()[0] or ""
    assert p.returncode == 0 and time.monotonic() - start < 30, (p.returncode, out)


@test(own=True)
def SM_6_7_60_143_any_user_and_nothing_written(_):
    as_root()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        binary = shutil.copy(Server.binary, folder)
        model = shutil.copy(kit.MODEL, folder) if os.path.isfile(kit.MODEL) else shutil.copytree(kit.MODEL, folder + "/m")
        for p in [folder, *map(str, pathlib.Path(folder).rglob("*"))]:
            os.chown(p, 4242, 4242)
            os.chmod(p, 0o555)
        before = snapshot(folder)
        ours, Server.binary = Server.binary, binary
        try:
            for user in (0, 12345):
                with limited(model=model, user=user, group=user, cwd="/") as s:
                    assert f"Uid:\t{user}\t" in pathlib.Path(f"/proc/{s.process.pid}/status").read_text()
                    assert s.post(ONE).status == 200
                    s.signal()
                    assert s.wait_exit() == 0
        finally:
            Server.binary = ours
        assert snapshot(folder) == before


@test(own=True)
def SM_7_read_only_root(_):
    as_root()
    script = 'mount -o remount,bind,ro / && ! touch /probe 2>/dev/null || exit 77; exec "$0" "$@"'
    run = [*namespaces("--mount"), "sh", "-c", script, sys.executable, "-c", CLIENT.replace("fcntl.ioctl", "#"),
           Server.binary, "serve", "--port", "0", "--model", kit.MODEL]
    p = subprocess.run(run, capture_output=True, text=True, timeout=60 * kit.SLOW, env=kit.clean_env({}))
    if p.returncode == 77:
        raise kit.Skip("the root cannot be mounted read-only here")
    assert p.returncode == 0, p.stderr


@test(own=True)
def SM_8_150_no_shared_memory_and_no_fixed_names(_):
    shm = pathlib.Path("/dev/shm")
    before = set(shm.iterdir()) if shm.exists() else set()
    with Server() as a, Server() as b:  # side by side, as in one network namespace
        for s in (a, b):
            assert s.post(ONE).status == 200
            body = b"\xef\xbb\xbf  \r\n" + json.dumps(ONE).encode() + b"\n"  # another container's output
            assert s.request("POST", "/invocations", body, {"Content-Type": "application/json; charset=utf-8"}).status == 200
            maps = pathlib.Path(f"/proc/{s.process.pid}/maps").read_text()
            assert "/dev/shm" not in maps
        mine = {p for p in (set(shm.iterdir()) if shm.exists() else set()) - before if "hadal" in p.name}
        assert not mine, mine
        unix = pathlib.Path("/proc/net/unix").read_text()
        assert "hadal" not in unix


@test(own=True)
def SM_9_low_limits(_):
    def limits():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    with limited(preexec_fn=limits) as s:
        assert "limit of open files" in s.log()
        assert all(x.status == 200 for x in kit.parallel(20, lambda i: s.post(ONE)))


@test(own=True)
def SM_10_threads_follow_the_affinity_mask(_):
    cpus = sorted(os.sched_getaffinity(0))
    with limited(preexec_fn=lambda: os.sched_setaffinity(0, cpus[:1])) as s:
        assert s.metric("hadal_threads") == 1
    with Server() as s:
        assert 1 <= s.metric("hadal_threads") <= len(cpus)


@test(own=True)
def SM_11_without_a_network(_):
    as_root()
    run = [*namespaces("--net"), sys.executable, "-c", CLIENT, Server.binary, "serve", "--port", "0", "--model", kit.MODEL]
    p = subprocess.run(run, capture_output=True, text=True, timeout=60 * kit.SLOW, env=kit.clean_env({}))
    assert p.returncode == 0, p.stderr


@test
def SM_12_any_host_name(s):
    for version, host in (("1.1", "Host: model.aws.local:8080\r\n"), ("1.1", "Host: 10.32.0.1\r\n"), ("1.0", ""),
                          ("1.1", "Host: \r\n"), ("1.1", "Host: [::1]:1\r\n")):
        a = s.raw(f"GET /ping HTTP/{version}\r\n{host}User-Agent: AHC/2.0\r\nConnection: close\r\n\r\n".encode())
        assert a.split(b" ", 2)[1] == b"200", (host, a)
    try:
        with socket.create_connection(("::1", s.port), 5) as c:
            c.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            assert b" 200 " in kit.read_all(c)
    except OSError:
        pass  # no IPv6 here


@test(own=True)
def SM_14_core_dumps_stay_possible(_):
    if kit.sanitized():
        raise kit.Skip("AddressSanitizer switches core dumps off itself")
    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)
    with limited(preexec_fn=limits) as s:
        want = resource.getrlimit(resource.RLIMIT_CORE)[1]
        line = re.search(r"Max core file size\s+(\S+)\s+(\S+)", pathlib.Path(f"/proc/{s.process.pid}/limits").read_text())
        assert line[1] == line[2] == ("unlimited" if want == resource.RLIM_INFINITY else str(want))


def sockets(pid):
    """Inodes of the sockets of a process."""
    found = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            m = re.match(r"socket:\[(\d+)\]", os.readlink(fd))
        except OSError:
            continue
        if m:
            found.add(m[1])
    return found


@test(own=True)
def SM_17_178_one_listener_and_no_call_outside(_):
    with Server() as s:
        s.post(ONE)
        mine = sockets(s.process.pid)
        rows = [line.split() for name in ("tcp", "tcp6", "udp", "udp6")
                for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
        rows = [r for r in rows if r[9] in mine]
        assert len([r for r in rows if r[3] == "0A"]) == 1, rows
        ports = {int(r[1].rpartition(":")[2], 16) for r in rows}
        assert ports == {s.port}, rows  # nothing but accepted connections besides


@test(own=True)
def SM_26_idle_connections_are_kept(_):
    with Server() as s:
        assert 'idle-seconds="90 (default)"' in s.log()
        c = s.connect()
        for _ in range(200):
            c.request("GET", "/ping")
            assert c.getresponse().read() == b""
        time.sleep(3)
        c.request("GET", "/ping")
        assert c.getresponse().status == 200
        c.close()


@test
def SM_28_malformed_heads_are_4xx_and_closed(s):
    heads = (b"GET\r\n\r\n", b"GET /ping\r\n\r\n", b"GET /ping HTTP/9.9\r\nHost: h\r\n\r\n", b"\x00\x01\x02\r\n\r\n",
             b"GET /ping HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
             b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n\r\nab",
             b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
             b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             b"POST /invocations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n",
             b"POST /invocations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
             b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /ping HTTP/1.1\r\n\r\n",
             b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
             b"GET /ping HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 200 + b"\r\n")
    for head in heads:
        with s.socket(15) as c:
            c.sendall(head)
            c.shutdown(socket.SHUT_WR)
            a = kit.read_all(c)
        status = int(a.split(b" ", 2)[1]) if a else 0
        assert status == 0 or 400 <= status < 600, (head[:60], a[:200])
        assert s.request("GET", "/ping").status == 200
    for extra in (b"\r\n\r\n", b""):  # pipelined, and with blank lines between
        a = s.raw(extra + b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\nGET /live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert a.count(b"HTTP/1.1 200") == 2, a
    with s.socket() as c:  # byte by byte
        for b in b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n":
            c.sendall(bytes([b]))
        assert b" 200 " in kit.read_all(c)


@test(own=True)
def SM_68_truncated_weights_are_named(_):
    if not os.path.isfile(kit.MODEL):
        raise kit.Skip("the model is a folder")
    with tempfile.TemporaryDirectory() as folder:
        short = pathlib.Path(folder, "short.gguf")
        with open(kit.MODEL, "rb") as f:
            short.write_bytes(f.read(os.path.getsize(kit.MODEL) * 3 // 4))
        p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", short], capture_output=True, text=True,
                           timeout=60 * kit.SLOW, env=kit.clean_env({}))
        last = p.stderr.splitlines()[-1]
        assert p.returncode == 65 and "short.gguf" in last and re.search(r"\d{6}", last), last


@test(own=True)
def SM_13_lingering_tells_the_reason(_):
    with Server(model="/nonexistent/model", env={"HADAL_FAIL_LINGER_SECONDS": "30"}, wait=False) as s:
        kit.wait_for(lambda: s.request("GET", "/ping").json["status"] == "failed", 10)
        a = s.request("GET", "/ping")
        assert a.status == 503 and "/nonexistent/model" in a.json["error"], a.body
        assert s.post(ONE).status == 503 and s.metric("hadal_ready") == 0
        s.signal()
        assert s.wait_exit(10) == 66
        lines = s.log().splitlines()
        assert "/nonexistent/model" in lines[-1] and sum("level=error" in x for x in lines) == 1


@test(own=True)
def SM_74_ping_says_200_or_503_and_nothing_else(_):
    seen = set()
    with Server("--drain-seconds", "2", "--max-context", "4096", wait=False) as s:
        stop = threading.Event()

        def probe():
            while not stop.is_set():
                try:
                    seen.add(s.request("GET", "/ping").status)
                except OSError:
                    return
        t = threading.Thread(target=probe)
        t.start()
        s.wait_ready()
        with s.socket(60) as c:
            c.sendall(kit.post_bytes({**kit.LONG, "stream": True}))
            kit.read_until(c, b"data: ")
            s.signal()
            s.wait_exit()
        stop.set()
        t.join()
    assert seen <= {200, 503} and 200 in seen, seen


@test(own=True)
def SM_76_the_first_request_pays_nothing(_):
    with Server() as s:
        times = []
        for _ in range(10):
            t = time.monotonic()
            s.post({"prompt": "One two three", "max_tokens": 4, "ignore_eos": True})
            times.append(time.monotonic() - t)
        assert times[0] < 2 * sorted(times[1:])[4] + 0.1 * kit.SLOW, times


@test(own=True)
def SM_78_stalls_are_unhealthy_and_load_is_not(_):
    args = ("--stall-seconds", "1", "--max-step-tokens", "8192", "--max-context", "8192", "--max-queue", "200")
    with Server(*args) as s:
        t = threading.Thread(target=lambda: s.post({"prompt": "a " * 3900, "max_tokens": 1}))
        start = time.monotonic()
        t.start()  # a prompt in one step, which takes seconds
        seen = []
        while t.is_alive():
            seen.append((time.monotonic() - start, s.request("GET", "/ping").status))
            time.sleep(0.05)
        t.join()
        sick = [x for x, status in seen if status != 200]
        if not sick:
            raise kit.Skip("the step was too short to be a stall here")
        # Stuck for a second, and found so by two checks, half a second apart.
        assert {status for _, status in seen} == {200, 503} and sick[0] >= 1.45, sick[0]
        kit.wait_for(lambda: s.request("GET", "/ping").status == 200, 5)
        results = []
        flood = threading.Thread(target=lambda: results.extend(kit.parallel(40, lambda i: s.post(
            {"prompt": "a", "max_tokens": 2}).status)))
        flood.start()
        while flood.is_alive():
            assert s.request("GET", "/ping").status == 200
        assert set(results) == {200}


@test(own=True)
def SM_88_details_give_way_to_size(_):
    body = {"prompt": "a " * 100, "max_tokens": 5, "ignore_eos": True, "echo": True, "logprobs": 20, "temperature": 0}
    with Server("--deterministic") as s:
        full = s.post(body)
    with Server("--deterministic", "--max-answer-bytes", "20K") as s:
        a = s.post(body)
        assert len(full.body) > 30_000 and len(a.body) <= 20 << 10, (len(full.body), len(a.body))
        one, two = full.json["choices"][0], a.json["choices"][0]
        assert one["text"] == two["text"] and 20 < len(two["logprobs"]["tokens"]) < len(one["logprobs"]["tokens"])
        assert "details of tokens left out" in s.log()


@test(own=True)
def SM_127_no_queueing_past_the_deadline(_):
    env = {"HADAL_DEADLINE_SYNC_S": "1"}
    with Server("--max-seqs", "1", "--max-context", "4096", env=env) as s:
        s.post({**kit.LONG, "max_tokens": 600})
        took = s.metric("vllm:request_inference_time_seconds_sum")
        if took < 1.2:
            raise kit.Skip(f"the model is too fast here: {took} s")
        long = kit.post_bytes({**kit.LONG, "max_tokens": 3000, "stream": True})
        with s.socket(60) as one, s.socket(60) as two:
            one.sendall(long)
            kit.read_until(one, b"data: ")
            two.sendall(long)
            kit.wait_for(lambda: s.metric("vllm:num_requests_waiting") == 1, 10)
            a = s.post(ONE, headers={"X-Amzn-SageMaker-Forwarded-Api": "InvokeEndpoint"})
            assert a.status == 429 and a.headers["Retry-After"] == "1", a.body


@test(own=True)
def SM_133_183_killed_and_started_again(_):
    for _ in range(3):
        start = time.monotonic()
        with Server() as s:
            assert time.monotonic() - start < 30 * kit.SLOW
            assert s.post(ONE).status == 200
            s.process.kill()
            s.process.wait()


@test(own=True)
def SM_78_144_a_jump_of_time_is_no_stall(_):
    with Server("--stall-seconds", "1", "--max-context", "8192") as s, s.socket(60) as c:
        c.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 6000, "stream": True}))
        kit.read_until(c, b"data: ")
        for _ in range(3):
            s.signal(signal.SIGSTOP)
            time.sleep(2)
            s.signal(signal.SIGCONT)
            end = time.monotonic() + 1
            while time.monotonic() < end:
                assert s.request("GET", "/ping").status == 200
                time.sleep(0.02)


@test(own=True)
def SM_144_frozen_for_a_while(_):
    with Server("--stall-seconds", "2") as s:
        c = s.connect()
        c.request("GET", "/ping")
        c.getresponse().read()
        s.signal(signal.SIGSTOP)
        time.sleep(4)
        s.signal(signal.SIGCONT)
        kit.wait_for(lambda: s.request("GET", "/ping").status == 200, 5)
        assert s.post(ONE).status == 200
        c.request("GET", "/ping")
        assert c.getresponse().status == 200
        c.close()


@test(own=True)
def SM_145_too_little_memory_is_an_error_before_it_is_taken(_):
    p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", kit.MODEL, "--memory", "20M"],
                       capture_output=True, text=True, timeout=60 * kit.SLOW, env=kit.clean_env({}))
    last = p.stderr.splitlines()[-1]
    assert p.returncode not in (0, -9, 137) and "level=error" in last and "memory" in last, (p.returncode, last)


@test(own=True)
def SM_173_first_line_at_once_and_one_event_a_line(_):
    start = time.monotonic()
    p = subprocess.Popen([Server.binary, "serve", "--port", "0", "--model", kit.MODEL], stderr=subprocess.PIPE, text=True,
                         env=kit.clean_env({}))
    first = p.stderr.readline()
    took = time.monotonic() - start
    p.terminate()
    rest = p.communicate()[1].splitlines()
    assert "hadal" in first and took < 0.5 * kit.SLOW, (first, took)
    assert all(re.match(r"ts=\S+ level=(debug|info|warn|error) area=\S+ msg=", x) for x in [first, *rest]), rest


@test(own=True)
def SM_174_json_logs(_):
    with Server(env={"JSON_OUTPUT": "true"}) as s:
        s.post({"prompt": "canary", "max_tokens": 2}, headers={"X-Amzn-SageMaker-Inference-Id": "id-9"})
        kit.wait_for(lambda: "id-9" in s.log(), 5)
        lines = s.log().splitlines()
        lines = [json.loads(x) for x in lines if x.startswith("{")]
        line, = [x for x in lines if x.get("id") == "id-9"]
        assert line["dialect"] == "openai_completions" and line["status"] == 200 and line["tokens_out"] == 2
        assert "canary" not in s.log()
    with Server("--log-content") as s:
        s.post({"prompt": "canary", "max_tokens": 2})
        kit.wait_for(lambda: "canary" in s.log(), 5)


@test(own=True)
def SM_182_old_and_new_side_by_side(_):
    body = {"prompt": "One two", "max_tokens": 4, "temperature": 0}
    with Server("--deterministic") as a:
        with Server("--deterministic") as b:
            assert a.post(body).json["choices"] == b.post(body).json["choices"]
            a.signal()
            assert a.wait_exit() == 0 and b.post(body).status == 200


@test(own=True)
def SM_66_185_requests_leave_no_files(_):
    with tempfile.TemporaryDirectory() as folder:
        with limited(env={"TMPDIR": folder, "HOME": folder}, cwd=folder) as s:
            for body in (ONE, {"inputs": "a", "parameters": {"max_new_tokens": 1}}, {**kit.chat("a"), "max_tokens": 1}):
                assert s.post(body).status == 200
            s.events({**ONE, "stream": True})
            assert os.listdir(folder) == []
            writable = []
            for fd in pathlib.Path(f"/proc/{s.process.pid}/fdinfo").iterdir():
                target = os.readlink(f"/proc/{s.process.pid}/fd/{fd.name}")
                flags = int(re.search(r"flags:\s+(\d+)", fd.read_text())[1], 8)
                if target.startswith("/") and not target.startswith(("/dev/", "/tmp/hadal-contract-")) and flags & 3:
                    writable.append(target)
            assert not writable, writable


@test(own=True)
def SM_186_a_kubernetes_setup(_):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = kit.clean_env({"HADAL_PORT": str(port), "HADAL_MODEL": kit.MODEL})
    p = subprocess.Popen([Server.binary], env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert any(f"port={port}" in x for x in iter(p.stderr.readline, "") if "msg=listening" in x)
    finally:
        p.terminate()
        p.communicate()
    assert p.returncode == 0
