#!/usr/bin/env python3
"""C8: a checkpoint of 1.5 GB beside a computing thread; kente's Saver beside PyTorch's ways.

  .venv/bin/python benchmarks/c8_checkpoint.py [DIRECTORY] > benchmarks/results/c8_checkpoint.md

Needs build/cpu (target c8_checkpoint), launch/setup --peers and 2 GB in DIRECTORY (default: build). All take
their turn ROUNDS times; the table shows medians, and the least and the most.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from result_text import processor, spread

PROJECT = pathlib.Path(__file__).resolve().parent.parent
ROUNDS = 5
PEERS = ("torch.save", "dcp", "safetensors")


def run(command: list[str]) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=600)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parent = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "build"
    results: dict[str, list[dict]] = {name: [] for name in ("kente", *PEERS)}
    for turn in range(ROUNDS):
        for name in results:
            print(f"round {turn + 1} of {ROUNDS}: {name}", file=sys.stderr)
            folder = pathlib.Path(tempfile.mkdtemp(dir=parent))
            try:
                own = [str(PROJECT / "build" / "cpu" / "bin" / "c8_checkpoint"), str(folder)]
                peer = [sys.executable, str(PROJECT / "benchmarks" / "checkpoint_peer.py"), name, str(folder)]
                results[name].append(run(own if name == "kente" else peer))
            finally:
                shutil.rmtree(folder)
    import torch  # noqa: PLC0415
    copy = statistics.median(one["copy"] for one in results["kente"])
    print("# C8: a checkpoint beside a computing thread\n")
    print(f"`.venv/bin/python benchmarks/c8_checkpoint.py`, {ROUNDS} rounds in turn, on two cores of {processor()}; "
          f"torch {torch.__version__}. A state of 1.5 GiB in 96 tensors; steps of "
          f"{statistics.median(one['step'] for one in results['kente']):.2f} s of GEMM on one thread. Copying the "
          f"state takes {copy:.3f} s. Lost: the stall, and what steps took longer until the checkpoint was durable. "
          f"kente digests and reads every byte back before it says durable, and checks every byte it loads; the "
          f"others do not. Loaded with the file out of the page cache.\n")
    print("| | stall, s | stall over copy | training time lost, s | durable after, s | cold load, s |")
    print("|---|---|---|---|---|---|")
    for name, runs in results.items():
        stall = [one["stall"] for one in runs]
        print(f"| {name} | {spread(stall, 2)} | {statistics.median(stall) / copy:.1f} "
              f"| {spread([one['lost'] for one in runs], 2)} | {spread([one['durable'] for one in runs], 2)} "
              f"| {spread([one['load'] for one in runs], 2)} |")


if __name__ == "__main__":
    main()
