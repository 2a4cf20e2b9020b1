"""HTTP/1.1 as RFC 9112 has it: what is malformed, ambiguous, fragmented, pipelined, slow.

A case names the statuses that the RFC allows. Whoever sent nonsense is answered with one of them
and disconnected, and the server goes on. SILENT and LENIENT mark what libmicrohttpd decides where
the RFC would have an answer (it asks for one, but allows to just close) or a refusal.
"""
import json
import socket
import time

import kit
import storm
from kit import Server, test

BODY = json.dumps({"inputs": "a", "parameters": {"max_new_tokens": 1}}).encode()
HOST = b"Host: h\r\n"
GET = b"GET /ping HTTP/1.1\r\n"
POST = b"POST /invocations HTTP/1.1\r\nHost: h\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
BAD = {400}
SILENT = []  # closed without an answer
LENIENT = {200}  # taken as if it were right


def statuses(data):
    """Statuses of all answers in data; interim ones are left out."""
    out = []
    while data:
        head, gap, rest = data.partition(b"\r\n\r\n")
        assert gap and head.startswith(b"HTTP/1."), data[:200]
        status = int(head.split(b" ", 2)[1])
        fields = {k.lower(): v.strip() for k, _, v in (x.partition(b":") for x in head.split(b"\r\n")[1:])}
        n = 0 if status < 200 else int(fields.get(b"content-length", len(rest)))
        if status >= 200:
            out.append(status)
        data = rest[n:]
    return out


def check(s, cases, ours=True):
    """cases: {name: (bytes, allowed statuses of the only answer, or a list of those of each)}.
    ours: errors have a JSON body; else the library's own may come."""
    wrong = []
    for name, (data, allowed) in cases.items():
        wanted = allowed if isinstance(allowed, list) else [allowed]
        with s.socket(6) as c:
            start = time.monotonic()
            if wanted and not any(x & {200, 204, 404, 405} for x in wanted):
                data = data.replace(CLOSE, b"")  # the server has to see for itself that this cannot go on
            try:
                c.sendall(data)
            except OSError:
                pass  # refused before all of it was read
            try:
                got = kit.read_all(c)
            except TimeoutError:
                got = b"HTTP/1.1 999 it was kept open\r\n\r\n"
            took = time.monotonic() - start
        try:
            seen = statuses(got)
        except AssertionError:
            seen = [got]
        if len(seen) != len(wanted) or any(x not in y for x, y in zip(seen, wanted)):
            wrong.append(f"{name}: found {seen or 'nothing'}, expected {wanted}")
        elif ours and seen and seen[-1] >= 400 and "error" not in json.loads(got.rpartition(b"\r\n\r\n")[2] or "{}"):
            wrong.append(f"{name}: no JSON body: {got}")
        elif took > 5 * kit.SLOW:
            wrong.append(f"{name}: the connection stayed open {took:.1f} s")
    assert s.request("GET", "/ping").status == 200
    assert not wrong, "\n".join(wrong)


def get(target=b"/ping", version=b"HTTP/1.1", method=b"GET", fields=HOST + CLOSE):
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n"


