"""Golden data of the DeepSeek families with experts: deepseek, deepseek_v2, deepseek_v3.

Checkpoints are made from a table of names and shapes and saved first; the reference reads the saved
files back. It is transformers' class in float32 (eager attention, eager experts), for `deepseek` the
script reference_sparse.py in float32. That script in float64 measures the reference's rounding and
finds prompts whose routing is not a matter of rounding.
"""
import math
import pathlib
import tempfile

import torch
from transformers import AutoModelForCausalLM

import golden_kit as kit
from golden_kit import TYPES, VOCAB
from reference_sparse import Reference

PROMPTS = (64, 17)
MIN_GAP = 1e-4  # of routing scores, between the last expert chosen and the first one not

MOE = {
    "model_type": "deepseek", "architectures": ["DeepseekForCausalLM"], "vocab_size": VOCAB, "hidden_size": 48,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekConfig",
                 "AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM"},
    "intermediate_size": 112, "moe_intermediate_size": 18, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 3,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "norm_topk_prob": False, "scoring_func": "softmax",
    "aux_loss_alpha": 0.001, "seq_aux": True, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "rope_scaling": None, "max_position_embeddings": 256, "attention_bias": False, "tie_word_embeddings": False,
    "bos_token_id": 100, "eos_token_id": 101, "torch_dtype": "bfloat16",
}
YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1}
LITE = {k: v for k, v in MOE.items() if k != "auto_map"} | {
    "model_type": "deepseek_v2", "architectures": ["DeepseekV2ForCausalLM"], "q_lora_rank": None, "kv_lora_rank": 32,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12, "topk_method": "greedy", "n_group": 1,
    "topk_group": 1, "routed_scaling_factor": 1.0, "ep_size": 1, "max_position_embeddings": 2560,
    "rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}, "torch_dtype": "float16",
}
# Biases and an epsilon other than 1e-6 in no released model; norms inside attention keep 1e-6.
V2 = LITE | {
    "q_lora_rank": 20, "n_routed_experts": 12, "n_group": 4, "topk_group": 2, "topk_method": "group_limited_greedy",
    "routed_scaling_factor": 4.0, "num_experts_per_tok": 4, "attention_bias": True, "rms_norm_eps": 1e-3,
    "rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 0.707}, "torch_dtype": "bfloat16",
}
V3 = LITE | {
    "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "num_hidden_layers": 3, "q_lora_rank": 20,
    "n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2,
    "norm_topk_prob": True, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "rope_interleave": True, "rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
    "num_nextn_predict_layers": 0, "torch_dtype": "bfloat16",
}
# As transformers writes it today: rope_parameters, dtype, head_dim.
V3_MTP = {k: v for k, v in V3.items() if k not in ("rope_scaling", "rope_theta", "torch_dtype")} | {
    "num_hidden_layers": 2, "n_routed_experts": 8, "num_experts_per_tok": 3, "num_nextn_predict_layers": 1,
    "rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0, "rope_type": "yarn", "rope_theta": 10000.0},
    "dtype": "bfloat16", "head_dim": 8,
}
FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
# One whole block of rows in kv_a (64 + 64); part blocks elsewhere: 136 rows of the dense FFN, heads
# of 56 rows in kv_b that begin inside a block, experts of 24 rows.
V3_FP8 = V3 | {
    "hidden_size": 256, "intermediate_size": 136, "moe_intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 136, "kv_lora_rank": 64,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 64, "v_head_dim": 24, "n_routed_experts": 6, "n_group": 3,
    "num_experts_per_tok": 3, "quantization_config": FP8,
}
# 144 rows of kv_a are a block and an eighth, as the 576 of the real model are four and a half.
V3_UE8M0 = V3_FP8 | {
    "hidden_size": 136, "intermediate_size": 160, "q_lora_rank": 72, "kv_lora_rank": 128, "qk_rope_head_dim": 16,
    "quantization_config": FP8 | {"scale_fmt": "ue8m0"},
}

# name: (config, stored type, options). mtp: with tensors of the layer behind the last; scales: how FP8
# block scales are made ("f32": largest value over 448, "pow2": the next power of two), shards: by layer.
CASES = {
    "deepseek": (MOE, "bf16", {}),
    "deepseek_every2": (MOE | {"num_hidden_layers": 3, "moe_layer_freq": 2, "norm_topk_prob": True}, "bf16", {}),
    "deepseek_v2_lite": (LITE, "f16", {}),
    "deepseek_v2": (V2, "bf16", {}),
    "deepseek_v3": (V3, "bf16", {}),
    "deepseek_v3_mtp": (V3_MTP, "bf16", {"mtp": True}),
    "deepseek_v3_fp8": (V3_FP8, "bf16", {"scales": "f32"}),
    "deepseek_v3_ue8m0": (V3_UE8M0, "bf16", {"scales": "pow2"}),
}


