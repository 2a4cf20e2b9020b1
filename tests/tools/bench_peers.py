#!/usr/bin/env python3
"""Compares hadal with llama-server: the same file, slots, threads and client, taking turns.

Usage: bench_peers.py HADAL LLAMA_SERVER MODEL.gguf [--rounds N] [--clients 1,4,16] [--threads N]
                      [--context N] [--hadal "ARGS"] [--peer "ARGS"] [options of bench_http.py]

Each round starts one server, loads it with bench_http.py, ends it, and does the same with the other;
both get the same prompts. Prints the lines of every run, then the median of each figure over the
rounds and the median, least and greatest of the rounds' ratios (hadal / peer). Standard library only.
The machine must be idle: this does not look.
"""
import argparse
import json
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_ready(process, url):
    for _ in range(3000):
        if process.poll() is not None:
            raise SystemExit(f"bench_peers.py: the server ended with {process.returncode}: {shlex.join(process.args)}")
        try:
            with urllib.request.urlopen(url, timeout=1) as r:
                if r.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"bench_peers.py: {url} never answered 200")


def load(args, name, command, ready, port, seed, more):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=None if args.verbose else subprocess.DEVNULL)
    try:
        wait_ready(process, f"http://127.0.0.1:{port}{ready}")
        out = subprocess.run([sys.executable, HERE / "bench_http.py", f"127.0.0.1:{port}", "--clients", args.clients,
                              "--json", "--seed", str(seed), *more], check=True, stdout=subprocess.PIPE, text=True).stdout
    finally:
        process.terminate()
        process.wait()
    lines = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        print(json.dumps({"server": name, "round": seed} | line), flush=True)
    return lines


def compare(hadal, peer):
    """Lists of runs, each a list of lines."""
    print(f"\n{'':34}{'hadal':>10}{'peer':>10}{'ratio':>8}   least..greatest of {len(hadal)} rounds")
    for i, line in enumerate(hadal[0]):
        for key in line:
            if not key.endswith(("_per_s", "_ms", "_p50", "_p99", "_max", "_before")):
                continue
            ours, theirs = ([run[i][key] for run in runs] for runs in (hadal, peer))
            ratio = [a / b if b else float("nan") for a, b in zip(ours, theirs)]
            print(f"{line['test'] + ' ' + key:34}{statistics.median(ours):10.1f}{statistics.median(theirs):10.1f}"
                  f"{statistics.median(ratio):8.2f}   {min(ratio):.2f}..{max(ratio):.2f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("hadal_binary")
    p.add_argument("peer_binary")
    p.add_argument("model")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--clients", default="1,4,16")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--context", type=int, default=1024, help="tokens each slot has room for")
    p.add_argument("--hadal", default="", metavar="ARGS", help="more arguments for hadal serve")
    p.add_argument("--peer", default="", metavar="ARGS", help="more arguments for llama-server")
    p.add_argument("--verbose", action="store_true", help="show what the servers say")
    args, more = p.parse_known_args()
    slots = max(map(int, args.clients.split(","))) + ("--intrude" in more)
    runs = [], []
    for seed in range(1, args.rounds + 1):
        port = free_port()
        hadal = [args.hadal_binary, "serve", "--model", args.model, "--port", str(port), "--threads", str(args.threads),
                 "--max-seqs", str(slots), "--max-context", str(args.context), *shlex.split(args.hadal)]
        peer = [args.peer_binary, "-m", args.model, "--port", str(port), "-t", str(args.threads), "-tb", str(args.threads),
                "-np", str(slots), "-c", str(slots * args.context), *shlex.split(args.peer)]
        runs[0].append(load(args, "hadal", hadal, "/ping", port, seed, more))
        runs[1].append(load(args, "peer", peer, "/health", port, seed, more))
    compare(*runs)


if __name__ == "__main__":
    main()
