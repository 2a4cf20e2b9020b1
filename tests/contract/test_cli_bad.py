"""Settings, model files and memory that the command line must refuse in one clear line."""
import json
import resource
import struct
import subprocess

import cli_kit
import kit
from cli_kit import GOLDEN, case, copy_model, folder, hadal, ids_file, refused, sanitized, talking_model, write


@case
def settings_are_checked():
    model, ids = GOLDEN / "llama_mqa", ids_file([1, 2])
    score = ("score", "--model", model, "--ids", ids)
    for args, says in (
            (("--chunks", 5), "unknown option --chunks; did you mean --chunk?"),
            (("--chunk",), "--chunk needs a value"),
            (("--chunk", "x"), "found 'x'"), (("--chunk", -1), "found '-1'"), (("--chunk", 1.5), "found '1.5'"),
            (("--threads", 100000), "expected a whole number in [0, 1024]"), (("--weights", "f9"), "keep, f32"),
            (("--kv", "q4"), "bf16, f16, f32"), (("--cpu", "sse9"), "avx2"), (("--device", "tpu"), "tpu"),
            (("--memory", "1K"), "--memory"), (("--memory", "1Q"), "found '1Q'"), (("-x",), "-x"),
            (("--max-context", "99999999999"), "--max-context"), (("--log-level", "loud"), "debug|info"),
            (("--prompt", "x"), "'hadal score --help'"), (("--deterministic=maybe",), "true or false"),
            (("extra",), "unexpected word 'extra'"), (("a\nb\x1b",), "a\\x0ab\\x1b")):
        refused(*score, *args, has=says)
    refused(*score, env={"HADAL_THREAD": "1"}, has="unknown variable HADAL_THREAD; did you mean HADAL_THREADS?")
    refused(*score, env={"HADAL_THREADS": "many"}, has="HADAL_THREADS: found 'many'")
    hadal(*score, "--threads", 0, "--max-context", 400)
    refused("run", "--promt", "x", has="did you mean --prompt?")
    refused("run", "--top-p", "2", has="--top-p: found '2'")
    refused("bench", "--model", model, "--depth", 100000, has="512")
    refused("inspect", "--plan", "/no/such.json", has="/no/such.json")
    for command in ("run", "chat", "inspect", "tokenize", "score", "bench"):
        refused(command, has="no model", code=64)


@case
def paths_that_are_no_models():
    d = folder()
    text = write(d / "text", "hello world, this is no model")
    (d / "empty").mkdir()
    (d / "two").mkdir()
    for name in "ab":
        write(d / "two" / f"{name}.gguf", b"GGUF")
    for command in (("score", "--ids", "/dev/null"), ("run", "x"), ("chat",), ("inspect",), ("tokenize",), ("bench",)):
        for path, code, says in ((d / "absent", 66, "not found"), (d / "empty", 66, "no config.json"),
                                 (text, 64, "expected 'GGUF'"), ("/dev/null", 64, "special file"),
                                 (d / "two", 64, "2 GGUF models"), ("", 66, "empty path")):
            refused(*command, "--model", path, code=code, has=(str(path), says))