# ---- tensors -------------------------------------------------------------------------------

def ffn_shapes(at, ff, d):
    return {f"{at}.gate_proj.weight": (ff, d), f"{at}.up_proj.weight": (ff, d), f"{at}.down_proj.weight": (d, ff)}


def attention_shapes(at, c):
    d, heads = c["hidden_size"], c["num_attention_heads"]
    if "kv_lora_rank" not in c:
        return {f"{at}.{p}_proj.weight": (d, d) for p in "qkvo"}
    q_rows, latent = heads * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"]), c["kv_lora_rank"]
    if c["q_lora_rank"]:
        shapes = {"q_a_proj.weight": (c["q_lora_rank"], d), "q_a_layernorm.weight": (c["q_lora_rank"],),
                  "q_b_proj.weight": (q_rows, c["q_lora_rank"])}
    else:
        shapes = {"q_proj.weight": (q_rows, d)}
    shapes |= {
        "kv_a_proj_with_mqa.weight": (latent + c["qk_rope_head_dim"], d), "kv_a_layernorm.weight": (latent,),
        "kv_b_proj.weight": (heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), latent),
        "o_proj.weight": (d, heads * c["v_head_dim"]),
    }
    if c["attention_bias"]:
        shapes |= {"q_a_proj.bias": (c["q_lora_rank"],), "kv_a_proj_with_mqa.bias": (latent + c["qk_rope_head_dim"],),
                   "o_proj.bias": (d,)}
    return {f"{at}.{name}": shape for name, shape in shapes.items()}


def layer_shapes(at, c, sparse):
    d = c["hidden_size"]
    shapes = {f"{at}.input_layernorm.weight": (d,), f"{at}.post_attention_layernorm.weight": (d,)}
    shapes |= attention_shapes(at + ".self_attn", c)
    if not sparse:
        return shapes | ffn_shapes(at + ".mlp", c["intermediate_size"], d)
    shapes[f"{at}.mlp.gate.weight"] = (c["n_routed_experts"], d)
    if c["scoring_func"] == "sigmoid":
        shapes[f"{at}.mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
    for e in range(c["n_routed_experts"]):
        shapes |= ffn_shapes(f"{at}.mlp.experts.{e}", c["moe_intermediate_size"], d)
    return shapes | ffn_shapes(at + ".mlp.shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"], d)


def shapes_of(c, mtp):
    d, n = c["hidden_size"], c["num_hidden_layers"]
    shapes = {"model.embed_tokens.weight": (VOCAB, d)}
    for l in range(n):
        sparse = l >= c["first_k_dense_replace"] and l % c["moe_layer_freq"] == 0
        shapes |= layer_shapes(f"model.layers.{l}", c, sparse)
    shapes |= {"model.norm.weight": (d,), "lm_head.weight": (VOCAB, d)}
    if mtp:
        at = f"model.layers.{n}"
        shapes |= layer_shapes(at, c, True)
        shapes |= {f"{at}.embed_tokens.weight": (VOCAB, d), f"{at}.shared_head.head.weight": (VOCAB, d),
                   f"{at}.shared_head.norm.weight": (d,), f"{at}.enorm.weight": (d,), f"{at}.hnorm.weight": (d,),
                   f"{at}.eh_proj.weight": (d, 2 * d)}
    return shapes


def random_tensors(c, seed, mtp=False):
    gen = torch.Generator().manual_seed(seed)

    def make(name, shape):
        if "norm" in name:
            return 0.5 + torch.rand(shape, generator=gen)
        if "e_score_correction_bias" in name:
            return torch.rand(shape, generator=gen) - 0.5
        if name.endswith("bias"):
            return torch.randn(shape, generator=gen) * 0.3
        table = "embed_tokens" in name or "head" in name
        # Routers twice as wide: more of the biased sigmoid scores fall below zero.
        scale = 0.4 if table else (2.08 if "mlp.gate." in name else 1.04) / math.sqrt(max(shape[1], 48))
        return torch.randn(shape, generator=gen) * scale

    return {name: make(name, shape) for name, shape in shapes_of(c, mtp).items()}


def stored_type(name, dtype):
    return torch.float32 if name.endswith("e_score_correction_bias") else TYPES[dtype]


