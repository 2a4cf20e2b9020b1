#!/usr/bin/env python3
"""A SageMaker endpoint on this machine: the runtime API in front of one running container.

Usage: gateway.py [--container HOST:PORT] [--port N] [--store DIR] [--parts asis|random|whole]

Clients talk to it as to AWS (boto3: endpoint_url=http://localhost:8081 and any credentials; nothing
is signed or checked). It keeps the platform's habits: which headers pass in each direction, sizes,
time limits, errors as ModelError, streams as event-stream messages cut anywhere, asynchronous
requests through files (s3://BUCKET/KEY is DIR/BUCKET/KEY). Standard library only.
"""
import argparse
import http.client
import http.server
import json
import pathlib
import random
import socket
import sys
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import eventstream  # noqa: E402

PREFIX = "X-Amzn-SageMaker-"
TO_CONTAINER = [PREFIX + n for n in (
    "Custom-Attributes", "Target-Model", "Target-Variant", "Target-Container-Hostname", "Inference-Id",
    "Enable-Explanations", "Inference-Component", "Session-Id", "Prefix-Aware-Id")]
TO_CALLER = [PREFIX + n for n in ("Custom-Attributes", "New-Session-Id", "Closed-Session-Id")]
MAX_BODY = 25_000_000
MAX_INLINE = 128_000


class Refused(Exception):
    """An answer of the platform itself."""

    def __init__(self, status, kind, message, **more):
        super().__init__(message)
        self.status, self.kind, self.body = status, kind, {"Message": message, **more}


def model_error(status, text):
    words = "client" if 400 <= status < 500 else "server"
    return Refused(424, "ModelError", f'Received {words} error ({status}) from primary with message "{text}". See '
                   "the log of the endpoint in this account for more information.", OriginalStatusCode=status,
                   OriginalMessage=text[:2048], LogStreamArn="arn:aws:logs:local:0:log-group:/aws/sagemaker/Endpoints/local")


class Container:
    """Requests to the container, under the platform's time limits."""

    def __init__(self, host, port, sync_seconds=60, stream_seconds=480):
        self.host, self.port = host, port
        self.sync_seconds, self.stream_seconds = sync_seconds, stream_seconds

    def open(self, method, path, body, headers, seconds):
        c = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        try:
            c.request(method, path, body, headers)
            return c, c.getresponse()
        except (socket.timeout, http.client.RemoteDisconnected, ConnectionResetError) as e:
            c.close()
            raise model_error(0, "Your invocation timed out while waiting for a response from container primary. "
                              "Review the latency metrics for each container in Amazon CloudWatch, resolve the "
                              "issue, and try again.") from e
        except OSError as e:
            c.close()
            raise Refused(503, "ServiceUnavailable", f"the container cannot be reached: {e}") from e

    def whole(self, path, body, headers, seconds):
        c, r = self.open("POST", path, body, headers, seconds)
        try:
            data = r.read()
        except (OSError, http.client.HTTPException) as e:
            raise model_error(0, "the answer ended before it was complete") from e
        finally:
            c.close()
        if r.status >= 400:
            raise model_error(r.status, data.decode(errors="replace"))
        return r, data

    def health(self):
        """One probe: (status, seconds to connect, seconds to answer)."""
        start = time.monotonic()
        c = http.client.HTTPConnection(self.host, self.port, timeout=2)
        c.connect()
        connected = time.monotonic()
        c.request("GET", "/ping")
        r = c.getresponse()
        r.read()
        c.close()
        return r.status, connected - start, time.monotonic() - start


