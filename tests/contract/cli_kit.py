"""Running the binary without a server: what the tests of the command line share."""
import array
import ast
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile

import kit

GOLDEN = kit.ROOT / "tests" / "golden"
CASES = []
binary = tmp = None  # set by test_cli.py


def case(fn):
    CASES.append(fn)
    return fn


# ---- running the program -------------------------------------------------------------------

def hadal(*args, stdin=b"", env=None, code=0, **more):
    """Runs a command that must end with this exit code; its output."""
    p = subprocess.run([binary, *map(str, args)], input=stdin, capture_output=True,
                       env=kit.clean_env(env or {}), timeout=120 * kit.SLOW, **more)
    assert p.returncode == code, (args, p.returncode, p.stdout[-500:], p.stderr[-2000:])
    return p


def refused(*args, has=(), code=None, stdin=b"", env=None, stdout=b"", **more):
    """Runs a command that must fail with one line that holds all of `has`; the line."""
    p = subprocess.run([binary, *map(str, args)], input=stdin, capture_output=True,
                       env=kit.clean_env(env or {}), timeout=120 * kit.SLOW, **more)
    line = p.stderr.decode()
    assert p.returncode in ([code] if code else range(64, 79)), (args, p.returncode, line)
    assert line.startswith("hadal: ") and line.count("\n") == 1 and line.endswith("\n"), (args, line)
    assert p.stdout == stdout, (args, p.stdout)
    for word in [has] if isinstance(has, str) else has:
        assert word in line, (args, word, line)
    return line


def sanitized():
    return b"__asan_init" in pathlib.Path(binary).read_bytes()


def folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="hadal-cli-", dir=tmp))


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def copy_model(name):
    to = folder() / name
    shutil.copytree(GOLDEN / name, to)
    (to / "golden.bin").unlink(missing_ok=True)
    return to


BYTES = sorted([*range(33, 127), *range(161, 173), *range(174, 256)])
ALPHABET = {b: chr(b) for b in BYTES} | {
    b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in BYTES)}
ADDED = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>"]


def talking_model():
    """A model of random weights that has a tokenizer: 256 bytes, two merges, four added tokens."""
    d = copy_model("llama_mqa")
    vocab = {c: i for i, c in enumerate(sorted(ALPHABET.values()))} | {"he": 256, "\u0120t": 257}
    added = [{"id": 258 + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": t != "<think>"} for i, t in enumerate(ADDED)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    write(d / "tokenizer.json", json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": vocab, "merges": ["h e", "\u0120 t"]}}))
    write(d / "tokenizer_config.json", json.dumps({"eos_token": "<|im_end|>"}))
    return d


def encode(model, *lines):
    p = hadal("tokenize", "--model", model, stdin="".join(json.dumps(x) + "\n" for x in lines).encode())
    return [json.loads(x)["ids"] for x in p.stdout.splitlines()]


def decode(model, *lists):
    p = hadal("tokenize", "--model", model, "--decode",
              stdin="".join(json.dumps({"ids": x}) + "\n" for x in lists).encode())
    return [json.loads(x)["text"] for x in p.stdout.splitlines()]


# ---- golden data ---------------------------------------------------------------------------

def golden_models():
    for d in sorted(p for p in GOLDEN.iterdir() if p.is_dir() and p.name != "tokenizers"):
        family, is_gguf, _ = d.name.partition("_gguf")
        golden = d / "golden.bin"  # without one: that of the safetensors case with the same weights
        yield ((d / "model.gguf" if is_gguf else d),
               read_golden(golden if golden.exists() else GOLDEN / family / "golden.bin"))


def read_golden(path):
    data = path.read_bytes()
    assert data[:4] == b"HDG1"
    count, vocab = struct.unpack_from("<2i", data, 4)
    at, prompts = 12, []
    for _ in range(count):
        n, = struct.unpack_from("<i", data, at)
        ids = list(struct.unpack_from(f"<{n}i", data, at + 4))
        at += 4 + 4 * n
        prompts.append((ids, array.array("f", data[at:at + 4 * n * vocab])))
        at += 4 * n * vocab
    assert at == len(data)
    return vocab, prompts


def read_npy(path):
    """(rows, columns, float32 values) of a file that must be what NumPy itself writes."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    size, = struct.unpack_from("<H", data, 8)
    head = data[10:10 + size]
    assert (10 + size) % 64 == 0 and head.endswith(b"\n") and head[:-1].rstrip(b" ").endswith(b"}"), head
    facts = ast.literal_eval(head.decode())
    assert sorted(facts) == ["descr", "fortran_order", "shape"], facts
    assert facts["descr"] == "<f4" and facts["fortran_order"] is False, facts
    values = array.array("f", data[10 + size:])
    rows, columns = facts["shape"]
    assert len(values) == rows * columns, (len(values), facts)
    return rows, columns, values


def ids_file(*sequences):
    return write(folder() / "ids.jsonl", "".join(json.dumps(s) + "\n" for s in sequences))


def logits(model, ids, *args):
    out = folder() / "out.npy"
    p = hadal("score", "--model", model, "--ids", ids, "--logits", out, *args)
    assert p.stdout == p.stderr == b"", p
    return read_npy(out)
