#!/usr/bin/env python3
"""Loads any server that speaks the OpenAI API and prints what its clients get. Standard library only.

Usage: bench_http.py HOST:PORT [--clients 1,4,16] [--requests N] [--prompt P] [--answer A]
                     [--intrude N] [--ids LOW,HIGH] [--seed S] [--model NAME] [--json]

Every client sends one streaming request at a time to /v1/completions: a prompt of P token ids drawn
between LOW and HIGH (no two prompts alike), A tokens at temperature 0, the end of text ignored. A
line per number of clients:

  answers, all  tokens per second of answers, and with the prompts, as the server's usage counts them
  TTFT          from sending a request to its first piece of text, milliseconds
  ITL           between two pieces of one answer; a piece that brings several tokens is one

--intrude N also lets a prompt of N tokens arrive while all clients read long answers, and prints the
ITL before it came and until its own first token.

To compare two servers, run them one at a time with the same number of slots and threads, and take
turns. The seed decides the prompts: give each run its own, or a cache of prefixes will answer.
"""
import argparse
import asyncio
import json
import random
import re
import time

SETTLE, CALM, AFTER = 8, 32, 2  # pieces each client reads before, in, and after the calm time
LONG_ANSWER = 1024
TEXT = re.compile(rb'"text":\s*"(?!")')  # a piece that brings something


class Failed(Exception):
    pass


class Bench:
    def __init__(self, args):
        self.host, _, self.port = args.server.rpartition(":")
        self.model = args.model
        self.low, self.high = map(int, args.ids.split(","))
        self.random = random.Random(args.seed)

    def prompt(self, n):
        return [self.random.randrange(self.low, self.high) for _ in range(n)]


