#!/usr/bin/env python3
"""kente sample: lets a trained model continue a prompt."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tool_errors
from tokenizer_files import DocumentTokenizer, load_tokenizer
from tool_errors import ToolError, UsageError, printable

WORKER = "kente-worker"
_PROMPT_TOKENS = 1 << 15  # what fits on a command line, far beyond what a model looks at


@dataclass(frozen=True)
class Sample:
    """What the worker drew: the prompt's tokens and those it added, of the checkpoint of step."""

    step: int
    tokens: list[int]


class WorkerError(ToolError):
    """The worker failed and has said why; its exit status becomes ours."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{WORKER} ended with status {status}; its own message stands above")
        self.status = status if status > 0 else tool_errors.EXIT_BUG


def worker_path() -> Path:
    """kente-worker: beside the front end, which says where that is, or in the build directories."""
    project = Path(__file__).resolve().parent.parent
    beside = os.environ.get("KENTE_BIN_DIR")
    folders = (
        [Path(beside)] if beside else [*sorted(project.glob("build/*/bin")), project / "build/bin"]
    )
    for folder in folders:
        if (folder / WORKER).is_file():
            return folder / WORKER
    looked = ", ".join(printable(folder) for folder in folders)
    raise UsageError(f"no {WORKER} in {looked}; build it with: cmake --build --preset cpu")


def prompt_tokens(tokenizer: DocumentTokenizer, prompt: str) -> list[int]:
    """The prompt's ids; without a prompt the model begins a document of its own."""
    ids = tokenizer.encode_prompt(prompt)
    if len(ids) > _PROMPT_TOKENS:
        raise UsageError(f"--prompt: {len(ids)} tokens; want at most {_PROMPT_TOKENS}")
    return ids or [tokenizer.end_of_document]


def draw(options: argparse.Namespace, tokens: list[int], end_token: int, seed: int) -> Sample:
    """Runs the worker once."""
    command = [
        str(worker_path()), "sample", "--run", str(options.run),
        "--tokens", " ".join(map(str, tokens)), "--count", str(options.count),
        "--temperature", str(options.temperature), "--top-k", str(options.top_k),
        "--seed", str(seed), "--end-token", str(end_token),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise WorkerError(done.returncode)
    try:
        record = json.loads(done.stdout.decode("utf-8").strip().splitlines()[-1])
        return Sample(int(record["step"]), [int(token) for token in record["tokens"]])
    except (ValueError, KeyError, TypeError, IndexError) as failure:
        raise ToolError(f"{WORKER} printed no tokens ({failure}); this is a bug") from failure


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="kente sample", description=__doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument(
        "--prompt", default="", help="the text to continue (default: begin a new one)"
    )
    parser.add_argument("--count", type=int, default=64, help="tokens to add (default: 64)")
    parser.add_argument(
        "--samples", type=int, default=1, help="how many, with seeds from --seed on"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0: the likeliest token (default: 0.8)"
    )
    parser.add_argument("--top-k", type=int, default=50, help="0: all tokens (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object a sample")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.samples < 1 or options.seed < 0 or options.top_k < 0:
        raise UsageError("--count and --samples want at least 1, --seed and --top-k at least 0")
    if not 0.0 <= options.temperature <= 1e6:
        raise UsageError(f"--temperature {options.temperature}: want 0 or more")
    return options


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status."""
    options = parse_arguments(arguments)
    if not (options.run / "recipe.textproto").is_file():
        raise UsageError(
            f"{printable(options.run)}: not a run directory, it holds no recipe.textproto; name one"
        )
    tokenizer = load_tokenizer(options.run / "tokenizer.json")
    tokens = prompt_tokens(tokenizer, options.prompt)
    for i in range(options.samples):
        sample = draw(options, tokens, tokenizer.end_of_document, options.seed + i)
        text = tokenizer.decode(sample.tokens)
        if options.json:
            print(
                json.dumps(
                    {"step": sample.step, "tokens": sample.tokens, "text": text}, ensure_ascii=False
                )
            )
        else:
            if options.samples > 1:
                print(f"-- sample {i + 1}, seed {options.seed + i}")
            print(text)
        sys.stdout.flush()
    return tool_errors.EXIT_DONE


if __name__ == "__main__":
    tool_errors.run_tool("sample", main)
