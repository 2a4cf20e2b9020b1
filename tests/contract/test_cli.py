#!/usr/bin/env python3
"""The command line against the real binary: tokenize, score, run, chat, inspect, and every error.

Usage: test_cli.py BINARY [NAMES...]. NAMES select tests whose name contains one of them. Needs the
standard library and tests/golden alone; what uses the model in $HD_TEST_MODEL or the shared data is
skipped without them. Refusals are in test_cli_bad.py, the HTTP side in the t_*.py files.
"""
import json
import math
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli_kit  # noqa: E402
import kit  # noqa: E402
import run  # noqa: E402
from cli_kit import (GOLDEN, case, copy_model, decode, encode, folder, golden_models, hadal,  # noqa: E402
                     ids_file, logits, read_golden, read_npy, refused, talking_model, write)

TOLERANCE = 1e-4
F32 = ("--weights", "f32", "--kv", "f32")


# ---- score ---------------------------------------------------------------------------------

@case
def score_gives_the_reference_logits():
    for model, (vocab, prompts) in golden_models():
        ids = ids_file(*(p[0] for p in prompts))
        want = [x for p in prompts for x in p[1]]
        for args in ((), ("--chunk", 1, "--threads", 1), ("--chunk", 7, "--threads", 2), ("--cpu", "ref"),
                     ("--cpu", "avx2"), ("--deterministic", "--max-step-tokens", 13)):
            rows, columns, got = logits(model, ids, *F32, *args)
            assert (rows, columns) == (sum(len(p[0]) for p in prompts), vocab)
            worst = max(map(abs, map(float.__sub__, got, want)))
            assert worst <= TOLERANCE, (model, args, worst)


@case
def score_prints_what_the_logits_say():
    model = GOLDEN / "qwen2"
    vocab, prompts = read_golden(model / "golden.bin")
    sequences = [prompts[0][0], [], prompts[1][0], [7]]
    # Blank lines, a carriage return, and an end without a newline are all the same text.
    text = "\n" + "\r\n\n".join(map(json.dumps, sequences))
    file = write(folder() / "ids", text)
    lines = [json.loads(x) for x in hadal("score", "--model", model, "--ids", file, *F32).stdout.splitlines()]
    _, _, got = logits(model, file, *F32)
    assert [x["tokens"] for x in lines] == [len(s) for s in sequences], lines
    at = 0
    for ids, line in zip(sequences, lines):
        nll = 0.0
        for i in range(len(ids)):
            row = got[(at + i) * vocab:(at + i + 1) * vocab]
            if i + 1 < len(ids):
                top = max(row)
                nll += top + math.log(sum(math.exp(x - top) for x in row)) - row[ids[i + 1]]
        at += len(ids)
        predicted = max(len(ids) - 1, 0)
        assert math.isclose(line["nll"], nll, rel_tol=1e-6, abs_tol=1e-9), (line, nll)
        assert math.isclose(line["perplexity"], math.exp(nll / predicted) if predicted else 1, rel_tol=1e-6)


@case
def score_is_the_same_with_any_number_of_threads():
    for model, (_, prompts) in list(golden_models())[::3]:
        ids = ids_file(prompts[0][0])
        for kind in ((), ("--weights", "q8_0"), F32):
            one = logits(model, ids, *kind, "--threads", 1)
            for n in (2, 3):
                assert logits(model, ids, *kind, "--threads", n) == one, (model, kind, n)


@case
def score_reads_a_pipe_and_an_empty_file():
    model = GOLDEN / "llama3"
    line = hadal("score", "--model", model, "--ids", "/dev/stdin", stdin=b"[1,2,3]\n").stdout
    assert json.loads(line)["tokens"] == 3
    out = folder() / "out.npy"
    hadal("score", "--model", model, "--ids", "/dev/stdin", "--logits", out, stdin=b"[1,2,3]\n[4]")
    assert read_npy(out)[:2] == (4, 320)
    assert hadal("score", "--model", model, "--ids", "/dev/null").stdout == b""
    assert logits(model, "/dev/null")[:2] == (0, 320)