class Answer:
    """One request. piece(now) is called for each piece of text."""

    def __init__(self, bench, prompt, answer, piece):
        self.bench, self.prompt, self.answer, self.piece = bench, prompt, answer, piece
        self.usage, self.done, self.rest = None, False, b""

    def head_and_body(self):
        body = json.dumps({"model": self.bench.model, "prompt": self.prompt, "max_tokens": self.answer, "temperature": 0,
                           "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}).encode()
        return (f"POST /v1/completions HTTP/1.1\r\nHost: {self.bench.host}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode() + body

    def line(self, line, now):
        if not line.startswith(b"data:"):
            return
        if line[5:].strip() == b"[DONE]":
            self.done = True
            return
        if TEXT.search(line):
            self.piece(now)
        if b'"usage"' in line or b'"error"' in line:
            event = json.loads(line[5:])
            if event.get("error"):
                raise Failed(event["error"])
            self.usage = event.get("usage") or self.usage

    def data(self, data):
        now = time.perf_counter()
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.line(line, now)

    async def read(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n")[0]
        if b" 200 " not in status + b" ":
            raise Failed(status.decode() + " " + (await reader.read(2000)).decode(errors="replace"))
        chunked = b"transfer-encoding: chunked" in head.lower()
        while not self.done:
            if chunked:
                size = int((await reader.readline()).split(b";")[0] or b"0", 16)
                data = (await reader.readexactly(size + 2))[:-2]
            else:
                data = await reader.read(65536)
            if not data:
                break
            self.data(data)
        if not self.done:
            raise Failed("the stream ended without [DONE]")

    async def run(self):
        reader, writer = await asyncio.open_connection(self.bench.host, int(self.bench.port))
        try:
            writer.write(self.head_and_body())
            await self.read(reader)
        finally:
            writer.close()
        return self.usage


class Client:
    def __init__(self, bench, prompt, answer):
        self.bench, self.size, self.answer = bench, prompt, answer
        self.first, self.gaps, self.pieces = [], [], 0  # gaps: (from, to)
        self.tokens_in = self.tokens_out = 0
        self.last = None
        self.sent = 0.0

    def piece(self, now):
        if self.last is None:
            self.first.append((self.sent, now))
        else:
            self.gaps.append((self.last, now))
        self.last = now
        self.pieces += 1

    async def work(self, numbers):
        for _ in numbers:
            prompt = self.bench.prompt(self.size)
            self.sent, self.last = time.perf_counter(), None
            usage = await Answer(self.bench, prompt, self.answer, self.piece).run()
            if not usage:
                raise Failed("no usage in the stream")
            self.tokens_in += usage["prompt_tokens"]
            self.tokens_out += usage["completion_tokens"]


def summary(gaps, start=float("-inf"), end=float("inf")):
    """p50, p99 and the longest, in milliseconds, of what overlaps a time."""
    ms = sorted(1e3 * (b - a) for a, b in gaps if b > start and a < end) or [float("nan")]
    return ms[(len(ms) - 1) // 2], ms[(len(ms) - 1) * 99 // 100], ms[-1]


async def closed_loop(bench, clients, requests, prompt, answer):
    crowd = [Client(bench, prompt, answer) for _ in range(clients)]
    numbers = iter(range(requests))  # shared: whoever is free takes the next one
    start = time.perf_counter()
    await asyncio.gather(*(c.work(numbers) for c in crowd))
    seconds = time.perf_counter() - start
    sent, got = (sum(getattr(c, name) for c in crowd) for name in ("tokens_in", "tokens_out"))
    ttft, itl = (summary(sum((getattr(c, name) for c in crowd), [])) for name in ("first", "gaps"))
    return {"test": f"clients{clients}", "requests": requests, "prompt_tokens": prompt, "answer_tokens": answer,
            "answer_tokens_per_s": got / seconds, "tokens_per_s": (sent + got) / seconds,
            "ttft_ms_p50": ttft[0], "ttft_ms_p99": ttft[1], "itl_ms_p50": itl[0], "itl_ms_p99": itl[1],
            "answered_tokens": got, "pieces": sum(c.pieces for c in crowd)}


async def deliveries(crowd, tasks, more):
    goals = [c.pieces + more for c in crowd]
    while any(c.pieces < goal for c, goal in zip(crowd, goals)):
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.001)


async def intrude(bench, clients, prompt, size):
    crowd = [Client(bench, prompt, LONG_ANSWER) for _ in range(clients)]
    numbers = iter(range(10 ** 9))
    tasks = [asyncio.create_task(c.work(numbers)) for c in crowd]
    try:
        await deliveries(crowd, tasks, SETTLE)
        calm = time.perf_counter()
        await deliveries(crowd, tasks, CALM)
        came = time.perf_counter()
        await Answer(bench, bench.prompt(size), 1, lambda _: None).run()
        left = time.perf_counter()
        await deliveries(crowd, tasks, AFTER)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    gaps = sum((c.gaps for c in crowd), [])
    before, during = summary(gaps, calm, came), summary(gaps, came, left)
    return {"test": f"clients{clients}+intrude{size}", "itl_ms_p50_before": before[0], "itl_ms_p99_before": before[1],
            "itl_ms_p50": during[0], "itl_ms_p99": during[1], "itl_ms_max": during[2],
            "intruder_ttft_ms": 1e3 * (left - came)}


def show(args, r):
    if args.json:
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in r.items()}), flush=True)
    elif "intruder_ttft_ms" in r:
        print("{test}: ITL p50 {itl_ms_p50_before:.1f}, p99 {itl_ms_p99_before:.1f} before; p50 {itl_ms_p50:.1f}, p99 "
              "{itl_ms_p99:.1f}, max {itl_ms_max:.1f} while it is read, in {intruder_ttft_ms:.1f} ms".format(**r), flush=True)
    else:
        print("{test}: {requests} requests, answers {answer_tokens_per_s:.1f} tok/s, all {tokens_per_s:.1f} tok/s, TTFT p50 "
              "{ttft_ms_p50:.1f}, p99 {ttft_ms_p99:.1f}, ITL p50 {itl_ms_p50:.1f}, p99 {itl_ms_p99:.1f}; {pieces} pieces of "
              "{answered_tokens} tokens".format(**r), flush=True)


async def bench_all(args):
    bench = Bench(args)
    await closed_loop(bench, 1, 1, args.prompt, args.answer)  # warms up
    for clients in map(int, args.clients.split(",")):
        requests = args.requests or max(8, 2 * clients)
        show(args, await closed_loop(bench, clients, requests, args.prompt, args.answer))
        if args.intrude:
            show(args, await intrude(bench, clients, args.prompt, args.intrude))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("server", metavar="HOST:PORT")
    p.add_argument("--clients", default="1,4,16", metavar="N,N...")
    p.add_argument("--requests", type=int, default=0, help="of each line; default: two per client, at least 8")
    p.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
    p.add_argument("--answer", type=int, default=64, help="tokens of an answer")
    p.add_argument("--intrude", type=int, default=0, metavar="N")
    p.add_argument("--ids", default="1000,40000", metavar="LOW,HIGH", help="ids of prompts; plain text in usual vocabularies")
    p.add_argument("--seed", type=int, default=None, help="default: another one each time")
    p.add_argument("--model", default="model")
    p.add_argument("--json", action="store_true", help="one object a line")
    args = p.parse_args()
    try:
        asyncio.run(bench_all(args))
    except (Failed, OSError, asyncio.IncompleteReadError) as e:
        raise SystemExit(f"bench_http.py: {args.server}: {e}")


if __name__ == "__main__":
    main()