# ---- FP8 blocks ----------------------------------------------------------------------------

def is_fp8(name):
    plain = ("norm", "embed_tokens", "head", "mlp.gate.", "bias")
    return not any(p in name for p in plain)


def spread(scales, shape):
    """Block scales, one for every element of the matrix."""
    rows, cols = (torch.arange(n) // 128 for n in shape)
    return scales.float()[rows][:, cols]


def to_fp8(w, kind):
    grid = [-(-n // 128) for n in w.shape]
    largest = torch.tensor([[w[r * 128:r * 128 + 128, c * 128:c * 128 + 128].abs().max() for c in range(grid[1])]
                            for r in range(grid[0])])
    scales = largest / 448
    if kind == "pow2":
        scales = 2.0 ** torch.ceil(torch.log2(scales))
    return (w / spread(scales, w.shape)).to(torch.float8_e4m3fn), scales


def quantize(tensors, kind):
    """FP8 weights and their scales. With powers of two the second layer's scales are typed E8M0."""
    out = {}
    for name, t in tensors.items():
        if not is_fp8(name):
            out[name] = t
            continue
        out[name], scales = to_fp8(t.float(), kind)
        typed = kind == "pow2" and ".layers.1." in name
        out[name + "_scale_inv"] = scales.to(torch.float8_e8m0fnu) if typed else scales
    return out


def dequantized(tensors):
    return {name: t.float() * spread(tensors[name + "_scale_inv"], t.shape) if t.dtype == torch.float8_e4m3fn else t
            for name, t in tensors.items() if not name.endswith("_scale_inv")}


# ---- the reference -------------------------------------------------------------------------

def in_transformers(config, tensors):
    """The class of this config.json, loaded from per-expert names and checked tensor by tensor."""
    config = {k: v for k, v in config.items() if k != "quantization_config"}
    with tempfile.TemporaryDirectory() as folder:
        kit.save(pathlib.Path(folder), config, tensors)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    loaded = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if "correction_bias" in n}
    for name, p in loaded.items():
        assert torch.equal(p, fused(tensors, name, p.shape)), name
    return model


def fused(tensors, name, shape):
    at, _, part = name.rpartition(".experts.")
    if not at:
        return tensors[name].float()
    names = ("gate_proj", "up_proj") if part == "gate_up_proj" else (part,)
    return torch.stack([torch.cat([tensors[f"{at}.experts.{e}.{n}.weight"].float() for n in names])
                        for e in range(shape[0])])


def clear_prompts(exact, seed):
    """Random prompts for which no token's routing is close; and how many were thrown away."""
    gen = torch.Generator().manual_seed(seed + 1000)
    prompts, thrown = [], 0
    for n in PROMPTS:
        while True:
            ids = torch.randint(0, VOCAB, (1, n), generator=gen)
            exact.gap = math.inf
            exact.logits(ids[0])
            if exact.gap >= MIN_GAP:
                break
            thrown += 1
        prompts.append(ids)
    return prompts, thrown


def write_golden(out, config, tensors, seed):
    """tensors: as the reference shall see them."""
    exact = Reference(config, tensors, torch.float64)
    prompts, thrown = clear_prompts(exact, seed)
    if config["model_type"] == "deepseek":
        script = Reference(config, tensors, torch.float32)
        logits_of = lambda ids: script.logits(ids[0])
    else:
        model = in_transformers(config, tensors)
        logits_of = lambda ids: model(ids).logits[0]
    kit.write_golden(out, prompts, logits_of)
    with torch.no_grad():
        noise = max((logits_of(ids).double() - exact.logits(ids[0])).abs().max().item() for ids in prompts)
    print(f"{out.name}: float32 against float64 {noise:.1e}; {thrown} prompts thrown away for close routing")


def make_case(root, name, seed):
    config, dtype, options = CASES[name]
    tensors = random_tensors(config, seed, options.get("mtp", False))
    tensors = {n: t.to(stored_type(n, dtype)) for n, t in tensors.items()}
    shard_of = None
    if "scales" in options:
        tensors = quantize(tensors, options["scales"])
    if options.get("scales") == "pow2":
        shard_of = lambda n: int(".layers.1." in n)
    kit.save(root / name, config, tensors, shard_of)
    write_golden(root / name, config, dequantized(kit.stored_tensors(root / name)), seed)


def cases(root):
    """Names of the cases and what makes them."""
    return {name: lambda name=name, seed=100 + i: make_case(root, name, seed) for i, name in enumerate(CASES)}