@case
def score_refuses_bad_ids_by_line():
    model = GOLDEN / "llama_mqa"
    for bad, says in (("5", "a number"), ("{}", "an object"), ("[1", "','"), ("[1.5]", "not whole"), ("[-1]", "-1"),
                      ("[320]", "found 320, expected a token id in [0, 320)"), ('["1"]', "a string"),
                      ("[null]", "null"), ("[[1]]", "an array"), ("nonsense", "'o'"), ("[1] [2]", "the end"),
                      ("[1]\0", "expected"), ([1] * 513, "found 513 tokens, the context holds 512")):
        text = bad if isinstance(bad, str) else json.dumps(bad)
        file = write(folder() / "ids", "[1]\n\n" + text + "\n[2]\n")
        refused("score", "--model", model, "--ids", file, has=(f"{file}: line 3: ", says))
    refused("score", "--model", model, "--ids", "/no/such", has="/no/such: No such file", code=66)
    refused("score", "--model", model, "--ids", GOLDEN, has=(str(GOLDEN), "directory"), code=74)
    refused("score", "--model", model, has="--ids")


@case
def score_leaves_no_half_file_and_no_device_behind():
    model = GOLDEN / "llama_mqa"
    d = folder()
    ids = ids_file([1] * 200)
    refused("score", "--model", model, "--ids", ids, "--logits", d, has=(str(d), "directory"), code=74)
    refused("score", "--model", model, "--ids", ids, "--logits", d / "no" / "o.npy", has="o.npy: No such file", code=74)

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    refused("score", "--model", model, "--ids", ids, "--logits", d / "o.npy", has="o.npy: File too large",
            preexec_fn=small_files)
    assert not (d / "o.npy").exists()
    (d / "full").symlink_to("/dev/full")
    refused("score", "--model", model, "--ids", ids, "--logits", d / "full", has="full: No space", code=74)
    assert (d / "full").is_symlink()


@case
def ids_alone_need_no_tokenizer():
    model = copy_model("llama_mqa")
    report = hadal("bench", "--model", model, "--pp", 8, "--tg", 2, "--repeat", 1, "--json").stdout.splitlines()
    assert [json.loads(x).get("test") for x in report] == [None, "pp8", "tg2"], report
    for command in (("run", "--prompt", "x"), ("chat",), ("tokenize",)):
        refused(*command, "--model", model, has="llama_mqa/tokenizer.json: there is no such file", code=66)


@case
def bench_of_many_clients():
    model = talking_model()
    args = ("bench", "--model", model, "--concurrency", "1,3", "--prompt-tokens", 8, "--answer-tokens", 5)
    head, *cases = map(json.loads, hadal(*args, "--requests", 4, "--intrude", 100, "--json").stdout.splitlines())
    assert head["compute_roof_gflop_per_s"] > 0 and head["prompt_gflop_per_s"] > 0 and head["read_roof_gb_per_s"] > 0
    assert [x["test"] for x in cases] == ["clients1", "clients1+intrude100", "clients3", "clients3+intrude100"], cases
    for r in cases[::2]:
        assert (r["requests"], r["prompt_tokens"], r["answered_tokens"]) == (4, 8, 20), r
        # Four requests of 8 and 5 tokens: the rates are of one time.
        assert math.isclose(r["tokens_per_s"], r["answer_tokens_per_s"] * 13 / 5, rel_tol=1e-3), r
        # A client that was kept waiting by the machine gets several tokens at once.
        assert 0 < r["ttft_ms_p50"] <= r["ttft_ms_p99"] and 0 <= r["itl_ms_p50"] <= r["itl_ms_p99"], r
        assert r["memory_bound_tokens_per_s"] > 0 and r["compute_bound_tokens_per_s"] > 0, r
    assert cases[2]["memory_bound_tokens_per_s"] > cases[0]["memory_bound_tokens_per_s"]
    for r in cases[1::2]:
        assert 0 <= r["itl_ms_p50"] <= r["itl_ms_p99"] <= r["itl_ms_max"] and r["intruder_ttft_ms"] > 0, r
    table = hadal(*args).stdout.decode().splitlines()
    assert [x.split()[:2] for x in table[-2:]] == [["1", "8"], ["3", "8"]], table
    for flag, value in (("--concurrency", "0"), ("--concurrency", "1,x"), ("--concurrency", "5000")):
        refused("bench", "--model", model, flag, value, has=(flag, value, "numbers from 1 to"))
    refused(*args, "--answer-tokens", 505, "--log-level", "error", has=("513", "512"))
    refused("bench", "--model", copy_model("llama_mqa"), "--concurrency", 1, has="tokenizer.json", code=66)