def cut(data, how, rng):
    """How the router may pack bytes into parts."""
    if how != "random":
        return [data]
    out = []
    while data:
        n = rng.randint(1, min(len(data), 40))
        out.append(data[:n])
        data = data[n:]
    return out


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    # ---- helpers ---------------------------------------------------------------------------

    def reply(self, status, headers, body):
        self.send_response(status)
        for k, v in {"x-amzn-RequestId": str(uuid.uuid4()), **headers}.items():
            if v is not None:
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def headers_in(self, api, accept=None):
        out = {"X-Amzn-SageMaker-Forwarded-Api": api} if api else {}
        accept = accept or self.headers.get("Accept")
        for name, value in (("Content-Type", self.headers.get("Content-Type")), ("Accept", accept)):
            if value:
                out[name] = value
        for name in TO_CONTAINER:
            if self.headers.get(name):
                out[name] = self.headers[name]
        return out

    @staticmethod
    def headers_out(r, typed="Content-Type"):
        out = {n: r.getheader(n) for n in TO_CALLER if r.getheader(n)}
        out["x-Amzn-Invoked-Production-Variant"] = "AllTraffic"
        out[typed] = r.getheader("Content-Type")
        return out

    def body(self, limit):
        data = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    break
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if len(data) > limit:
            raise Refused(400, "ValidationError", f"the body has {len(data)} bytes, at most {limit} are allowed")
        return data

    # ---- routes ----------------------------------------------------------------------------

    def do_POST(self):
        try:
            path = self.path.partition("?")[0].split("/")
            if len(path) < 4 or path[1] != "endpoints":
                raise Refused(404, "UnknownOperationException", "no such operation")
            if path[3] == "inference-components":
                path[3:5] = []
            route = "/".join(path[3:])
            known = {"invocations": self.invoke, "invocations-response-stream": self.stream,
                     "async-invocations": self.later, "openai/v1/chat/completions": self.openai}
            if route not in known:
                raise Refused(404, "UnknownOperationException", "no such operation")
            known[route]()
        except Refused as e:
            self.reply(e.status, {"Content-Type": "application/json", "x-amzn-errortype": e.kind},
                       json.dumps(e.body).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def invoke(self):
        s = self.server
        body = self.body(MAX_BODY)
        r, data = s.container.whole("/invocations", body, self.headers_in("InvokeEndpoint"),
                                    s.container.sync_seconds)
        self.reply(200, self.headers_out(r), data)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self):
        s = self.server
        if self.headers.get(PREFIX + "Session-Id") == "NEW_SESSION":
            raise Refused(400, "ValidationError", "a session cannot be created by this operation")
        start = time.monotonic()
        limit = s.container.stream_seconds
        accept = self.headers.get(PREFIX + "Accept")
        headers = self.headers_in("InvokeEndpointWithResponseStream", accept)
        c, r = s.container.open("POST", "/invocations", self.body(MAX_BODY), headers, limit)
        if r.status >= 400:
            data = r.read().decode(errors="replace")
            c.close()
            raise model_error(r.status, data)
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        for k, v in self.headers_out(r, PREFIX + "Content-Type").items():
            self.send_header(k, v or "")
        self.end_headers()
        error = None
        held = b""
        while True:
            try:
                data = r.read1(65536)
            except socket.timeout:
                data, error = b"", "ModelInvocationTimeExceeded"
            except (OSError, http.client.HTTPException):
                data, error = b"", "StreamBroken"
            if time.monotonic() - start > limit:
                data, error = b"", "ModelInvocationTimeExceeded"
            held += data
            if held and (s.parts != "whole" or not data):
                for p in cut(held, s.parts, s.random):
                    self.chunk(eventstream.part(p))
                held = b""
            if not data:
                break
        c.close()
        if error:
            self.chunk(eventstream.exception("ModelStreamError", json.dumps(
                {"Message": "the stream of the container ended early", "ErrorCode": error}).encode()))
        self.chunk(b"")

    def openai(self):
        s = self.server
        c, r = s.container.open("POST", "/v1/chat/completions", self.body(MAX_BODY), self.headers_in(None),
                                s.container.stream_seconds)
        if "chunked" not in (r.getheader("Transfer-Encoding") or ""):
            self.reply(r.status, {"Content-Type": r.getheader("Content-Type")}, r.read())
            c.close()
            return
        self.send_response(r.status)
        self.send_header("Content-Type", r.getheader("Content-Type"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            data = r.read1(65536)
            self.chunk(data)
            if not data:
                break
        c.close()

    # ---- asynchronous ----------------------------------------------------------------------

    def later(self):
        s = self.server
        if not s.store:
            raise Refused(400, "ValidationError", "start the gateway with --store for asynchronous requests")
        body = self.body(MAX_INLINE)
        where = self.headers.get(PREFIX + "InputLocation")
        ident = self.headers.get(PREFIX + "Inference-Id") or str(uuid.uuid4())
        if bool(where) == bool(body):
            raise Refused(400, "ValidationError", "exactly one of InputLocation and a body is needed")
        headers = self.headers_in(None, self.headers.get(PREFIX + "Accept"))
        headers["Content-Type"] = self.headers.get(PREFIX + "Content-Type") or "application/octet-stream"
        headers[PREFIX + "Inference-Id"] = ident
        seconds = int(self.headers.get(PREFIX + "InvocationTimeoutSeconds") or 900)
        out, bad = f"s3://async/output/{ident}.out", f"s3://async/failures/{ident}-error.out"
        if where:
            body = s.path(where).read_bytes()
        threading.Thread(target=s.run_later, args=(body, headers, seconds, out, bad), daemon=True).start()
        self.reply(202, {"Content-Type": "application/json", PREFIX + "OutputLocation": out,
                         PREFIX + "FailureLocation": bad}, json.dumps({"InferenceId": ident}).encode())


class Gateway(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, container, port=0, store=None, parts="asis", seed=1):
        super().__init__(("127.0.0.1", port), Handler)
        self.container, self.parts = container, parts
        self.store = pathlib.Path(store) if store else None
        self.random = random.Random(seed)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may leave
            super().handle_error(request, address)

    def path(self, location):
        bucket, _, key = location.removeprefix("s3://").partition("/")
        path = (self.store / bucket / key).resolve()
        if self.store.resolve() not in path.parents:
            raise Refused(400, "ValidationError", "a location outside the store")
        return path

    def run_later(self, body, headers, seconds, out, bad):
        try:
            r, data = self.container.whole("/invocations", body, headers, seconds)
            if r.getheader("Content-Length") is None:
                raise model_error(r.status, "the response did not specify the required Content-Length header")
            where = out
        except Refused as e:
            data, where = json.dumps(e.body).encode(), bad
        path = self.path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.rename(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def transform(container, inputs, folder, split="None", strategy="MultiRecord", assemble="None",
              content_type="application/json", accept=None, payload_mb=6, retries=3):
    """A batch transform job over local files; writes NAME.out for each. Returns names of failed inputs."""
    failed = []
    for path in map(pathlib.Path, inputs):
        data = path.read_bytes()
        records = [x for x in data.splitlines(keepends=True) if x.strip()] if split == "Line" else [data]
        bodies = []
        for x in records:
            join = strategy == "MultiRecord" and bodies and len(bodies[-1]) + len(x) <= payload_mb << 20
            if join:
                bodies[-1] += x
            else:
                bodies.append(x)
        headers = {"Content-Type": content_type, **({"Accept": accept} if accept else {})}
        out = []
        for body in bodies:
            for attempt in range(retries + 1):
                try:
                    out.append(container.whole("/invocations", body, headers, 600)[1])
                    break
                except Refused:
                    if attempt == retries:
                        failed.append(path.name)
        if path.name not in failed:
            gap = b"\n" if assemble == "Line" else b""
            pathlib.Path(folder, path.name + ".out").write_bytes(gap.join(out) + (gap if out else b""))
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--container", default="127.0.0.1:8080")
    p.add_argument("--port", type=int, default=8081)
    p.add_argument("--store")
    p.add_argument("--parts", choices=("asis", "random", "whole"), default="asis")
    a = p.parse_args()
    host, _, port = a.container.rpartition(":")
    with Gateway(Container(host, int(port)), a.port, a.store, a.parts) as g:
        print(f"endpoint_url={g.url}", flush=True)
        try:
            g.thread.join()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
