"""Token files in Megatron's .bin/.idx layout, and SHA-256 digests of files.

.bin: tokens, little-endian, one sequence after the other. .idx: "MMIDIDX\\0\\0", u64 version 1, u8
code of the token type (8: uint16, 4: int32), u64 sequences, u64 length of the document index, i32
length of each sequence in tokens, i64 byte offset of each sequence in .bin, i64 document index: the
first sequence of each document, and the number of sequences at the end. Here a sequence is a
document.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tool_errors import UsageError, printable

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
_CODES: dict[int, np.dtype] = {8: np.dtype("<u2"), 4: np.dtype("<i4")}
_MAX_SEQUENCE = 2**31 - 1  # lengths are i32


def token_dtype(vocab_size: int) -> np.dtype:
    """The token type Megatron chooses for a vocabulary."""
    return _CODES[8] if vocab_size < 65_500 else _CODES[4]


@dataclass(frozen=True)
class TokenFileInfo:
    """A written pair, as a manifest names it (csrc/data/manifest.h, TokenFile)."""

    name: str
    bin_bytes: int
    idx_bytes: int
    bin_sha256: str
    idx_sha256: str
    documents: int
    tokens: int
    text_bytes: int


class TokenFileWriter:
    """Writes folder/name.bin as documents come, and folder/name.idx at the end."""

    def __init__(self, folder: Path, name: str, vocab_size: int) -> None:
        self._folder = folder
        self._name = name
        self._dtype = token_dtype(vocab_size)
        self._lengths: list[int] = []
        self._text_bytes = 0
        self._sha256 = hashlib.sha256()
        self._bin: BinaryIO = open(folder / f"{name}.bin", "wb")

    def add(self, tokens: Sequence[int], text_bytes: int) -> None:
        """Appends a document, its end-of-document token included."""
        if len(tokens) > _MAX_SEQUENCE:
            raise UsageError(
                f"{self._name}: a document of {len(tokens)} tokens; cut it below {_MAX_SEQUENCE}"
            )
        data = np.asarray(tokens, dtype=self._dtype).tobytes()
        self._bin.write(data)
        self._sha256.update(data)
        self._lengths.append(len(tokens))
        self._text_bytes += text_bytes

    def close(self) -> TokenFileInfo:
        """Writes the index and syncs both files."""
        sync_and_close(self._bin)
        lengths = np.asarray(self._lengths, dtype="<i4")
        tokens = int(lengths.sum(dtype=np.int64))
        index = index_bytes(lengths, self._dtype)
        with open(self._folder / f"{self._name}.idx", "wb") as file:
            file.write(index)
            sync_and_close(file)
        return TokenFileInfo(
            name=self._name,
            bin_bytes=tokens * self._dtype.itemsize,
            idx_bytes=len(index),
            bin_sha256=self._sha256.hexdigest(),
            idx_sha256=hashlib.sha256(index).hexdigest(),
            documents=len(lengths),
            tokens=tokens,
            text_bytes=self._text_bytes,
        )

    def abandon(self) -> None:
        """Closes the file without an index."""
        self._bin.close()


def index_bytes(lengths: np.ndarray, dtype: np.dtype) -> bytes:
    """The .idx file of documents of these lengths, one sequence each."""
    code = next(code for code, known in _CODES.items() if known == dtype)
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    begins = np.concatenate(([0], ends[:-1])) if len(lengths) else ends
    parts = (
        MAGIC,
        struct.pack("<QBQQ", VERSION, code, len(lengths), len(lengths) + 1),
        lengths.astype("<i4").tobytes(),
        begins.astype("<i8").tobytes(),
        np.arange(len(lengths) + 1, dtype="<i8").tobytes(),
    )
    return b"".join(parts)


def read_token_file(prefix: Path) -> list[np.ndarray]:
    """The sequences of prefix.bin and prefix.idx, checked; for tools and tests on files of modest
    size."""
    index = Path(f"{prefix}.idx").read_bytes()
    name = printable(f"{prefix}.idx")
    header = len(MAGIC) + struct.calcsize("<QBQQ")
    if len(index) < header or not index.startswith(MAGIC):
        raise UsageError(f"{name}: not a token index; make it with kente data prepare")
    version, code, sequences, documents = struct.unpack_from("<QBQQ", index, len(MAGIC))
    if version != VERSION or code not in _CODES:
        raise UsageError(
            f"{name}: version {version}, token type {code}; want version 1, type 4 or 8"
        )
    if len(index) != header + 12 * sequences + 8 * documents:
        raise UsageError(
            f"{name}: {len(index)} bytes do not hold {sequences} sequences and {documents} "
            "documents"
        )
    lengths = np.frombuffer(index, "<i4", sequences, header)
    begins = np.frombuffer(index, "<i8", sequences, header + 4 * sequences)
    dtype = _CODES[code]
    data = Path(f"{prefix}.bin").read_bytes()
    ends = begins + lengths.astype(np.int64) * dtype.itemsize
    if sequences and (lengths.min() < 0 or begins.min() < 0 or ends.max() > len(data)):
        raise UsageError(f"{name}: a sequence lies outside the {len(data)} bytes of the .bin file")
    return [
        np.frombuffer(data, dtype, n, begin) for n, begin in zip(lengths.tolist(), begins.tolist())
    ]


def sync_and_close(file: BinaryIO) -> None:
    """Returns once the file's bytes are on the medium."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
