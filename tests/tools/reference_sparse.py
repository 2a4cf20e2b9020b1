"""A plain forward pass of the DeepSeek families with experts, in float32 or float64.

The reference for `deepseek`, which transformers has no class for; for the other families a second
opinion beside transformers and a measure of its rounding. One prompt at a time, no cache, keys and
values of latent attention computed the direct way.
"""
import math

import torch
from torch.nn.functional import silu


def yarn_term(factor, m):
    return 0.1 * m * math.log(factor) + 1 if factor > 1 else 1.0


def rope_settings(config):
    return config.get("rope_parameters") or dict(config.get("rope_scaling") or {}, rope_theta=config["rope_theta"])


def frequencies(config, dim):
    """Inverse frequencies [dim / 2] and the magnitude of cos and sin."""
    rope = rope_settings(config)
    theta, kind = rope["rope_theta"], rope.get("rope_type") or rope.get("type") or "default"
    base = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if kind == "default":
        return base, 1.0
    assert kind == "yarn", kind
    factor, original = rope["factor"], rope["original_max_position_embeddings"]

    def turns(r):
        return dim * math.log(original / (2 * math.pi * r)) / (2 * math.log(theta))

    low = max(math.floor(turns(rope.get("beta_fast", 32))), 0)
    high = min(math.ceil(turns(rope.get("beta_slow", 1))), dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / max(high - low, 0.001)).clamp(0, 1)
    return base / factor * ramp + base * (1 - ramp), (
        yarn_term(factor, rope["mscale"]) / yarn_term(factor, rope["mscale_all_dim"]))


def rotate(x, cos, sin, interleaved):
    """x [..., tokens, dim]; cos, sin [tokens, dim / 2]. Pairs stay where they are."""
    half = x.shape[-1] // 2
    first, second = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    turned = [first * cos - second * sin, second * cos + first * sin]
    return torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)


class Reference:
    """config: as in config.json; tensors: by their names in the checkpoint."""

    def __init__(self, config, tensors, dtype):
        self.c, self.dtype = config, dtype
        self.w = {name: t.to(dtype) for name, t in tensors.items()}
        self.latent = "kv_lora_rank" in config
        self.heads = config["num_attention_heads"]
        self.d_rope = config["qk_rope_head_dim"] if self.latent else config["hidden_size"] // self.heads
        self.gap = math.inf  # the smallest distance between a choice of the router and the next best

    def linear(self, name, x):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def norm(self, name, x, eps=None):
        eps = self.c["rms_norm_eps"] if eps is None else eps
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * self.w[name + ".weight"]

    def by_head(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(0, 1)

    def attend(self, q, k, v, scale):
        """[heads, tokens, ...] each; returns [tokens, heads * d_v]."""
        scores = q @ k.transpose(-1, -2) * scale
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        p = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return (p @ v).transpose(0, 1).flatten(1)

    def attention(self, at, x, cos, sin):
        if self.latent:
            return self.latent_attention(at, x, cos, sin)
        q, k, v = (self.by_head(self.linear(f"{at}.{p}_proj", x)) for p in "qkv")
        out = self.attend(rotate(q, cos, sin, False), rotate(k, cos, sin, False), v, q.shape[-1] ** -0.5)
        return self.linear(at + ".o_proj", out)

    def latent_attention(self, at, x, cos, sin):
        c = self.c
        nope, rope, latent = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["kv_lora_rank"]
        if c["q_lora_rank"]:
            q = self.linear(at + ".q_b_proj", self.norm(at + ".q_a_layernorm", self.linear(at + ".q_a_proj", x), 1e-6))
        else:
            q = self.linear(at + ".q_proj", x)
        q_nope, q_rope = self.by_head(q).split([nope, rope], -1)
        kv, k_rope = self.linear(at + ".kv_a_proj_with_mqa", x).split([latent, rope], -1)
        kv = self.by_head(self.linear(at + ".kv_b_proj", self.norm(at + ".kv_a_layernorm", kv, 1e-6)))
        k_nope, v = kv.split([nope, c["v_head_dim"]], -1)
        k_rope = rotate(k_rope, cos, sin, True).expand(self.heads, -1, -1)
        settings = rope_settings(c)
        scale = (nope + rope) ** -0.5
        if settings.get("mscale_all_dim"):
            scale *= yarn_term(settings["factor"], settings["mscale_all_dim"]) ** 2
        q = torch.cat([q_nope, rotate(q_rope, cos, sin, True)], -1)
        return self.linear(at + ".o_proj", self.attend(q, torch.cat([k_nope, k_rope], -1), v, scale))

    def ffn(self, at, x):
        gate, up = self.linear(at + ".gate_proj", x), self.linear(at + ".up_proj", x)
        return self.linear(at + ".down_proj", silu(gate) * up)

    def best(self, scores, n):
        """Indices of the n largest, and how close the next one is."""
        ordered, index = scores.sort(dim=-1, descending=True, stable=True)
        if n < scores.shape[-1]:
            self.gap = min(self.gap, (ordered[:, n - 1] - ordered[:, n]).min().item())
        return index[:, :n]

    def route(self, at, x):
        c = self.c
        logits = x @ self.w[at + ".gate.weight"].T
        v3 = c.get("scoring_func", "softmax") == "sigmoid"
        scores = logits.sigmoid() if v3 else logits.softmax(-1)
        choice = scores + self.w[at + ".gate.e_score_correction_bias"] if v3 else scores
        if c.get("topk_method", "greedy") != "greedy":
            groups = choice.unflatten(-1, (c["n_group"], -1))
            value = groups.topk(2, -1).values.sum(-1) if v3 else groups.max(-1).values
            kept = torch.zeros_like(value, dtype=torch.bool).scatter(1, self.best(value, c["topk_group"]), True)
            choice = groups.masked_fill(~kept.unsqueeze(-1), -math.inf).flatten(1)
        ids = self.best(choice, c["num_experts_per_tok"])
        weights = scores.gather(1, ids)
        if c["norm_topk_prob"]:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return ids, weights * c.get("routed_scaling_factor", 1.0)

    def experts(self, at, x):
        ids, weights = self.route(at, x)
        out = self.ffn(at + ".shared_experts", x)
        for e in ids.unique().tolist():
            token, k = torch.where(ids == e)
            out = out.index_add(0, token, self.ffn(f"{at}.experts.{e}", x[token]) * weights[token, k, None])
        return out

    def logits(self, ids):
        """ids [n]; returns [n, vocab]."""
        c = self.c
        inv_freq, magnitude = frequencies(c, self.d_rope)
        angle = torch.arange(len(ids), dtype=torch.float64)[:, None] * inv_freq
        cos, sin = ((f(angle) * magnitude).to(self.dtype) for f in (torch.cos, torch.sin))
        x = self.w["model.embed_tokens.weight"][ids]
        for l in range(c["num_hidden_layers"]):
            at = f"model.layers.{l}"
            x = x + self.attention(at + ".self_attn", self.norm(at + ".input_layernorm", x), cos, sin)
            sparse = l >= c["first_k_dense_replace"] and l % c["moe_layer_freq"] == 0
            ffn = self.experts if sparse else self.ffn
            x = x + ffn(at + ".mlp", self.norm(at + ".post_attention_layernorm", x))
        return self.linear("lm_head", self.norm("model.norm", x))
