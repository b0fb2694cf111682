"""A byte-trigram language model: the baseline that a trained model must beat in bits per byte.

p(c | a b) is interpolated down to single bytes and the uniform distribution. In a context seen n
times with t different continuations a level gets the weight n / (n + k t); k = 1 is Witten and
Bell's method C. Source: Witten and Bell 1991, "The zero-frequency problem", section III; Chen and
Goodman 1998, section 2.5. Documents are bytes of UTF-8 text, each ended by a zero byte, which text
does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# The best k is chosen on the text that is measured: an advantage for the baseline, never for our
# model.
SMOOTHINGS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_CHUNK = 4 << 20


class ByteTrigram:
    """Counts of byte trigrams, and the bits they need for other text."""

    def __init__(self) -> None:
        self._counts = np.zeros(1 << 24, dtype=np.int64)
        self._levels: _Levels | None = None  # made when bits are asked for

    def add(self, documents: Iterable[bytes]) -> None:
        """Counts documents."""
        self._levels = None
        for codes in _trigrams(documents):
            # Sorting a chunk touches less memory than a dense histogram of 2^24 entries for each.
            values, counts = np.unique(codes, return_counts=True)
            self._counts[values] += counts

    def merge(self, other: ByteTrigram) -> None:
        """Adds another model's counts."""
        self._levels = None
        self._counts += other._counts

    def bits(self, documents: Iterable[bytes]) -> float:
        """The bits that documents take, ends of documents included, with the best of SMOOTHINGS."""
        totals = np.zeros(len(SMOOTHINGS))
        levels = self._levels = self._levels or _Levels(self._counts)
        for codes in _trigrams(documents):
            values, counts = np.unique(codes, return_counts=True)
            for i, k in enumerate(SMOOTHINGS):
                totals[i] -= np.dot(counts, np.log2(levels.probability(values, k)))
        return float(totals.min())


class _Levels:
    """The counts of three, two and one bytes, with totals and numbers of continuations by
    context."""

    def __init__(self, trigrams: np.ndarray) -> None:
        three = trigrams.reshape(65536, 256)
        two = three.reshape(256, 65536).sum(axis=0).reshape(256, 256)
        one = two.sum(axis=0).reshape(1, 256)
        self._tables = [
            (table, table.sum(axis=1), (table > 0).sum(axis=1)) for table in (one, two, three)
        ]

    def probability(self, codes: np.ndarray, k: float) -> np.ndarray:
        """p of the last byte of each trigram code."""
        p = np.full(len(codes), 1.0 / 256.0)
        last = codes & 255
        for (table, totals, kinds), contexts in zip(
            self._tables, (codes * 0, codes >> 8 & 255, codes >> 8)
        ):
            seen = totals[contexts].astype(np.float64)
            spread = k * kinds[contexts]
            safe = np.maximum(seen + spread, 1.0)
            p = np.where(seen > 0, (table[contexts, last] + spread * p) / safe, p)
        return p


def _trigrams(documents: Iterable[bytes]) -> Iterable[np.ndarray]:
    """Codes a << 16 | b << 8 | c of every byte c after its two predecessors, in chunks."""
    parts: list[bytes] = [b"\0\0"]
    size = 0
    for document in documents:
        parts += (document, b"\0")
        size += len(document) + 1
        if size >= _CHUNK:
            chunk = b"".join(parts)
            yield _codes(chunk)
            parts = [chunk[-2:]]
            size = 0
    if size:
        yield _codes(b"".join(parts))


def _codes(text: bytes) -> np.ndarray:
    data = np.frombuffer(text, np.uint8).astype(np.int64)
    return data[:-2] << 16 | data[1:-1] << 8 | data[2:]
