"""The text of all sources: read in parallel, freed of duplicate paragraphs, and held back in part.

Texts wait in one spool file per source; memory holds 16 bytes a paragraph (to know it again) and
where each document lies.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import text_extract
from data_sources import Source
from progress import Progress, megabytes
from tool_errors import StorageError, UsageError, printable

SEPARATOR = "\n\n"  # between the paragraphs of a document


@dataclass(frozen=True)
class Span:
    """A document in its source's spool."""

    offset: int
    size: int
    digest: bytes


@dataclass
class SourceText:
    """A source's documents, without duplicates; then which of them train and which are held
    back."""

    source: Source
    spool: Path
    documents: list[Span] = field(default_factory=list)
    train: list[Span] = field(default_factory=list)
    validation: list[Span] = field(default_factory=list)
    paragraphs: int = 0
    duplicates: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    ignored_files: int = 0

    def texts(self, spans: Iterable[Span]) -> Iterator[bytes]:
        """The documents' UTF-8 text, one by one."""
        with open(self.spool, "rb") as file:
            for span in spans:
                file.seek(span.offset)
                yield file.read(span.size)


@dataclass(frozen=True)
class ReadOptions:
    """How sources are read. strict: the first problem is an error."""

    processes: int = 2
    strict: bool = False
    shown_problems: int = 10


def read_corpus(
    sources: list[Source], folder: Path, options: ReadOptions, progress: Progress
) -> list[SourceText]:
    """Reads sources in order, so that a paragraph stays where it came first. Raises UsageError for
    a source without text."""
    seen: set[bytes] = set()
    texts = []
    for source in sources:
        text = SourceText(source, folder / f"{source.id}.spool")
        _read_source(text, seen, options, progress)
        if not text.documents:
            reasons = "; ".join(f"{n} x {what}" for what, n in text.problems.most_common(3))
            kept = (
                "every paragraph was in an earlier source"
                if text.duplicates
                else "nothing readable"
            )
            raise UsageError(
                f"source {source.id}: no text in {_places(source)}: {reasons or kept}; check "
                "its path"
            )
        progress.line(_summary(text))
        texts.append(text)
    return texts


def _places(source: Source) -> str:
    return ", ".join(printable(path) for path in source.paths)


def _summary(text: SourceText) -> str:
    size = sum(span.size for span in text.documents)
    line = (
        f"{text.source.id}: {len(text.documents)} documents, {megabytes(size)}, "
        f"{text.paragraphs} paragraphs; "
        f"{text.duplicates} duplicates left out"
    )
    if text.ignored_files:
        line += f"; {text.ignored_files} files of other kinds ignored"
    for what, count in sorted(text.problems.items()):
        line += f"; skipped {count} x {what}"
    return line


def _read_source(
    text: SourceText, seen: set[bytes], options: ReadOptions, progress: Progress
) -> None:
    pieces: list[text_extract.Piece] = []
    for path in text.source.paths:
        files, others = text_extract.find_files(path)
        text.ignored_files += others
        for file in files:
            pieces += text_extract.plan_pieces(file)
    total = sum(piece.end - piece.begin for piece in pieces)
    done = 0
    lines_before = 0
    with open(text.spool, "wb") as spool:
        for piece, result in _extract_all(pieces, options.processes):
            lines_before = 0 if piece.begin == 0 else lines_before
            _report(text, piece, result, lines_before, options, progress)
            lines_before += result.newlines
            for paragraphs in result.documents:
                _keep(text, paragraphs, seen, spool)
            done += piece.end - piece.begin
            progress.update(f"reading {text.source.id}: {megabytes(done)} of {megabytes(total)}")


def _extract_all(
    pieces: list[text_extract.Piece], processes: int
) -> Iterator[tuple[text_extract.Piece, text_extract.Extracted]]:
    """Extracts pieces on several processes; results come in order, and at most a few wait."""
    if processes <= 1 or len(pieces) < 2:
        yield from ((piece, text_extract.extract(piece)) for piece in pieces)
        return
    # Forked before any thread exists here: the tokenizer starts its threads only afterwards.
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[
            tuple[text_extract.Piece, concurrent.futures.Future[text_extract.Extracted]]
        ] = deque()
        rest = iter(pieces)
        try:
            while True:
                while len(waiting) < 4 * processes and (piece := next(rest, None)) is not None:
                    waiting.append((piece, pool.submit(text_extract.extract, piece)))
                if not waiting:
                    return
                piece, future = waiting.popleft()
                yield piece, future.result()
        except concurrent.futures.process.BrokenProcessPool as failure:
            raise StorageError(
                "a reading process was killed, most likely for memory; use --processes 1"
            ) from failure
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _report(
    text: SourceText,
    piece: text_extract.Piece,
    result: text_extract.Extracted,
    lines_before: int,
    options: ReadOptions,
    progress: Progress,
) -> None:
    for problem in result.problems:
        where = printable(piece.path) + (f":{lines_before + problem.line}" if problem.line else "")
        if options.strict:
            raise UsageError(
                f"{where}: {problem.what}; repair it, or leave out --strict to skip it"
            )
        text.problems[problem.what] += 1
        if sum(text.problems.values()) <= options.shown_problems:
            progress.line(f"warning: {where}: {problem.what}: skipped")


def _keep(text: SourceText, paragraphs: list[str], seen: set[bytes], spool: BinaryIO) -> None:
    """Spools what is new of a document."""
    kept = []
    for paragraph in paragraphs:
        key = hashlib.blake2b(" ".join(paragraph.split()).encode("utf-8"), digest_size=16).digest()
        if key in seen:
            text.duplicates += 1
        else:
            seen.add(key)
            kept.append(paragraph)
    text.paragraphs += len(paragraphs)
    if kept:
        data = SEPARATOR.join(kept).encode("utf-8")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        text.documents.append(Span(spool.tell(), len(data), digest))
        spool.write(data)


def hold_back(text: SourceText, fraction: float) -> None:
    """Splits a source's documents: in the order of their digests, those that fit into fraction of
    the bytes are held back. Which ones is decided by content alone. Where none fits, the end of a
    document is cut off at a paragraph border instead."""
    allowed = fraction * sum(span.size for span in text.documents)
    taken = 0
    chosen: set[bytes] = set()
    for span in sorted(text.documents, key=lambda span: span.digest):
        if taken + span.size <= allowed:
            taken += span.size
            chosen.add(span.digest)
    text.train = [span for span in text.documents if span.digest not in chosen]
    text.validation = [span for span in text.documents if span.digest in chosen]
    if not chosen and allowed > 0:
        _cut(text, allowed)


def _cut(text: SourceText, allowed: float) -> None:
    largest = max(text.train, key=lambda span: (span.size, span.digest))
    data = next(text.texts([largest]))
    mark = SEPARATOR.encode()
    # The first border that leaves at most the allowed bytes; failing that, the last one there is.
    at = data.find(mark, max(0, int(len(data) - allowed)))
    at = at if at >= 0 else data.rfind(mark)
    if at < len(data) // 2:
        return  # one paragraph, or a last one that is most of the text
    begin = at + len(mark)
    index = text.train.index(largest)
    text.train[index] = Span(largest.offset, at, largest.digest)
    text.validation = [Span(largest.offset + begin, len(data) - begin, largest.digest)]
