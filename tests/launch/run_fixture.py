"""Run directories with checkpoints, as csrc/ckpt/checkpoint.h documents them, for tests of the
tools."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import tool_case  # noqa: F401  sets the path
from manifest import canonical_json
from tokenizer_files import train_tokenizer

_SHAPE = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "initializer_range": 0.02,
}  # fmt: skip
MODELS: dict[str, dict[str, object]] = {
    "gpt2": {
        **_SHAPE, "num_key_value_heads": 4, "tie_word_embeddings": True,
        "layer_norm_epsilon": 1e-5,
    },
    "llama": {
        **_SHAPE, "num_key_value_heads": 2, "tie_word_embeddings": False, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    },
    "qwen2": {
        **_SHAPE, "num_key_value_heads": 2, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
    },
}  # fmt: skip


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Every parameter of the family's model, as csrc/config/model_layout.h lists them."""
    model = MODELS[family]
    d, f, v = (int(model[name]) for name in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, kv = int(model["num_attention_heads"]), int(model["num_key_value_heads"])
    qkv = (heads + 2 * kv) * (d // heads)
    out: dict[str, tuple[int, ...]] = {"embed.tokens.weight": (v, d), "head.norm.weight": (d,)}
    if family == "gpt2":
        out |= {
            "embed.positions.weight": (int(model["max_position_embeddings"]), d),
            "head.norm.bias": (d,),
        }
    if not model["tie_word_embeddings"]:
        out["head.weight"] = (v, d)
    for i in range(int(model["num_hidden_layers"])):
        block = {
            "norm1.weight": (d,), "norm2.weight": (d,), "attn.qkv.weight": (qkv, d),
            "attn.out.weight": (d, d), "mlp.down.weight": (d, f),
        }  # fmt: skip
        if family == "gpt2":
            block |= {"mlp.up.weight": (f, d), "mlp.up.bias": (f,), "attn.qkv.bias": (qkv,)}
            block |= {f"{name}.bias": (d,) for name in ("norm1", "norm2", "attn.out", "mlp.down")}
        else:
            block["mlp.gate_up.weight"] = (2 * f, d)
            if family == "qwen2":
                block["attn.qkv.bias"] = (qkv,)
        out |= {f"layers.{i}.{name}": shape for name, shape in block.items()}
    return out


def make_parameters(family: str, seed: int) -> dict[str, np.ndarray]:
    """Random weights of a size at which every part of the model matters."""
    draw = np.random.default_rng(seed)
    return {
        name: draw.normal(0.0, 0.2, shape).astype(np.float32)
        + ("norm" in name and "weight" in name)
        for name, shape in sorted(shapes(family).items())
    }


class write_checkpoint:  # noqa: N801  a namespace of two functions
    """Writes a step directory of two shards."""

    @staticmethod
    def manifest(folder: Path, manifest: dict) -> None:
        """MANIFEST.json: canonical, its digest first."""
        bare = canonical_json(manifest)
        digest = hashlib.sha256(bare.encode()).hexdigest()
        (folder / "MANIFEST.json").write_text(f'{{"digest":"{digest}",{bare[1:]}\n')

    @staticmethod
    def step(folder: Path, step: int, tensors: dict[str, np.ndarray]) -> None:
        """Shards, then the manifest; optimizer state lies between the weights."""
        folder.mkdir(parents=True)
        names = sorted(tensors)
        shards = []
        for rank in range(2):
            held = {}
            for name in names[rank::2]:
                held[name] = tensors[name]
                held[f"exp_avg.{name}"] = np.zeros_like(tensors[name])
            shards.append(_write_shard(folder, f"rank-{rank:04d}.safetensors", held))
        write_checkpoint.manifest(
            folder,
            {
                "kente_checkpoint": 1,
                "step": step,
                "run_id": "0" * 16,
                "recipe_sha256": "0" * 64,
                "samples": 0,
                "state": {},
                "shards": shards,
            },  # fmt: skip
        )


def _write_shard(folder: Path, file: str, tensors: dict[str, np.ndarray]) -> dict:
    header: dict[str, object] = {}
    entries = []
    at = 0
    for name, tensor in tensors.items():
        entries.append(
            {
                "name": name,
                "dtype": "f32",
                "shape": list(tensor.shape),
                "offset": at,
                "bytes": tensor.nbytes,
            }
        )
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values())
    for entry in entries:
        entry["offset"] += 8 + len(text)
    (folder / file).write_bytes(data)
    return {
        "file": file, "domain": 0, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
        "chunk_xxh3": ["0" * 16], "tensors": entries,
    }  # fmt: skip


def write_run(folder: Path, family: str, steps: list[int]) -> dict[str, np.ndarray]:
    """A run directory; returns the parameters of the last step, whose seed is the step."""
    (folder / "ckpt").mkdir(parents=True)
    lines = [f"  model_type: {family}"]
    for name, value in MODELS[family].items():
        lines.append(f"  {name}: {str(value).lower() if isinstance(value, bool) else value}")
    body = "\n".join(lines)
    (folder / "recipe.textproto").write_text(f'version: 1\nname: "fixture"\nmodel {{\n{body}\n}}\n')
    (folder / "tokenizer.json").write_bytes(train_tokenizer(["some text to learn from " * 20], 300))
    parameters: dict[str, np.ndarray] = {}
    for step in steps:
        parameters = make_parameters(family, step)
        write_checkpoint.step(folder / "ckpt" / f"step-{step:012d}", step, parameters)
    return parameters
