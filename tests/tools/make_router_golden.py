#!/usr/bin/env python3
"""Writes tests/golden/router_<generation>.bin: which experts PyTorch chooses for 10,000 score rows.

Usage: make_router_golden.py OUT_DIR. Needs torch and numpy.

Only results are stored; inputs come from xorshift32 (shifts 13, 17, 5; the value is state >> 8), in
integers, so that both sides make the same ones:
  row r: state = r * 2654435761 + salt[r] * 2246822519 + 1 (1 where that is 0), one step an expert;
         v = value of expert e; by r mod 4: 0, 1: (v mod 2048 - 1024) / 256, fine;
         2: (v mod 17 - 8) / 2, so that many are equal;
         3: as fine, but expert e has the value of expert e mod (experts / 8): whole groups are equal
  bias:  state = 12345; bias[e] = (v mod 65 - 32) / 64 for the first half of the experts, the second
         half has the same, so that equal scores stay equal.

Equal values: the lower index wins, by a stable sort; torch.topk leaves it open. Values that differ
do so by more than 1e-5 of themselves, else the row is made anew with its next salt, so that rounding
cannot change a choice.

File (little-endian): magic "HDR1"; int32 rows, experts, chosen, groups, groups kept, score (0 softmax,
1 sigmoid), group score (0 none, 1 best, 2 sum of the best two), normalised, has bias; float32 scale;
u8 salt[rows]; u8 ids[rows][chosen], best first; u24 weights[rows][chosen], units of scale / 2^24.
"""
import pathlib
import struct
import sys

import numpy as np
import torch

ROWS = 10000
MARGIN = 1e-5
GENERATIONS = {  # V2-Lite, V2, V3
    "greedy": dict(experts=64, chosen=6, groups=1, kept=1, sigmoid=0, group=0, norm=0, bias=0, scale=1.0),
    "group_max": dict(experts=160, chosen=6, groups=8, kept=3, sigmoid=0, group=1, norm=0, bias=0, scale=16.0),
    "group_top2": dict(experts=256, chosen=8, groups=8, kept=4, sigmoid=1, group=2, norm=1, bias=1, scale=2.5),
}


def values(state, n):
    """n steps of the generator for a vector of states; [len(state), n]."""
    x = np.where(state == 0, 1, state).astype(np.uint32)
    out = np.empty((len(x), n), np.int64)
    for i in range(n):
        x ^= x << np.uint32(13)
        x ^= x >> np.uint32(17)
        x ^= x << np.uint32(5)
        out[:, i] = x >> np.uint32(8)
    return out


def rows_of(salt, experts):
    r = np.arange(len(salt), dtype=np.uint64)
    v = values((r * 2654435761 + salt.astype(np.uint64) * 2246822519 + 1) & 0xffffffff, experts)
    fine = (v % 2048 - 1024) / 256
    copied = fine[:, np.arange(experts) % (experts // 8)]
    kind = (r % 4)[:, None]
    return np.where(kind == 3, copied, np.where(kind == 2, (v % 17 - 8) / 2, fine)).astype(np.float32)


def bias_of(experts):
    half = (values(np.array([12345], np.uint64), experts // 2)[0] % 65 - 32) / 64
    return np.tile(half, 2).astype(np.float32)


def ordered(x, n):
    """The n + 1 largest of each row (or all), best first, the lower index first among equals."""
    return torch.sort(x, dim=-1, descending=True, stable=True).indices[:, :n + 1]


def margin(x, index):
    """Per row the least relative distance between neighbours that are not equal."""
    v = x.gather(-1, index)
    d = v[:, :-1] - v[:, 1:]
    d = torch.where((d == 0) | d.isnan(), torch.inf, d / v[:, :-1].abs())
    return d.min(-1).values


def route(g, logits, bias):
    """ids, weights and margins in the type of the logits."""
    scores = logits.sigmoid() if g["sigmoid"] else logits.softmax(-1)
    choice = scores + bias.to(scores.dtype) if g["bias"] else scores
    least = torch.full((len(logits),), torch.inf, dtype=scores.dtype)
    if g["group"]:
        by_group = choice.unflatten(-1, (g["groups"], -1))
        value = by_group.max(-1).values if g["group"] == 1 else by_group.topk(2, -1).values.sum(-1)
        kept = ordered(value, g["kept"])
        least = margin(value, kept)
        keep = torch.zeros_like(value, dtype=torch.bool).scatter(1, kept[:, :g["kept"]], True)
        choice = by_group.masked_fill(~keep[..., None], 0 if g["group"] == 1 else -torch.inf).flatten(1)
    index = ordered(choice, g["chosen"])
    least = torch.minimum(least, margin(choice, index))
    ids = index[:, :g["chosen"]]
    weights = scores.gather(1, ids)
    if g["norm"]:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return ids, weights, least, choice


def check_topk(g, ids, choice):
    """torch.topk agrees on every row without equal values at the border."""
    top = torch.topk(choice, g["chosen"] + 1)
    clear = top.values[:, -1] < top.values[:, -2]
    want = top.indices[:, :-1].sort(-1).values
    assert torch.equal(want[clear], ids.sort(-1).values[clear])
    return int(clear.sum())


def make(path, g):
    salt = np.zeros(ROWS, np.uint8)
    bias = torch.from_numpy(bias_of(g["experts"]))
    while True:
        logits = torch.from_numpy(rows_of(salt, g["experts"]))
        ids, exact, least, _ = route(g, logits.double(), bias)
        close = (least <= MARGIN).numpy()
        if not close.any():
            break
        salt[close] += 1
    ids32, weights, _, choice = route(g, logits, bias)
    assert torch.equal(ids32, ids)
    clear = check_topk(g, ids, choice)
    packed = np.minimum(np.rint(weights.double().numpy() * 2**24), 2**24 - 1).astype("<u4")
    head = struct.pack("<4s9if", b"HDR1", ROWS, g["experts"], g["chosen"], g["groups"], g["kept"], g["sigmoid"],
                       g["group"], g["norm"], g["bias"], g["scale"])
    path.write_bytes(head + salt.tobytes() + ids.numpy().astype(np.uint8).tobytes() +
                     packed.view(np.uint8).reshape(ROWS, g["chosen"], 4)[..., :3].tobytes())
    print(f"{path.name}: {ROWS - clear} rows with equal values at the border, {int((salt > 0).sum())} made anew, "
          f"float32 against float64 {(weights.double() - exact).abs().max().item():.1e}, {path.stat().st_size} bytes")


def main():
    for name, g in GENERATIONS.items():
        make(pathlib.Path(sys.argv[1]) / f"router_{name}.bin", g)


if __name__ == "__main__":
    main()
