"""The requirements SM-1..SM-190 of the container contract: level and subject of each, and why one
has no test. run.py --report prints or writes the table."""

# number: (level, subject). M: must, S: should, O: optional.
SUBJECTS = {
    1: ("M", "`serve` starts the server, exec form"), 2: ("M", "no argument, repeated `serve`, `train`"),
    3: ("M", "works as process 1, handles signals"), 4: ("M", "stops within 30 s of SIGTERM"),
    5: ("S", "drain sequence"), 6: ("M", "root or any user"), 7: ("M", "read-only root"),
    8: ("M", "1 MB of /dev/shm"), 9: ("S", "low ulimits"), 10: ("M", "cgroup and affinity limits"),
    11: ("M", "no network"), 12: ("S", "any host name and address"), 13: ("S", "reason of a failed start"),
    14: ("O", "core dumps stay possible"), 15: ("S", "listens within 100 ms"),
    16: ("M", "SAGEMAKER_BIND_TO_PORT"), 17: ("M", "exactly one port"), 18: ("S", "port precedence"),
    19: ("M", "HTTP/1.1 keep-alive, HTTP/1.0"), 20: ("M", "accepts within 250 ms"),
    21: ("M", "health and metrics never wait"), 22: ("M", "chunked request bodies"),
    23: ("S", "Expect: 100-continue"), 24: ("M", "100 MB bodies, 413 above the cap"),
    25: ("M", "exact Content-Length"), 26: ("S", "idle connections are kept"), 27: ("S", "head and body time-outs"),
    28: ("M", "header names, duplicates, malformed heads"), 29: ("S", "404, 405, HEAD, OPTIONS"),
    30: ("M", "Upgrade and Content-Encoding"), 31: ("S", "targets: slash, query, absolute form"),
    32: ("M", "concurrent requests"), 33: ("S", "bounded queue, 429"), 34: ("M", "departed clients cancel"),
    35: ("M", "one write per event"), 36: ("M", "everything through the environment"),
    37: ("M", "unknown variables"), 38: ("S", "precedence, origins on the start line"),
    39: ("S", "spellings of booleans and numbers"), 40: ("M", "secrets never shown"),
    41: ("M", "variables of the platform"), 42: ("S", "variables of other images"),
    43: ("M", "where the model is found"), 44: ("S", "serving.properties"), 45: ("M", "label accept-bind-to-port"),
    46: ("S", "label bidirectional-streaming"), 47: ("O", "label multi-models"), 48: ("S", "image size"),
    49: ("M", "one manifest per platform"), 50: ("M", "GPU libraries opened at run time"),
    51: ("M", "no driver libraries in the image"), 52: ("M", "no NVIDIA_REQUIRE_CUDA"),
    53: ("M", "CUDA 12, driver check"), 54: ("S", "forward compatibility package"),
    55: ("S", "label verified_versions"), 56: ("M", "only visible devices"), 57: ("M", "instruction sets at run time"),
    58: ("S", "documentation of batch instances"), 59: ("S", "no Python in the image"),
    60: ("M", "read-only model folder"), 61: ("M", "finding model files"), 62: ("S", "no symlinks needed"),
    63: ("M", "uncompressed delivery"), 64: ("S", "mapping, progress of loading"), 65: ("S", "additional sources"),
    66: ("M", "scratch only in /tmp"), 67: ("S", "documentation of start-up time-outs"),
    68: ("S", "truncated weights are named"), 69: ("S", "accept_eula is ignored"), 70: ("M", "GET /ping"),
    71: ("M", "POST and HEAD /ping"), 72: ("M", "/ping within 2 s"), 73: ("M", "503 while not able to serve"),
    74: ("S", "only 200 and 503"), 75: ("M", "hint about slow loading"), 76: ("S", "200 only after warm-up"),
    77: ("M", "probes are no traffic"), 78: ("S", "deep health"), 79: ("S", "ends with its device"),
    80: ("S", "/health, /v1/health, /live"), 81: ("M", "none and all of the platform's headers"),
    82: ("S", "custom attributes"), 83: ("S", "request ids"), 84: ("S", "Forwarded-Api"),
    85: ("M", "content types"), 86: ("M", "Accept"), 87: ("M", "headers that reach the caller"),
    88: ("S", "6 MB answers"), 89: ("M", "status codes"), 90: ("M", "error bodies"),
    91: ("M", "errors before the stream"), 92: ("S", "retries of SDKs"), 93: ("M", "choice of dialect"),
    94: ("M", "profile of `inputs`"), 95: ("M", "any model name"), 96: ("M", "unknown and unsupported fields"),
    97: ("M", "null is absence"), 98: ("M", "JSON limits"), 99: ("M", "TGI dialect"),
    100: ("S", "TGI's validation words"), 101: ("O", "x-compute-time and friends"), 102: ("S", "TGI's routes"),
    103: ("S", "LMI dialect"), 104: ("S", "output formatter"), 105: ("O", "LMI list of inputs"),
    106: ("S", "LMI's 30 tokens"), 107: ("M", "chat"), 108: ("M", "chat streams"), 109: ("S", "numbers in strings"),
    110: ("S", "whole characters, stop strings"), 111: ("M", "completions"), 112: ("O", "embeddings are refused"),
    113: ("S", "JumpStart"), 114: ("S", "Hugging Face conventions"), 115: ("S", "/v1/models"),
    116: ("O", "/tokenize, /version"), 117: ("M", "flushed chunks"), 118: ("M", "event grammar"),
    119: ("S", "one event per send"), 120: ("O", "merging under back-pressure"), 121: ("S", "comments in silence"),
    122: ("M", "8 minutes of stream"), 123: ("M", "errors after the first byte"),
    124: ("M", "every stream has a finish_reason"), 125: ("M", "stalled readers"), 126: ("S", "soft deadlines"),
    127: ("S", "no queueing past the deadline"), 128: ("O", "attaching to a running generation"),
    129: ("S", "hard limit of a request"), 130: ("M", "asynchronous"), 131: ("S", "stream turned off"),
    132: ("O", "1 GB bodies"), 133: ("M", "cold starts"), 134: ("S", "/execution-parameters"),
    135: ("S", "SAGEMAKER_BATCH"), 136: ("M", "several records"), 137: ("S", "arrays of records"),
    138: ("S", "bad records"), 139: ("S", "ids of records"), 140: ("M", "other record formats"),
    141: ("M", "tar.gz artifacts in transform jobs"), 142: ("S", "serverless size"), 143: ("M", "no writes outside /tmp"),
    144: ("S", "frozen between requests"), 145: ("M", "too little memory"), 146: ("O", "multi-model routes"),
    147: ("O", "multi-model loading"), 148: ("O", "names of models"), 149: ("M", "GET /models"),
    150: ("M", "pipelines, side by side"), 151: ("M", "inference components"), 152: ("O", "POST /adapters"),
    153: ("O", "DELETE /adapters"), 154: ("O", "GET /adapters"), 155: ("O", "choice of adapter"),
    156: ("O", "adapters or 501"), 157: ("M", "paths of management routes"), 158: ("O", "sessions"),
    159: ("O", "bodies of sessions"), 160: ("O", "refusals of sessions"), 161: ("S", "session keeps its prefix"),
    162: ("M", "no sessions by streams"), 163: ("O", "WebSocket"), 164: ("O", "frames"), 165: ("O", "ping and pong"),
    166: ("O", "close codes"), 167: ("O", "messages"), 168: ("S", "documentation of bidirectional"),
    169: ("M", "OpenAI path"), 170: ("M", "empty model name"), 171: ("M", "OpenAI errors"), 172: ("M", "API key"),
    173: ("M", "log lines"), 174: ("S", "request line, JSON logs"), 175: ("M", "/metrics"),
    176: ("S", "vLLM's series"), 177: ("S", "own series"), 178: ("O", "no calls outside"),
    179: ("S", "prefix-aware routing"), 180: ("O", "documentation of prefixes"), 181: ("M", "retried requests"),
    182: ("M", "two versions side by side"), 183: ("M", "restarts at any time"), 184: ("S", "one setup for every host"),
    185: ("S", "no side effects"), 186: ("S", "HyperPod"), 187: ("S", "local mode"), 188: ("M", "gateway"),
    189: ("M", "error mapping"), 190: ("M", "event-stream vectors"),
}

