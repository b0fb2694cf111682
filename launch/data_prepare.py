#!/usr/bin/env python3
"""kente data prepare: text, HTML and JSONL to token files with a manifest for each source."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import atomic_output
import data_sources
import tool_errors
from byte_trigram import ByteTrigram
from corpus import ReadOptions, SourceText, hold_back, read_corpus
from data_sources import Source
from manifest import make_manifest, manifest_bytes
from progress import Progress, megabytes
from recipe_data import RecipeSource, data_block, edit_recipe
from token_files import TokenFileInfo, TokenFileWriter
from tool_errors import UsageError, printable

if TYPE_CHECKING:
    from tokenizer_files import DocumentTokenizer

DEFAULT_VOCABULARY = 4096
_BATCH_DOCUMENTS = 256
_BATCH_BYTES = 4 << 20
TOKENIZER = "tokenizer.json"
DATA_BLOCK = "sources.textproto"

_EXAMPLES = """examples:
  kente data prepare --id novels --path texts/ --language de --licence CC0-1.0 --output data
  kente data prepare sources.toml --train-tokenizer 8192 --output data
  kente data prepare sources.toml --tokenizer tokenizer.json --recipe recipes/quickstart.textproto
  mine.textproto
"""


@dataclass(frozen=True)
class Prepared:
    """What was made of one source."""

    text: SourceText
    train: TokenFileInfo
    validation: TokenFileInfo
    baseline: float | None


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line, checked as far as it can be without reading a file."""
    parser = argparse.ArgumentParser(
        prog="kente data prepare",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "spec", nargs="?", type=Path, help="sources.toml or .json that lists sources"
    )
    one = parser.add_argument_group("one source, without a spec")
    one.add_argument("--id", default="text", help="the source's name (default: text)")
    one.add_argument(
        "--path", action="append", type=Path, default=[], help="a file or folder; may be repeated"
    )
    for field in ("title", "licence", "language", "lab", "origin"):
        one.add_argument(f"--{field}", default="", help="kept in the manifest")
    parser.add_argument(
        "--output", type=Path, default=Path("data"), metavar="DIR", help="default: data"
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--tokenizer", type=Path, metavar="FILE", help="an existing tokenizer.json")
    words.add_argument(
        "--train-tokenizer",
        type=int,
        metavar="VOCAB",
        help=f"train a byte-level BPE of so many entries (default: {DEFAULT_VOCABULARY})",
    )
    parser.add_argument("--end-of-document", metavar="TOKEN", help="the token that ends a document")
    parser.add_argument(
        "--hold-back",
        type=float,
        default=0.02,
        metavar="FRACTION",
        help="of each source, for validation (default: 0.02)",
    )
    parser.add_argument(
        "--recipe",
        nargs=2,
        type=Path,
        metavar=("BASE", "OUT"),
        help="write recipe BASE for these sources to OUT",
    )
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), metavar="N")
    parser.add_argument("--no-baseline", action="store_true", help="skip the byte-trigram baseline")
    parser.add_argument(
        "--strict", action="store_true", help="fail on what would be skipped with a warning"
    )
    parser.add_argument("--force", action="store_true", help="replace files in --output")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    options = parser.parse_args(arguments)
    if (options.spec is None) == (not options.path):
        raise UsageError("want either a sources.toml or --path DIR; see kente data prepare --help")
    if not 0.0 <= options.hold_back <= 0.5:
        raise UsageError(f"--hold-back {options.hold_back}: want 0 to 0.5")
    if not 1 <= options.processes <= 256:
        raise UsageError(f"--processes {options.processes}: want 1 to 256")
    return options


def list_sources(options: argparse.Namespace) -> list[Source]:
    """The sources of the spec, or the one that flags describe."""
    if options.spec is not None:
        return data_sources.read_sources(options.spec)
    texts = {
        field: data_sources.checked_text(getattr(options, field), f"--{field}")
        for field in ("title", "licence", "language", "lab", "origin")
    }
    return [Source(data_sources.checked_id(options.id, "--id"), tuple(options.path), **texts)]


