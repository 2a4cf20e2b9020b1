"""Many requests at once, departed clients, full queues."""
import socket
import threading
import time

import kit
from kit import Server, chat, test


@test
def SM_32_parallel_requests(s):
    def one(i):
        kind = i % 4
        if kind == 0:
            return s.post(chat(f"Number {i}", max_tokens=6)).status
        if kind == 1:
            events = s.events(chat(f"Number {i}", max_tokens=6, stream=True))
            return 200 if events[-1] == "[DONE]" and "error" not in events[-2] else 0
        if kind == 2:
            events = s.events({"inputs": f"Number {i}", "stream": True, "parameters": {"max_new_tokens": 6}})
            return 200 if events[-1]["generated_text"] is not None else 0
        return s.post({"prompt": f"Number {i}", "max_tokens": 6}).status
    assert kit.parallel(64, one) == [200] * 64


@test(own=True)
def SM_32_33_256_at_once_are_answered_or_refused(_):
    with Server("--max-context", "1024") as s:
        answers = kit.parallel(256, lambda i: s.post({"prompt": "a", "max_tokens": 1}))
        seen = [a.status for a in answers]
        assert set(seen) <= {200, 429} and seen.count(200) >= 100, {x: seen.count(x) for x in seen}
        assert all(a.headers["Retry-After"] for a in answers if a.status == 429)
        assert s.request("GET", "/ping").status == 200
        # An answer is counted when its handler ends, which may be after its last byte has arrived.
        kit.wait_for(lambda: s.metric("vllm:request_success_total", finished_reason="length") == seen.count(200), 5)


@test
def SM_32_parallel_answers_are_the_lonely_ones(s):
    bodies = [chat(f"What is {i} plus {i}?", max_tokens=10, seed=i, temperature=0.8) for i in range(8)]
    alone = [s.post(b).json["choices"][0]["message"]["content"] for b in bodies]
    together = kit.parallel(8, lambda i: s.post(bodies[i]).json["choices"][0]["message"]["content"])
    assert together == alone


def wait_cancelled(s, id_, after):
    line = s.wait_log(rf".*area=request.*id={id_} .*", 5, after)[0]
    assert "status=499" in line and "finish=cancelled" in line, line
    return int(line.split("tokens_out=")[1].split()[0])


@test
def SM_34_a_departed_client_cancels(s):
    for stream in (False, True):
        for half in (False, True):
            id_ = f"gone-{stream}-{half}"
            after = len(s.log())
            c = s.socket(60)
            c.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 3000, "stream": stream},
                                     extra=f"X-Amzn-SageMaker-Inference-Id: {id_}\r\n"))
            if stream:
                kit.read_until(c, b"data: ")
            else:
                time.sleep(0.3)
            left = time.monotonic()
            if half:
                c.shutdown(socket.SHUT_WR)
            else:
                c.close()
            assert wait_cancelled(s, id_, after) < 2900
            assert time.monotonic() - left < 2 * kit.SLOW
            c.close()
    start = time.monotonic()  # and the place is free again
    assert s.post({"prompt": "a", "max_tokens": 1}).status == 200
    assert time.monotonic() - start < 5 * kit.SLOW


@test(own=True)
def SM_34_departures_from_the_queue_and_from_a_prompt(_):
    with Server("--max-seqs", "1", "--max-context", "8192", "--max-step-tokens", "64") as s:
        with s.socket(60) as running:
            running.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 6000, "stream": True}))
            kit.read_until(running, b"data: ")
            for stream in (False, True):  # in the queue
                with s.socket(60) as c:
                    c.sendall(kit.post_bytes({"prompt": "a", "max_tokens": 5, "stream": stream}))
                    kit.wait_for(lambda: s.metric("vllm:num_requests_waiting") == 1, 10)
                left = time.monotonic()
                kit.wait_for(lambda: s.metric("vllm:num_requests_waiting") == 0, 10)
                assert time.monotonic() - left < 1 * kit.SLOW
        kit.wait_for(lambda: s.metric("vllm:num_requests_running") == 0, 10)
        with s.socket(60) as c:  # amid a prompt of many steps
            c.sendall(kit.post_bytes({"prompt": "a " * 6000, "max_tokens": 5}))
            kit.wait_for(lambda: s.metric("vllm:num_requests_running") == 1, 10)
            time.sleep(0.3)
            if s.metric("vllm:num_requests_running") == 0:
                raise kit.Skip("the prompt was read too fast here")
        left = time.monotonic()
        kit.wait_for(lambda: s.metric("vllm:num_requests_running") == 0, 10)
        assert time.monotonic() - left < 1 * kit.SLOW
        assert s.metric("hadal_requests_cancelled_total") == 4


