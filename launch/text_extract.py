"""Files of text, HTML and JSONL to documents of paragraphs; hostile files give problems, never a
crash.

A big file is read in pieces, so that no process holds more than a piece and two processes can share
one file.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from html_text import HtmlError, html_paragraphs
from tool_errors import UsageError, printable, storage_error

KINDS = {
    ".txt": "text", ".text": "text", ".md": "text", ".markdown": "text",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip

PIECE_BYTES = 32 << 20  # of a text or JSONL file that one process reads at once
HTML_BYTES = 64 << 20  # the largest page
LINE_BYTES = {"text": 1 << 20, "jsonl": 64 << 20}  # the longest line
PARAGRAPH_BYTES = 64 << 10  # text without blank lines is cut here, at the end of a line
_BLANK_LINES = re.compile(r"\n[ \t\f\v\r]*\n\s*")


@dataclass(frozen=True)
class Piece:
    """Bytes [begin, end) of a file: the lines that start there."""

    path: str
    kind: str
    begin: int
    end: int


@dataclass(frozen=True)
class Problem:
    """Something that was left out. line counts from 1 in the piece; 0 is the whole file."""

    what: str
    line: int = 0


@dataclass
class Extracted:
    """What a piece holds: documents as lists of paragraphs, problems, and how many lines end in
    it."""

    documents: list[list[str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    newlines: int = 0


def find_files(path: Path) -> tuple[list[Path], int]:
    """The readable files at path, a file or a folder, in an order that only their names decide; and
    how many other files a folder holds. Never opens what is not a regular file."""
    try:
        mode = path.stat().st_mode
    except OSError as failure:
        raise storage_error("read", path, failure) from failure
    if stat.S_ISREG(mode):
        if path.suffix.lower() not in KINDS:
            raise UsageError(
                f"{printable(path)}: unknown kind of file; want one of {' '.join(KINDS)}"
            )
        return [path], 0
    if not stat.S_ISDIR(mode):
        raise UsageError(f"{printable(path)}: neither a file nor a folder; name a folder of text")
    found: list[Path] = []
    others = 0
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if file.suffix.lower() in KINDS and file.is_file():
                found.append(file)
            else:
                others += 1
    return sorted(found, key=lambda file: os.fsencode(file.relative_to(path))), others


def plan_pieces(file: Path, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """The pieces of a file, in order; an HTML page is one piece."""
    try:
        size = file.stat().st_size
    except OSError as failure:
        raise storage_error("read", file, failure) from failure
    kind = KINDS[file.suffix.lower()]
    if kind == "html":
        return [Piece(str(file), kind, 0, size)]
    return [
        Piece(str(file), kind, begin, min(begin + piece_bytes, size))
        for begin in range(0, max(size, 1), piece_bytes)
    ]


def extract(piece: Piece) -> Extracted:
    """Reads a piece. Raises UsageError or StorageError only if the file cannot be read at all."""
    try:
        if piece.kind == "html":
            return _extract_html(piece)
        with open(piece.path, "rb", buffering=1 << 20) as file:
            return (
                _extract_jsonl(file, piece) if piece.kind == "jsonl" else _extract_text(file, piece)
            )
    except OSError as failure:
        raise storage_error("read", piece.path, failure) from failure


def _extract_html(piece: Piece) -> Extracted:
    result = Extracted()
    if piece.end > HTML_BYTES:
        result.problems.append(Problem(f"page over {HTML_BYTES >> 20} MiB"))
        return result
    with open(piece.path, "rb") as file:
        data = file.read(HTML_BYTES)
    try:
        paragraphs = html_paragraphs(data)
    except HtmlError as failure:
        result.problems.append(Problem(str(failure)))
        return result
    if paragraphs:
        result.documents.append(paragraphs)
    else:
        result.problems.append(Problem("page without text"))
    return result


def _lines(file: BinaryIO, piece: Piece, result: Extracted) -> Iterator[tuple[int, bytes | None]]:
    """(number, line) of the lines that start in the piece; None: the line is too long. Counts the
    line ends that lie in the piece, so that numbers add up over the pieces of a file."""
    limit = LINE_BYTES[piece.kind]
    position = piece.begin
    if piece.begin > 0:
        # A line that began before is the earlier piece's, even its end is ours to count.
        file.seek(piece.begin - 1)
        skipped, ended = _skip_line(file, piece.end - piece.begin + 1)
        position += skipped - 1
        result.newlines += ended and position > piece.begin
    while position < piece.end:
        number = result.newlines + 1
        line = file.readline(limit + 1)
        position += len(line)
        ended = line.endswith(b"\n")
        too_long = len(line) > limit and not ended
        if too_long:
            skipped, ended = _skip_line(file)
            position += skipped
        result.newlines += ended and position <= piece.end
        yield number, None if too_long else line
        if not ended:
            return  # the end of the file


def _skip_line(file: BinaryIO, limit: int = 1 << 62) -> tuple[int, bool]:
    """Reads on to the end of the line, at most limit bytes: how many, and whether the line
    ended."""
    skipped = 0
    part = b"-"
    while part and skipped < limit and not part.endswith(b"\n"):
        part = file.readline(min(1 << 20, limit - skipped))
        skipped += len(part)
    return skipped, part.endswith(b"\n")


def _extract_jsonl(file: BinaryIO, piece: Piece) -> Extracted:
    result = Extracted()
    for number, line in _lines(file, piece, result):
        if line is None:
            result.problems.append(Problem(f"line over {LINE_BYTES['jsonl'] >> 20} MiB", number))
            continue
        if not line.strip():
            continue
        try:
            paragraphs = split_paragraphs(_jsonl_text(line))
        except ValueError as failure:
            result.problems.append(Problem(str(failure), number))
            continue
        if paragraphs:
            result.documents.append(paragraphs)
    return result


def _jsonl_text(line: bytes) -> str:
    """The "text" of one JSON line. Raises ValueError with the reason."""
    try:
        record = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as failure:
        raise ValueError("broken UTF-8") from failure
    except RecursionError as failure:
        raise ValueError("JSON nested too deeply") from failure
    except json.JSONDecodeError as failure:
        raise ValueError("not JSON") from failure
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError('no string "text"')
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as failure:
        raise ValueError("half a surrogate pair in the text") from failure
    if "\0" in text:
        raise ValueError("binary data")
    return text


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key occurs twice")
    return record


def split_paragraphs(text: str) -> list[str]:
    """Text cut at blank lines."""
    parts = _BLANK_LINES.split(text.replace("\r\n", "\n").replace("\r", "\n"))
    return [stripped for part in parts if (stripped := part.strip())]


def _extract_text(file: BinaryIO, piece: Piece) -> Extracted:
    """One document per piece. Lines that are not UTF-8 are left out; a file with zero bytes is no
    text."""
    result = Extracted()
    lines: list[str] = []
    paragraphs: list[str] = []
    size = 0
    for number, line in _lines(file, piece, result):
        if line is None:
            result.problems.append(Problem(f"line over {LINE_BYTES['text'] >> 20} MiB", number))
            continue
        if b"\0" in line:
            result.problems.append(Problem("binary data", number))
            return Extracted([], result.problems, _count_newlines(file, piece))
        try:
            text = line.decode("utf-8-sig" if number == 1 and piece.begin == 0 else "utf-8")
        except UnicodeDecodeError:
            result.problems.append(Problem("broken UTF-8", number))
            continue
        lines.append(text)
        size += len(line)
        if size > PARAGRAPH_BYTES or not text.strip():
            paragraphs += split_paragraphs("".join(lines))
            lines.clear()
            size = 0
    paragraphs += split_paragraphs("".join(lines))
    if paragraphs:
        result.documents.append(paragraphs)
    return result


def _count_newlines(file: BinaryIO, piece: Piece) -> int:
    """The line ends in the piece, for the line numbers of later pieces."""
    file.seek(piece.begin)
    left = piece.end - piece.begin
    count = 0
    while left > 0 and (part := file.read(min(1 << 20, left))):
        count += part.count(b"\n")
        left -= len(part)
    return count
