#!/usr/bin/env python3
"""Writes random-weight checkpoints with the shapes of real models, at the speed of the disk.

Usage: make_model.py OUT_DIR --shape SHAPE [--layers N] [--tokenizer PATH]. Needs numpy and gguf.

  v2-lite               DeepSeek-V2-Lite as GGUF `deepseek2`: Q4_K with Q6_K, and Q8_0 or Q5_0 where
                        a row is no multiple of 256; split attn_k_b / attn_v_b; about 10 GB
  v3-stack              DeepSeek-V3 with few layers (default 2, the first one dense): safetensors
                        shards with an index, FP8 with block scales, the rest bf16; about 16 GB
  r1-distill-qwen-1.5b  DeepSeek-R1-Distill-Qwen-1.5B: one safetensors file in bf16; 3.6 GB
  r1-distill-qwen-1.5b-q4_k, r1-distill-qwen-1.5b-q8_0
                        the same as GGUF `qwen2`: Q4_K with Q6_K where quantizers put it, 1.1 GB, or
                        Q8_0, 1.9 GB; with all the vocabulary that other programs need to load it

Weights are a few megabytes of random blocks per type and width, repeated with a period that does not
match rows. They have mean 0 and standard deviation 1 / sqrt(width), so that activations stay finite.

PATH is a vocabulary-only GGUF file for v2-lite, else a folder with tokenizer.json; without it the
one in ../shared/data beside the repository is taken if it is there, else the model gets none.
"""
import argparse
import json
import pathlib
import shutil
import struct

import gguf
import numpy as np

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
POOL_BYTES = 4 << 20
SHARD_BYTES = 4 << 30
RNG = np.random.default_rng(1)


# ---- random blocks -------------------------------------------------------------------------

def is_prime(n):
    return all(n % d for d in range(2, int(n ** 0.5) + 1))


def f16(x, n):
    """n times x, two bytes each."""
    return np.full((n, 1), x, "<f2").view(np.uint8)


def raw(n, width):
    return RNG.integers(0, 256, (n, width), np.uint8)


# A block of random bits is its scale d times something of this standard deviation. For Q4_K that is
# scale * code - 7.5 * min, with dmin = 7.5 d, which has mean 0.
SPREAD = {"q4_k": 258.3, "q5_0": 9.23, "q6_k": 1366.0, "q8_0": 73.9}


def quantized(kind, n, std):
    d = std / SPREAD[kind]
    if kind == "q4_k":
        return np.hstack([f16(d, n), f16(7.5 * d, n), raw(n, 140)])
    if kind == "q6_k":
        return np.hstack([raw(n, 208), f16(d, n)])
    return np.hstack([f16(d, n), raw(n, 20 if kind == "q5_0" else 32)])


def e4m3_table():
    code = np.arange(127)
    exponent, fraction = code >> 3, code & 7
    return np.where(exponent == 0, fraction / 512, (1 + fraction / 8) * 2.0 ** (exponent - 7))


def scalar(kind, n, std):
    x = RNG.standard_normal(n).astype(np.float32)
    if kind == "f8":  # standard deviation 64, whatever is asked for: scales do the rest
        code = np.searchsorted(e4m3_table(), np.minimum(np.abs(x) * 64, 448), "right").astype(np.uint8) - 1
        return code | np.where(x < 0, 128, 0).astype(np.uint8)
    if kind == "ones":  # gains of norms
        return (1 + 0.1 * x).astype("<f4")
    if kind == "scale":  # block scales of f8
        return (std / 64 * (0.75 + 0.5 * RNG.random(n))).astype("<f4")
    x = (x * std).astype("<f4")
    return x if kind == "f32" else (x.view("<u4") >> 16).astype("<u2")


UNIT = {"q4_k": (256, 144), "q6_k": (256, 210), "q5_0": (32, 22), "q8_0": (32, 34), "f32": (1, 4), "ones": (1, 4),
        "scale": (1, 4), "bf16": (1, 2), "f8": (1, 1)}  # elements and bytes of a block


