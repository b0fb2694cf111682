"""What a source is, and the sources.toml or .json file that lists sources.

[[source]]
id = "novels-de"            # names the token files; small letters, digits, "-", "_" and "."
path = "texts/novels"       # a file or a folder, or a list of them; relative to this file
title = "German novels"     # the rest is optional
licence = "CC0-1.0"
language = "de"
lab = "our lab"
origin = "https://..."
weight = 1.5                # share of samples in the recipe; without it, the number of training
tokens
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tool_errors import UsageError, printable, storage_error

_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_TEXTS = ("title", "licence", "language", "lab", "origin")
_SPEC_BYTES = 4 << 20
_TEXT_LENGTH = 1000


@dataclass(frozen=True)
class Source:
    """Text of one kind: where it lies, and what a reader of the run must know about it."""

    id: str
    paths: tuple[Path, ...]
    title: str = ""
    licence: str = ""
    language: str = ""
    lab: str = ""
    origin: str = ""
    weight: float | None = None


def read_sources(spec: Path) -> list[Source]:
    """The sources that a .toml or .json file lists. Raises UsageError naming file and field."""
    name = printable(spec)
    try:
        if spec.stat().st_size > _SPEC_BYTES:
            raise UsageError(f"{name}: over {_SPEC_BYTES >> 20} MiB; a list of sources is small")
        text = spec.read_bytes().decode("utf-8")
        data = json.loads(text) if spec.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as failure:
        raise storage_error("read", spec, failure) from failure
    except (ValueError, RecursionError) as failure:  # also of tomllib and UTF-8
        raise UsageError(
            f"{name}: {' '.join(str(failure).split())[:200]}; want TOML, or JSON in a .json file"
        ) from failure
    entries = data.get("source") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UsageError(
            f'{name}: no sources; want "[[source]]" entries, in JSON {{"source": [...]}}'
        )
    unknown = sorted(set(data) - {"source"})
    if unknown:
        raise UsageError(f"{name}: unknown field '{unknown[0]}'; known is source")
    sources = [
        _source(entry, f"{name}: source {i + 1}", spec.parent) for i, entry in enumerate(entries)
    ]
    check_sources(sources)
    return sources


def check_sources(sources: list[Source]) -> None:
    """Refuses two sources of one name."""
    seen: set[str] = set()
    for source in sources:
        if source.id in seen:
            raise UsageError(f"source id '{source.id}' is used twice; give each source its own")
        seen.add(source.id)


def checked_id(text: str, where: str) -> str:
    """A source's id, which becomes part of file names."""
    if not _ID.fullmatch(text):
        raise UsageError(
            f"{where}: id '{printable(text[:80])}' is not allowed; want small letters, "
            "digits, '-', '_', '.', at most 63"
        )
    return text


def _source(entry: object, where: str, folder: Path) -> Source:
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: want a table of fields")
    known = {"id", "path", "weight", *_TEXTS}
    unknown = sorted(str(key) for key in set(entry) - known)
    if unknown:
        raise UsageError(
            f"{where}: unknown field '{printable(unknown[0])}'; known are {' '.join(sorted(known))}"
        )
    identity = checked_id(str(entry.get("id", "")), where)
    where = f"{where} ({identity})"
    raw = entry.get("path")
    paths = raw if isinstance(raw, list) else [raw]
    if not paths or not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise UsageError(f"{where}: path is {printable(raw)}; want a path or a list of paths")
    texts = {key: checked_text(entry.get(key, ""), f"{where}: {key}") for key in _TEXTS}
    weight = entry.get("weight")
    if weight is not None and not _is_weight(weight):
        raise UsageError(f"{where}: weight is {printable(weight)}; want a number above 0")
    return Source(identity, tuple(folder / str(path) for path in paths), weight=weight, **texts)


def _is_weight(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value > 0
    )


def checked_text(value: object, where: str) -> str:
    """A line of text for a manifest."""
    if not isinstance(value, str) or len(value) > _TEXT_LENGTH or "\n" in value:
        raise UsageError(f"{where}: want one line of at most {_TEXT_LENGTH} characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as failure:
        raise UsageError(f"{where}: not valid UTF-8") from failure
    return value
