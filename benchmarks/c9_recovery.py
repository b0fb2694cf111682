#!/usr/bin/env python3
"""C9: kill -9 of a random rank every 20 s; kente launch beside torchrun with checkpoints.

  .venv/bin/python benchmarks/c9_recovery.py [SECONDS] > benchmarks/results/c9_recovery.md

SECONDS is how long each of the two is disturbed, 300 if it is not given. Needs build/cpu (targets kente,
kente-worker, kente-launch) and launch/setup --peers. Both train the 6.9M GPT-2 shape on two ranks, one thread
each. Goodput is what the steps that count would have taken undisturbed, over the time from the first of them to
the last. What a step takes undisturbed is the median over the disturbed run itself: the machine's speed drifts, and
a run of its own minutes later tells another figure, which is shown too.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from result_text import processor

PROJECT = pathlib.Path(__file__).resolve().parent.parent
KENTE = PROJECT / "build" / "cpu" / "bin" / "kente"
EVERY_SECONDS = 20  # between two kills
UNDISTURBED_STEPS = 60
SAMPLES = 20  # a step, of 128 tokens: more than half a second
CHECKPOINT_EVERY = 10  # steps: torchrun's peer; kente has its snapshots

RECIPE = """
version: 1
name: "c9"
steps: {steps}
sequence_length: 128
global_batch_tokens: {batch}
grain_samples: 1
seed: 1
model {{
  model_type: gpt2
  vocab_size: 8192
  hidden_size: 256
  num_hidden_layers: 6
  num_attention_heads: 8
  max_position_embeddings: 128
  tie_word_embeddings: true
}}
data {{ source {{ id: "words" }} }}
optimizer {{ learning_rate: 0.0003 }}
"""


class Watched:
    """A run of which a file tells every finished step; times are taken here, for both sides alike."""

    def __init__(self, command: list[str], steps_file: pathlib.Path, environment: dict[str, str]) -> None:
        self.file = steps_file
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        self.read = 0
        self.done: list[tuple[float, int]] = []  # when, which step

    def look(self) -> None:
        if not self.file.exists():
            return
        with self.file.open("rb") as lines:
            lines.seek(self.read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self.read += len(line)
                self.done.append((time.monotonic(), json.loads(line)["step"]))

    def until(self, is_true, limit: float) -> bool:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            self.look()
            if is_true():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.002)
        return False

    def ranks(self, mark: str) -> list[int]:
        """Ranks of this run that train: their command line holds mark; those that stand by began later."""
        found: dict[int, list[int]] = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            is_rank = b"OMPI_COMM_WORLD_RANK=" in environment or b"LOCAL_RANK=" in environment
            if is_rank and any(mark.encode() in word for word in words):
                start = re.search(rb"KENTE_INCARNATION=(\d+)", environment)
                found.setdefault(int(start[1]) if start else 0, []).append(int(entry.name))
        return found[min(found)] if found else []

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def environment() -> dict[str, str]:
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
           "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
           "OMPI_MCA_hwloc_base_binding_policy": "none", "PYTHONPATH": str(PROJECT / "benchmarks")}
    return {**os.environ, **one}


def step_seconds(done: list[tuple[float, int]]) -> float:
    times = [when for when, _ in done][5:]
    return statistics.median(b - a for a, b in zip(times, times[1:]))


def disturb(run: Watched, mark: str, seconds: float, chance: random.Random) -> dict:
    """Kills a random rank every EVERY_SECONDS; what followed."""
    recovered, hung = [], 0
    run.until(lambda: len(run.done) >= 3, 120)
    began = time.monotonic()
    next_kill = began + EVERY_SECONDS
    while time.monotonic() < began + seconds and run.process.poll() is None:
        run.until(lambda: time.monotonic() >= next_kill, EVERY_SECONDS + 1)
        ranks = run.ranks(mark)
        if not ranks:
            next_kill = time.monotonic() + 1
            continue
        killed, before = time.monotonic(), len(run.done)
        os.kill(chance.choice(ranks), signal.SIGKILL)
        # A step that was on its way may still be told.
        run.until(lambda: len(run.done) > before and run.done[-1][0] > killed + 0.3, 60)
        if len(run.done) > before and run.done[-1][0] > killed + 0.3:
            recovered.append(next(when for when, _ in run.done if when > killed + 0.3) - killed)
        else:
            hung += 1
        next_kill = max(next_kill + EVERY_SECONDS, time.monotonic() + EVERY_SECONDS / 2)
    done = run.done
    unique = len({step for _, step in done})
    return {"step": step_seconds(done), "kills": len(recovered) + hung, "seconds": recovered, "hung": hung,
            "unique": unique, "redone": len(done) - unique, "wall": done[-1][0] - done[0][0]}


def kente_command(folder: pathlib.Path, run: str, steps: int) -> list[str]:
    recipe = folder / f"{run}.textproto"
    recipe.write_text(RECIPE.format(steps=steps, batch=SAMPLES * 128))
    return [str(KENTE), "launch", "-n", "2", "--standby", "--plan", "even", "--recipe", str(recipe),
            "--data", str(folder / "data"), "--out", str(folder / run), "--quiet"]


def loss_bits(path: pathlib.Path) -> dict[int, str]:
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {line["step"]: line["loss_bits"] for line in lines}


def run_kente(folder: pathlib.Path, seconds: float) -> dict:
    words = random.Random(1)
    text = "\n\n".join(" ".join("".join(words.choices("abcdefghij", k=words.randint(2, 7)))
                                for _ in range(200)) for _ in range(4000))
    (folder / "words.txt").write_text(text)
    subprocess.run([str(KENTE), "data", "prepare", "--id", "words", "--path", str(folder / "words.txt"), "--output",
                    str(folder / "data"), "--train-tokenizer", "8192", "--no-baseline", "--licence", "CC0-1.0"],
                   check=True, stdout=subprocess.DEVNULL, env=environment())
    print("kente, disturbed", file=sys.stderr)
    run = Watched(kente_command(folder, "run", 100000), folder / "run" / "run.jsonl", environment())
    result = disturb(run, str(folder), seconds, random.Random(2))
    run.stop()
    print("kente, undisturbed", file=sys.stderr)
    steps = max(step for _, step in run.done)
    alone = Watched(kente_command(folder, "alone", 100000), folder / "alone" / "run.jsonl", environment())
    alone.until(lambda: len(alone.done) >= steps, 2 * seconds + 120)
    alone.stop()
    ours, reference = loss_bits(folder / "run" / "run.jsonl"), loss_bits(folder / "alone" / "run.jsonl")
    compared = [step for step in ours if step in reference]
    same = sum(ours[step] == reference[step] for step in compared)
    return {**result, "alone": step_seconds(alone.done), "same": same, "compared": len(compared)}


def run_torch(folder: pathlib.Path, seconds: float) -> dict:
    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                "--max-restarts", "1000", "--monitor-interval", "0.1", str(PROJECT / "benchmarks" / "torchrun_peer.py"),
                str(folder / f"{name}.jsonl"), str(folder / f"{name}.pt"), str(CHECKPOINT_EVERY), str(SAMPLES)]

    print("torchrun, disturbed", file=sys.stderr)
    run = Watched(command("torch"), folder / "torch.jsonl", environment())
    result = disturb(run, str(folder), seconds, random.Random(2))
    run.stop()
    print("torchrun, undisturbed", file=sys.stderr)
    alone = Watched(command("torch-alone"), folder / "torch-alone.jsonl", environment())
    alone.until(lambda: len(alone.done) >= UNDISTURBED_STEPS, 300)
    alone.stop()
    return {**result, "alone": step_seconds(alone.done)}


def row(name: str, result: dict) -> str:
    seconds = sorted(result["seconds"])
    p50, p99 = statistics.median(seconds), seconds[int(0.99 * (len(seconds) - 1))]
    goodput = 100 * (result["unique"] - 1) * result["step"] / result["wall"]
    return (f"| {name} | {result['kills']} | {p50:.2f} | {p99:.2f} | {seconds[-1]:.2f} | {result['hung']} "
            f"| {result['redone']} | {result['step']:.2f} | {result['alone']:.2f} | {goodput:.1f} |")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ours, theirs = run_kente(folder, seconds), run_torch(folder, seconds)
    print("# C9: a rank is killed every 20 seconds\n")
    import torch  # noqa: PLC0415
    print(f"`.venv/bin/python benchmarks/c9_recovery.py {seconds:.0f}` on two cores of {processor()}; torch "
          f"{torch.__version__}. 6.9M GPT-2 shape, fp32, {SAMPLES} samples of 128 tokens a step, two ranks of one "
          f"thread. kente: `kente launch -n 2 --standby`, a snapshot every step. torchrun: DDP over gloo, "
          f"--max-restarts, --monitor-interval 0.1, torch.save every {CHECKPOINT_EVERY} steps.\n")
    print("| | kills | kill to next finished step, p50, s | p99, s | most, s | no step within 60 s | steps done again "
          "| step, median, s | step of a run alone, s | goodput, % |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print(row("kente launch", ours))
    print(row("torchrun + checkpoint", theirs))
    print(f"\nLoss bits of kente's disturbed run equal to the undisturbed one's: {ours['same']} of "
          f"{ours['compared']} steps.")


if __name__ == "__main__":
    main()
