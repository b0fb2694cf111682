#!/usr/bin/env python3
"""PyTorch DDP (gloo) on the 6.9M GPT-2 shape: the peer of C6. Started twice by benchmarks/c6_capped.py, with
RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set. Rank 0 prints one line of JSON: round after round, tokens/s of
each rank alone and of both together, steps of each in turn, because the machine's own speed drifts.
"""

from __future__ import annotations

import json
import os
import statistics
import time

import torch
import torch.distributed as dist
import transformers

ROUNDS = 5
SAMPLES = 64  # of the whole step
LENGTH = 128


def build() -> torch.nn.Module:
    config = transformers.GPT2Config(vocab_size=8192, n_positions=LENGTH, n_embd=256, n_layer=6, n_head=8,
                                     resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    torch.manual_seed(1)
    return transformers.GPT2LMHeadModel(config)


class Contender:
    """A model and its optimizer. The first step is not counted."""

    def __init__(self, net: torch.nn.Module, samples: int) -> None:
        self.net = net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        self.tokens = torch.randint(0, 8192, (samples, LENGTH))
        self.seconds: list[float] = []
        self.step()

    def run(self) -> None:
        self.seconds.append(self.step())

    def step(self) -> float:
        began = time.perf_counter()
        self.net(input_ids=self.tokens, labels=self.tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - began

    def take_tokens_per_second(self) -> float:
        """Of the steps since the last call."""
        seconds, self.seconds = self.seconds, []
        return SAMPLES * LENGTH * len(seconds) / sum(seconds)


def of_all_ranks(own: float) -> list[float]:
    values = torch.zeros(dist.get_world_size(), dtype=torch.float64)
    values[dist.get_rank()] = own
    dist.all_reduce(values)
    return values.tolist()


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    alone = Contender(build(), SAMPLES)
    together = Contender(torch.nn.parallel.DistributedDataParallel(build()), SAMPLES // size)
    rounds = []
    for _ in range(ROUNDS):
        for who in range(size):
            dist.barrier()
            if who == rank:
                alone.run()
            dist.barrier()
            together.run()
        rounds.append({"alone": of_all_ranks(alone.take_tokens_per_second()),
                       "together": min(of_all_ranks(together.take_tokens_per_second()))})
    if rank == 0:
        print(json.dumps({"rounds": rounds, "torch": torch.__version__, "transformers": transformers.__version__}),
              flush=True)
    dist.barrier()
    # Not destroy_process_group(): when one side is much slower gloo's teardown aborts the other.
    os._exit(0)


if __name__ == "__main__":
    main()
