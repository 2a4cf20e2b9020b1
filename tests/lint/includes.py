#!/usr/bin/env python3
"""Checks the include arrows of the tree (README, "who may include whom").

Usage: includes.py ROOT. Prints one line per violation; exit 1 when there is any.
"""
import pathlib
import re
import sys

# What the files of a folder may include, as path prefixes. A folder may always include itself.
ALLOWED = {
    "kernels/base": [],
    "kernels/dry": ["kernels/base/", "kernels/backend.h", "kernels/batch.h", "kernels/dtype.h", "kernels/comm.h"],
    "kernels/cpu": ["kernels/base/", "kernels/backend.h", "kernels/batch.h", "kernels/dtype.h", "kernels/comm.h"],
    "kernels/cuda": ["kernels/base/", "kernels/backend.h", "kernels/batch.h", "kernels/dtype.h", "kernels/comm.h"],
    "kernels": ["kernels/"],
    "models": ["kernels/base/", "kernels/backend.h", "kernels/batch.h", "kernels/dtype.h", "kernels/comm.h"],
    "engine": ["kernels/base/", "kernels/backend.h", "kernels/batch.h", "kernels/dtype.h", "kernels/comm.h",
               "models/model.h", "models/model_src.h", "models/config.h", "models/tokenizer/tokenizer.h",
               "models/chat/chat.h"],
    # dtype.h: names of types in settings. The models' headers listed are the ones that read facts.
    "server": ["kernels/base/", "kernels/dtype.h", "engine/engine.h", "engine/request.h", "engine/runner.h",
               "engine/forecast.h",
               "models/tokenizer/tokenizer.h", "models/chat/chat.h", "models/model_src.h"],
}
# `hadal inspect` shows what is in a model without running it.
EXTRA = {
    "server/cmd_inspect.c": ["models/model.h", "models/config.h", "models/weights/", "kernels/backend.h"],
}
# kernels/*.c and fns.h know the backends they open.
EXTRA.update({"kernels/dtype.c": ["kernels/cpu/ref/"], "kernels/backend.c": ["kernels/cpu/", "kernels/dry/"]})

# Third-party headers live behind one file each.
QUARANTINE = {
    "microhttpd.h": ["server/http.c"],
    "cJSON.h": ["kernels/base/json.c"],
    "cjson/cJSON.h": ["kernels/base/json.c"],
    "cblas.h": ["kernels/cpu/gemm.c"],
    "pcre2.h": ["models/tokenizer/"],
    "utf8proc.h": ["models/tokenizer/"],
    "editline/readline.h": ["server/cmd_chat.c"],
    "histedit.h": ["server/cmd_chat.c"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def folder_of(path):
    best = ""
    for folder in ALLOWED:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def sources(root):
    for top in ("kernels", "models", "engine", "server"):
        for suffix in ("*.c", "*.h", "*.cu", "*.cuh"):
            yield from sorted((root / top).rglob(suffix))


def check(root):
    bad = []
    for file in sources(root):
        rel = file.relative_to(root).as_posix()
        folder = folder_of(rel)
        allowed = ALLOWED[folder] + EXTRA.get(rel, []) + [folder + "/"]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            m = INCLUDE.match(line)
            if not m:
                continue
            kind, name = m.groups()
            if name in QUARANTINE and not any(rel.startswith(p) for p in QUARANTINE[name]):
                bad.append(f"{rel}:{number}: <{name}> belongs to {QUARANTINE[name][0]} alone")
            if kind == "<":
                continue
            if not (root / name).exists():
                bad.append(f'{rel}:{number}: "{name}" is not a path from the repository root')
            elif not any(name == a or (a.endswith("/") and name.startswith(a)) for a in allowed):
                bad.append(f'{rel}:{number}: {folder} may not include "{name}"')
    return bad


def main():
    bad = check(pathlib.Path(sys.argv[1]).resolve())
    print("\n".join(bad) if bad else "include arrows: clean")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
