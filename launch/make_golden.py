#!/usr/bin/env python3
"""Makes tests/golden/*.safetensors: what PyTorch and transformers compute for three tiny models.

  .venv/bin/python launch/make_golden.py           writes the files
  .venv/bin/python launch/make_golden.py --check   computes again and compares with the files

Needs the full Python torch and transformers (launch/setup --peers). tests/golden/README.md has the layout.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import numpy as np
import safetensors
import safetensors.numpy
import torch
import transformers

import hf_names

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
VERSION = 1
STEPS = 50
SAMPLES = 16
LENGTH = 16
OPTIMIZER = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8,
             "weight_decay": 0.1, "clip_norm": 1.0}
SHARED = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
          "max_position_embeddings": 16, "rope_theta": 10000.0, "initializer_range": 0.02}
MODELS = {
    "gpt2": {**SHARED, "family": "gpt2", "intermediate_size": 128, "num_key_value_heads": 4,
             "norm_epsilon": 1e-5, "tie_word_embeddings": True},
    "llama": {**SHARED, "family": "llama", "intermediate_size": 88, "num_key_value_heads": 2,
              "norm_epsilon": 1e-6, "rope_theta": 500.0, "tie_word_embeddings": False},
    "qwen2": {**SHARED, "family": "qwen2", "intermediate_size": 88, "num_key_value_heads": 2,
              "norm_epsilon": 1e-6, "tie_word_embeddings": True},
}
CLASSES = {
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
}


def build(model: dict) -> torch.nn.Module:
    """A model of transformers in fp32, without dropout, with its eager attention."""
    config_class, model_class = CLASSES[model["family"]]
    config = hf_names.hf_config(model)
    config.pop("architectures")
    config.pop("model_type")
    return model_class(config_class(**config, attn_implementation="eager")).to(torch.float32)


def draw_weights(net: torch.nn.Module, generator: torch.Generator) -> None:
    """Every parameter, norms and biases included, away from the values at which a mistake is invisible."""
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            is_norm = "norm" in name or ".ln_" in name
            if is_norm and name.endswith("weight"):
                tensor.copy_(1 + 0.1 * noise)
            else:
                tensor.copy_((0.05 if tensor.ndim == 2 else 0.02) * noise)


def draw_tokens(generator: torch.Generator) -> np.ndarray:
    """[STEPS, SAMPLES, LENGTH + 1]: mostly next = 5 previous + 3, so that there is something to learn."""
    vocab = SHARED["vocab_size"]
    shape = (STEPS, SAMPLES, LENGTH + 1)
    tokens = torch.randint(0, vocab, shape, generator=generator)
    follow = torch.rand(shape, generator=generator) < 0.8
    for t in range(1, LENGTH + 1):
        tokens[..., t] = torch.where(follow[..., t], (5 * tokens[..., t - 1] + 3) % vocab,
                                     tokens[..., t])
    return tokens.numpy().astype(np.int32)


def train(net: torch.nn.Module, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Losses before each update, gradient norms before clipping, and the first sample's first logits."""
    matrices = [p for p in net.parameters() if p.ndim == 2]
    vectors = [p for p in net.parameters() if p.ndim != 2]
    o = OPTIMIZER
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": o["weight_decay"]},
         {"params": vectors, "weight_decay": 0.0}],
        lr=o["learning_rate"], betas=(o["beta1"], o["beta2"]), eps=o["epsilon"])
    losses, norms, logits = [], [], None
    for step in range(STEPS):
        batch = torch.from_numpy(tokens[step].astype(np.int64))
        out = net(input_ids=batch[:, :-1]).logits
        if step == 0:
            logits = out[0].detach().numpy().copy()
        loss = torch.nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]),
                                                 batch[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum((p.grad.double() ** 2).sum() for p in net.parameters())).item()
        # Plain clipping: torch's own adds 1e-6 to the norm.
        scale = min(1.0, o["clip_norm"] / norm)
        for p in net.parameters():
            p.grad.mul_(scale)
        optimizer.step()
        # In double, so that the record is not rounded more coarsely than what is compared with it.
        losses.append(torch.nn.functional.cross_entropy(
            out.detach().double().reshape(-1, out.shape[-1]), batch[:, 1:].reshape(-1)).item())
        norms.append(norm)
    return {"losses": np.array(losses), "grad_norms": np.array(norms), "logits": logits}


def compute(model: dict, weights: dict[str, np.ndarray] | None,
            tokens: np.ndarray | None) -> dict[str, np.ndarray]:
    """All tensors of one golden file; weights and tokens are drawn unless given."""
    net = build(model)
    generator = torch.Generator().manual_seed(20240607)
    if weights is None:
        draw_weights(net, generator)
        weights = hf_names.from_hf(model, {n: p.detach().numpy().copy()
                                           for n, p in net.named_parameters()})
    if tokens is None:
        tokens = draw_tokens(generator)
    state = {n: torch.from_numpy(t.copy()) for n, t in hf_names.to_hf(model, weights).items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    allowed = {"lm_head.weight"} if model["tie_word_embeddings"] else set()
    if unexpected or not set(missing) <= allowed:
        raise SystemExit(f"hf_names: missing {missing}, unexpected {unexpected}")
    return {**{f"weights.{n}": t for n, t in weights.items()}, "tokens": tokens,
            **train(net, tokens)}


def write(name: str, model: dict) -> None:
    path = FOLDER / f"{name}.safetensors"
    tensors = compute(model, None, None)
    metadata = {"kente_golden": str(VERSION), "model": json.dumps(model, sort_keys=True),
                "optimizer": json.dumps(OPTIMIZER, sort_keys=True),
                "versions": json.dumps({"torch": torch.__version__, "numpy": np.__version__,
                                        "transformers": transformers.__version__},
                                       sort_keys=True)}
    safetensors.numpy.save_file(tensors, path, metadata)
    path.chmod(0o644)
    losses = tensors["losses"]
    print(f"{path.name}: {path.stat().st_size} bytes, loss {losses[0]:.4f} -> {losses[-1]:.4f}, "
          f"{int((tensors['grad_norms'] > OPTIMIZER['clip_norm']).sum())} steps clipped")


def check(name: str) -> bool:
    path = FOLDER / f"{name}.safetensors"
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        stored = {key: file.get_tensor(key) for key in file.keys()}
    prefix = "weights."
    weights = {k[len(prefix):]: t for k, t in stored.items() if k.startswith(prefix)}
    model = json.loads(metadata["model"])
    there_and_back = hf_names.from_hf(model, hf_names.to_hf(model, weights))
    kept = weights.keys() == there_and_back.keys() and all(
        np.array_equal(weights[n], there_and_back[n]) for n in weights)
    live = compute(model, weights, stored["tokens"])
    relative = np.abs(live["losses"] / stored["losses"] - 1)
    logits = np.abs(live["logits"] - stored["logits"]).max()
    good = bool(kept and relative[0] <= 1e-6 and relative.max() <= 1e-3 and logits <= 1e-5)
    print(f"{name}: {'same' if good else 'DIFFERENT'}: relative loss difference {relative[0]:.1e} "
          f"at step 1, {relative.max():.1e} at most; logits {logits:.1e}; "
          f"made with {metadata['versions']}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compute again and compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments.check:
        return 0 if all([check(name) for name in MODELS]) else 1
    for name, model in MODELS.items():
        write(name, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
