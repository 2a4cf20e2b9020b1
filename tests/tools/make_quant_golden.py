#!/usr/bin/env python3
"""Writes tests/golden/quants.bin: random blocks of every GGUF format with their float values.

The values come from an independent implementation, gguf.quants.dequantize of the Python package
"gguf" (the committed file was made with gguf 0.19.0 and numpy 2.4.6). Scales are drawn from real
magnitudes for half of the blocks and from random bits, without NaN, for the rest.

File: "HDQG0001", then per record u32 type id, u32 elements, u32 bytes, the bytes, u32 float bits.
"""
import importlib.metadata
import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

ELEMENTS = 1536
# Type and the byte offsets of its half-precision scales.
TYPES = [
    (T.F16, ()), (T.BF16, ()), (T.Q4_0, (0,)), (T.Q4_1, (0, 2)), (T.Q5_0, (0,)), (T.Q5_1, (0, 2)),
    (T.Q8_0, (0,)), (T.Q2_K, (80, 82)), (T.Q3_K, (108,)), (T.Q4_K, (0, 2)), (T.Q5_K, (0, 2)),
    (T.Q6_K, (208,)), (T.IQ4_NL, (0,)), (T.IQ4_XS, (0,)), (T.MXFP4, ()),
]


def random_half(rng, count, plausible):
    if plausible:
        return (rng.standard_normal(count) * 0.01).astype(np.float16).view(np.uint16)
    bits = rng.integers(0, 65536, count, dtype=np.uint16)
    return np.where((bits & 0x7C00) == 0x7C00, bits & 0x83FF, bits).astype(np.uint16)


def blocks(rng, qtype, scale_at):
    elems, size = GGML_QUANT_SIZES[qtype]
    n = ELEMENTS // elems
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if qtype == T.F16:
        return random_half(rng, n, False).view(np.uint8).reshape(n, 2)
    for at in scale_at:
        half = np.concatenate([random_half(rng, n - n // 2, True), random_half(rng, n // 2, False)])
        raw[:, at:at + 2] = half.view(np.uint8).reshape(n, 2)
    return raw


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else "tests/golden/quants.bin"
    rng = np.random.default_rng(20250711)
    with open(out, "wb") as f, np.errstate(all="ignore"):
        f.write(b"HDQG0001")
        for qtype, scale_at in TYPES:
            raw = blocks(rng, qtype, scale_at)
            data = raw.reshape(-1)
            if qtype == T.F16:
                data = data.view(np.float16)
            values = np.ascontiguousarray(dequantize(data, qtype), dtype=np.float32).reshape(-1)
            assert values.size == ELEMENTS, (qtype, values.size)
            f.write(struct.pack("<III", int(qtype), ELEMENTS, raw.size))
            f.write(raw.tobytes())
            f.write(values.view(np.uint32).tobytes())
    print(f"{out}: {len(TYPES)} types, gguf {importlib.metadata.version('gguf')}, "
          f"numpy {np.__version__}")


if __name__ == "__main__":
    main()
