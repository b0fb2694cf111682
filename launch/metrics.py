#!/usr/bin/env python3
"""kente metrics: what a run's steps say, for Prometheus and TensorBoard."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

import tool_errors
from run_follower import Record, RunFollower, RunState, number
from tool_errors import UsageError, printable

# A line of run.jsonl: field, metric, help.
STEP_GAUGES = (
    ("step", "kente_step", "The newest step"),
    ("loss", "kente_loss", "Mean nats a target of the newest step"),
    ("grad_norm", "kente_grad_norm", "Gradient norm of the newest step before clipping"),
    ("lr", "kente_learning_rate", "Learning rate of the newest step"),
    ("seconds", "kente_step_seconds", "Duration of the newest step"),
    ("predicted_seconds", "kente_predicted_step_seconds", "Duration the plan predicts"),
    ("tokens_per_second", "kente_tokens_per_second", "Targets a second of the newest step"),
    ("ceiling_fraction", "kente_ceiling_fraction", "Model FLOPs over the measured GEMM ceiling"),
    ("epoch", "kente_epoch", "How often the data were gone through"),
    ("joules", "kente_step_joules", "Energy of the newest step, where it is measured"),
)
PHASES = ("forward", "backward_input", "backward_weight", "optimizer", "wait")


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["run", *labels])


class RunCollector(Collector):
    """The newest state of runs, each time Prometheus asks."""

    def __init__(self, followers: list[RunFollower], lock: threading.Lock) -> None:
        self._followers = followers
        self._lock = lock

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            states = [follower.state for follower in self._followers]
            yield from self._steps(states)
            yield from self._validation(states)
            yield from self._ranks(states)
            yield from self._counts(states)

    @staticmethod
    def _steps(states: list[RunState]) -> Iterable[Metric]:
        running = _gauge("kente_running", "1 until the run has finished or was stopped by order")
        for state in states:
            running.add_metric([state.name], float(state.running))
        yield running
        for field, name, text in STEP_GAUGES:
            gauge = _gauge(name, text)
            for state in states:
                value = number(state.step.get(field)) if state.step else None
                if value is not None:
                    gauge.add_metric([state.name], value)
            yield gauge

    @staticmethod
    def _validation(states: list[RunState]) -> Iterable[Metric]:
        loss = _gauge("kente_validation_loss", "Mean nats a held-back target", ["source"])
        bits = _gauge(
            "kente_validation_bits_per_byte", "Bits a byte of held-back text", ["source"]
        )
        for state in states:
            for source, fields in sources_of(state.validation):
                for gauge, field in ((loss, "loss"), (bits, "bits_per_byte")):
                    value = number(fields.get(field))
                    if value is not None:
                        gauge.add_metric([state.name, source], value)
        yield loss
        yield bits

    @staticmethod
    def _ranks(states: list[RunState]) -> Iterable[Metric]:
        gauge = _gauge(
            "kente_rank_seconds",
            "Where a rank's step goes, a mean over ten steps",
            ["rank", "device", "phase", "kind"],
        )
        for state in states:
            for rank in state.ranks:
                labels = [str(rank.get("rank")), str(rank.get("device"))]
                for kind in ("measured", "predicted"):
                    phases = rank.get(kind)
                    for phase in PHASES if isinstance(phases, dict) else ():
                        value = number(phases.get(phase))
                        if value is not None:
                            gauge.add_metric([state.name, *labels, phase, kind], value)
        yield gauge

    @staticmethod
    def _counts(states: list[RunState]) -> Iterable[Metric]:
        steps = CounterMetricFamily("kente_steps", "Steps done, repeated ones too", labels=["run"])
        tokens = CounterMetricFamily("kente_tokens", "Targets trained on", labels=["run"])
        seconds = CounterMetricFamily("kente_busy_seconds", "Time in steps", labels=["run"])
        events = CounterMetricFamily(
            "kente_events", "Lines of events.jsonl", labels=["run", "event"]
        )
        lost = CounterMetricFamily(
            "kente_unreadable_lines", "Torn or foreign lines", labels=["run"]
        )
        for state in states:
            steps.add_metric([state.name], state.steps)
            tokens.add_metric([state.name], state.tokens)
            seconds.add_metric([state.name], state.seconds)
            lost.add_metric([state.name], state.unreadable)
            for kind, count in sorted(state.events.items()):
                events.add_metric([state.name, kind], count)
        yield from (steps, tokens, seconds, events, lost)


def sources_of(validation: dict | None) -> Iterable[tuple[str, dict]]:
    """The whole validation as "all", then its sources."""
    if validation is None:
        return
    yield "all", validation
    sources = validation.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            yield str(source.get("id")), source


class TensorBoardRun:
    """Event files of one run, as TensorBoard reads them."""

    def __init__(self, folder: Path) -> None:
        # Only here: it imports PyTorch where that is installed, which takes seconds.
        from tensorboardX.event_file_writer import EventFileWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        self._event, self._session_log, self._summary = Event, SessionLog, Summary
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))
        self._next = 0  # a step below it was written before

    def write(self, records: list[Record]) -> None:
        for record in records:
            values = dict(scalars_of(record))
            if not values:
                continue
            if record.kind == "step":
                # What an earlier attempt left from this step on is not shown any more.
                if record.step < self._next or self._next == 0:
                    log = self._session_log(status=self._session_log.START)
                    self._add(record, session_log=log)
                self._next = record.step + 1
            made = [self._summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
            self._add(record, summary=self._summary(value=made))
        self._writer.flush()

    def _add(self, record: Record, **what: object) -> None:
        self._writer.add_event(self._event(wall_time=record.time, step=record.step, **what))

    def close(self) -> None:
        self._writer.close()


def scalars_of(record: Record) -> Iterable[tuple[str, float]]:
    """What TensorBoard shows of a line."""
    if record.kind == "validation":
        for source, fields in sources_of(record.fields):
            for field in ("loss", "bits_per_byte"):
                value = number(fields.get(field))
                if value is not None:
                    yield f"validation_{field}/{source}", value
    if record.kind != "step":
        return
    for field, name, _ in STEP_GAUGES[1:]:
        value = number(record.fields.get(field))
        if value is not None:
            yield f"train/{name.removeprefix('kente_')}", value


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT, of which HOST may be left out: then this machine alone can ask."""
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(
            f"--serve: '{printable(text)}' is not HOST:PORT, for example 127.0.0.1:9464"
        )
    return (host.strip("[]") if colon and host else "127.0.0.1"), int(port)


