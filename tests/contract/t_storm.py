"""Overload for a while: hundreds of open streams, more callers than places, an end in the middle.

HD_TEST_LOAD_SECONDS says how long it goes on: 6 where nothing is said, 60 for the figures that are
published. From 30 on there is time for 512 streams that all have their first token.
"""
import asyncio
import collections
import itertools
import os
import re
import time

import kit
import storm
from kit import Server, test

SECONDS = float(os.environ.get("HD_TEST_LOAD_SECONDS", "6"))
LONG = SECONDS >= 30
STREAMS = 512
CALLERS = STREAMS + 100


def places(running):
    """Settings with places for so many requests at once and 512 together: more of them are refused by
    the queue (429), more connections by the listener (503)."""
    queue = max(STREAMS - running, 16)
    return ("--max-seqs", running, "--max-queue", queue, "--max-connections", running + queue + 8, "--max-context", 256)


class Storm:
    def __init__(self, server, tokens):
        self.server = server
        self.tokens = tokens
        self.counts = collections.Counter()
        self.wrong = []
        self.open = self.most_open = 0
        self.memory = []
        self.accepted = []
        self.stop = False
        self.start = time.monotonic()

    def opened(self, reply):
        if reply.status == 200:
            self.open += 1
            self.most_open = max(self.most_open, self.open)

    async def caller(self, i):
        """Asks again and again; waits as told when refused."""
        streamed = LONG or i % 6 != 0  # most: the places are to be filled with open streams
        for dialect, body in itertools.islice(itertools.cycle(storm.requests(self.tokens, streamed)), i % 5, None):
            if self.stop:
                return
            reply = await storm.ask(self.server.port, kit.post_bytes(body), self.opened)
            self.open -= reply.status == 200
            got = storm.verdict(dialect, streamed, reply)
            if got in ("done", "error", "refused"):
                self.counts[got, reply.status] += 1
            else:
                self.wrong.append((got, dialect, streamed, f'{reply.seconds:.2f} s', f'{time.monotonic() - self.start:.2f}'))
            if got != "done":
                await asyncio.sleep(float(reply.headers.get("retry-after", 1)))

    async def places_taken(self):
        reply = await storm.ask(self.server.port, b"GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        if reply.status != 200:  # we were so late to ask that we stood in the way; probes of their own watch /ping
            assert reply.status == 503 and b"too many connections" in reply.body, (reply.status, reply.outcome)
            return 0
        return sum(float(x) for x in re.findall(rb"\nvllm:num_requests_(?:running|waiting)\S* (\S+)", reply.body))

    async def watch(self, seconds, then):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.memory.append(storm.resident(self.server.process.pid))
            self.accepted.append(await self.places_taken())
            await asyncio.sleep(0.5)
        self.stop = True
        if then:
            then()

    async def run(self, seconds, then=None):
        await asyncio.gather(self.watch(seconds, then), *(self.caller(i) for i in range(CALLERS)))


def run(server, seconds, tokens, then=None):
    s = Storm(server, tokens)
    if storm.open_files() < CALLERS + 100:
        raise kit.Skip("too few open files are allowed here")
    asyncio.run(s.run(seconds, then))
    done, refused = s.counts["done", 200], s.counts["refused", 429] + s.counts["refused", 503]
    print(f"         {seconds:.0f} s, {CALLERS} callers: at most {max(s.accepted):.0f} accepted and {s.most_open} "
          f"answers begun at once; complete {done}, refused "
          f"429 {s.counts['refused', 429]}, 503 {s.counts['refused', 503]}, ended with an error {s.counts['error', 200]}, "
          f"resident {s.memory[0] >> 20}..{max(s.memory) >> 20} MiB", flush=True)
    assert not s.wrong, (len(s.wrong), s.wrong[:5])
    assert refused and (done or s.counts["error", 200])
    return s


@test(own=True)
def SM_21_32_33_72_512_streams_with_overload(_):
    # All 512 are decoded together where there is time for it; else most of them wait, accepted.
    with Server(*places(STREAMS if LONG else 32)) as server:
        with storm.Probes(server.port) as probes:
            s = run(server, SECONDS * kit.SLOW, 120 if LONG else 3)
        probes.check("512 streams")
        assert s.counts["error", 200] == 0, s.counts
        assert max(s.accepted) >= 0.98 * STREAMS, s.accepted
        assert not LONG or s.most_open >= STREAMS, s.most_open
        # Once every place has been used nothing more is taken.
        settled = s.memory[-(len(s.memory) // 3):]
        assert kit.sanitized() or max(settled) - settled[0] < 32 << 20, [m >> 20 for m in s.memory]
        kit.wait_for(lambda: server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting") == 0, 10)
        assert server.post({"prompt": "a", "max_tokens": 1}).status == 200


@test(own=True)
def SM_4_5_123_an_end_in_the_middle_of_overload(_):
    """Everything accepted is completed or ends in its dialect's form; what comes later is refused."""
    late = []
    with Server(*places(32), "--drain-seconds", "3") as server:
        def end():
            server.signal()
            server.wait_log("msg=draining", 5)
            late.append(server.request("GET", "/ping"))
            late.append(server.post({"prompt": "a", "max_tokens": 1}))

        # Long answers among them, which the time to drain cannot hold.
        s = run(server, max(2.0, SECONDS / 3) * kit.SLOW, 40, end)
        assert server.wait_exit(30) == 0
        assert [x.status for x in late] == [503, 503] and late[1].headers["Retry-After"], [x.status for x in late]
        assert s.counts["error", 200] or s.counts["refused", 503], s.counts
