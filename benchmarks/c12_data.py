#!/usr/bin/env python3
"""C12: from HTML to token files, beside the tokenizer library alone; and reading them beside training.

  .venv/bin/python benchmarks/c12_data.py > benchmarks/results/c12_data.md

Needs build/cpu (targets kente and c12_loader) and a network, or the handbook in .cache. kente data prepare reads the
Debian handbook in all its languages, takes the text out of the HTML, leaves duplicates out and encodes the rest;
the library only encodes that same text, which it has in memory. Both use two processes or threads and take turns.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from result_text import processor, spread

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "launch"))
BIN = PROJECT / "build" / "cpu" / "bin"
ROUNDS = 5
WORKERS = 2
VOCABULARY = 4096


def encode_alone(tokenizer_file: str, texts_file: str, threads: str) -> None:
    """One turn of the library: prints the seconds it encodes."""
    os.environ["RAYON_NUM_THREADS"] = threads
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(tokenizer_file)
    texts = json.loads(pathlib.Path(texts_file).read_text(encoding="utf-8"))
    began = time.monotonic()
    tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    print(time.monotonic() - began)


def prepare(spec: pathlib.Path, folder: pathlib.Path, *more: str) -> tuple[float, dict]:
    """Seconds from the command to its end, and what it says of its result."""
    began = time.monotonic()
    done = subprocess.run([str(BIN / "kente"), "data", "prepare", str(spec), "--output", str(folder), "--processes",
                           str(WORKERS), "--no-baseline", "--json", "--force", *more], check=True, stdout=subprocess.PIPE,
                          text=True, timeout=900)
    return time.monotonic() - began, json.loads(done.stdout)


def plain_texts(spec: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """What prepare encodes."""
    from corpus import ReadOptions, read_corpus  # noqa: PLC0415
    from data_sources import read_sources  # noqa: PLC0415
    from progress import Progress  # noqa: PLC0415

    texts = read_corpus(read_sources(spec), folder, ReadOptions(WORKERS, False), Progress())
    return [data.decode("utf-8") for text in texts for data in text.texts(text.documents)]


def library_seconds(tokenizer: pathlib.Path, texts: pathlib.Path, threads: int) -> float:
    done = subprocess.run([sys.executable, __file__, "--encode", str(tokenizer), str(texts), str(threads)], check=True,
                          capture_output=True, text=True, timeout=900)
    return float(done.stdout)


def main() -> None:
    import fetch_handbook  # noqa: PLC0415
    import tokenizers  # noqa: PLC0415

    handbook = PROJECT / ".cache" / "c12"
    spec = fetch_handbook.fetch(handbook, list(fetch_handbook.LANGUAGES))
    with tempfile.TemporaryDirectory(dir=PROJECT / "build") as name:
        folder = pathlib.Path(name)
        recipe = folder / "recipe.textproto"
        _, result = prepare(spec, folder / "data", "--train-tokenizer", str(VOCABULARY), "--recipe",
                            str(PROJECT / "recipes" / "quickstart.textproto"), str(recipe))
        size = sum(source[part]["text_bytes"] for source in result["sources"] for part in ("train", "validation"))
        texts = folder / "texts.json"
        texts.write_text(json.dumps(plain_texts(spec, folder)), encoding="utf-8")
        tokenizer = folder / "tokenizer.json"
        tokenizer.write_bytes((folder / "data" / "tokenizer.json").read_bytes())
        ours: list[float] = []
        library: dict[int, list[float]] = {1: [], WORKERS: []}
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
            ours.append(prepare(spec, folder / "data", "--tokenizer", str(tokenizer))[0])
            for threads, seconds in library.items():
                seconds.append(library_seconds(tokenizer, texts, threads))
        loader = json.loads(subprocess.run([str(BIN / "c12_loader"), str(recipe), str(folder / "data")], check=True,
                                           capture_output=True, text=True, timeout=900).stdout)
    print("# C12: from HTML to token files, and back into a step\n")
    print(f"`.venv/bin/python benchmarks/c12_data.py`, {ROUNDS} rounds on two cores of {processor()}; tokenizers "
          f"{tokenizers.__version__}. The Debian handbook in {len(result['sources'])} languages, "
          f"{size / 1e6:.1f} MB of text, byte-level BPE of {VOCABULARY} entries. kente data prepare: from the command to "
          f"its end, HTML, duplicates, digests and files included, {WORKERS} processes. The library: encoding alone.\n")
    print("| | text, MB/s | kente over it |")
    print("|---|---|---|")
    print(f"| kente data prepare | {spread([size / s / 1e6 for s in ours], 1)} | |")
    for threads, seconds in library.items():
        ratio = [theirs / mine for mine, theirs in zip(ours, seconds)]
        print(f"| tokenizers, threads: {threads} | {spread([size / s / 1e6 for s in seconds], 1)} | "
              f"{spread(ratio, 2)} |")
    part = [100 * trained / read for read, trained in zip(loader["read"], loader["trained"])]
    print("\n| reading shuffled samples, one thread | tokens/s | one rank trains, tokens/s | of a step's time, % |")
    print("|---|---|---|---|")
    print(f"| quickstart's recipe | {statistics.median(loader['read']):,.0f} | "
          f"{statistics.median(loader['trained']):,.0f} | {spread(part, 4)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--encode"]:
        encode_alone(*sys.argv[2:])
    else:
        main()