GPU = "later: needs the CUDA plugin, which this version lacks"
BIDI = "later: bidirectional streaming is not implemented; its route says 501"
MME = "later: multi-model mode is not implemented; its routes say 404"
ADAPTERS = "later: adapters are not implemented; their routes say 501"
SESSIONS = "n/a: sessions are off, as the requirement's default is; there is no switch"

# Why a requirement has no test here: "n/a: ...", "later: ..." (its routes refuse honestly) or
# "open: ...".
UNTESTED = {
    53: GPU, 54: GPU, 56: GPU,
    120: "open: not implemented; the reader is waited for, then cut (SM-125)",
    128: "open: not implemented",
    141: "n/a: the platform extracts",
    147: MME, 148: MME,
    152: ADAPTERS, 153: ADAPTERS, 154: ADAPTERS,
    157: "n/a: no route takes a path", 158: SESSIONS, 159: SESSIONS,
    161: "later: sessions are off; what they would keep is in the prefix cache anyway (SM-179)",
    164: BIDI, 165: BIDI, 166: BIDI, 167: BIDI,
    168: "later: bidirectional streaming is not implemented",
}
LEVELS = {"M": "MUST", "S": "SHOULD", "O": "OPTIONAL"}


def numbers(name):
    """SM numbers of a test's name: SM_5_123_drain... and ..._and_SM_73_... ."""
    import re
    return [int(n) for group in re.findall(r"SM((?:_\d+)+)(?=_|$)", name) for n in group.strip("_").split("_")
            if int(n) in SUBJECTS]