@test
def SM_28_request_lines(s):
    check(s, {
        "none": (b"\r\n\r\n" + get(), {200}),
        "lower case method": (get(method=b"get"), {400, 405, 501}),
        "unknown method": (get(method=b"BREW"), {405, 501}),
        "method that is no token": (get(method=b"G@T"), {400, 405, 501}),
        "method with a control character": (get(method=b"G\x01T"), {400, 405, 501}),
        "endless method": (get(method=b"A" * 5000), {400, 405, 431, 501}),
        "no version": (b"GET /ping\r\n" + HOST + b"\r\n", BAD),
        "no target": (b"GET HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
        "only a method": (b"GET\r\n\r\n", SILENT),
        "binary": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", SILENT),
        "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 505}),
        "HTTP/2.0": (get(version=b"HTTP/2.0"), {400, 505}),
        "HTTP/0.9": (get(version=b"HTTP/0.9"), {400, 505}),
        "HTTP/1.2": (get(version=b"HTTP/1.2"), {200, 400, 505}),
        "HTTP/1.10": (get(version=b"HTTP/1.10"), {400, 505}),
        "HTTP/1": (get(version=b"HTTP/1"), {400, 505}),
        "lower case version": (get(version=b"http/1.1"), {400, 505}),
        "another protocol": (get(version=b"ICAP/1.0"), {400, 505}),
        "something behind the version": (get(version=b"HTTP/1.1 x"), {400, 404, 505}),
        "space in the target": (get(target=b"/pi ng"), {400, 404}),
        "tab in the target": (get(target=b"/pi\tng"), {400, 404}),
        "NUL in the target": (get(target=b"/ping\x00x"), BAD),
        "control character in the target": (get(target=b"/ping\x01"), {400, 404}),
        "bytes above ASCII in the target": (get(target=b"/p\xc3\xafng"), {400, 404}),
        "fragment in the target": (get(target=b"/ping#x"), {200, 400}),
        "no slash": (get(target=b"ping"), {400, 404}),
        "empty scheme": (get(target=b"://h/ping"), {400, 404}),
        "bad percent encoding": (get(target=b"/ping%zz"), {400, 404}),
        "dots": (get(target=b"/x/../ping"), {400, 404}),
        "asterisk": (get(target=b"*"), {400, 404}),
        "options of the server": (get(target=b"*", method=b"OPTIONS"), {200, 204}),
        "connect": (get(target=b"h:80", method=b"CONNECT"), {400, 404, 405, 501}),
        "trace": (get(method=b"TRACE"), {405, 501}),
        "long target": (get(target=b"/" + b"a" * 60_000), {404, 414, 431}),
        "too long target": (get(target=b"/" + b"a" * 100_000), {414, 431}),
        "endless target": (get(target=b"/" + b"a" * 1_000_000), {414, 431}),
        "lone carriage return in the line": (b"GET /ping\rHTTP/1.1\r\n" + HOST + b"\r\n", {400, 404, 505}),
    }, ours=False)


@test
def SM_28_header_lines(s):
    def head(line, start=GET, rest=HOST + CLOSE):
        return start + rest + line + b"\r\n\r\n"
    check(s, {
        "no host": (GET + CLOSE + b"\r\n", BAD),
        "no host, HTTP/1.0": (b"GET /ping HTTP/1.0\r\n\r\n", {200}),
        "two hosts": (head(b"Host: h"), BAD),
        "two hosts, other case": (head(b"hOST: x"), BAD),
        "two hosts, HTTP/1.0": (head(b"Host: x", b"GET /ping HTTP/1.0\r\n"), BAD),
        "empty host": (get(fields=b"Host:\r\n" + CLOSE), {200}),
        "host with port": (get(fields=b"Host: h:8080\r\n" + CLOSE), {200}),
        "host list": (get(fields=b"Host: a, b\r\n" + CLOSE), BAD),
        "host with a path": (get(fields=b"Host: a/b\r\n" + CLOSE), BAD),
        "host with a user": (get(fields=b"Host: u@h\r\n" + CLOSE), BAD),
        "host with spaces": (get(fields=b"Host: a b\r\n" + CLOSE), BAD),
        "host with a control character": (get(fields=b"Host: a\x01\r\n" + CLOSE), BAD),
        "space before the colon": (head(b"X-A : 1"), BAD),
        "length with a space before the colon": (POST + CLOSE + b"Content-Length : 5\r\n\r\nhello", BAD),
        "tab before the colon": (head(b"X-A\t: 1"), BAD),
        "no colon": (head(b"X-A 1"), BAD),
        "empty name": (head(b": 1"), BAD),
        "empty name hides a request": (get(fields=HOST + b": 1\r\nGET /live HTTP/1.1\r\n" + HOST), BAD),
        "name that is no token": (head(b"X(A): 1"), BAD),
        "NUL in a name": (head(b"X\x00A: 1"), BAD),
        "bytes above ASCII in a name": (head(b"X\xe9: 1"), BAD),
        "NUL in a value": (head(b"X-A: 1\x002"), BAD),
        "control character in a value": (head(b"X-A: 1\x01\x02"), BAD),
        "bytes above ASCII in a value": (head(b"X-A: \xe9\xff"), {200}),
        "empty value": (head(b"X-A:"), {200}),
        "no space behind the colon": (head(b"X-A:1"), {200}),
        "lone carriage return in a value": (head(b"X-A: 1\rX-B: 2"), BAD),
        "lone carriage return hides a length": (POST + CLOSE + b"X-A: 1\rContent-Length: 5\r\n\r\n", BAD),
        "folded value": (head(b"X-A: 1\r\n 2"), BAD),
        "folded coding": (POST + CLOSE + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + ONE_CHUNK, BAD),
        "folded length": (POST + CLOSE + b"Content-Length:\r\n 5\r\n\r\nhello", BAD),
        "folded twice": (head(b"X-A: 1\r\n 2\r\n\t3"), BAD),
        "space before the first header": (GET + b" X-A: 1\r\n" + HOST + CLOSE + b"\r\n", BAD),
        "blank line of a space": (GET + b" \r\n" + HOST + CLOSE + b"\r\n", BAD),
        "lone line feeds": (b"GET /ping HTTP/1.1\nHost: h\nConnection: close\n\n", BAD),
        "one lone line feed": (GET + b"Host: h\nX-A: 1\r\n\r\n", BAD),
        "a lone line feed at the end": (GET + b"Host: h\r\n\n", BAD),
        "long value": (head(b"X-A: " + b"a" * 50_000), {200}),
        "too long value": (head(b"X-A: " + b"a" * 70_000), {431}),
        "endless value": (head(b"X-A: " + b"a" * 1_000_000), {413, 431}),
        "100 lines": (head(b"\r\n".join([b"X-A: 1"] * 98)), {200}),
        "101 lines": (get(fields=HOST + b"X-A: 1\r\n" * 100), {431}),
        "endless lines": (head(b"\r\n".join([b"X-A: 1"] * 20_000)), {413, 431}),
        "unknown expectation": (head(b"Expect: the-unexpected"), {200, 417}),
        "many of the same": (head(b"\r\n".join([b"Accept: */*"] * 50)), {200}),
    })


@test
def SM_28_lengths(s):
    def sized(value, body=BODY, more=b""):
        return POST + CLOSE + more + b"Content-Length: " + value + b"\r\n\r\n" + body
    n = b"%d" % len(BODY)
    check(s, {
        "exact": (sized(n), {200}),
        "blanks before": (sized(b" \t " + n), {200}),
        "blanks behind": (sized(n + b"\t "), {200, 400}),
        "leading zeros": (sized(b"000" + n), {200, 400}),
        "empty": (sized(b""), BAD),
        "negative": (sized(b"-1"), BAD),
        "plus": (sized(b"+" + n), BAD),
        "hexadecimal": (sized(b"0x10"), BAD),
        "exponent": (sized(b"1e1"), BAD),
        "fraction": (sized(n + b".0"), BAD),
        "letters behind": (sized(n + b"x"), BAD),
        "two numbers": (sized(n + b" " + n), BAD),
        "list of the same": (sized(n + b", " + n), BAD),
        "list of different": (sized(n + b", 5"), BAD),
        "2 to the 64": (sized(b"18446744073709551616"), {400, 413}),
        "2 to the 63": (sized(b"9223372036854775808"), {400, 413}),
        "2 to the 64 and some": (sized(b"18446744073709551617"), {400, 413}),
        "a hundred digits": (sized(b"9" * 100), {400, 413}),
        "twice the same": (sized(n, more=LENGTH), BAD),
        "twice different": (sized(n, more=b"Content-Length: 5\r\n"), BAD),
        "none": (POST + b"Connection:close\r\n\r\n", {400, 411}),
        "with a coding": (POST + CLOSE + LENGTH + CHUNKED + b"\r\n" + ONE_CHUNK, BAD),
        "coding first": (POST + CLOSE + CHUNKED + LENGTH + b"\r\n" + ONE_CHUNK, BAD),
        "zero with a coding": (POST + CLOSE + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n" + ONE_CHUNK, BAD),
        "more body than said": (POST + LENGTH + b"\r\n" + BODY + b"GARBAGE / X\r\n\r\n", [{200}, {400, 505}]),
        "body of a GET": (GET + HOST + CLOSE + b"Content-Length: 5\r\n\r\nhello", {200}),
        "chunked body of a GET": (GET + HOST + CLOSE + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n", {200}),
    })


@test
def SM_22_28_codings_and_chunks(s):
    def coded(value, start=POST):
        return start + CLOSE + b"Transfer-Encoding: " + value + b"\r\n\r\n" + ONE_CHUNK

    def chunks(data):
        return POST + CLOSE + CHUNKED + b"\r\n" + data
    n = len(BODY)
    tail = b"\r\n%s\r\n0\r\n\r\n" % BODY
    check(s, {
        "chunked": (coded(b"chunked"), {200}),
        "other case": (coded(b"ChUnKeD"), {200}),
        "blanks before": (coded(b" \tchunked"), {200}),
        "blanks behind": (coded(b"chunked\t "), {200, 400}),
        "identity": (coded(b"identity"), {400, 501}),
        "gzip": (coded(b"gzip"), {400, 501}),
        "gzip, chunked": (coded(b"gzip, chunked"), {400, 501}),
        "chunked twice": (coded(b"chunked, chunked"), {400, 501}),
        "chunked is not last": (coded(b"chunked, gzip"), {400, 501}),
        "nearly chunked": (coded(b"xchunked"), {400, 501}),
        "chunked and more": (coded(b"chunkedx"), {400, 501}),
        "quoted": (coded(b'"chunked"'), {400, 501}),
        "with a parameter": (coded(b"chunked;a=b"), {400, 501}),
        "vertical tab": (coded(b"\x0bchunked"), {400, 501}),
        "empty": (coded(b""), {400, 501}),
        "two lines": (POST + CLOSE + CHUNKED + CHUNKED + b"\r\n" + ONE_CHUNK, {400, 501}),
        "HTTP/1.0": (coded(b"chunked", b"POST /invocations HTTP/1.0\r\nHost: h\r\n"), {400, 501}),
        "letters for a size": (chunks(b"ZZ\r\n\r\n"), BAD),
        "negative size": (chunks(b"-1" + tail), BAD),
        "plus": (chunks(b"+%x" % n + tail), BAD),
        "0x": (chunks(b"0x%x" % n + tail), BAD),
        "no size": (chunks(tail), BAD),
        "size of 17 digits": (chunks(b"1" + b"0" * 15 + b"%02x" % n + tail), {400, 413}),
        "size of 100 digits": (chunks(b"f" * 100 + tail), {400, 413}),
        "leading zeros": (chunks(b"0000%x" % n + tail), {200, 400}),
        "upper case": (chunks(b"%X" % n + tail), {200}),
        "space behind the size": (chunks(b"%x " % n + tail), {200, 400}),
        "space before the size": (chunks(b" %x" % n + tail), BAD),
        "extension": (chunks(b"%x;name=value" % n + tail), {200}),
        "quoted extension": (chunks(b'%x;name="a;b"' % n + tail), {200}),
        "long extension": (chunks(b"%x;name=" % n + b"v" * 200_000 + tail), {400, 413}),
        "longer than its size": (chunks(b"%x\r\n%s\r\n0\r\n\r\n" % (n - 1, BODY)), BAD),
        "shorter than its size": (chunks(b"%x\r\n%s\r\n0\r\n\r\n" % (n + 2, BODY)), BAD),
        "ended by a lone line feed": (chunks(b"%x\r\n%s\n0\r\n\r\n" % (n, BODY)), LENIENT),
        "no end of line behind the data": (chunks(b"%x\r\n%s0\r\n\r\n" % (n, BODY)), BAD),
        "trailer": (chunks(b"%x\r\n%s\r\n0\r\nX-A: 1\r\n\r\n" % (n, BODY)), {200}),
        "trailer that would change the framing": (chunks(b"%x\r\n%s\r\n0\r\nContent-Length: 3\r\n\r\n" % (n, BODY)), {200, 400}),
        "malformed trailer": (chunks(b"%x\r\n%s\r\n0\r\nX A 1\r\n\r\n" % (n, BODY)), {200, 400}),
        "endless trailer": (chunks(b"%x\r\n%s\r\n0\r\nX-A: " % (n, BODY) + b"a" * 1_000_000 + b"\r\n\r\n"), {400, 413, 431}),
    })


# ---- pieces --------------------------------------------------------------------------------

@test
def SM_19_22_input_in_pieces(s):
    whole = {"length": POST + CLOSE + LENGTH + b"\r\n" + BODY,
             "chunks": POST + CLOSE + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % x for x in BODY) + b"0\r\n\r\n",
             "bad": POST + CHUNKED + b"\r\nxyz\r\n"}
    for name, data in whole.items():
        want = 400 if name == "bad" else 200
        with s.socket(60) as c:  # byte by byte
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for b in data:
                try:
                    c.sendall(bytes([b]))
                except OSError:
                    break
            assert statuses(kit.read_all(c)) == [want], name

    def cut(at):
        with s.socket(60) as c:
            c.sendall(head[:at])
            time.sleep(0.01)
            c.sendall(head[at:])
            return statuses(kit.read_all(c))
    head = get(target=b"/v1/models")  # at every place there is
    assert kit.parallel(len(head) - 1, lambda i: cut(i + 1)) == [[200]] * (len(head) - 1)


@test
def SM_19_pipelined_requests(s):
    good = POST + LENGTH + b"\r\n" + BODY
    bad = POST + b"Content-Length: 3\r\n\r\nabc"
    lost = b"POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n" + b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n".ljust(50)
    chunked = POST + CHUNKED + b"\r\n" + ONE_CHUNK
    ping = get(fields=HOST)
    with s.socket(60) as c:
        c.sendall(good + ping + bad + lost + chunked + ping + good + get())
        assert statuses(kit.read_all(c)) == [200, 200, 400, 404, 200, 200, 200, 200]
    with s.socket(60) as c:  # the first answer is a stream
        stream = json.dumps({"prompt": "a", "max_tokens": 3, "stream": True}).encode()
        c.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(stream) + stream + get())
        got = kit.read_all(c)
        assert got.count(b"HTTP/1.1 200") == 2 and got.index(b"[DONE]") < got.rindex(b"HTTP/1.1 200"), got
    with s.socket(60) as c:  # nothing is served behind what is malformed
        c.sendall(good + GET + HOST + b"X A: 1\r\n\r\n" + ping + ping)
        assert statuses(kit.read_all(c)) == [200, 400]


# ---- slow and endless ----------------------------------------------------------------------

class Crowd:
    """Clients that mean no good, all at once, each on a thread of its own."""

    def __init__(self, server, seconds):
        self.server = server
        self.end = time.monotonic() + seconds

    def left(self):
        return time.monotonic() < self.end

    def trickle(self, start, piece, pause):
        """Seconds until the server had enough of it; again and again. None where it never had."""
        took = None
        while self.left():
            with self.server.socket(60) as c:
                c.settimeout(pause)
                began = time.monotonic()
                try:
                    c.sendall(start)
                    while self.left():
                        try:
                            if not c.recv(4096):
                                break
                        except TimeoutError:
                            c.sendall(piece)
                except OSError:
                    pass
                if self.left():
                    took = max(took or 0, time.monotonic() - began)
        return took

    def slow_head(self):
        return self.trickle(GET + HOST, b"X-A: 1\r\n", 0.2)

    def slow_byte(self):
        return self.trickle(b"G", b"E", 0.2)

    def slow_body(self):
        return self.trickle(POST + b"Content-Length: 100000\r\n\r\n{", b"", 0.5)

    def silent(self):
        return self.trickle(b"", b"", 0.5)

    def tiny_chunks(self):
        body = b"1\r\n \r\n" * 4000
        return self.trickle(POST + CHUNKED + b"\r\n" + body, body, 0.02)

    def long_extensions(self):
        return self.trickle(POST + CHUNKED + b"\r\n1;", b"x" * 5000, 0.02)

    def slow_reader(self):
        body = {**kit.LONG, "max_tokens": 3000, "logprobs": 20, "stream": True}
        while self.left():
            with socket.socket() as c:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                c.connect(("127.0.0.1", self.server.port))
                c.sendall(kit.post_bytes(body))
                try:
                    while self.left() and c.recv(1):
                        time.sleep(0.3)
                except OSError:
                    pass


@test(own=True)
def SM_21_24_27_72_125_slow_and_endless_clients(_):
    args = ("--header-seconds", "2", "--body-idle-seconds", "2", "--idle-seconds", "3", "--max-body-bytes", "256K",
            "--max-context", "4096", "--max-connections", "300")
    with Server(*args) as s:
        crowd = Crowd(s, 8 * kit.SLOW)
        kinds = [(crowd.slow_head, 60, 2), (crowd.slow_byte, 20, 2), (crowd.slow_body, 40, 2), (crowd.silent, 40, 3),
                 (crowd.tiny_chunks, 10, None), (crowd.long_extensions, 10, None), (crowd.slow_reader, 20, None)]
        clients = [(kind, limit) for kind, n, limit in kinds for _ in range(n)]
        memory = [storm.resident(s.process.pid)]

        def one(i):
            if i < len(clients):
                return clients[i][0]()
            while crowd.left():  # and somebody who wants an answer
                if i == len(clients):
                    memory.append(storm.resident(s.process.pid))
                assert s.post({"prompt": "a", "max_tokens": 1}).status == 200
                time.sleep(0.2)
        with storm.Probes(s.port) as probes:
            took = kit.parallel(len(clients) + 2, one)
        probes.check(f"{len(clients)} clients that trickle")
        slow = [f"{kind.__name__}: {t:.1f} s" for (kind, limit), t in zip(clients, took)
                if limit and (t is None or t > limit + 2 * kit.SLOW)]
        assert not slow, slow
        print(f"         resident {memory[0] >> 20}..{max(memory) >> 20} MiB", flush=True)
        assert max(memory) - memory[0] < 128 << 20, memory
        assert s.request("GET", "/ping").status == 200