# ---- tokenize ------------------------------------------------------------------------------

def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def read_cases(path):
    data = path.read_bytes()
    assert data[:8] == b"HDTG0001"
    at, cases = 8, []
    while at < len(data):
        special = data[at] == 1
        n, at = varint(data, at + 1)
        text = data[at:at + n].decode()
        count, at = varint(data, at + n)
        ids = []
        for _ in range(count):
            value, at = varint(data, at)
            ids.append(value)
        cases.append((text, special, ids))
    return cases


def check_cases(model, name):
    cases = read_cases(GOLDEN / "tokenizers" / f"{name}.cases")
    assert len(cases) >= 600
    got = encode(model, *({"text": text, "special": special} for text, special, _ in cases))
    for (text, special, ids), mine in zip(cases, got, strict=True):
        assert ids == mine, (name, text, special, ids, mine)
    return cases


@case
def tokenize_gives_the_reference_ids():
    for name in ("small-bytes", "small-chars", "small-regex"):
        check_cases(GOLDEN / "tokenizers" / name, name)
    absent = []
    for name, where in (("deepseek-v3", "tokenizers/deepseek-v3"), ("llama-3.1", "tokenizers/llama-3.1"),
                        ("qwen3", "tokenizers/qwen3"), ("deepseek-llm", "gguf-vocab/ggml-vocab-deepseek-llm.gguf"),
                        ("deepseek-coder", "gguf-vocab/ggml-vocab-deepseek-coder.gguf")):
        try:
            check_cases(kit.shared(where), name)
        except kit.Skip:
            absent.append(name)
    if pathlib.Path(kit.MODEL).name.startswith("SmolLM2"):
        check_cases(kit.MODEL, "smollm2")
    else:
        absent.append("smollm2")
    if absent:
        print(f"         not compared, the vocabularies are not here: {' '.join(absent)}")


@case
def tokenize_decodes_what_it_encoded():
    model = GOLDEN / "tokenizers" / "small-regex"  # has every byte and no normalizer
    texts = [t for t, special, _ in read_cases(model.with_suffix(".cases")) if not special]
    texts += ["", "\0", "a\0b\\u0000", "\ufdd0\0\ufdd1", "\u0085\u2028\u2029\n\r", "\ufeff\ufffe\U0010ffff"]
    ids = encode(model, *({"text": t} for t in texts))
    assert decode(model, *ids) == texts
    model = talking_model()  # one id per byte
    e, acute = encode(model, {"text": "\u00e9"})[0]
    assert decode(model, [e], [acute], [e, 36, acute], [e, e, acute], []) == [
        "\ufffd", "\ufffd", "\ufffd" + decode(model, [36])[0] + "\ufffd", "\ufffd\u00e9", ""]


@case
def tokenize_obeys_special_and_bos():
    model = talking_model()
    lines = [{"text": "<|im_end|>the<think>", **more} for more in (
        {}, {"special": False}, {"special": True}, {"special": True, "bos": True}, {"special": None})]
    plain, same, special, bos, null = encode(model, *lines)
    assert plain == same == null and not set(plain) & set(range(258, 262)), plain
    assert special[0] == 259 and special[-1] == 261 and len(special) == 4, special
    assert bos == special  # this model has no beginning
    assert decode(model, special, plain) == ["<|im_end|>the<think>"] * 2
    write(model / "tokenizer_config.json", json.dumps({"bos_token": "<|endoftext|>", "add_bos_token": False}))
    ids = encode(model, {"text": "he", "bos": True}, {"text": "he"}, {"text": "", "bos": True})
    assert ids == [[260, 256], [256], [260]], ids


