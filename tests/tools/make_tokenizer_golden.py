#!/usr/bin/env python3
"""Reference ids for tokenizers, made with the Python package "tokenizers" (raw Tokenizer files).

  make_tokenizer_golden.py compare TOOL [--count N] [--seed S] [--shared DIR] [--smollm2 FILE] [NAME...]
      Encodes N generated texts per tokenizer with the reference and with TOOL (the program
      tokenize_lines) and counts differences in ids and in decoded text.
  make_tokenizer_golden.py write [--shared DIR] [--smollm2 FILE]
      Writes tests/golden/tokenizers/*: case files of the big tokenizers, and the small tokenizers
      (trained here on generated text) with theirs.

Names: deepseek-v3 llama-3.1 qwen3 (folders of --shared/tokenizers), deepseek-llm deepseek-coder
(GGUF files of --shared/gguf-vocab) and smollm2 (another), rebuilt from vocabulary and merges;
small-bytes, small-chars, small-regex. smollm2 is SmolLM2-135M-Instruct.Q4_1.gguf; its path may also
be in HD_TEST_MODEL. The committed files were made with tokenizers 0.23.3.

Case file: "HDTG0001", then per case: flag byte (1: added tokens match), varint length, UTF-8 text,
varint count, varint ids. Varints are LEB128. Training breaks ties differently from run to run, so a
small tokenizer and its cases are always written together.
"""
import argparse
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import unicodedata

import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        trainers)

HERE = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tokenizers"
SMALL = ("small-bytes", "small-chars", "small-regex")
BIG = ("deepseek-v3", "llama-3.1", "qwen3", "smollm2", "deepseek-llm", "deepseek-coder")
FROM_GGUF = BIG[3:]

# ---- texts ---------------------------------------------------------------------------------

WORDS = """the of and to in is that for it as was with be by on not he his but at are this have from
or had an they which one you were her all she there would their we him been has when who will more no
if out so said what up its about into than them can only other new some could time these two may then
do first any my now such like our over man me even most made after also did many before must through
Hello World don't I'll you've we're it's O'Neil THE 'S 'Ll re-entry naïve café Übermut straße œuvre
function return void const struct include printf malloc std::vector lambda yield import numpy self
SELECT FROM WHERE https://example.com/a?b=c&d=1 foo_bar camelCaseWord HTTPServer x86_64 utf8 C++ a.b.c
{} [] () => -> :: != <= && || /* */ // # $x @y `code` "quoted" 'single' <div class="x"> </div>""".split()
SCRIPTS = [
    (0x0021, 0x007E), (0x00A0, 0x024F), (0x0250, 0x02FF), (0x0300, 0x036F), (0x0370, 0x03FF),
    (0x0400, 0x052F), (0x0530, 0x058F), (0x0590, 0x05FF), (0x0600, 0x06FF), (0x0900, 0x097F),
    (0x0980, 0x09FF), (0x0B80, 0x0BFF), (0x0E00, 0x0E7F), (0x0F00, 0x0FFF), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1780, 0x17FF),
    (0x1800, 0x18AF), (0x1C90, 0x1CBF), (0x1D00, 0x1DBF), (0x1E00, 0x1FFF), (0x2000, 0x206F),
    (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2100, 0x218F), (0x2190, 0x23FF), (0x2460, 0x24FF),
    (0x2500, 0x27BF), (0x2C00, 0x2DFF), (0x2E80, 0x2FDF), (0x3000, 0x303F), (0x3040, 0x30FF),
    (0x3100, 0x33FF), (0x4E00, 0x9FFF), (0xA640, 0xA7FF), (0xAC00, 0xD7FF), (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF), (0xFE00, 0xFE6F), (0xFF00, 0xFFEF), (0x10000, 0x100FF), (0x10400, 0x104FF),
    (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1FAFF),
    (0x20000, 0x2A6DF), (0xE0020, 0xE007F), (0xE0100, 0xE01EF),
]
BLANKS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", " \n", "\n ", "\u00a0", "\u3000",
          "\u2003", "\u2028", "\u0085", "\x0b", "\x0c", "\u180e", "\u200b", "\u1680", "\u202f", "    "]
