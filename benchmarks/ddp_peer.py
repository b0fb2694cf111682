#!/usr/bin/env python3
"""PyTorch DDP (gloo) on the 6.9M GPT-2 shape: the peer of C6. Started twice by benchmarks/c6_capped.py, with
RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set. Rank 0 prints one line of JSON: tokens/s of each rank alone
and of both together.
"""

from __future__ import annotations

import json
import os
import statistics
import time

import torch
import torch.distributed as dist
import transformers

STEPS = 3
SAMPLES = 16  # of the whole step
LENGTH = 256


def build() -> torch.nn.Module:
    config = transformers.GPT2Config(vocab_size=8192, n_positions=LENGTH, n_embd=256, n_layer=6, n_head=8,
                                     resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    torch.manual_seed(1)
    return transformers.GPT2LMHeadModel(config)


def tokens_per_second(net: torch.nn.Module, samples: int, ranks: int) -> float:
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, 8192, (samples, LENGTH))
    seconds = []
    for step in range(-1, STEPS):
        began = time.perf_counter()
        loss = net(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step >= 0:
            seconds.append(time.perf_counter() - began)
    return samples * ranks * LENGTH / statistics.median(seconds)


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    alone = torch.zeros(size, dtype=torch.float64)
    for who in range(size):
        dist.barrier()
        if who == rank:
            alone[who] = tokens_per_second(build(), SAMPLES, 1)
    dist.barrier()
    dist.all_reduce(alone)
    net = torch.nn.parallel.DistributedDataParallel(build())
    together = torch.tensor([tokens_per_second(net, SAMPLES // size, size)], dtype=torch.float64)
    dist.all_reduce(together, op=dist.ReduceOp.MIN)
    if rank == 0:
        print(json.dumps({"alone": alone.tolist(), "together": together.item(),
                          "torch": torch.__version__, "transformers": transformers.__version__}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