class Source:
    """Bytes for tensors, from pools that go round."""

    def __init__(self):
        self.pools = {}

    def pool(self, kind, std):
        if (kind, std) not in self.pools:
            n = POOL_BYTES // UNIT[kind][1]
            while not is_prime(n):
                n -= 1
            data = quantized(kind, n, std) if kind in SPREAD else scalar(kind, n, std)
            self.pools[kind, std] = [np.ascontiguousarray(data).view(np.uint8).reshape(-1), 0]
        return self.pools[kind, std]

    def pieces(self, kind, elements, std):
        pool = self.pool(kind, std)
        left = elements // UNIT[kind][0] * UNIT[kind][1]
        while left > 0:
            piece = pool[0][pool[1]:pool[1] + left]
            pool[1] = (pool[1] + len(piece)) % len(pool[0])
            left -= len(piece)
            yield piece


def std_of(kind, shape):
    return 0.0 if kind == "ones" else shape[-1] ** -0.5


# ---- V2-Lite as GGUF -----------------------------------------------------------------------

LITE = {"layers": 27, "d": 2048, "heads": 16, "ff": 10944, "moe": 1408, "experts": 64, "active": 6, "shared": 2,
        "latent": 512, "nope": 128, "rope": 64, "v": 128, "vocab": 102400}
# User and assistant turns of DeepSeek-LLM and V2.
TEMPLATE = ("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
            "{{ 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}"
            "{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}"
            "{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")


def wide(kind, width, otherwise):
    return kind if width % 256 == 0 else otherwise


def lite_layer(c, layer):
    """Name: (type, shape). Half of the experts' down projections get more bits, as quantizers do."""
    d, h = c["d"], c["heads"]
    more = "q8_0" if layer < c["layers"] // 8 or layer % 3 == 0 or layer >= 7 * c["layers"] // 8 else "q5_0"
    t = {
        "attn_norm": ("ones", (d,)), "attn_q": ("q4_k", (h * (c["nope"] + c["rope"]), d)),
        "attn_kv_a_mqa": ("q4_k", (c["latent"] + c["rope"], d)), "attn_kv_a_norm": ("ones", (c["latent"],)),
        "attn_k_b": ("q8_0", (h, c["latent"], c["nope"])), "attn_v_b": ("q8_0", (h, c["v"], c["latent"])),
        "attn_output": ("q4_k", (d, h * c["v"])), "ffn_norm": ("ones", (d,)),
    }
    if layer == 0:
        return t | {"ffn_gate": ("q4_k", (c["ff"], d)), "ffn_up": ("q4_k", (c["ff"], d)),
                    "ffn_down": (wide("q6_k", c["ff"], "q8_0"), (d, c["ff"]))}
    shared = c["shared"] * c["moe"]
    return t | {
        "ffn_gate_inp": ("f32", (c["experts"], d)), "ffn_gate_exps": ("q4_k", (c["experts"], c["moe"], d)),
        "ffn_up_exps": ("q4_k", (c["experts"], c["moe"], d)),
        "ffn_down_exps": (wide("q6_k", c["moe"], more), (c["experts"], d, c["moe"])),
        "ffn_gate_shexp": ("q4_k", (shared, d)), "ffn_up_shexp": ("q4_k", (shared, d)),
        "ffn_down_shexp": (wide("q6_k", shared, "q8_0"), (d, shared)),
    }


def lite_metadata(w, c):
    w.add_name("random DeepSeek-V2-Lite")
    w.add_block_count(c["layers"])
    w.add_context_length(163840)
    w.add_embedding_length(c["d"])
    w.add_feed_forward_length(c["ff"])
    w.add_head_count(c["heads"])
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(c["vocab"])
    w.add_leading_dense_block_count(1)
    w.add_expert_count(c["experts"])
    w.add_expert_used_count(c["active"])
    w.add_expert_shared_count(c["shared"])
    w.add_expert_feed_forward_length(c["moe"])
    w.add_expert_weights_scale(1.0)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    w.add_kv_lora_rank(c["latent"])
    w.add_key_length(c["latent"] + c["rope"])
    w.add_value_length(c["latent"])
    w.add_key_length_mla(c["nope"] + c["rope"])
    w.add_value_length_mla(c["v"])
    w.add_rope_dimension_count(c["rope"])
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(40.0)
    w.add_rope_scaling_orig_ctx_len(4096)
    w.add_rope_scaling_yarn_log_mul(0.0707)


