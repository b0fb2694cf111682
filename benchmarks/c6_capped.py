#!/usr/bin/env python3
"""C6, computing ranks: two ranks, one of them capped to a share of its core; kente beside PyTorch DDP.

  .venv/bin/python benchmarks/c6_capped.py [CAP...] > benchmarks/results/c6_capped.md

Caps are per cent of a core, 100 50 25 if none is named.
Needs build/cpu (targets kente, kente-throttle, c6_capped) and launch/setup --peers. Each pair runs kente, then
DDP, on the same machine minutes apart, and each side takes its own steps alone and together in turn, round after
round. eta and what it is compared with are ratios within a round; the table shows medians over all rounds, and the
least and the most.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys

from result_text import processor, spread

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BIN = PROJECT / "build" / "cpu" / "bin"
PAIRS = 2
CAPS = (100, 50, 25)


@functools.cache
def quota() -> list[str]:
    """The kernel's quota where this user may set one: stops that another process makes come late where all cores
    are busy, and the rank gets less than its share."""
    probe = [str(BIN / "kente"), "throttle", "--cgroup", "--cpu", "50", "--", "true"]
    return ["--cgroup"] if subprocess.run(probe, capture_output=True).returncode == 0 else []


def throttled(cap: int, command: list[str]) -> list[str]:
    return command if cap == 100 else [str(BIN / "kente"), "throttle", *quota(), "--cpu", str(cap), "--", *command]


def environment() -> dict[str, str]:
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
           "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
           "OMPI_MCA_hwloc_base_binding_policy": "none"}
    return {**os.environ, **one}


def run_kente(cap: int) -> dict:
    program = str(BIN / "c6_capped")
    command = ["mpirun", "-n", "1", program, ":", "-n", "1", *throttled(cap, [program])]
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True, timeout=1800)
    return json.loads(done.stdout.strip().splitlines()[-1])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_ddp(cap: int) -> dict:
    command = [sys.executable, str(PROJECT / "benchmarks" / "ddp_peer.py")]
    common = {**environment(), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [subprocess.Popen(throttled(cap, command) if rank == 1 else command,
                              env={**common, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
             for rank in range(2)]
    outputs = [rank.communicate(timeout=1800)[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise RuntimeError(f"DDP ended with {[rank.returncode for rank in ranks]}")
    return json.loads(outputs[0].strip().splitlines()[-1])


def rounds(runs: list[dict]) -> list[dict]:
    return [one for run in runs for one in run["rounds"]]


def eta(runs: list[dict], rate: str) -> list[float]:
    return [100 * one[rate] / sum(one["alone"]) for one in rounds(runs)]


def machine(runs: list[dict]) -> list[float]:
    """What two busy ranks that have nothing to do with each other reach."""
    return [100 * sum(one["apart"]) / sum(one["alone"]) for one in rounds(runs)]


def rate(run: dict) -> float:
    return statistics.median(one["together"] for one in run["rounds"])


def main() -> None:
    rows = []
    caps = [int(word) for word in sys.argv[1:]] or CAPS
    for cap in caps:
        ours, theirs = [], []
        for pair in range(PAIRS):
            print(f"cap {cap} %, pair {pair + 1} of {PAIRS}", file=sys.stderr)
            ours.append(run_kente(cap))
            theirs.append(run_ddp(cap))
        shares = ", ".join(str(replica["share"]) if replica["stages"] == 1
                           else f"{replica['share']} ({replica['stages']} stages)"
                           for replica in ours[-1]["plan"])
        rows.append([f"{cap} %", shares, spread(eta(ours, "together"), 1), spread(machine(ours), 1),
                     spread([100 * abs(run["predicted"] / rate(run) - 1) for run in ours], 1),
                     spread(eta(ours, "equal_shares"), 1), spread(eta(theirs, "together"), 1),
                     spread([rate(a) / rate(b) for a, b in zip(ours, theirs)], 1)])
        print("| " + " | ".join(rows[-1]) + " |", file=sys.stderr)  # what an end before the end leaves
    versions = theirs[-1]
    print("# C6: two computing ranks, one capped\n")
    command = " ".join(["benchmarks/c6_capped.py", *sys.argv[1:]])
    print(f"`.venv/bin/python {command}`, {PAIRS} pairs of kente and DDP for each cap, on two cores "
          f"of {processor()}; torch {versions['torch']}, transformers {versions['transformers']}.\n")
    throttle = " ".join(["kente throttle", *quota()])
    print("6.9M GPT-2 shape, fp32, 64 samples of 128 tokens a step, one thread a rank. Rank 1 gets the share of its "
          f"core in the first column (`{throttle}`). eta: tokens/s of both over the sum of each alone, each side with "
          "its own code, in one round of steps that follow each other; medians of all rounds, least and most. kente "
          "planned from its own measurement and, as kente train does it, again from its first 42 steps where those "
          "promised enough; nothing set by hand. At once, apart: both ranks train at the same time, each for itself; "
          "two busy cores share caches, memory and clock, and no trainer gets beyond that.\n")
    print("| rank 1's core | kente's shares | eta kente, % | at once, apart, % | predicted off by, % "
          "| eta kente, equal shares, % | eta DDP, % | tokens/s, kente over DDP |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