EMOJI = ["🚀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "😶‍🌫️", "✅", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🦙"]
NATURAL = ["人工智能正在改变世界，我们需要思考它的影响。", "これはテストです。日本語の文章、カタカナとひらがな・中点ー。",
           "한국어 문장을 토큰화합니다.", "Быстрая коричневая лиса прыгает.", "नमस्ते दुनिया, यह एक परीक्षण है।",
           "مرحبا بالعالم، هذا اختبار.", "สวัสดีชาวโลก", "Xin chào thế giới, tiếng Việt có dấu.",
           "Ο γρήγορος σκύλος.", "שלום עולם, זה מבחן.", "ქართული ენა", "ភាសាខ្មែរ", "Ⅷ ½ ② 一二三 ٣٤٥ ๑๒๓ ㊿"]


def scalar(rng, low, high):
    while True:
        c = rng.randint(low, high)
        if not 0xD800 <= c <= 0xDFFF and c != 0:
            return chr(c)


def from_script(rng):
    low, high = rng.choice(SCRIPTS)
    return "".join(scalar(rng, low, high) for _ in range(rng.randint(1, 8)))


def number(rng):
    digits = rng.choice(["0123456789", "0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "¹²³½Ⅷ②"])
    text = "".join(rng.choice(digits) for _ in range(rng.randint(1, 12)))
    return text + rng.choice(["", ".", ",", "%", "e10", "px", "-7", ":30"])


def run(rng):
    unit = rng.choice(["a", " ", "1", "中", "\n", "\t", "!", "\x01", "é", "\u0301", "=", "-", "ab", " a", "あ", "🚀"])
    return unit * rng.choice([2, 3, 5, 16, 39, 40, 41, 42, 64, 130])


def marks(rng):
    text = rng.choice("aeioucnsyAEIOUZ가각ᄀ") if rng.random() < 0.8 else ""
    for _ in range(rng.randint(1, 6)):
        text += scalar(rng, *rng.choice([(0x0300, 0x036F), (0x0300, 0x0345), (0x1AB0, 0x1ACE), (0x20D0, 0x20F0),
                                         (0x1161, 0x1175), (0x11A8, 0x11C2), (0x05B0, 0x05BD), (0x3099, 0x309A)]))
    return text


def control(rng):
    return "".join(chr(rng.choice([rng.randint(1, 31), 127, rng.randint(128, 159)])) for _ in range(rng.randint(1, 5)))


def anything(rng):
    return "".join(scalar(rng, 1, rng.choice([0x7F, 0x7FF, 0xFFFF, 0x1FFFF, 0x10FFFF])) for _ in range(rng.randint(1, 6)))


def code(rng):
    lines = []
    for _ in range(rng.randint(1, 4)):
        indent = rng.choice(["", "    ", "\t", "        ", "  ", "\t\t"])
        lines.append(indent + rng.choice([" ", ""]).join(rng.choice(WORDS) for _ in range(rng.randint(1, 5))))
    return rng.choice(["\n", "\r\n", ";\n"]).join(lines)


def sentence(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 9))) + rng.choice([".", "?", "!\n", "...", ";", ""])


def text_of(rng, specials):
    makers = [sentence, sentence, code, from_script, from_script, number, run, marks, control, anything,
              lambda r: r.choice(EMOJI), lambda r: r.choice(NATURAL), lambda r: r.choice(BLANKS),
              lambda r: r.choice(WORDS), lambda r: r.choice(BLANKS)]
    if specials:
        makers += [lambda r: r.choice(specials), lambda r: r.choice(specials)[:-1], lambda r: r.choice(specials)]
    parts = [rng.choice(makers)(rng) for _ in range(rng.choice([1, 1, 2, 3, 4, 6, 9]))]
    return rng.choice(["", "", " "]).join(parts)


# The reference's digits are those of its Rust library, newer than its regular expressions.
DIGITS = pre_tokenizers.Digits(individual_digits=True)
NOT_CN = pre_tokenizers.Split(Regex(r"\p{Cn}"), "isolated")