def copy_vocabulary(w, path):
    for name, field in gguf.GGUFReader(path).fields.items():
        if name.startswith("tokenizer."):
            kinds = field.types
            w.add_key_value(name, field.contents(), kinds[0], kinds[1] if len(kinds) > 1 else None)
    w.add_chat_template(TEMPLATE)


def add_bpe(w, folder, size):
    """The vocabulary of a tokenizer.json, filled up to size with tokens nobody writes."""
    t = json.loads((folder / "tokenizer.json").read_text())
    added = {a["id"]: a["content"] for a in t["added_tokens"]}
    text = {i: name for name, i in t["model"]["vocab"].items()} | added
    kinds = gguf.TokenType
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list([text.get(i, f"[PAD{i}]") for i in range(size)])
    w.add_token_types([kinds.CONTROL if i in added else kinds.NORMAL if i in text else kinds.UNUSED for i in range(size)])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]])


def write_gguf(path, w, source, tensors):
    quants = {k: gguf.GGMLQuantizationType[k.upper()] for k in SPREAD}
    for name, (kind, shape) in tensors.items():
        elements, size = UNIT[kind]
        if kind in quants:
            rows = (*shape[:-1], shape[-1] // elements * size)
            w.add_tensor_info(name, rows, np.dtype(np.uint8), int(np.prod(rows)), quants[kind])
        else:
            w.add_tensor_info(name, shape, np.dtype(np.float32), int(np.prod(shape)) * 4)
    w.write_header_to_file(path)
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for kind, shape in tensors.values():
        w.write_tensor_data(np.concatenate(list(source.pieces(kind, int(np.prod(shape)), std_of(kind, shape)))))
    w.close()


def make_v2_lite(out, layers, tokenizer):
    c = LITE | ({"layers": layers} if layers else {})
    w = gguf.GGUFWriter(None, "deepseek2")
    lite_metadata(w, c)
    if tokenizer:
        copy_vocabulary(w, tokenizer)
    tensors = {"token_embd.weight": ("q4_k", (c["vocab"], c["d"])), "output_norm.weight": ("ones", (c["d"],)),
               "output.weight": ("q6_k", (c["vocab"], c["d"]))}
    for layer in range(c["layers"]):
        tensors |= {f"blk.{layer}.{name}.weight": t for name, t in lite_layer(c, layer).items()}
    write_gguf(out / "model.gguf", w, Source(), tensors)


# ---- safetensors ---------------------------------------------------------------------------

ST_TYPES = {"bf16": "BF16", "f8": "F8_E4M3", "f32": "F32", "scale": "F32", "ones": "F32"}


def size_of(kind, shape):
    return int(np.prod(shape)) * UNIT[kind][1]


def write_safetensors(path, source, tensors):
    """Name: (type, shape, standard deviation)."""
    header, at = {}, 0
    for name, (kind, shape, _) in tensors.items():
        header[name] = {"dtype": ST_TYPES[kind], "shape": list(shape), "data_offsets": [at, at + size_of(kind, shape)]}
        at += size_of(kind, shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for kind, shape, std in tensors.values():
            for piece in source.pieces(kind, int(np.prod(shape)), std):
                f.write(piece)


def write_shards(out, source, tensors):
    shards, sizes = [{}], [0]
    for name, t in tensors.items():
        if sizes[-1] + size_of(*t[:2]) > SHARD_BYTES and shards[-1]:
            shards.append({})
            sizes.append(0)
        shards[-1][name] = t
        sizes[-1] += size_of(*t[:2])
    weight_map = {}
    for i, part in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):06d}.safetensors"
        write_safetensors(out / file, source, part)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def gain(d):
    return ("ones", (d,), 0.0)


def matrix(kind, n_out, n_in):
    return (kind, (n_out, n_in), n_in ** -0.5)


