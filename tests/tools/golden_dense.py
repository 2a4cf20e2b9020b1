"""Golden data of the dense families: llama, qwen2, qwen3.

Every case is saved first, in the type its weights are stored in; the reference then reads the saved
files back and computes in float32 with eager attention.
"""
import json

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import golden_kit as kit
from golden_kit import PROMPTS, TYPES, VOCAB, add_tensor, interleave, stored_tensors

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": 48,
    "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "rms_norm_eps": 1e-6, "rope_theta": 100000.0,
    "rope_scaling": {"type": "linear", "factor": 4.0}, "max_position_embeddings": 512,
    "tie_word_embeddings": False, "attention_bias": False, "hidden_act": "silu",
}
LLAMA3 = LLAMA | {
    "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16",
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 64},
}
QWEN2 = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": VOCAB, "hidden_size": 56,
    "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 7, "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 256, "use_sliding_window": False,
    "sliding_window": 8, "max_window_layers": 2, "tie_word_embeddings": False,
}
QWEN3 = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": VOCAB, "hidden_size": 48,
    "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 32, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                     "attn_factor": 0.8782488562869419},
    "max_position_embeddings": 256, "attention_bias": False, "tie_word_embeddings": False,
}
QWEN3_EXPLICIT = {k: v for k, v in QWEN3.items() if k not in ("rope_theta", "rope_scaling")} | {
    "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "attention_factor": 1.0,
                        "original_max_position_embeddings": 64, "beta_fast": 16.0, "beta_slow": 2.0,
                        "truncate": False},
    "dtype": "float16",
}

# name: (config, stored type, options). shards: number of files; old_buffers: add inv_freq tensors.
CASES = {
    "llama_linear": (LLAMA, "bf16", {}),
    "llama_plain_tied": (LLAMA | {"rope_scaling": None, "rope_theta": 10000.0, "num_key_value_heads": 4,
                                  "tie_word_embeddings": True}, "f32", {}),
    "llama_mqa": ({k: v for k, v in LLAMA.items() if k != "head_dim"} | {"num_key_value_heads": 1,
                  "hidden_size": 64}, "f16", {}),
    "llama_bias": (LLAMA | {"attention_bias": True, "mlp_bias": True, "head_dim": 24,
                            "rope_scaling": None}, "bf16", {}),
    "llama3": (LLAMA3, "bf16", {"shards": 3, "old_buffers": True}),
    "qwen2": (QWEN2, "f16", {}),
    "qwen3_yarn": (QWEN3, "bf16", {}),
    "qwen3_yarn_explicit": (QWEN3_EXPLICIT, "f16", {}),
}

# Checkpoints of their own for GGUF; widths are multiples of the 32 elements of a Q8_0 block.
QWEN2_Q8 = QWEN2 | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
                    "tie_word_embeddings": True}


def randomise(model, seed):
    gen = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data = 0.5 + torch.rand(p.shape, generator=gen)
        elif name.endswith("bias"):
            p.data = torch.randn(p.shape, generator=gen) * 0.3
        elif "embed_tokens" in name or "lm_head" in name:
            p.data = torch.randn(p.shape, generator=gen) * 0.4
        else:
            p.data = torch.randn(p.shape, generator=gen) * 0.15


def build(config, seed):
    """A randomised model of this config.json, and its tensors by name."""
    config = AutoConfig.for_model(**json.loads(json.dumps(config)))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    randomise(model, seed)
    tensors = dict(model.named_parameters())
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    return {name: t.detach().clone() for name, t in tensors.items()}


def make_case(root, name, seed):
    config, dtype, options = CASES[name]
    tensors = {n: t.to(TYPES[dtype]).contiguous() for n, t in build(config, seed).items()}
    if options.get("old_buffers"):
        for layer in range(config["num_hidden_layers"]):
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names, shards = sorted(tensors), options.get("shards")
    kit.save(root / name, config, tensors, (lambda n: names.index(n) % shards) if shards else None)
    model = AutoModelForCausalLM.from_pretrained(root / name, dtype=torch.float32, attn_implementation="eager")
    check_loaded(model, stored_tensors(root / name))
    write_golden(root / name, model, seed)


