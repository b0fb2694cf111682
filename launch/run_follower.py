"""A run as it goes on: its step and event lines, read as they are written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tool_errors import UsageError, printable

STEPS = "run.jsonl"
EVENTS = "events.jsonl"
_READ_AT_ONCE = 1 << 20
_LONGEST_LINE = 1 << 20  # a line of 10,000 ranks is below this; beyond it is no record


class FollowedFile:
    """A file that others append whole lines to. A line that is torn waits for its end; a file that
    was replaced or cut is read from its beginning."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1
        self._offset = 0
        self._rest = b""

    def new_lines(self) -> Iterator[bytes]:
        """What was appended since the last call; nothing while there is no file."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset, self._rest = status.st_ino, 0, b""
            file.seek(self._offset)
            while chunk := file.read(_READ_AT_ONCE):
                self._offset += len(chunk)
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                yield from lines
                if len(self._rest) > _LONGEST_LINE:
                    yield self._rest[:_LONGEST_LINE]
                    self._rest = b""


@dataclass
class RunState:
    """What the lines read so far say: the newest of each."""

    name: str
    step: dict[str, Any] | None = None  # the newest line of run.jsonl
    ranks: list[dict[str, Any]] = field(default_factory=list)  # of the newest line that has them
    validation: dict[str, Any] | None = None
    events: dict[str, int] = field(default_factory=dict)  # by kind
    steps: int = 0  # done since the beginning, those included that a resumed run did again
    tokens: int = 0
    seconds: float = 0
    unreadable: int = 0  # lines that are no records
    running: bool = False  # started, and has neither finished nor stopped by order


@dataclass(frozen=True)
class Record:
    """One line: of a step, or an event. time: seconds of the clock; of a step as far as the events
    around it tell."""

    kind: str  # "step", "validation", "start", ...
    step: int
    time: float
    fields: dict[str, Any]


def number(value: object) -> float | None:
    """A field of a record, unless it is missing, null or no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


class RunFollower:
    """Reads one run directory again and again. Its files are only looked at."""

    def __init__(self, directory: Path) -> None:
        if not (directory / STEPS).is_file() and not (directory / EVENTS).is_file():
            raise UsageError(
                f"{printable(directory)}: neither {STEPS} nor {EVENTS} is there; name a run"
            )
        # A name for people: of a path that ends in a dot or a slash, too.
        self.state = RunState(name=printable(directory.resolve().name))
        self._steps = FollowedFile(directory / STEPS)
        self._events = FollowedFile(directory / EVENTS)
        self._starts: list[tuple[int, float]] = []  # step and time of starts not yet reached
        self._clock = 0.0  # when the newest step ended

    def poll(self) -> list[Record]:
        """What is new, events before steps."""
        events = [record for line in self._events.new_lines() if (record := self._event(line))]
        steps = [record for line in self._steps.new_lines() if (record := self._step(line))]
        return events + steps

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict) and isinstance(fields.get("step"), int):
            return fields
        self.state.unreadable += 1
        return None

    def _event(self, line: bytes) -> Record | None:
        fields = self._parse(line)
        if fields is None:
            return None
        kind = str(fields.get("event", "?"))[:64]
        time = (number(fields.get("time_ms")) or 0.0) / 1000
        if kind in ("start", "resume"):
            self._starts.append((fields["step"], time))
            self.state.running = True
        if kind in ("finished", "stopped"):
            self.state.running = False
        if kind == "validation":
            self.state.validation = fields
        self.state.events[kind] = self.state.events.get(kind, 0) + 1
        return Record(kind, fields["step"], time, fields)

    def _step(self, line: bytes) -> Record | None:
        fields = self._parse(line)
        if fields is None:
            return None
        step, seconds = fields["step"], number(fields.get("seconds")) or 0.0
        # The newest start that this step can be the first one of.
        while self._starts and self._starts[0][0] + 1 == step:
            self._clock = self._starts.pop(0)[1]
        self._clock += seconds
        state = self.state
        state.step = fields
        if isinstance(fields.get("ranks"), list):
            state.ranks = [rank for rank in fields["ranks"] if isinstance(rank, dict)]
        state.steps += 1
        state.tokens += int(number(fields.get("tokens")) or 0)
        state.seconds += seconds
        return Record("step", step, self._clock, fields)
