#!/usr/bin/env python3
"""PyTorch's training step: the peer of C1. usage: step_peer.py SHAPE DTYPE eager|compile; benchmarks/c1_step.py
starts it. Reads "steps N" from standard input and answers with a line of JSON, the seconds of each step.

The models are transformers', attention is scaled_dot_product_attention, AdamW is the fused one. bf16 is autocast:
weights and their updates in fp32, as kente's are.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

import torch
import transformers

GPT2 = {"n_positions": 256, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False}
SHAPES = {
    "gpt2-6.9m": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=8192, n_embd=256, n_layer=6, n_head=8, **GPT2)),
    "llama-6.9m": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=8192, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=8,
        max_position_embeddings=256, tie_word_embeddings=True, use_cache=False)),
    "gpt2-124m": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=50257, n_embd=768, n_layer=12, n_head=12, **{**GPT2, "n_positions": 1024})),
}
SAMPLES = {"gpt2-6.9m": 8, "llama-6.9m": 8, "gpt2-124m": 4}
LENGTH = 256


def main() -> None:
    shape, dtype, mode = sys.argv[1:]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    net = SHAPES[shape]()
    vocabulary = net.config.vocab_size
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, vocabulary, (SAMPLES[shape], LENGTH + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = net(input_ids=x).logits
        return torch.nn.functional.cross_entropy(logits.float().view(-1, vocabulary), y.view(-1))

    run = torch.compile(loss_of) if mode == "compile" else loss_of
    half = torch.autocast("cpu", torch.bfloat16) if dtype == "bf16" else contextlib.nullcontext()

    def step() -> float:
        began = time.perf_counter()
        with half:
            loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return time.perf_counter() - began

    step()
    print(json.dumps({"parameters": sum(p.numel() for p in net.parameters()), "torch": torch.__version__,
                      "transformers": transformers.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": [step() for _ in range(int(line.split()[1]))]}), flush=True)


if __name__ == "__main__":
    main()