def table(results):
    """results: {test name: "ok" | "FAILED" | "skipped: ..."}. Markdown, and a count by status."""
    by = {n: [] for n in SUBJECTS}
    for name, result in results.items():
        for n in numbers(name):
            by[n].append((name, result))
    rows, count = [], {}
    for n, (level, subject) in SUBJECTS.items():
        tests = by[n]
        if any(r == "FAILED" for _, r in tests):
            status, note = "FAILED", ", ".join(t for t, r in tests if r == "FAILED")
        elif any(r == "ok" for _, r in tests):
            status, note = "passed", ", ".join(f"`{t}`" for t, r in tests if r == "ok")
        elif tests:
            status, note = "open", "skipped: " + "; ".join(r.partition(": ")[2] for _, r in tests)
        else:
            status, _, note = UNTESTED.get(n, "open: no test").partition(": ")
        count[status] = count.get(status, 0) + 1
        count[LEVELS[level], status] = count.get((LEVELS[level], status), 0) + 1
        rows.append(f"| SM-{n} | {LEVELS[level]} | {subject} | {status} | {note} |")
    order = ("passed", "n/a", "later", "open", "FAILED")
    head = ["| | " + " | ".join(order) + " |", "|---|" + "---|" * len(order)]
    for level in LEVELS.values():
        head.append(f"| {level} | " + " | ".join(str(count.get((level, s), 0)) for s in order) + " |")
    head.append("| all | " + " | ".join(str(count.get(s, 0)) for s in order) + " |")
    return "\n".join(["# The SageMaker contract, requirement by requirement", "",
                      "Written by `tests/contract/run.py BINARY --report tests/contract/REPORT.md`. A requirement has",
                      "passed when every test that carries its number in its name, and ran, has. Some say only part",
                      "of what the requirement does: the tests are what is claimed.", "", *head, "",
                      "| number | level | subject | status | tests, or why none |", "|---|---|---|---|---|", *rows, ""])
