#!/usr/bin/env python3
"""PyTorch DDP (gloo) on the 6.9M GPT-2 shape under torchrun, with a checkpoint every so many steps from which a
restarted group goes on: the peer of C9. Rank 0 appends a line {"step": N} to FILE after every step.

  torchrun --nproc-per-node 2 --max-restarts 1000 benchmarks/torchrun_peer.py FILE CHECKPOINT EVERY SAMPLES
"""

from __future__ import annotations

import json
import os
import sys

import torch
import torch.distributed as dist

from ddp_peer import LENGTH, build


def main() -> None:
    steps_file, checkpoint, every, samples = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    net = torch.nn.parallel.DistributedDataParallel(build())
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    step = 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=True)
        net.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    while True:
        step += 1
        tokens = torch.randint(0, 8192, (samples // size, LENGTH),
                               generator=torch.Generator().manual_seed(step * size + rank))
        net(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if rank != 0:
            continue
        with open(steps_file, "a", encoding="ascii") as out:
            out.write(json.dumps({"step": step}) + "\n")
        if step % every == 0:
            torch.save({"model": net.module.state_dict(), "optimizer": optimizer.state_dict(), "step": step},
                       checkpoint + ".tmp")
            os.replace(checkpoint + ".tmp", checkpoint)


if __name__ == "__main__":
    main()