def encode_source(
    text: SourceText, tokenizer: DocumentTokenizer, stage: Path, progress: Progress
) -> tuple[TokenFileInfo, ...]:
    """Writes a source's two pairs of token files; returns train and validation."""
    infos = []
    for part, spans in (("train", text.train), ("validation", text.validation)):
        writer = TokenFileWriter(stage, f"{text.source.id}.{part}", tokenizer.vocab_size)
        try:
            done = 0
            for batch in _batches(text.texts(spans)):
                for data, ids in zip(
                    batch, tokenizer.encode([data.decode("utf-8") for data in batch])
                ):
                    writer.add(ids, len(data))
                    done += len(data)
                progress.update(f"encoding {text.source.id}.{part}: {megabytes(done)}")
            infos.append(writer.close())
        finally:
            writer.abandon()
    return tuple(infos)


def _batches(texts: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Documents in lists that fit into memory."""
    batch: list[bytes] = []
    for text in texts:
        batch.append(text)
        if len(batch) >= _BATCH_DOCUMENTS or sum(map(len, batch)) >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def fit_baselines(texts: list[SourceText], progress: Progress) -> list[float | None]:
    """Bits per byte of each source's held-back text under a byte trigram: fitted on the source's
    own training text or on that of all sources, whichever is better."""
    joint = ByteTrigram()
    bits = []
    for text in texts:
        progress.update(f"byte trigram: {text.source.id}")
        own = ByteTrigram()
        own.add(text.texts(text.train))
        joint.merge(own)
        bits.append(own.bits(text.texts(text.validation)))
    baselines: list[float | None] = []
    for text, own_bits in zip(texts, bits):
        size = sum(span.size for span in text.validation)
        best = min(own_bits, joint.bits(text.texts(text.validation)))
        baselines.append(best / size if size > 0 else None)
    return baselines


def _training_texts(texts: list[SourceText]) -> Iterator[str]:
    for text in texts:
        for data in text.texts(text.train):
            yield data.decode("utf-8")


def _make_tokenizer(
    options: argparse.Namespace, texts: list[SourceText], progress: Progress
) -> DocumentTokenizer:
    # Read when the library is loaded, so set before.
    os.environ["RAYON_NUM_THREADS"] = str(options.processes)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from tokenizer_files import DocumentTokenizer, load_tokenizer, train_tokenizer

    if options.tokenizer is not None:
        return load_tokenizer(options.tokenizer, options.end_of_document)
    if options.end_of_document is not None:
        raise UsageError(
            "--end-of-document goes with --tokenizer; a trained one uses <|endoftext|>"
        )
    wanted = options.train_tokenizer if options.train_tokenizer is not None else DEFAULT_VOCABULARY
    progress.line(f"training a tokenizer of {wanted} entries")
    tokenizer = DocumentTokenizer(
        train_tokenizer(_training_texts(texts), wanted), "the trained tokenizer"
    )
    if tokenizer.vocab_size < wanted:
        progress.line(f"warning: the text gave only {tokenizer.vocab_size} entries of {wanted}")
    return tokenizer


def _weights(prepared: list[Prepared]) -> list[float]:
    """Shares of samples: as the spec says, else by training tokens; in millions, so that both kinds
    mix."""
    return [
        item.text.source.weight
        if item.text.source.weight is not None
        else max(item.train.tokens, 1) / 1e6
        for item in prepared
    ]


def _finish(
    options: argparse.Namespace, prepared: list[Prepared], tokenizer: DocumentTokenizer, stage: Path
) -> dict[str, object]:
    """Writes what names the token files, moves all of it into place, and returns the result for
    --json."""
    identity = (tokenizer.vocab_size, tokenizer.end_of_document, tokenizer.sha256)
    manifests = [
        make_manifest(item.text.source, identity, (item.train, item.validation), item.baseline)
        for item in prepared
    ]
    entries = [
        RecipeSource(str(manifest["id"]), str(manifest["digest"]), weight)
        for manifest, weight in zip(manifests, _weights(prepared))
    ]
    recipe = (
        edit_recipe(options.recipe[0], entries, tokenizer.sha256, tokenizer.vocab_size)
        if options.recipe
        else None
    )
    names = [TOKENIZER, DATA_BLOCK]
    atomic_output.write_file(stage / TOKENIZER, tokenizer.data)
    atomic_output.write_file(
        stage / DATA_BLOCK, data_block(entries, tokenizer.sha256).encode("utf-8")
    )
    last = []
    for manifest, item in zip(manifests, prepared):
        names += [
            f"{info.name}.{end}" for info in (item.train, item.validation) for end in ("bin", "idx")
        ]
        last.append(f"{manifest['id']}.manifest.json")
        atomic_output.write_file(stage / last[-1], manifest_bytes(manifest))
    atomic_output.publish(stage, options.output, names, last)
    if recipe is not None:
        atomic_output.replace_file(options.recipe[1], recipe.encode("utf-8"))
    return {
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "sources": manifests,
    }


def _table(result: dict[str, object]) -> list[str]:
    lines = [
        f"{'source':24} {'train tokens':>12} {'held back':>10} {'bytes/token':>11} "
        f"{'trigram bits/byte':>17}  digest"
    ]
    for manifest in result["sources"]:
        train, held = manifest["train"], manifest["validation"]
        baseline = manifest["byte_trigram_bits_per_byte"]
        lines.append(
            f"{manifest['id']:24} {train['tokens']:12,} {held['tokens']:10,} "
            f"{train['text_bytes'] / max(train['tokens'], 1):11.2f} "
            f"{'-' if baseline is None else format(baseline, '.3f'):>17}  {manifest['digest'][:16]}"
        )
    return lines


def prepare(options: argparse.Namespace, progress: Progress) -> dict[str, object]:
    """Does the work; every file appears in options.output complete or not at all."""
    began = time.monotonic()
    sources = list_sources(options)
    if options.recipe and options.recipe[1].exists() and not options.force:
        raise UsageError(
            f"{printable(options.recipe[1])} exists; name another file, or --force to replace it"
        )
    if options.recipe:
        # A recipe that cannot be used is found before the work.
        edit_recipe(options.recipe[0], [], "", 1)
    if not options.force:
        names = [TOKENIZER, DATA_BLOCK, *(f"{source.id}.manifest.json" for source in sources)]
        atomic_output.refuse_to_overwrite(options.output, names)
    with atomic_output.staging_folder(options.output) as stage:
        texts = read_corpus(
            sources, stage, ReadOptions(options.processes, options.strict), progress
        )
        for text in texts:
            hold_back(text, options.hold_back)
            if not text.validation and options.hold_back > 0:
                progress.line(
                    f"warning: {text.source.id}: one paragraph only, nothing is held back for "
                    "validation"
                )
        tokenizer = _make_tokenizer(options, texts, progress)
        baselines = [None] * len(texts) if options.no_baseline else fit_baselines(texts, progress)
        prepared = []
        for text, baseline in zip(texts, baselines):
            train, validation = encode_source(text, tokenizer, stage, progress)
            prepared.append(Prepared(text, train, validation, baseline))
        result = _finish(options, prepared, tokenizer, stage)
    for line in _table(result):
        progress.line(line)
    progress.line(f"wrote {printable(options.output)} in {time.monotonic() - began:.1f} s")
    return result


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status."""
    options = parse_arguments(arguments)
    result = prepare(options, Progress())
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    return tool_errors.EXIT_DONE


if __name__ == "__main__":
    tool_errors.run_tool("data prepare", main)
