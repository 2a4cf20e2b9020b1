"""What the makers of golden data share: writing checkpoints, GGUF files and golden.bin."""
import json
import struct

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

VOCAB = 320
PROMPTS = (80, 21)
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def save(out, config, tensors, shard_of=None):
    """shard_of: the number of a tensor's file, counted from 0; without it there is one file."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for old in out.glob("model*"):
        old.unlink()
    if shard_of is None:
        save_file(tensors, out / "model.safetensors")
        return
    shards = 1 + max(shard_of(n) for n in tensors)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in sorted(tensors) if shard_of(n) == i}
        weight_map |= dict.fromkeys(part, file)
        save_file(part, out / file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def stored_tensors(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def write_golden(out, prompts, logits_of):
    """prompts: lists of token ids; logits_of(ids [1, n]) gives [n, vocab]."""
    blob = [struct.pack("<4sii", b"HDG1", len(prompts), VOCAB)]
    for ids in prompts:
        with torch.no_grad():
            logits = logits_of(ids).float().numpy()
        n = ids.shape[1]
        blob.append(struct.pack("<i", n) + ids[0].numpy().astype("<i4").tobytes())
        blob.append(logits.astype("<f4").tobytes())
        print(f"{out.name}: {n} tokens, logits std {logits.std():.3f}, max {abs(logits).max():.3f}")
    (out / "golden.bin").write_bytes(b"".join(blob))


# ---- GGUF ----------------------------------------------------------------------------------

QUANTS = {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16,
          "q8_0": gguf.GGMLQuantizationType.Q8_0}


def rounded(array, kind):
    """What a reader of this stored type sees."""
    array = array.astype(np.float32)
    return array if kind == "f32" else gguf.quants.dequantize(gguf.quants.quantize(array, QUANTS[kind]), QUANTS[kind])


def add_tensor(writer, name, array, kind):
    if kind == "f32":
        writer.add_tensor(name, array.astype(np.float32))
    else:
        writer.add_tensor(name, gguf.quants.quantize(array.astype(np.float32), QUANTS[kind]), raw_dtype=QUANTS[kind])


def interleave(w, heads):
    """Rows of a head: (half, pair) order becomes (pair, half)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def new_writer(path, arch, config, kv_heads):
    path.parent.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(str(path), arch)
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(kv_heads)
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_freq_base(config["rope_theta"])
    return w


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