@case
def gguf_files_that_are_cut():
    whole = (GOLDEN / "llama3_gguf" / "model.gguf").read_bytes()
    file = folder() / "cut.gguf"
    ids = ids_file([1])
    places = [0, 1, 4, 7, 8, 23, 24, *range(100, 3000, 373), *range(3000, len(whole), len(whole) // 12)]
    for n in [*places, len(whole) - 1]:
        write(file, whole[:n])
        refused("score", "--model", file, "--ids", ids, has=str(file))
    write(file, whole[:4] + struct.pack("<I", 9) + whole[8:])
    refused("inspect", "--model", file, has=("version", "9"))


@case
def safetensors_files_that_are_broken():
    model = copy_model("llama_mqa")
    file, ids = model / "model.safetensors", ids_file([1])
    whole = file.read_bytes()
    n, = struct.unpack_from("<Q", whole)
    head, data = json.loads(whole[8:8 + n]), whole[8 + n:]
    q = next(k for k in head if "q_proj" in k)
    first, second = [k for k in head if k != "__metadata__"][:2]

    def with_head(raw):
        return struct.pack("<Q", len(raw)) + raw + data

    def changed(name, **fields):
        return with_head(json.dumps({**head, name: {**head[name], **fields}}).encode())
    rows, columns = head[q]["shape"]
    begin, end = head[q]["data_offsets"]
    for raw, says in (
            (whole[:0], "found 0 bytes"), (whole[:7], "found 7 bytes"), (whole[:100], "header"),
            (whole[:8 + n], "data"), (whole[:-1], "data"), (whole + b"x", "data"),
            (struct.pack("<Q", 1 << 63) + whole[8:], "header"),
            (with_head(b"[1]"), "'['"), (with_head(b'{"a":'), "line 1"), (with_head(b"\xff" * 9), "header"),
            (changed(q, shape=[rows * 2, columns // 2]), f"[{rows * 2}, {columns // 2}]"),
            (changed(q, dtype="I16"), q), (changed(q, dtype="Q9"), "'Q9'"), (changed(q, dtype=5), "a number"),
            (changed(q, shape="x"), "a string"), (changed(q, shape=[-1, 5]), "-1"),
            (changed(q, shape=[1 << 40, 1 << 40]), "2^64"), (changed(q, data_offsets=[end, begin]), q),
            (changed(q, data_offsets=[begin + 10**9, end + 10**9]), q),
            (changed(second, data_offsets=head[first]["data_offsets"]), second),
            (with_head(json.dumps(head).encode().replace(second.encode(), first.encode(), 1)), "twice"),
            (with_head(json.dumps({("x" if k == q else k): v for k, v in head.items()}).encode()), "missing")):
        write(file, raw)
        refused("score", "--model", model, "--ids", ids, has=says)
    file.unlink()
    refused("score", "--model", model, "--ids", ids, has=(str(model), "no model.safetensors"), code=66)
    model = copy_model("llama3")
    (model / "model-00002-of-00003.safetensors").unlink()
    refused("score", "--model", model, "--ids", ids, has="model-00002-of-00003.safetensors", code=66)


@case
def configurations_that_are_wrong():
    ids = ids_file([1, 2])
    for name in ("llama3", "qwen2", "qwen3_yarn"):
        model = copy_model(name)
        file = model / "config.json"
        good = json.loads(file.read_text())
        free = ("model_type", "torch_dtype", "dtype", "sliding_window", "max_window_layers")
        for key in good:
            for value in ("text", [1], {"a": 1}, -1, 2**63, 1e300):
                if key in free or (key == "rope_scaling" and value == {"a": 1}):
                    continue
                write(file, json.dumps({**good, key: value}))
                refused("score", "--model", model, "--ids", ids, has="config.json")
        for key in good.get("rope_scaling", {}):
            for value in ("text", [1], -1, 0, 1e300):
                if key != "attn_factor":
                    write(file, json.dumps({**good, "rope_scaling": {**good["rope_scaling"], key: value}}))
                    refused("score", "--model", model, "--ids", ids, has="config.json")
        for change, says in (({"rope_scaling": {"rope_type": "wobble", "factor": 2}}, "'wobble'"),
                             ({"architectures": ["FooForCausalLM"]}, "'FooForCausalLM'"),
                             ({"hidden_act": "gelu"}, "gelu"),
                             ({"quantization_config": {"quant_method": "awq"}}, "awq")):
            write(file, json.dumps({**good, **change}))
            refused("score", "--model", model, "--ids", ids, has=(str(file), says))
        for raw in (b"", b"{", b"[]", b"nul", b"\xff", b" " * 99, b'{"a":1}}'):
            write(file, raw)
            refused("score", "--model", model, "--ids", ids, has=str(file))


@case
def tokenizers_that_are_wrong():
    model = talking_model()
    file = model / "tokenizer.json"
    raw = file.read_bytes()
    good = json.loads(raw)

    def changed(path, value):
        copy = json.loads(raw)
        at = copy
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        return json.dumps(copy).encode()
    paths = [("model",), ("model", "type"), ("model", "vocab"), ("model", "vocab", "a"), ("model", "merges"),
             ("model", "merges", 0), ("model", "byte_fallback"), ("pre_tokenizer", "type"), ("pre_tokenizer",),
             ("pre_tokenizer", "pretokenizers", 0, "type"), ("normalizer",), ("decoder",), ("added_tokens",),
             ("added_tokens", 0), ("added_tokens", 0, "id"), ("added_tokens", 0, "content"),
             ("added_tokens", 0, "special"), ("added_tokens", 0, "lstrip")]
    for path in paths:
        for value in (5, "zz", {"type": "Nope"}, [7]):
            write(file, changed(path, value))
            if path == ("added_tokens", 0, "content") and value == "zz":
                continue  # another token, and a good one
            if path == ("added_tokens", 0, "id") and value == 5:
                continue
            refused("tokenize", "--model", model, stdin=b'{"text": "a"}\n', has=str(file))
    for n in range(0, len(raw), len(raw) // 9):
        write(file, raw[:n])
        refused("tokenize", "--model", model, has=str(file))
    assert good


@case
def too_little_memory_is_said():
    if not kit.MODEL:
        raise kit.Skip("HD_TEST_MODEL names no model")
    if sanitized():
        raise kit.Skip("a sanitizer needs the address space")
    ids = ids_file([1, 2])
    args = [cli_kit.binary, "score", "--model", kit.MODEL, "--ids", str(ids), "--max-context", "512"]
    refused(*args[1:], "--memory", "1M", has=("memory", "--memory"), code=65)
    codes = []
    for mib in (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 2000):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))
        p = subprocess.run(args, capture_output=True, preexec_fn=limit, text=True, env=kit.clean_env({}), timeout=60)
        if p.returncode != 127:  # the dynamic loader itself found no room
            assert p.returncode in (0, 71, 74) and p.stderr.count("\n") == (p.returncode != 0), (mib, p)
            codes.append(p.returncode)
    assert 71 in codes and codes[-1] == 0, codes