@test(own=True)
def SM_33_a_full_queue_answers_429(_):
    with Server("--max-seqs", "1", "--max-queue", "1", "--max-context", "4096") as s:
        body = {**kit.LONG, "max_tokens": 3000}
        with s.socket(60) as running, s.socket(60) as waiting:
            running.sendall(kit.post_bytes({**body, "stream": True}))
            kit.read_until(running, b"data: ")
            waiting.sendall(kit.post_bytes(body))
            time.sleep(0.5)
            for request, kind in ((chat("x"), "RateLimitError"), ({"inputs": "x"}, "overloaded")):
                for stream in (False, True):
                    a = s.post({**request, "stream": stream})
                    assert a.status == 429 and a.headers["Retry-After"] == "1", a.body
                    assert kind in a.body.decode(), a.body
            assert s.request("GET", "/ping").status == 200  # overload is not unhealthy
        assert s.post(chat("x", max_tokens=2)).status in (200, 429)
        time.sleep(1)
        assert s.post(chat("x", max_tokens=2)).status == 200


@test(own=True)
def SM_21_full_connections_do_not_starve_ping(_):
    with Server("--max-connections", "4", "--max-context", "4096") as s:
        held = []
        for i in range(12):  # stalled uploads and silent connections
            c = s.socket(60)
            held.append(c)
            if i % 2:
                c.sendall(b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(5):
            start = time.monotonic()
            assert s.request("GET", "/ping").status == 200
            assert time.monotonic() - start < 2 * kit.SLOW
        a = s.post(chat("x", max_tokens=1))
        assert a.status == 503 and a.headers["Retry-After"] == "1" and "connections" in a.json["error"]["message"]
        for c in held:
            c.close()
        end = time.monotonic() + 5 * kit.SLOW
        while s.post(chat("x", max_tokens=1)).status != 200:
            assert time.monotonic() < end


@test(own=True)
def SM_121_comments_while_nothing_comes(_):
    with Server("--max-seqs", "1", "--keepalive-comment-seconds", "1", "--max-context", "4096") as s:
        with s.socket(60) as first, s.socket(60) as second:
            first.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 3500, "stream": True}))
            kit.read_until(first, b"data: ")
            reader = threading.Thread(target=kit.read_all, args=(first,))  # who does not read gives way
            reader.start()
            second.sendall(kit.post_bytes({"prompt": "a", "max_tokens": 2, "stream": True}, extra="Connection: close\r\n"))
            got = kit.read_until(second, b": keep-alive\n\n", 30)
            first.shutdown(socket.SHUT_RDWR)
            reader.join()
            got += kit.read_all(second)
            assert b"data: [DONE]\n\n" in got, got


@test(own=True)
def SM_125_a_stalled_reader_is_cut_and_delays_nobody(_):
    if kit.SLOW > 6:
        raise kit.Skip("so slow a build does not fill the socket's buffers in time")
    with Server("--body-idle-seconds", "1", "--max-context", "4096") as s:
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect(("127.0.0.1", s.port))
        after = len(s.log())
        c.sendall(kit.post_bytes({**kit.LONG, "max_tokens": 4000, "logprobs": 20, "stream": True},
                                 extra="X-Amzn-SageMaker-Inference-Id: stalled\r\n"))
        done = threading.Event()

        def others():
            assert s.post(chat("x", max_tokens=3)).status == 200
            done.set()
        t = threading.Thread(target=others)
        t.start()
        t.join(30 * kit.SLOW)
        assert done.is_set()
        s.wait_log(r"area=request.*id=stalled ", 60, after)
        c.close()