def serve(address: tuple[str, int], registry: CollectorRegistry) -> str:
    """Answers from now on; where."""
    host, port = address
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise UsageError(
            f"--serve: cannot listen at {host}:{port}: {reason}; name another"
        ) from None
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{server.server_port}/metrics"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kente metrics",
        description="Prints what runs say of themselves as Prometheus reads it, or serves it, or "
        "writes it as TensorBoard reads it.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory")
    parser.add_argument("--serve", metavar="HOST:PORT", help="answer Prometheus, until stopped")
    parser.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="write DIR/<run>, for tensorboard --logdir DIR",
    )
    parser.add_argument(
        "--follow", action="store_true", help="with --tensorboard: go on until the runs have ended"
    )
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="S", help="seconds between looks (2)"
    )
    options = parser.parse_args(arguments)
    if not 0.05 <= options.every <= 3600:
        raise UsageError(f"--every: {options.every} s; want 0.05 to 3600")
    if options.follow and not options.tensorboard:
        raise UsageError("--follow is for --tensorboard DIR; --serve follows by itself")
    return options


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    stop = threading.Event()

    def order(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, order)
    signal.signal(signal.SIGINT, order)
    followers = [RunFollower(run) for run in options.runs]
    names = [follower.state.name for follower in followers]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise UsageError(f"two runs are named {twice}; metrics tell runs apart by name")
    boards = []
    if options.tensorboard:
        boards = [TensorBoardRun(options.tensorboard / name) for name in names]
    lock = threading.Lock()

    def look() -> None:
        with lock:
            news = [follower.poll() for follower in followers]
        for board, records in zip(boards, news):
            board.write(records)

    look()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(followers, lock))
    if options.serve:
        print(f"serving {serve(parse_address(options.serve), registry)}", flush=True)
    elif not boards:
        sys.stdout.write(generate_latest(registry).decode("utf-8"))
    while options.serve or (options.follow and any(f.state.running for f in followers)):
        if stop.wait(options.every):
            break
        look()
    for board in boards:
        board.close()
    return tool_errors.EXIT_DONE


if __name__ == "__main__":
    tool_errors.run_tool("metrics", main)
