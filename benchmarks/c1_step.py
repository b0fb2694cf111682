#!/usr/bin/env python3
"""C1: a training step on two cores; kente beside PyTorch, eager and compiled.

  .venv/bin/python benchmarks/c1_step.py [SHAPE-DTYPE...] > benchmarks/results/c1_step.md

SHAPE-DTYPE, for example gpt2-6.9m-f32, is one row; all six if none is named. Needs build/cpu (target c1_step) and
launch/setup --peers. All three sides are loaded, then take turns of some seconds, round after round, while the other
two sleep: a ratio is of one round.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from result_text import processor, spread

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = PROJECT / "build" / "cpu" / "bin" / "c1_step"
PEER = PROJECT / "benchmarks" / "step_peer.py"
ROUNDS = 7
TURN_SECONDS = 4.0
RANKS = 2
ROWS = [f"{shape}-{dtype}" for dtype in ("f32", "bf16") for shape in ("gpt2-6.9m", "llama-6.9m", "gpt2-124m")]


class Side:
    """One trainer that was started and waits for orders; hello is the first line it says."""

    def __init__(self, process: subprocess.Popen, order_files: list) -> None:
        self.process = process
        self.order_files = order_files
        self.hello: dict = {}
        self.steps = 1

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def order(self, text: str) -> dict:
        for file in self.order_files:
            file.write(text + "\n")
            file.flush()
        return self.answer()

    def warm_up(self) -> None:
        """Finds how many steps fill a turn. The first are not counted: compilers and allocators settle."""
        self.order("steps 2")
        self.steps = max(2, round(TURN_SECONDS / statistics.median(self.order("steps 2")["seconds"])))

    def turn(self) -> float:
        """Seconds of a step, the turn's mean."""
        return statistics.fmean(self.order(f"steps {self.steps}")["seconds"])

    def close(self) -> None:
        for file in self.order_files:
            file.close()
        self.process.wait(timeout=60)


def start_kente(shape: str, dtype: str, folder: str) -> Side:
    pipes = [f"{folder}/orders-{rank}" for rank in range(RANKS)]
    for pipe in pipes:
        os.mkfifo(pipe)
    env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(["mpirun", "-n", str(RANKS), "--bind-to", "core", str(PROGRAM), shape, dtype,
                                f"{folder}/orders"], env=env, stdout=subprocess.PIPE, text=True)
    side = Side(process, [])
    side.hello = side.answer()
    side.order_files = [open(pipe, "w", encoding="utf-8") for pipe in pipes]
    return side


def start_torch(shape: str, dtype: str, mode: str) -> Side:
    env = {**os.environ, "OMP_NUM_THREADS": str(RANKS), "MKL_NUM_THREADS": str(RANKS)}
    process = subprocess.Popen([sys.executable, str(PEER), shape, dtype, mode], env=env, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    side = Side(process, [process.stdin])
    side.hello = side.answer()
    return side


def measure(shape: str, dtype: str) -> tuple[list[str], dict]:
    with tempfile.TemporaryDirectory() as folder:
        kente = start_kente(shape, dtype, folder)
        torch = {mode: start_torch(shape, dtype, mode) for mode in ("compile", "eager")}
        sides = [kente, *torch.values()]
        for side in sides:
            side.warm_up()
        ours, ceilings = [], []
        theirs: dict[str, list[float]] = {mode: [] for mode in torch}
        for number in range(ROUNDS):
            print(f"{shape} {dtype}, round {number + 1} of {ROUNDS}", file=sys.stderr)
            ceilings.append(kente.order("ceiling")["flops"])
            ours.append(kente.turn())
            for mode, side in torch.items():
                theirs[mode].append(side.turn())
        for side in sides:
            side.close()
    flops = kente.hello["tokens"] * kente.hello["flops_per_token"]
    of_ceiling = [100 * flops / seconds / ceiling for seconds, ceiling in zip(ours, ceilings)]
    ratio = {mode: [b / a for a, b in zip(ours, seconds)] for mode, seconds in theirs.items()}
    row = [shape, dtype, f"{kente.hello['tokens'] / statistics.median(ours):,.0f}", spread(ratio["compile"], 2),
           spread(ratio["eager"], 2), spread(of_ceiling, 0)]
    print("| " + " | ".join(row) + " |", file=sys.stderr)
    print(kente.hello["plan"], file=sys.stderr)
    return row, torch["compile"].hello


def main() -> None:
    wanted = sys.argv[1:] or ROWS
    for name in wanted:
        if name not in ROWS:
            sys.exit(f"no row {name}: {', '.join(ROWS)} are known")
    rows, versions = [], {}
    for name in wanted:
        shape, dtype = name.rsplit("-", 1)
        row, versions = measure(shape, dtype)
        rows.append(row)
    command = " ".join(["benchmarks/c1_step.py", *sys.argv[1:]])
    print("# C1: a training step on two cores\n")
    print(f"`.venv/bin/python {command}`, {ROUNDS} rounds on two cores of {processor()}; torch {versions['torch']}, "
          f"transformers {versions['transformers']}.\n")
    print("Samples of 256 tokens, 8 a step, 4 of the 124M shape; AdamW, clipped at 1. kente: two ranks of one thread, "
          "its plan from its own measurement. PyTorch: two threads, transformers' model, fused AdamW; bf16 is autocast, "
          "as kente keeps its weights in fp32 too. Ratios are of one round: PyTorch's step over kente's. Ceiling: model "
          "FLOP/s of kente over products of 512 x 512 matrices in that type on both cores at once, in the same round. "
          "Medians, least and most.\n")
    print("| shape | type | kente, tokens/s | torch.compile over kente | torch eager over kente | of the GEMM ceiling, % |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
