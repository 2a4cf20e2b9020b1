#!/usr/bin/env python3
"""Which instance holds which model: asks `hadal inspect --plan` and prints a table in Markdown.

Usage: instances.py HADAL [CONFIG.json...]     (default: some of tests/data/configs)
An instance fits when one sequence of CONTEXT tokens does beside the weights in SHARE of its memory.
"""
import json
import pathlib
import re
import subprocess
import sys

CONTEXT, SHARE = 8192, 0.8
CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "tests" / "data" / "configs"
USUAL = ["r1-distill-qwen-1.5b", "r1-distill-qwen-7b", "r1-distill-llama-8b", "r1-distill-qwen-14b", "deepseek-v2-lite",
         "deepseek-moe-16b", "r1-distill-qwen-32b", "deepseek-coder-33b", "r1-distill-llama-70b", "deepseek-v2.5",
         "deepseek-v3"]
# Name: vCPU, GiB, of c7i, m7i and r7i alike: 2, 4 and 8 GiB for each vCPU.
SIZES = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64,
         "24xlarge": 96, "48xlarge": 192}
FAMILIES = {"c7i": 2, "m7i": 4, "r7i": 8}


def context_of(config):
    return min(CONTEXT, json.loads(config.read_text()).get("max_position_embeddings", CONTEXT))


def plan(hadal, config, weights, gib):
    context = context_of(config)
    text = subprocess.run([hadal, "inspect", "--plan", config, "--weights", weights, "--max-context", str(context),
                           "--memory", str(int(gib * SHARE * 2**30))], capture_output=True, text=True, check=True).stdout
    return text, f"one sequence of {context} tokens" in text


def field(text, pattern):
    return re.search(pattern, text)[1]


def smallest(hadal, config, weights, family):
    for size, cpus in SIZES.items():
        if plan(hadal, config, weights, cpus * FAMILIES[family])[1]:
            return f"{family}.{size}"
    return "none"


def row(hadal, config):
    cells = [config.stem]
    for weights in ("q4_k", "keep"):
        text, _ = plan(hadal, config, weights, 1 << 20)
        if weights == "q4_k":
            kv = int(field(text, r"kv per token +(\d+)")) * context_of(config)
            cells += [field(text, r"parameters +(\S+ \S+),"), f"{kv / 1e9:.2f} GB"]
        cells += [field(text, r"weights +(\S+ \S+) in memory"),
                  field(text, r"reads (\S+ \S+) of weights"),
                  *(smallest(hadal, config, weights, f) for f in ("r7i", "c7i"))]
    return "| " + " | ".join(cells) + " |"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    configs = [pathlib.Path(x) for x in sys.argv[2:]] or [CONFIGS / f"{x}.json" for x in USUAL]
    print("| config | parameters | cache | 4 bits | read per token | r7i | c7i | as published | read per token | r7i | c7i |")
    print("|" + "---|" * 11)
    for config in configs:
        print(row(sys.argv[1], config), flush=True)


if __name__ == "__main__":
    main()
