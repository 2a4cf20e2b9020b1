"""What contract tests share: a server process, requests over plain sockets, event streams.

Standard library only. A test is a function in a t_*.py file, marked with @test; its name begins
with the numbers of the requirements it covers. It gets a running Server, or None with
@test(own=True), and then starts what it needs.
"""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = os.environ.get("HD_TEST_MODEL", "")
# Sanitizers and busy machines: every limit of the tests is multiplied by this.
SLOW = float(os.environ.get("HD_TEST_SLOW", "1"))
TESTS = []


class Skip(Exception):
    pass


def test(fn=None, *, own=False):
    def mark(f):
        TESTS.append((f.__module__[2:] + "." + f.__name__, f, own))
        return f
    return mark(fn) if fn else mark


def shared(relative):
    root = pathlib.Path(os.environ.get("HD_SHARED", str(ROOT / ".." / "shared")))
    path = root / "data" / relative
    if not path.exists():
        raise Skip(f"{path} is not here")
    return path


def sanitized():
    """A build whose memory is not what it will be: freed blocks are kept for a while."""
    binary = pathlib.Path(Server.binary).read_bytes()
    return b"__asan_init" in binary or b"__tsan_init" in binary


def clean_env(extra):
    """The caller's variables without those that change what a server does."""
    prefixes = ("HADAL_", "SAGEMAKER_", "OPTION_", "SERVING_", "SM_", "MAX_", "ENDPOINT_", "MESSAGES_",
                "HF_", "API_KEY", "LOG_LEVEL", "JSON_OUTPUT", "PORT", "MODEL_ID", "OMP_", "OPENBLAS_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    env.update(extra)
    return env


class Server:
    binary = None

    def __init__(self, *args, model=None, env=None, wait=True, command=("serve",)):
        self.log_file = tempfile.NamedTemporaryFile(prefix="hadal-contract-", suffix=".log")
        path = [] if model is False else ["--model", str(model or MODEL)]  # False: the environment says
        line = [self.binary, *command, "--port", "0", *path, *map(str, args)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(line, stdout=self.log_file, stderr=subprocess.STDOUT,
                                        env=clean_env(env or {}))
        self.port = None
        try:
            self.port = int(self.wait_log(r"listening\W+port\D+(\d+)", 10)[1])
            if wait:
                self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(errors="replace")

    def wait_log(self, pattern, seconds, after=0):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            text = self.log()[after:]
            found = re.search(pattern, text)
            if found:
                return found
            if self.process.poll() is not None and not re.search(pattern, self.log()[after:]):
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{text}")
            time.sleep(0.01)
        raise AssertionError(f"no {pattern!r} in the log within {seconds} s:\n{self.log()[-2000:]}")

    def wait_ready(self, seconds=120):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            if self.request("GET", "/ping").status == 200:
                return
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log()}")
            time.sleep(0.02)
        raise AssertionError("not ready")

    def signal(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)

    def wait_exit(self, seconds=40):
        return self.process.wait(seconds * SLOW)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log_file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    # ---- requests --------------------------------------------------------------------------

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * SLOW)

    def request(self, method, path, body=None, headers=None):
        c = self.connect()
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body).encode()
                headers = {"Content-Type": "application/json", **(headers or {})}
            c.request(method, path, body, headers or {})
            return Answer(c.getresponse())
        finally:
            c.close()

    def post(self, body, path="/invocations", headers=None):
        return self.request("POST", path, body, headers)

    def events(self, body, path="/invocations", headers=None):
        """Whole SSE answer: list of parsed events; the string '[DONE]' stands for itself."""
        a = self.post(body, path, headers)
        assert a.status == 200, (a.status, a.body)
        assert a.headers["Content-Type"].startswith("text/event-stream"), a.headers
        return parse_sse(a.body)

    def metrics(self):
        """{series with labels: value} of /metrics."""
        a = self.request("GET", "/metrics")
        assert a.status == 200, a.body
        return {k: float(v) for k, v in re.findall(r"^([^#\n]*) (\S+)$", a.body.decode(), re.M)}

    def metric(self, name, **labels):
        """Sum of the series of one name that have these labels."""
        want = [f'{k}="{v}"' for k, v in labels.items()]
        found = [v for k, v in self.metrics().items()
                 if k.partition("{")[0] == name and all(w in k for w in want)]
        assert found or labels, name
        return sum(found)

    def raw(self, data, timeout=10):
        """Sends bytes, reads until the server closes."""
        with self.socket(timeout) as s:
            s.sendall(data)
            return read_all(s)

    def socket(self, timeout=10):
        return socket.create_connection(("127.0.0.1", self.port), timeout * SLOW)


class Answer:
    def __init__(self, r):
        self.status = r.status
        self.headers = r.headers
        self.body = r.read()

    @property
    def json(self):
        return json.loads(self.body)


def read_all(s):
    out = b""
    while True:
        try:
            part = s.recv(65536)
        except ConnectionResetError:
            return out
        if not part:
            return out
        out += part


def parse_sse(data):
    text = data.decode("utf-8")
    assert text.endswith("\n\n"), text[-80:]
    events = []
    for block in text[:-2].split("\n\n"):
        if block.startswith(":"):
            continue
        assert block.startswith("data: ") and "\n" not in block, block
        payload = block[6:]
        events.append(payload if payload == "[DONE]" else json.loads(payload))
    return events


def post_bytes(body, path="/invocations", extra=""):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def read_until(s, token, limit=60):
    out = b""
    end = time.monotonic() + limit * SLOW
    while token not in out:
        assert time.monotonic() < end, out
        part = s.recv(4096)
        assert part, out
        out += part
    return out


def wait_for(condition, seconds):
    end = time.monotonic() + seconds * SLOW
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def parallel(n, fn):
    """Runs fn(i) on n threads; returns their results in order; raises the first failure."""
    out = [None] * n
    bad = []

    def run(i):
        try:
            out[i] = fn(i)
        except BaseException as e:
            bad.append(e)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if bad:
        raise bad[0]
    return out


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


LONG = {"prompt": "Count: one, two, three,", "max_tokens": 2000, "ignore_eos": True, "temperature": 1}


def slowest_while_busy(s, path):
    """Seconds of the slowest GET of path while eight generations run."""
    done = threading.Event()
    slowest = 0.0
    worker = threading.Thread(target=lambda: (parallel(8, lambda i: s.post(
        {"prompt": f"{i} " * 40, "max_tokens": 12})), done.set()))
    worker.start()
    while not done.is_set():
        t = time.monotonic()
        assert s.request("GET", path).status == 200
        slowest = max(slowest, time.monotonic() - t)
        time.sleep(0.05)
    worker.join()
    return slowest
