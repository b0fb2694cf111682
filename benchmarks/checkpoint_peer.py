#!/usr/bin/env python3
"""torch.save, torch.distributed.checkpoint and safetensors beside a computing thread: the peers of C8.

  python benchmarks/checkpoint_peer.py WAY DIRECTORY     WAY: torch.save, dcp or safetensors

The same state, the same products a step and the same words as benchmarks/c8_checkpoint.cpp; prints one line of
JSON. torch.save and safetensors stand still until their file is durable; dcp.async_save copies and goes on.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import safetensors.torch

TENSORS, ELEMENTS = 96, 4 << 20
STEPS_BEFORE, PRODUCTS = 12, 16


def step(a: torch.Tensor, b: torch.Tensor) -> float:
    began = time.perf_counter()
    for _ in range(PRODUCTS):
        torch.mm(a, b)
    return time.perf_counter() - began


def sync(folder: pathlib.Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def drop_from_cache(folder: pathlib.Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def main() -> None:
    way, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", WORLD_SIZE="1")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    state = {f"tensor.{i:03d}": torch.full((ELEMENTS,), i + 0.5) for i in range(TENSORS)}
    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    usual = statistics.median(step(a, b) for _ in range(STEPS_BEFORE))
    began = time.perf_counter()
    if way == "dcp":
        future = dcp.async_save(state, checkpoint_id=folder / "dcp")
        stall = time.perf_counter() - began
        lost = stall
        while not future.done():
            lost += max(0.0, step(a, b) - usual)
        future.result()
        sync(folder)  # its writer has synced its files already: only what it left
    else:
        if way == "torch.save":
            torch.save(state, folder / "state.pt")
        else:
            safetensors.torch.save_file(state, folder / "state.safetensors")
        sync(folder)
        stall = lost = time.perf_counter() - began
    durable = time.perf_counter() - began
    drop_from_cache(folder)
    began = time.perf_counter()
    if way == "dcp":
        dcp.load(state, checkpoint_id=folder / "dcp")
    elif way == "torch.save":
        state = torch.load(folder / "state.pt", weights_only=True)
    else:
        state = safetensors.torch.load_file(folder / "state.safetensors")
        _ = sum(float(tensor[-1]) + float(tensor[::1024].sum()) for tensor in state.values())
    print(json.dumps({"stall": stall, "lost": lost, "durable": durable, "load": time.perf_counter() - began,
                      "step": usual}), flush=True)


if __name__ == "__main__":
    main()
