"""Source manifests: DIR/<id>.manifest.json, version 1, as csrc/data/manifest.h documents them."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from data_sources import Source
from token_files import TokenFileInfo

VERSION = 1


def canonical_json(value: object) -> str:
    """The one way a manifest is written for its digest: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def make_manifest(
    source: Source,
    tokenizer: tuple[int, int, str],
    files: tuple[TokenFileInfo, TokenFileInfo],
    baseline: float | None,
) -> dict[str, object]:
    """A source's manifest with its digest. tokenizer: vocabulary size, end-of-document token,
    SHA-256; files: train and validation; baseline: bits per byte of the byte trigram, or None."""
    vocab_size, end_of_document, sha256 = tokenizer
    manifest: dict[str, object] = {
        "kente_source": VERSION,
        "id": source.id,
        "title": source.title,
        "licence": source.licence,
        "language": source.language,
        "lab": source.lab,
        "origin": source.origin,
        "vocab_size": vocab_size,
        "end_of_document": end_of_document,
        "tokenizer_sha256": sha256,
        "train": dataclasses.asdict(files[0]),
        "validation": dataclasses.asdict(files[1]),
        # Rounded: few digits print alike everywhere, and the digest covers them.
        "byte_trigram_bits_per_byte": None if baseline is None else round(baseline, 4),
    }
    manifest["digest"] = manifest_digest(manifest)
    return manifest


def manifest_digest(manifest: dict[str, object]) -> str:
    """SHA-256 of a manifest's canonical form without its own digest."""
    content = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(canonical_json(content).encode("utf-8")).hexdigest()


def manifest_bytes(manifest: dict[str, object]) -> bytes:
    """The file, for people too."""
    return (json.dumps(manifest, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode(
        "utf-8"
    )