@case
def tokenize_answers_each_line_at_once():
    model = GOLDEN / "tokenizers" / "small-bytes"
    p = subprocess.Popen([cli_kit.binary, "tokenize", "--model", str(model)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, env=kit.clean_env({}))
    for text in ("one", "two", "three"):
        p.stdin.write(json.dumps({"text": text}).encode() + b"\n")
        p.stdin.flush()
        assert json.loads(p.stdout.readline())["ids"]  # would wait for ever
    out, _ = p.communicate(b'\r\n\n{"text": "no newline"}', 60 * kit.SLOW)
    assert json.loads(out)["ids"] and p.returncode == 0


@case
def tokenize_stops_at_a_bad_line():
    model = GOLDEN / "tokenizers" / "small-bytes"
    good = hadal("tokenize", "--model", model, stdin=b'{"text": "a"}\n').stdout
    for bad, says in (('{"text": 5}', "'text': found a number, expected a string"), ('{"tex": ""}', "'text'"),
                      ("[1]", "an array"), ("nonsense", "'o'"), ('{"text": "a"', "found the end"),
                      ('{"text": "\\ud800"}', "surrogate"), (b'{"text": "\xff"}', "0xff"),
                      ('{"text": "a", "special": 1}', "'special': found a number, expected a boolean"),
                      ('{"text": "a", "bos": "x"}', "'bos'"), ('{"text": "a\tb"}', "0x09"), ("null", "null")):
        lines = b'{"text": "a"}\n\n{"text": "a"}\n' + (bad if isinstance(bad, bytes) else bad.encode()) + b"\n"
        refused("tokenize", "--model", model, stdin=lines + b'{"text": "a"}\n', stdout=good * 2,
                has=("standard input, line 4: ", says))
    for bad in ('{"ids": "x"}', '{"ids": [1.5]}', '{"ids": [-1]}', '{"ids": [[1]]}', '{"text": "a"}',
                '{"ids": [1e20]}'):
        refused("tokenize", "--model", model, "--decode", stdin=bad.encode(), has=("line 1: ", "ids"))
    fd = os.open(folder(), os.O_RDONLY)
    p = subprocess.run([cli_kit.binary, "tokenize", "--model", str(model)], stdin=fd, capture_output=True, text=True)
    os.close(fd)
    assert p.returncode == 74 and p.stderr == "hadal: standard input: Is a directory\n", p


@case
def output_that_nobody_takes_is_an_error():
    with open("/dev/full", "wb") as full:
        for args, stdin in ((("tokenize", "--model", GOLDEN / "tokenizers" / "small-bytes"), b'{"text": "a"}\n'),
                            (("score", "--model", GOLDEN / "llama3", "--ids", ids_file([1, 2])), b""),
                            (("inspect", "--model", GOLDEN / "llama3"), b"")):
            p = subprocess.run([cli_kit.binary, *map(str, args)], input=stdin, stdout=full, stderr=subprocess.PIPE)
            assert p.returncode == 74 and p.stderr == b"hadal: standard output: No space left on device\n", (args, p)


# ---- run, chat, inspect --------------------------------------------------------------------

def greedy(model, ids, n, known):
    """What score says comes next, n times; None where the choice is too close to call."""
    ids = list(ids)
    for _ in range(n):
        _, columns, values = logits(model, ids_file(ids), *F32, "--threads", 1)
        last = values[-columns:][:known]
        best, second = sorted(range(known), key=last.__getitem__)[:-3:-1]
        if last[best] - last[second] < 1e-3:
            return None
        ids.append(best)
    return ids[-n:]


@case
def run_continues_greedily():
    model = talking_model()
    compared = 0
    for prompt in ("the sea", "<|im_start|>the", "A", "caf\u00e9 \U0001F680"):
        for special in (False, True):
            args = ("run", "--model", model, "--raw", "--prompt", prompt, "--max-tokens", 6, "--temperature", 0, *F32)
            args += ("--special",) if special else ()
            out = hadal(*args, "--threads", 1)
            assert out.stdout == hadal(*args, "--threads", 2).stdout and out.stderr == b""
            ids = greedy(model, encode(model, {"text": prompt, "special": special})[0], 6, 262)
            if ids and not set(ids) & set(range(258, 262)):  # added tokens are hidden, some end it
                assert out.stdout.decode() == decode(model, ids)[0], (prompt, special, ids, out.stdout)
                compared += 1
    assert compared >= 4, compared


@case
def run_takes_its_prompt_from_anywhere():
    model = talking_model()
    args = ("run", "--model", model, "--raw", "--max-tokens", 4, "--temperature", 0)
    want = hadal(*args, "--prompt", "the sea").stdout
    assert want and want == hadal(*args, "the", "sea").stdout == hadal(*args, "--", "the sea").stdout
    assert want == hadal(*args, stdin=b"the sea").stdout
    assert want == hadal(*args, stdin=b"the sea", env={"HADAL_THREADS": "1"}).stdout
    seeded = [hadal(*args[:-2], "--seed", 5, "x").stdout for _ in range(2)]
    assert seeded[0] == seeded[1]
    refused(*args, has="prompt")
    refused(*args[:3], "x", "--chat-template", "nonsense", has="--chat-template")
    refused(*args, "--prompt", "x", "y", has="unexpected word 'y'")
    refused(*args, "--prompt", "a " * 400, has=("512", "context"))


@case
def chat_lives_through_a_pipe():
    model = talking_model()
    out = hadal("chat", "--model", model, "--chat-template", "chatml", "--max-tokens", 3, "--temperature", 0,
                stdin=b"hello\n/stats\n/nonsense\nagain\n/clear\n/quit\nnever read\n").stdout.decode(errors="replace")
    assert "template chatml" in out and "answer 3 tokens" in out and "/clear" in out, out


@case
def inspect_renders():
    model = talking_model()
    file = folder() / "chat.json"
    conversation = {"messages": [{"role": "user", "content": "Hi<|im_end|>"}], "add_generation_prompt": True}
    write(file, json.dumps(conversation))
    args = ("inspect", "--model", model, "--chat-template", "chatml", "--render", file)
    got = json.loads(hadal(*args).stdout)
    text = "<|im_start|>user\nHi<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    assert got["text"] == text, got
    assert got["ids"].count(258) == 2 and got["ids"].count(259) == 1, got  # the user's spelling is text
    assert decode(model, got["ids"]) == [text]
    (model / "model.safetensors").unlink()
    assert json.loads(hadal(*args).stdout) == got  # needs no weights
    (model / "config.json").unlink()
    assert json.loads(hadal(*args).stdout) == got  # nor a configuration
    for bad, says in (("", "value"), ("[]", "an array"), ("{}", "messages"), ('{"messages":5}', "a number"),
                      ('{"messages":[]}', "empty"), ('{"messages":[{"role":"x","content":"a"}]}', "'x'"),
                      ('{"messages":[{"role":"user"}]}', "content"),
                      ('{"messages":[{"role":"user","content":"a"}],"tools":5}', "tools"),
                      ('{"messages":[{"role":"user","content":"a"}],"add_generation_prompt":"x"}', "a string")):
        write(file, bad)
        refused(*args, has=(f"{file}: ", says))
    refused(*args[:-1], "/no/such.json", has="/no/such.json", code=66)


@case
def inspect_shows_every_golden_model():
    for model, (vocab, _) in golden_models():
        out = hadal("inspect", "--model", model, "--tensors").stdout.decode()
        for word in ("architecture", "layers", f"vocabulary        {vocab}", "rope", "threads", "weight"):
            assert word in out, (model, word, out)
        assert out == hadal("inspect", model, "--tensors").stdout.decode()


@case
def inspect_plans_without_weights():
    configs = sorted((GOLDEN.parent / "data" / "configs").glob("*.json"))
    assert len(configs) > 15
    for config in configs:
        args = ("inspect", "--plan", config, "--memory", "24G", "--max-seqs", 4)
        architecture = json.loads(config.read_text())["architectures"][0]
        if architecture in ("DeepseekV32ForCausalLM", "DeepseekV4ForCausalLM"):
            refused(*args, has=(str(config), f"architecture '{architecture}' is not supported"), code=65)
            continue
        plan = json.loads(hadal(*args, "--json").stdout)
        assert plan["memory_bytes"] == 24 << 30 and plan["active_parameters"] <= plan["parameters"]
        assert sum(plan["weight_bytes_by_type"].values()) == plan["weight_bytes"]
        assert plan["weights_fit"] == (plan["weight_bytes"] <= 24 << 30)
        if not plan["weights_fit"]:
            assert plan["context"] == 0 and all(c["sequences"] == 0 for c in plan["contexts"])
        text = hadal(*args).stdout.decode()
        for word in ("architecture", "parameters", "weights", "kv per token", "a decoded token", "a prompt token"):
            assert word in text, (config, word, text)
        fits = "no: the weights alone are larger than the memory" if not plan["weights_fit"] else "one sequence of"
        assert fits in text, (config, text)


@case
def inspect_plan_follows_settings():
    lite = GOLDEN.parent / "data" / "configs" / "deepseek-v2-lite.json"

    def plan(*args):
        return json.loads(hadal("inspect", "--plan", lite, "--json", "--memory", "24G", *args).stdout)

    bf16, q4 = plan(), plan("--weights", "q4", "--weights-attention", "q8")
    assert not bf16["weights_fit"] and q4["fits"], (bf16, q4)
    assert set(q4["weight_bytes_by_type"]) == {"f32", "bf16", "q8_0", "q4_1", "q4_k"}
    assert plan("--kv", "q8")["kv_bytes_per_token"] == 27 * 576 // 32 * 34
    shorter = plan("--weights", "q4", "--max-context", 8192)
    assert [c["context"] for c in shorter["contexts"]] == [512, 4096, 8192]
    assert shorter["contexts"][-1]["sequences"] > q4["contexts"][-1]["sequences"]
    for source in ("--plan", lite), ("--model", GOLDEN / "llama3"):
        refused("inspect", *source, "--weights-experts", "q9", has="--weights-experts: found 'q9'")
        refused("inspect", *source, "--kv", "q4", has="--kv: found 'q4'")


@case
def help_and_version_everywhere():
    commands = ("serve", "run", "chat", "inspect", "tokenize", "score", "bench")
    first = hadal("--help").stdout
    assert hadal("-h").stdout == hadal("help").stdout == first
    for command in commands:
        assert f"  {command} ".encode() in first
        out = hadal(command, "--help").stdout
        assert out.startswith(f"usage: hadal {command} ".encode()) and b"--model PATH" in out
        assert out == hadal(command, "-h", "--nonsense").stdout
        assert hadal(command, "--version").stdout == hadal("--version").stdout
    assert hadal("--version").stdout.startswith(b"hadal ")


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    cli_kit.binary = sys.argv[1]
    import test_cli_bad  # noqa: F401  its cases come behind ours
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    with tempfile.TemporaryDirectory(prefix="hadal-cli-") as cli_kit.tmp:
        for fn in cli_kit.CASES:
            if len(sys.argv) > 2 and not any(w in fn.__name__ for w in sys.argv[2:]):
                continue
            result = run.run_one("cli." + fn.__name__, lambda _, fn=fn: fn(), True, None)
            counts[result.split(":")[0]] += 1
    print("{ok} passed, {FAILED} failed, {skipped} skipped".format(**counts))
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
