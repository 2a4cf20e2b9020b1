#!/usr/bin/env python3
"""Writes tests/golden/<case>/: tiny random checkpoints and what a reference computes from them.

Usage: make_golden.py OUT_DIR [CASE...]. Needs torch, transformers, safetensors and gguf.

golden.bin (little-endian): int32 magic "HDG1", int32 number of prompts, int32 vocab; per prompt
int32 n, int32 ids[n], float32 logits[n][vocab].

With --rope prints inverse frequencies for the table in tests/unit/test_config.c.
"""
import pathlib
import sys

import golden_dense
import golden_sparse
import golden_sparse_gguf


def main():
    if sys.argv[1] == "--rope":
        golden_dense.print_rope()
        return
    root = pathlib.Path(sys.argv[1])
    wanted = sys.argv[2:]
    makers = golden_dense.cases(root) | golden_sparse.cases(root) | golden_sparse_gguf.cases(root)
    unknown = [name for name in wanted if name not in makers]
    if unknown:
        sys.exit(f"no such case: {', '.join(unknown)}; there are: {', '.join(makers)}")
    for name, make in makers.items():
        if not wanted or name in wanted:
            make()


if __name__ == "__main__":
    main()