def fp8(name, n_out, n_in):
    """A matrix in FP8 and its block scales."""
    grid = (-(-n_out // 128), -(-n_in // 128))
    return {f"{name}.weight": ("f8", (n_out, n_in), 1.0), f"{name}.weight_scale_inv": ("scale", grid, n_in ** -0.5)}


def copy_tokenizer(out, folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if folder and (folder / name).exists():
            shutil.copyfile(folder / name, out / name)


# ---- V3 ------------------------------------------------------------------------------------

V3 = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 128,
    "num_key_value_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256, "num_experts_per_tok": 8,
    "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "qk_nope_head_dim": 128, "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4, "moe_layer_freq": 1,
    "first_k_dense_replace": 1, "norm_topk_prob": True, "scoring_func": "sigmoid", "hidden_act": "silu",
    "max_position_embeddings": 163840, "rms_norm_eps": 1e-6, "rope_theta": 10000, "attention_bias": False,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                     "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "num_nextn_predict_layers": 0, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "bfloat16",
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [128, 128]},
}


def fp8_ffn(name, ff, d):
    return fp8(name + ".gate_proj", ff, d) | fp8(name + ".up_proj", ff, d) | fp8(name + ".down_proj", d, ff)


def v3_layer(c, layer):
    at, d, h = f"model.layers.{layer}", c["hidden_size"], c["num_attention_heads"]
    nope, rope, v, latent = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    q, attn, mlp = c["q_lora_rank"], at + ".self_attn", at + ".mlp"
    t = {f"{at}.input_layernorm.weight": gain(d), f"{attn}.q_a_layernorm.weight": gain(q),
         f"{attn}.kv_a_layernorm.weight": gain(latent), f"{at}.post_attention_layernorm.weight": gain(d)}
    t |= fp8(attn + ".q_a_proj", q, d) | fp8(attn + ".q_b_proj", h * (nope + rope), q)
    t |= fp8(attn + ".kv_a_proj_with_mqa", latent + rope, d) | fp8(attn + ".kv_b_proj", h * (nope + v), latent)
    t |= fp8(attn + ".o_proj", d, h * v)
    if layer < c["first_k_dense_replace"]:
        return t | fp8_ffn(mlp, c["intermediate_size"], d)
    t |= {f"{mlp}.gate.weight": matrix("bf16", c["n_routed_experts"], d),
          f"{mlp}.gate.e_score_correction_bias": ("f32", (c["n_routed_experts"],), 0.1)}
    for e in range(c["n_routed_experts"]):
        t |= fp8_ffn(f"{mlp}.experts.{e}", c["moe_intermediate_size"], d)
    return t | fp8_ffn(mlp + ".shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"], d)


def make_v3_stack(out, layers, tokenizer):
    c = V3 | ({"num_hidden_layers": layers} if layers else {})
    tensors = {"model.embed_tokens.weight": matrix("bf16", c["vocab_size"], c["hidden_size"])}
    for layer in range(c["num_hidden_layers"]):
        tensors |= v3_layer(c, layer)
    tensors |= {"model.norm.weight": gain(c["hidden_size"]),
                "lm_head.weight": matrix("bf16", c["vocab_size"], c["hidden_size"])}
    (out / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    write_shards(out, Source(), tensors)
    copy_tokenizer(out, tokenizer)


# ---- R1-Distill-Qwen-1.5B ------------------------------------------------------------------

QWEN = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536,
    "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 131072, "use_sliding_window": False,
    "sliding_window": 4096, "max_window_layers": 21, "hidden_act": "silu", "tie_word_embeddings": False,
    "bos_token_id": 151646, "eos_token_id": 151643, "torch_dtype": "bfloat16",
}