def write_golden(out, model, seed):
    gen = torch.Generator().manual_seed(seed + 1000)
    prompts = [torch.randint(0, VOCAB, (1, n), generator=gen) for n in PROMPTS]
    kit.write_golden(out, prompts, lambda ids: model(ids).logits[0])


def check_loaded(model, tensors):
    for name, p in model.named_parameters():
        assert torch.equal(p, tensors[name].float()), name


# ---- GGUF ----------------------------------------------------------------------------------

GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[rest]}.{suffix}"
    return f"{GGUF_NAMES[stem]}.{suffix}"


def llama3_divisors(config):
    """What converters store as rope_freqs.weight: base frequency over scaled frequency."""
    cfg = AutoConfig.for_model(**json.loads(json.dumps(config)))
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](cfg, "cpu")
    dim = config["head_dim"]
    base = 1.0 / (config["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim))
    return (base / scaled.double()).float().numpy()


def make_llama3_gguf(root):
    """The weights of the case llama3 once more; types differ between the parts of q|k|v."""
    config = LLAMA3
    writer = kit.new_writer(root / "llama3_gguf" / "model.gguf", "llama", config, config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(VOCAB)
    for name, t in stored_tensors(root / "llama3").items():
        if name.endswith("inv_freq"):
            continue
        array = t.float().numpy()
        if "q_proj" in name:
            array = interleave(array, config["num_attention_heads"])
        if "k_proj" in name:
            array = interleave(array, config["num_key_value_heads"])
        kind = "f32" if array.ndim == 1 or "k_proj" in name else "bf16"
        add_tensor(writer, gguf_name(name), array, kind)
    add_tensor(writer, "rope_freqs.weight", llama3_divisors(config), "f32")
    kit.finish(writer)


def make_qwen2_gguf(root, seed):
    """Rounds to the stored types first, so that the reference sees what the file holds."""
    out = root / "qwen2_gguf"
    config = QWEN2_Q8
    writer = kit.new_writer(out / "model.gguf", "qwen2", config, config["num_key_value_heads"])
    writer.add_token_list([f"t{i}" for i in range(VOCAB)])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager").float()
    randomise(model, seed)
    for name, p in model.named_parameters():
        kind = "f32" if p.ndim == 1 else "f16" if "k_proj" in name or "embed" in name else "q8_0"
        p.data = torch.from_numpy(kit.rounded(p.detach().numpy(), kind))
        if name != "lm_head.weight":
            add_tensor(writer, gguf_name(name), p.detach().numpy(), kind)
    kit.finish(writer)
    write_golden(out, model, seed)


def print_rope():
    rows = [
        ("plain", {"rope_type": "default", "rope_theta": 10000.0}, 128),
        ("linear", {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0}, 128),
        ("llama3", LLAMA3["rope_scaling"] | {"rope_theta": 500000.0, "original_max_position_embeddings": 8192}, 128),
        ("yarn", {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0,
                  "original_max_position_embeddings": 32768}, 128),
    ]
    for name, rope, dim in rows:
        cfg = AutoConfig.for_model("llama", hidden_size=dim, num_attention_heads=1, head_dim=dim,
                                   max_position_embeddings=131072, rope_parameters=rope)
        kind = rope["rope_type"]
        if kind == "default":
            inv, scale = 1.0 / (rope["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim)), 1.0
        else:
            inv, scale = ROPE_INIT_FUNCTIONS[kind](cfg, "cpu")
        picks = [0, 1, 7, 22, 23, 28, 31, 35, 39, 40, 50, 63]
        print(name, scale, ", ".join(f"{{{i}, {float(inv[i]).hex()}f}}" for i in picks))


def cases(root):
    """Names of the cases and what makes them."""
    makers = {name: lambda name=name, seed=1 + i: make_case(root, name, seed) for i, name in enumerate(CASES)}
    return makers | {"llama3_gguf": lambda: make_llama3_gguf(root), "qwen2_gguf": lambda: make_qwen2_gguf(root, 50)}
