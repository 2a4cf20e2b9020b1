"""The DeepSeek families with experts as GGUF files: `deepseek`, and `deepseek2` in both layouts.

Most hold the weights of a safetensors case and share its golden.bin. The split layout of V2-Lite has
weights of its own in mixed types, among them Q8_0, whose rounding the reference sees.
"""
import gguf
import numpy as np
import torch

import golden_kit as kit
from golden_dense import GGUF_NAMES
from golden_kit import VOCAB
from golden_sparse import CASES, LITE, random_tensors, write_golden

NAMES = GGUF_NAMES | {
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b", "mlp.gate": "ffn_gate_inp", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}

# Widths are multiples of the 32 elements of a Q8_0 block, also those of the transposed attn_k_b.
LITE_Q8 = LITE | {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32,
                  "kv_lora_rank": 64, "qk_nope_head_dim": 32,
                  "v_head_dim": 16}


def translate(config, tensors, split):
    """GGUF names to arrays: experts stacked, kv_b as one matrix or (split) as two per head."""
    out = {}
    for name, t in tensors.items():
        array = t.float().numpy()
        if not name.startswith("model.layers."):
            out[f"{NAMES[name.removesuffix('.weight')]}.weight"] = array
            continue
        _, _, layer, rest = name.split(".", 3)
        stem, suffix = rest.rsplit(".", 1)
        blk = f"blk.{layer}."
        if int(layer) >= config["num_hidden_layers"]:
            continue  # multi-token prediction: converters drop it
        if suffix == "e_score_correction_bias":
            out[blk + "exp_probs_b.bias"] = array
        elif ".experts." in rest:
            _, _, _, part, _ = rest.split(".")
            out.setdefault(f"{blk}ffn_{part.removesuffix('_proj')}_exps.weight", []).append(array)
        elif stem == "self_attn.kv_b_proj" and split:
            heads = array.reshape(config["num_attention_heads"], -1, config["kv_lora_rank"])
            out[blk + "attn_k_b.weight"] = heads[:, :config["qk_nope_head_dim"]].swapaxes(1, 2)
            out[blk + "attn_v_b.weight"] = heads[:, config["qk_nope_head_dim"]:]
        else:
            if config["model_type"] == "deepseek" and stem in ("self_attn.q_proj", "self_attn.k_proj"):
                array = kit.interleave(array, config["num_attention_heads"])
            out[f"{blk}{NAMES[stem]}.{suffix}"] = array
    return {name: np.stack(a) if isinstance(a, list) else a for name, a in out.items()}


def add_experts(w, c):
    w.add_vocab_size(VOCAB)
    w.add_leading_dense_block_count(c["first_k_dense_replace"])
    w.add_expert_count(c["n_routed_experts"])
    w.add_expert_used_count(c["num_experts_per_tok"])
    w.add_expert_shared_count(c["n_shared_experts"])
    w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    w.add_expert_weights_scale(c.get("routed_scaling_factor", 1.0))


def add_latent(w, c, split):
    rope = c.get("rope_scaling") or c["rope_parameters"]
    nope, d_rope, v, latent = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    if c["q_lora_rank"]:
        w.add_q_lora_rank(c["q_lora_rank"])
    w.add_kv_lora_rank(latent)
    w.add_key_length(latent + d_rope if split else nope + d_rope)
    w.add_value_length(latent if split else v)
    if split:
        w.add_key_length_mla(nope + d_rope)
        w.add_value_length_mla(v)
    w.add_rope_dimension_count(d_rope)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(rope["factor"])
    w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    w.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


def add_gate(w, c):
    sigmoid = c["scoring_func"] == "sigmoid"
    w.add_expert_weights_norm(c["norm_topk_prob"])
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
    if c["n_group"] > 1:
        w.add_expert_group_count(c["n_group"])
        w.add_expert_group_used_count(c["topk_group"])


def always_f32(name, array):
    return array.ndim == 1 or "ffn_gate_inp" in name


def weights_of(root, case):
    return CASES[case][0] | {"rope_theta": 10000.0}, kit.stored_tensors(root / case)


def make_deepseek(root):
    config, tensors = weights_of(root, "deepseek")
    w = kit.new_writer(root / "deepseek_gguf" / "model.gguf", "deepseek", config, config["num_key_value_heads"])
    w.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    add_experts(w, config)
    for name, array in translate(config, tensors, False).items():
        kit.add_tensor(w, name, array, "f32" if always_f32(name, array) else "bf16")
    kit.finish(w)


def make_deepseek2(root, case, split, kind):
    """Old files of V2-Lite say nothing of the gate: softmax, not normalised."""
    config, tensors = weights_of(root, case)
    out = root / f"{case}_gguf{'' if split else '_legacy'}" / "model.gguf"
    w = kit.new_writer(out, "deepseek2", config, 1 if split else config["num_attention_heads"])
    add_experts(w, config)
    add_latent(w, config, split)
    if split or config["scoring_func"] == "sigmoid":
        add_gate(w, config)
    for name, array in translate(config, tensors, split).items():
        kit.add_tensor(w, name, array, "f32" if always_f32(name, array) else kind)
    kit.finish(w)


def mixed_kind(name):
    """Types differ between the two parts of gate|up and of kv_b."""
    f16 = ("token_embd", "attn_kv_a_mqa", "attn_v_b", "ffn_up_exps", "ffn_up.weight")
    return "f16" if any(part in name for part in f16) else "q8_0"


def make_lite_mixed(root, seed):
    out, config = root / "deepseek_v2_lite_gguf", LITE_Q8
    w = kit.new_writer(out / "model.gguf", "deepseek2", config, 1)
    add_experts(w, config)
    add_latent(w, config, True)
    add_gate(w, config)
    tensors = random_tensors(config, seed)
    arrays = translate(config, tensors, True)
    kinds = {n: "f32" if always_f32(n, a) else mixed_kind(n) for n, a in arrays.items()}
    for name, array in arrays.items():
        kit.add_tensor(w, name, array, kinds[name])
    kit.finish(w)
    read = {n: kit.rounded(a, kinds[n]) for n, a in arrays.items()}
    write_golden(out, config, back(config, tensors, read), seed)


def back(config, tensors, arrays):
    """Arrays under GGUF names, split layout, as the reference's tensors."""
    out = {}
    for name, t in tensors.items():
        parts = translate(config, {name: t}, True)
        if ".experts." in name:
            (stacked,) = parts
            out[name] = torch.from_numpy(arrays[stacked][int(name.split(".")[5])])
        elif "kv_b_proj" in name:
            k, v = (arrays[n] for n in parts)
            out[name] = torch.from_numpy(np.concatenate([k.swapaxes(1, 2), v], 1).reshape(t.shape))
        else:
            (same,) = parts
            out[name] = torch.from_numpy(arrays[same])
    return out


def cases(root):
    """Names of the cases and what makes them; those they share weights with must be there."""
    return {
        "deepseek_gguf": lambda: make_deepseek(root),
        "deepseek_v2_lite_gguf": lambda: make_lite_mixed(root, 150),
        "deepseek_v2_lite_gguf_legacy": lambda: make_deepseek2(root, "deepseek_v2_lite", False, "f16"),
        "deepseek_v3_mtp_gguf": lambda: make_deepseek2(root, "deepseek_v3_mtp", True, "bf16"),
        "deepseek_v3_mtp_gguf_legacy": lambda: make_deepseek2(root, "deepseek_v3_mtp", False, "bf16"),
    }