def make_distill(out, layers, tokenizer):
    c = QWEN | ({"num_hidden_layers": layers} if layers else {})
    d, ff = c["hidden_size"], c["intermediate_size"]
    kv = d // c["num_attention_heads"] * c["num_key_value_heads"]
    tensors = {"model.embed_tokens.weight": matrix("bf16", c["vocab_size"], d)}
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        tensors |= {f"{at}.input_layernorm.weight": gain(d), f"{at}.post_attention_layernorm.weight": gain(d)}
        for name, n in (("q", d), ("k", kv), ("v", kv)):
            tensors[f"{at}.self_attn.{name}_proj.weight"] = matrix("bf16", n, d)
            tensors[f"{at}.self_attn.{name}_proj.bias"] = ("bf16", (n,), 0.1)
        tensors[f"{at}.self_attn.o_proj.weight"] = matrix("bf16", d, d)
        tensors |= {f"{at}.mlp.gate_proj.weight": matrix("bf16", ff, d), f"{at}.mlp.up_proj.weight":
                    matrix("bf16", ff, d), f"{at}.mlp.down_proj.weight": matrix("bf16", d, ff)}
    tensors |= {"model.norm.weight": gain(d), "lm_head.weight": matrix("bf16", c["vocab_size"], d)}
    (out / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    write_safetensors(out / "model.safetensors", Source(), tensors)
    copy_tokenizer(out, tokenizer)


def distill_kind(layer, layers, name):
    """Types as the Q4_K_M mix has them: more bits for values and down projections of half the layers."""
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return "q6_k" if more and name in ("attn_v", "ffn_down") else "q4_k"


def distill_layer(c, layer, q8):
    d, ff, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    kv = d // c["num_attention_heads"] * c["num_key_value_heads"]
    t = {"attn_norm.weight": ("ones", (d,)), "ffn_norm.weight": ("ones", (d,))}
    for name, n_out, n_in in (("attn_q", d, d), ("attn_k", kv, d), ("attn_v", kv, d), ("attn_output", d, d),
                              ("ffn_gate", ff, d), ("ffn_up", ff, d), ("ffn_down", d, ff)):
        t[f"{name}.weight"] = ("q8_0" if q8 else distill_kind(layer, layers, name), (n_out, n_in))
        if name in ("attn_q", "attn_k", "attn_v"):
            t[f"{name}.bias"] = ("f32", (n_out,))
    return {f"blk.{layer}.{name}": what for name, what in t.items()}


def make_distill_gguf(out, layers, tokenizer, q8):
    c = QWEN | ({"num_hidden_layers": layers} if layers else {})
    d, vocab = c["hidden_size"], c["vocab_size"]
    w = gguf.GGUFWriter(None, "qwen2")
    w.add_name("random R1-Distill-Qwen-1.5B")
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(d)
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(float(c["rope_theta"]))
    if tokenizer:
        add_bpe(w, tokenizer, vocab)
        w.add_bos_token_id(151643)
        w.add_eos_token_id(c["eos_token_id"])
        w.add_pad_token_id(c["eos_token_id"])
        w.add_add_bos_token(False)
        w.add_chat_template(TEMPLATE)
    tensors = {"token_embd.weight": ("q8_0" if q8 else "q4_k", (vocab, d)), "output_norm.weight": ("ones", (d,)),
               "output.weight": ("q8_0" if q8 else "q6_k", (vocab, d))}
    for layer in range(c["num_hidden_layers"]):
        tensors |= distill_layer(c, layer, q8)
    write_gguf(out / "model.gguf", w, Source(), tensors)


def make_distill_q4_k(out, layers, tokenizer):
    make_distill_gguf(out, layers, tokenizer, False)


def make_distill_q8_0(out, layers, tokenizer):
    make_distill_gguf(out, layers, tokenizer, True)


SHAPES = {  # name: (maker, tokenizer in ../shared/data)
    "v2-lite": (make_v2_lite, "gguf-vocab/ggml-vocab-deepseek-llm.gguf"),
    "v3-stack": (make_v3_stack, "tokenizers/deepseek-v3"),
    "r1-distill-qwen-1.5b": (make_distill, "tokenizers/qwen3"),
    "r1-distill-qwen-1.5b-q4_k": (make_distill_q4_k, "tokenizers/qwen3"),
    "r1-distill-qwen-1.5b-q8_0": (make_distill_q8_0, "tokenizers/qwen3"),
}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--shape", required=True, choices=SHAPES)
    p.add_argument("--layers", type=int, help="layers, if not those of the model")
    p.add_argument("--tokenizer", type=pathlib.Path)
    args = p.parse_args()
    make, usual = SHAPES[args.shape]
    tokenizer = args.tokenizer or (SHARED / usual if (SHARED / usual).exists() else None)
    args.out.mkdir(parents=True, exist_ok=True)
    make(args.out, args.layers, tokenizer)


if __name__ == "__main__":
    main()
