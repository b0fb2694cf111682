#!/usr/bin/env python3
"""Runs benchmarks of the CPU, prints what each found beside what is recorded, and names what got worse.

  .venv/bin/python benchmarks/run.py [NAME ...] [--record]

NAME: c1, c3, c4, c5, c12; all of them without any. Needs build/cpu with the target benchmark_programs, and
launch/setup --peers. Each leaves its page in build/benchmarks; --record puts it into benchmarks/results, where what
was written by hand below a page's tables stays. A figure is a ratio of one run; it got worse if it is 5 % below
(above, where less is better) the one recorded here. Exit status: 1 if one did, 2 if a benchmark failed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field

PROJECT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
NEW = PROJECT / "build" / "benchmarks"
BIN = PROJECT / "build" / "cpu" / "bin"
WORSE = 0.05
BY_HAND = "<!-- By hand from here on. -->"


@dataclass(frozen=True)
class Column:
    """A column whose ratios are compared. parts: the figure is so many hundredths beyond 1."""

    name: str
    more_is_better: bool = True
    parts: bool = False


@dataclass(frozen=True)
class Benchmark:
    page: str
    command: list[str]
    columns: list[Column]
    keys: int  # so many first cells name a row
    goals: dict[str, str] = field(default_factory=dict)  # by column, in words


def mpirun(ranks: int, program: str, *more: str) -> list[str]:
    return ["mpirun", "-n", str(ranks), *more, str(BIN / program)]


BENCHMARKS = {
    "c1": Benchmark("c1_step.md", [sys.executable, "benchmarks/c1_step.py"],
                    [Column("torch.compile over kente"), Column("of the GEMM ceiling, %")], 2,
                    {"torch.compile over kente": "1.15; bf16 1.5", "of the GEMM ceiling, %": "124m f32: 80"}),
    "c3": Benchmark("c3_ops.md", [str(BIN / "c3_ops")],
                    [Column("of the triad, %"), Column("ATen over kente")], 1, {"of the triad, %": "85"}),
    "c4": Benchmark("c4_pipeline.md", mpirun(2, "c4_pipeline", "--bind-to", "core"),
                    [Column("overhead, median", False, True), Column("share of independent ranks")], 3,
                    {"overhead, median": "3 at m = 8", "share of independent ranks": "zero-bubble, m = 8: 93"}),
    "c5": Benchmark("c5_schedules.md", mpirun(8, "c5_schedules", "--oversubscribe", "--bind-to", "none"),
                    [Column("off", False, True)], 4, {"off": "2"}),
    "c12": Benchmark("c12_data.md", [sys.executable, "benchmarks/c12_data.py"],
                     [Column("kente over it"), Column("of a step's time, %", False, True)], 1,
                     {"kente over it": "0.9", "of a step's time, %": "1"}),
}


@dataclass(frozen=True)
class Figure:
    row: str
    column: Column
    cell: str  # as it was printed, with its spread

    def value(self) -> float:
        """The first number of the cell, which is the median."""
        number = float(re.match(r"[-+]?[\d.,]+", self.cell)[0].replace(",", ""))
        return 1 + number / 100 if self.column.parts else number


def figures(page: str, benchmark: Benchmark) -> dict[tuple[str, str], Figure]:
    """The compared columns of a page's tables, by row and column."""
    found: dict[tuple[str, str], Figure] = {}
    header: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif not set(line) <= set("|-: "):
            row = ", ".join(cells[: benchmark.keys])
            for column in benchmark.columns:
                if column.name in header and re.match(r"[-+]?\d", cells[header.index(column.name)]):
                    found[row, column.name] = Figure(row, column, cells[header.index(column.name)])
    return found


def got_worse(new: Figure, recorded: Figure) -> bool:
    if new.column.more_is_better:
        return new.value() < (1 - WORSE) * recorded.value()
    return new.value() > (1 + WORSE) * recorded.value()


def measure(name: str, benchmark: Benchmark) -> str:
    """Runs it; returns its page, which also lies in build/benchmarks."""
    env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    print(f"== {name}: {' '.join(benchmark.command)}".replace(str(PROJECT) + "/", ""), file=sys.stderr)
    page = subprocess.run(benchmark.command, cwd=PROJECT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
    NEW.mkdir(parents=True, exist_ok=True)
    (NEW / benchmark.page).write_text(page, encoding="utf-8")
    return page


def record(page: str, path: pathlib.Path) -> None:
    """Puts a page in the place of the recorded one's, above what was written by hand."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    _, marker, by_hand = old.partition(BY_HAND)
    path.write_text(page.rstrip("\n") + "\n" + (f"\n{marker}{by_hand}" if marker else ""), encoding="utf-8")


def compare(name: str, page: str, recorded: str) -> int:
    """Prints each figure beside the recorded one; returns how many got worse."""
    benchmark = BENCHMARKS[name]
    before = figures(recorded, benchmark)
    worse = 0
    for key, new in figures(page, benchmark).items():
        old = before.get(key)
        bad = old is not None and got_worse(new, old)
        worse += bad
        goal = benchmark.goals.get(new.column.name, "")
        print(f"{name:4} {new.row:44} {new.column.name:28} {new.cell:24} {old.cell if old else '-':24} {goal:22}"
              f"{' worse' if bad else ''}".rstrip())
    return worse


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--record", action="store_true", help="put the pages into benchmarks/results")
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name}: {', '.join(BENCHMARKS)} are known")
    pages: dict[str, str] = {}
    failed = []
    for name in names:
        try:
            pages[name] = measure(name, BENCHMARKS[name])
        except (OSError, subprocess.CalledProcessError) as failure:
            failed.append(name)
            print(f"{name} failed: {failure}", file=sys.stderr)
    worse = 0
    print(f"{'':4} {'case':44} {'ratio':28} {'now':24} {'recorded':24} goal")
    for name, page in pages.items():
        path = RESULTS / BENCHMARKS[name].page
        worse += compare(name, page, path.read_text(encoding="utf-8") if path.exists() else "")
        if options.record:
            record(page, path)
    print(f"{worse} of the figures got more than {WORSE:.0%} worse")
    return 2 if failed else 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