def excluded(name, text):
    """Texts on which versions of Unicode differ, by tokenizer."""
    if name in FROM_GGUF:
        for c in text:
            if ord(c) > 0x3000 and unicodedata.category(c) == "Cn":
                return True
        return "\u3250" in text
    if name == "small-regex":
        return any(unicodedata.category(c) == "Cn" or c == "\u180e" for c in text)
    return False


def make_texts(name, seed, count, specials):
    rng = random.Random(f"{name}/{seed}")
    texts, skipped = [], 0
    while len(texts) < count:
        text = text_of(rng, specials)
        if excluded(name, text):
            skipped += 1
            continue
        texts.append(text)
    return texts, skipped


# ---- references ----------------------------------------------------------------------------

RESERVED = "\u00c0\u00c1" + "".join(map(chr, range(0xF5, 0x100)))


def splits_of(name):
    """The pre-tokenizer of a model, as its own tokenizer.json has it."""
    from make_unicode_tables import LLM_LETTERS
    digits = pre_tokenizers.Digits(individual_digits=True)
    cjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
    if name == "smollm2":
        return [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if name == "deepseek-coder":
        cut = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", cjk]
    else:
        letters = "".join("-".join(f"\\x{{{c}}}" for c in item.split("-")) for item in LLM_LETTERS.split())
        cut = ["[\r\n]", rf"\s?[{letters}]+",
               "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", cjk]
    return [pre_tokenizers.Split(Regex(p), "isolated") for p in cut] + [
        digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def from_gguf(name, path):
    """The tokenizer, and the texts of its added tokens that match in any text."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    texts = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ", 1)) for m in fields["tokenizer.ggml.merges"].contents()]
    added = [(t, k == 3) for i, (t, k) in enumerate(zip(texts, types)) if k in (3, 4) and t != f"[PAD{i}]"]
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(texts)}, merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(splits_of(name))
    tok.decoder = decoders.ByteLevel()
    for text, special in added:
        token = AddedToken(text, special=special, normalized=False)
        tok.add_special_tokens([token]) if special else tok.add_tokens([token])
    return tok


def corpus(seed, count):
    rng = random.Random(seed)
    return [text_of(rng, None) for _ in range(count)]


def train(kind):
    """The small tokenizers: a few hundred merges over generated text."""
    texts = corpus("corpus", 3000)
    if kind == "small-chars":
        tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                         decoders.Strip(" ", 1, 0)])
        special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=special, limit_alphabet=400,
                                      max_token_length=12, show_progress=False)
        tok.train_from_iterator([t for t in texts if len(t) < 200], trainer)
        data = json.loads(tok.to_str())
        data["added_tokens"] = [t for t in data["added_tokens"] if t["id"] < 3]
        return data
    tok = Tokenizer(models.BPE())
    if kind == "small-bytes":
        tok.normalizer = normalizers.NFC()
        cut = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
               r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
               r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
    else:
        cut = [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
               r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
               r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(p), "isolated") for p in cut]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=256 + 400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tok.train_from_iterator(texts, trainer)
    tok.add_special_tokens(["<|bos|>", "<|eos|>", "<|eos|>x"])
    tok.add_tokens([AddedToken("<think>", normalized=True), AddedToken("</think>", normalized=False),
                    AddedToken("<caf\u00e9>", normalized=True), AddedToken("<pad>", lstrip=True, rstrip=True)])
    data = json.loads(tok.to_str())
    if kind == "small-regex":
        data["model"]["ignore_merges"] = True
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    return data


class Reference:
    def __init__(self, name, args):
        if name in SMALL:
            self.model = HERE / name
            data = json.loads((self.model / "tokenizer.json").read_text(encoding="utf-8"))
        elif name in FROM_GGUF:
            self.model = pathlib.Path(args.smollm2 if name == "smollm2" else
                                      f"{args.shared}/gguf-vocab/ggml-vocab-{name}.gguf")
            data = json.loads(from_gguf(name, self.model).to_str())
        else:
            self.model = pathlib.Path(args.shared) / "tokenizers" / name
            data = json.loads((self.model / "tokenizer.json").read_text(encoding="utf-8"))
        self.full = Tokenizer.from_str(json.dumps(data))
        self.specials = [t["content"] for t in data["added_tokens"]]
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] in RESERVED]
        data["post_processor"] = None
        self.plain = Tokenizer.from_str(json.dumps(data))

    def encode(self, texts, special):
        tok = self.full if special else self.plain
        return [e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids):
        return self.full.decode_batch(ids, skip_special_tokens=False)


# ---- comparing -----------------------------------------------------------------------------

def run_tool(tool, model, texts, special):
    data = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    done = subprocess.run([tool, str(model)] + (["special"] if special else []), input=data,
                          stdout=subprocess.PIPE, check=True)
    out, at, answers = done.stdout, 0, []
    for _ in texts:
        end = out.index(b"\n", at)
        ids = [int(x) for x in out[at:end].split()]
        head = out.index(b"\n", end + 1)
        size = int(out[end + 1:head].split()[1])
        answers.append((ids, out[head + 1:head + 1 + size]))
        at = head + 2 + size
    return answers


def compare(name, args):
    ref = Reference(name, args)
    bad = 0
    for special in (False, True):
        texts, skipped = make_texts(name, args.seed + special, args.count // 2, ref.specials)
        want = ref.encode(texts, special)
        back = ref.decode(want)
        got = run_tool(args.tool, ref.model, texts, special)
        wrong_ids = [i for i, (w, g) in enumerate(zip(want, got)) if w != g[0]]
        # The reference runs added tokens through the byte-level alphabet too: letters turn to bytes.
        odd = re.compile("<caf\u00e9>|[" + ("" if name in SMALL + BIG[:4] else RESERVED) + "\0]")
        wrong_text = [i for i, (w, g) in enumerate(zip(back, got))
                      if w.encode() != g[1] and not odd.search(texts[i] + unicodedata.normalize("NFC", texts[i]))]
        print(f"{name}: {'special' if special else 'plain'}: {len(texts)} texts, "
              f"{sum(map(len, want))} ids, {skipped} skipped: {len(wrong_ids)} differ in ids, "
              f"{len(wrong_text)} in decoded text", flush=True)
        for i in wrong_ids[:args.show]:
            print("  text", ascii(texts[i]), "\n  want", want[i], "\n  got ", got[i][0])
        for i in wrong_text[:args.show]:
            print("  decoded", ascii(back[i]), "\n  got    ", ascii(got[i][1].decode()))
        bad += len(wrong_ids) + len(wrong_text)
    return bad


# ---- writing -------------------------------------------------------------------------------

def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def write_cases(name, args, count):
    ref = Reference(name, args)
    out = bytearray(b"HDTG0001")
    for special in (False, True):
        texts, _ = make_texts(name, 1000 + special, count // 2, ref.specials)
        for text, ids in zip(texts, ref.encode(texts, special)):
            raw = text.encode()
            out += bytes([special]) + varint(len(raw)) + raw + varint(len(ids))
            out += b"".join(map(varint, ids))
    path = HERE / f"{name}.cases"
    path.write_bytes(bytes(out))
    print(f"{path.name}: {count} cases, {len(out)} bytes")


def write(args):
    HERE.mkdir(exist_ok=True)
    for name in SMALL:
        (HERE / name).mkdir(exist_ok=True)
        text = json.dumps(train(name), ensure_ascii=False, separators=(",", ":"))
        (HERE / name / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
        write_cases(name, args, 800)
    for name in BIG:
        write_cases(name, args, 1700 if name not in BIG[4:] else 600)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=["compare", "write"])
    p.add_argument("tool", nargs="?")
    p.add_argument("names", nargs="*")
    p.add_argument("--count", type=int, default=20000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--show", type=int, default=3)
    p.add_argument("--shared", default="../shared/data")
    p.add_argument("--smollm2", default=os.environ.get("HD_TEST_MODEL"), metavar="FILE")
    args = p.parse_args()
    print("tokenizers", tokenizers.__version__)
    if args.command == "write":
        return write(args)
    return 1 if sum(compare(n, args) for n in args.names or BIG + SMALL) else 0


if __name__ == "__main__":
    sys.exit(main())
