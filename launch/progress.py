"""A progress line on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Says how far a long piece of work is, without ever flooding a log."""

    TERMINAL_SECONDS = 0.1
    PIPE_SECONDS = 10.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._next = 0.0
        self._shown = False

    def update(self, text: str) -> None:
        """Shows where the work is; most calls are dropped, so it may be called often."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (self.TERMINAL_SECONDS if self._terminal else self.PIPE_SECONDS)
        if self._terminal:
            self._write(f"\r\x1b[K{text[:118]}")
            self._shown = True
        else:
            self._write(text + "\n")

    def line(self, text: str) -> None:
        """Writes a line that stays."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False
        self._write(text + "\n")
        self._next = time.monotonic() + (0.0 if self._terminal else self.PIPE_SECONDS)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def megabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB"
