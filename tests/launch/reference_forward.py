"""The three model families' forward in numpy and double: slow, obvious, and of our parameter
names."""

from __future__ import annotations

import math

import numpy as np


def logits(
    family: str, model: dict[str, object], parameters: dict[str, np.ndarray], ids: np.ndarray
) -> np.ndarray:
    """[batch, time] token ids to [batch, time, vocabulary] logits."""
    p = {name: tensor.astype(np.float64) for name, tensor in parameters.items()}
    rows = [_sequence(family, model, p, row) for row in ids]
    return np.stack(rows)


def _sequence(family: str, model: dict, p: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    x = p["embed.tokens.weight"][ids]
    if family == "gpt2":
        x = x + p["embed.positions.weight"][: len(ids)]
    for i in range(model["num_hidden_layers"]):
        block = {
            name.removeprefix(f"layers.{i}."): tensor
            for name, tensor in p.items()
            if name.startswith(f"layers.{i}.")
        }
        x = x + _attention(family, model, block, _norm(family, model, block, "norm1", x))
        x = x + _mlp(family, block, _norm(family, model, block, "norm2", x))
    x = _norm(family, model, p, "head.norm", x)
    return x @ p.get("head.weight", p["embed.tokens.weight"]).T


def _norm(
    family: str, model: dict, p: dict[str, np.ndarray], name: str, x: np.ndarray
) -> np.ndarray:
    if family == "gpt2":
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + model["layer_norm_epsilon"])
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]
    return (
        x / np.sqrt((x * x).mean(-1, keepdims=True) + model["rms_norm_eps"]) * p[f"{name}.weight"]
    )


def _linear(p: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0.0)


def _attention(family: str, model: dict, p: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    heads, kv = model["num_attention_heads"], model["num_key_value_heads"]
    size = model["hidden_size"] // heads
    time = len(x)
    qkv = _linear(p, "attn.qkv", x).reshape(time, heads + 2 * kv, size)
    q, k, v = qkv[:, :heads], qkv[:, heads : heads + kv], qkv[:, heads + kv :]
    if family != "gpt2":
        q, k = _rotate(q, model["rope_theta"]), _rotate(k, model["rope_theta"])
    out = np.empty_like(q)
    future = np.triu(np.full((time, time), -np.inf), 1)
    for head in range(heads):
        of = head // (heads // kv)
        scores = q[:, head] @ k[:, of].T / math.sqrt(size) + future
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, of]
    return _linear(p, "attn.out", out.reshape(time, -1))


def _rotate(x: np.ndarray, theta: float) -> np.ndarray:
    """Rotary positions; element i is paired with i + size / 2."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)


def _mlp(family: str, p: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    if family == "gpt2":
        h = _linear(p, "mlp.up", x)
        h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    else:
        gate, up = np.split(_linear(p, "mlp.gate_up", x), 2, axis=-1)
        h = gate / (1 + np.exp(-gate)) * up
    return _linear(p, "mlp.down", h)
