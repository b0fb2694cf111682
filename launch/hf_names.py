"""Our parameter names and layouts <-> those of Hugging Face's checkpoints; the only place that knows both.

Ours are documented in csrc/config/model_layout.h. Everything here is numpy: no torch, no transformers.
`model` is a dict with the fields of the recipe's model, named as in config.json, and "family"
("gpt2", "llama" or "qwen2"); `norm_epsilon` stands for layer_norm_epsilon and rms_norm_eps.
"""

from __future__ import annotations

import numpy as np

FAMILIES = ("gpt2", "llama", "qwen2")


def hf_config(model: dict) -> dict:
    """The model's config.json; the caller adds the ids of special tokens it knows."""
    if _family(model) == "gpt2":
        return {
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
            "vocab_size": model["vocab_size"], "n_embd": model["hidden_size"],
            "n_inner": model["intermediate_size"], "n_layer": model["num_hidden_layers"],
            "n_head": model["num_attention_heads"], "n_positions": model["max_position_embeddings"],
            "layer_norm_epsilon": model["norm_epsilon"],
            "initializer_range": model["initializer_range"],
            "tie_word_embeddings": model["tie_word_embeddings"],
            "activation_function": "gelu_new", "scale_attn_weights": True,
            "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
            "bos_token_id": None, "eos_token_id": None,
        }
    config = {
        "vocab_size": model["vocab_size"], "hidden_size": model["hidden_size"],
        "intermediate_size": model["intermediate_size"],
        "num_hidden_layers": model["num_hidden_layers"],
        "num_attention_heads": model["num_attention_heads"],
        "num_key_value_heads": model["num_key_value_heads"],
        "max_position_embeddings": model["max_position_embeddings"],
        "rms_norm_eps": model["norm_epsilon"], "rope_theta": model["rope_theta"],
        "initializer_range": model["initializer_range"],
        "tie_word_embeddings": model["tie_word_embeddings"],
        "hidden_act": "silu", "attention_dropout": 0.0,
        "bos_token_id": None, "eos_token_id": None,
    }
    if _family(model) == "llama":
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                "attention_bias": False, "mlp_bias": False, **config}
    return {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
            "use_sliding_window": False, **config}


def to_hf(model: dict, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames, splits and transposes our tensors. A tied head has no tensor of its own, as in HF's files.

    Raises KeyError for a missing tensor and ValueError for one that is not ours.
    """
    ours = dict(tensors)
    out = {}
    if _family(model) == "gpt2":
        out["transformer.wte.weight"] = ours.pop("embed.tokens.weight")
        out["transformer.wpe.weight"] = ours.pop("embed.positions.weight")
        for i in range(model["num_hidden_layers"]):
            for name, hf in _GPT2_BLOCK.items():
                tensor = ours.pop(f"layers.{i}.{name}")
                # HF's Conv1D keeps its weights as [in, out].
                out[f"transformer.h.{i}.{hf}"] = tensor.T if tensor.ndim == 2 else tensor
        for part in ("weight", "bias"):
            out[f"transformer.ln_f.{part}"] = ours.pop(f"head.norm.{part}")
    else:
        out["model.embed_tokens.weight"] = ours.pop("embed.tokens.weight")
        for i in range(model["num_hidden_layers"]):
            prefix = f"model.layers.{i}."
            for name, hf in _ROTARY_BLOCK.items():
                out[prefix + hf] = ours.pop(f"layers.{i}.{name}")
            for part in _qkv_parts(model):
                for x, rows in zip("qkv", _split_rows(ours.pop(f"layers.{i}.attn.qkv.{part}"),
                                                      _qkv_rows(model))):
                    out[f"{prefix}self_attn.{x}_proj.{part}"] = rows
            halves = _split_rows(ours.pop(f"layers.{i}.mlp.gate_up.weight"),
                                 [model["intermediate_size"]] * 2)
            out[prefix + "mlp.gate_proj.weight"], out[prefix + "mlp.up_proj.weight"] = halves
        out["model.norm.weight"] = ours.pop("head.norm.weight")
    if not model["tie_word_embeddings"]:
        out["lm_head.weight"] = ours.pop("head.weight")
    if ours:
        raise ValueError(f"not parameters of a {_family(model)} model: {sorted(ours)}")
    return {name: np.ascontiguousarray(tensor) for name, tensor in out.items()}


def from_hf(model: dict, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reverse of to_hf. Ignores HF's buffers and a tied head's second name.

    Raises KeyError for a missing tensor.
    """
    out = {}
    if _family(model) == "gpt2":
        out["embed.tokens.weight"] = tensors["transformer.wte.weight"]
        out["embed.positions.weight"] = tensors["transformer.wpe.weight"]
        for i in range(model["num_hidden_layers"]):
            for name, hf in _GPT2_BLOCK.items():
                tensor = tensors[f"transformer.h.{i}.{hf}"]
                out[f"layers.{i}.{name}"] = tensor.T if tensor.ndim == 2 else tensor
        for part in ("weight", "bias"):
            out[f"head.norm.{part}"] = tensors[f"transformer.ln_f.{part}"]
    else:
        out["embed.tokens.weight"] = tensors["model.embed_tokens.weight"]
        for i in range(model["num_hidden_layers"]):
            prefix = f"model.layers.{i}."
            for name, hf in _ROTARY_BLOCK.items():
                out[f"layers.{i}.{name}"] = tensors[prefix + hf]
            for part in _qkv_parts(model):
                out[f"layers.{i}.attn.qkv.{part}"] = np.concatenate(
                    [tensors[f"{prefix}self_attn.{x}_proj.{part}"] for x in "qkv"])
            out[f"layers.{i}.mlp.gate_up.weight"] = np.concatenate(
                [tensors[prefix + "mlp.gate_proj.weight"], tensors[prefix + "mlp.up_proj.weight"]])
        out["head.norm.weight"] = tensors["model.norm.weight"]
    if not model["tie_word_embeddings"]:
        out["head.weight"] = tensors["lm_head.weight"]
    return {name: np.ascontiguousarray(tensor) for name, tensor in out.items()}


_GPT2_BLOCK = {
    f"{ours}.{part}": f"{hf}.{part}"
    for ours, hf in (("norm1", "ln_1"), ("attn.qkv", "attn.c_attn"), ("attn.out", "attn.c_proj"),
                     ("norm2", "ln_2"), ("mlp.up", "mlp.c_fc"), ("mlp.down", "mlp.c_proj"))
    for part in ("weight", "bias")
}

_ROTARY_BLOCK = {
    "norm1.weight": "input_layernorm.weight",
    "attn.out.weight": "self_attn.o_proj.weight",
    "norm2.weight": "post_attention_layernorm.weight",
    "mlp.down.weight": "mlp.down_proj.weight",
}


def _family(model: dict) -> str:
    if model["family"] not in FAMILIES:
        raise ValueError(f"family {model['family']!r}, want one of {FAMILIES}")
    return model["family"]


def _qkv_parts(model: dict) -> tuple[str, ...]:
    return ("weight", "bias") if model["family"] == "qwen2" else ("weight",)


def _qkv_rows(model: dict) -> list[int]:
    head = model["hidden_size"] // model["num_attention_heads"]
    kv = model["num_key_value_heads"] * head
    return [model["num_attention_heads"] * head, kv, kv]


def _split_rows(tensor: np.ndarray, rows: list[int]) -> list[np.ndarray]:
    if tensor.shape[0] != sum(rows):
        raise ValueError(f"{tensor.shape[0]} rows, want {sum(rows)}")
    return np.split(tensor, np.cumsum(rows)[:-1])
