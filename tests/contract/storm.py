"""Many connections at once: raw HTTP on asyncio, and probes that run in processes of their own.

What a probe measures includes how long threads wait for a processor on a machine that others use
too. So a second probe asks a server that does nothing, at the same time in the same way: what that
takes is the machine's part, and is reported beside the figures of the real one.
"""
import asyncio
import json
import multiprocessing
import pathlib
import re
import resource
import socket
import threading
import time

import kit


class Reply:
    """One answer. outcome: "whole", or what was wrong with it."""

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.body = b""
        self.outcome = "nothing came"
        self.seconds = 0.0


def open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def read_head(reader, reply):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    reply.status = int(head[0].split(" ")[1])
    reply.headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in head[1:] if x)}


async def read_body(reader, reply):
    if reply.headers.get("transfer-encoding") == "chunked":
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            reply.body += (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                return
    reply.body = await reader.readexactly(int(reply.headers["content-length"]))


async def ask(port, data, on_open=None):
    """Sends one request on a connection of its own; on_open(reply) once the head is there."""
    reply = Reply()
    start = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    except OSError as e:
        reply.outcome = f"no connection: {e}"
        return reply
    try:
        # Who waits for an answer already gets one that came before the request had gone.
        head = asyncio.ensure_future(read_head(reader, reply))
        await asyncio.sleep(0)
        writer.write(data)
        await head
        if on_open:
            on_open(reply)
        await read_body(reader, reply)
        reply.outcome = "whole"
    except (OSError, asyncio.IncompleteReadError) as e:
        reply.outcome = f"cut after {len(reply.body)} bytes: {type(e).__name__}"
    finally:
        reply.seconds = time.monotonic() - start
        writer.close()
    return reply


# ---- what a request is and how its answer has to end ---------------------------------------

def requests(tokens, stream):
    """[(dialect, body)] with about so many tokens; a chat, whose prompt is long, among short ones."""
    more = {"stream": True} if stream else {}
    chat = {**kit.chat("Hi"), "max_tokens": tokens, **more}
    text = {"prompt": "One two", "max_tokens": tokens, "ignore_eos": True, **more}
    inputs = {"inputs": "One two", "parameters": {"max_new_tokens": tokens}, **more}
    return [("text", text), ("tgi", inputs), ("text", text), ("tgi", inputs), ("chat", chat)]


def ending(dialect, streamed, body):
    """"done" for a complete answer, "error" for its dialect's error form, else what is wrong."""
    if not streamed:
        value = json.loads(body)
        if isinstance(value, dict) and value.get("error"):
            return "error"
        return "done" if dialect == "tgi" or value["choices"][0]["finish_reason"] else f"no finish: {body[-200:]}"
    events = kit.parse_sse(body)
    if dialect == "tgi":
        last = events[-1]
        if last.get("error"):
            return "error" if last.get("error_type") else f"an error without its type: {last}"
        return "done" if last.get("generated_text") is not None else f"no last event: {last}"
    if events[-1] != "[DONE]":
        return f"no [DONE]: {body[-200:]}"
    last = [e for e in events[:-1] if e.get("choices") or e.get("error")][-1]
    if last.get("error"):
        return "error"
    return "done" if last["choices"][0]["finish_reason"] else f"no finish_reason: {last}"


def verdict(dialect, streamed, reply):
    """done, error, refused (429 or 503 with Retry-After) or a description of what is wrong."""
    if reply.outcome != "whole":
        return reply.outcome
    if reply.status == 200:
        return ending(dialect, streamed, reply.body)
    if reply.status not in (429, 503):
        return f"status {reply.status}: {reply.body[:200]}"
    if not reply.headers.get("retry-after", "").isdigit():
        return f"{reply.status} without Retry-After"
    return "refused" if json.loads(reply.body).get("error") else f"{reply.status} without a reason"


# ---- probes --------------------------------------------------------------------------------

def idle_server(pipe):
    """Answers whatever comes as /ping would, on a thread a connection, and does nothing else."""
    def answer(c):
        with c:
            c.recv(4096)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    with socket.create_server(("127.0.0.1", 0)) as s:
        pipe.send(s.getsockname()[1])
        while True:
            threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()


def probe(port, stop, pipe, period):
    """GET /ping on new connections until stop is set; sends [(seconds, status or 0)]."""
    out = []
    while not stop.is_set():
        start = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as c:
                c.sendall(b"GET /ping HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
                got = kit.read_all(c)
            status = int(got.split(b" ", 2)[1]) if got else 0
        except OSError:
            status = 0
        took = time.monotonic() - start
        out.append((took, status))
        stop.wait(max(0.0, period - took))
    pipe.send(out)


def quantile(times, q):
    times = sorted(times)
    return times[min(len(times) - 1, int(q * len(times)))] if times else 0.0


class Probes:
    """Two processes that ask /ping and an idle server until the block ends; then .real, .idle."""

    def __init__(self, port, period=0.05):
        how = multiprocessing.get_context("fork")
        self.stop = how.Event()
        mine, theirs = how.Pipe()
        self.other = how.Process(target=idle_server, args=(theirs,), daemon=True)
        self.other.start()
        self.ends = []
        for p in (port, mine.recv()):
            here, there = how.Pipe()
            process = how.Process(target=probe, args=(p, self.stop, there, period), daemon=True)
            process.start()
            self.ends.append((process, here))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        (self.real, self.idle) = [pipe.recv() for _, pipe in self.ends]
        for process, _ in self.ends:
            process.join()
        self.other.terminate()
        self.other.join()

    def check(self, what, statuses=(200,)):
        """No probe failed and 99 of 100 took less than 50 ms; on a machine so busy that a server which
        does nothing takes 10 ms and more, less than five times that."""
        bad = [x for x in self.real if x[1] not in statuses]
        assert not bad, f"{what}: {len(bad)} of {len(self.real)} probes failed: {bad[:5]}"
        p99 = quantile([t for t, _ in self.real], 0.99)
        machine = quantile([t for t, _ in self.idle], 0.99)
        text = (f"{what}: {len(self.real)} probes, /ping p50 {quantile([t for t, _ in self.real], 0.5) * 1e3:.1f} ms, "
                f"p99 {p99 * 1e3:.1f} ms, slowest {max(t for t, _ in self.real) * 1e3:.1f} ms; "
                f"a server that does nothing: p99 {machine * 1e3:.1f} ms")
        print("         " + text, flush=True)
        assert p99 < max(0.05 * kit.SLOW, 5 * machine), text


def resident(pid):
    """Bytes of a process in memory."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) << 10
