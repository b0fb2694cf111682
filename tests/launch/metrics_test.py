"""kente metrics: what Prometheus and TensorBoard get of a run's lines."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import unittest
import urllib.request
from pathlib import Path

import tool_case
from run_follower import RunFollower
from tensorboardX.proto.event_pb2 import Event, SessionLog

PHASES = {"forward": 1.5, "backward_input": 1, "backward_weight": 1, "optimizer": 0.1, "wait": 0.4}


def step_line(step: int, **fields: object) -> str:
    record = {
        "step": step, "tokens": 100, "loss": 10.0 - step, "grad_norm": 0.5, "lr": 1e-3,
        "seconds": 2.0, "tokens_per_second": 50.0, "ceiling_fraction": None,
        "predicted_seconds": 1.9, "joules": None, "epoch": 0.25, "samples": [0, 1],
    }  # fmt: skip
    return json.dumps({**record, **fields}) + "\n"


def event_line(kind: str, step: int, seconds: float, **fields: object) -> str:
    return json.dumps({"time_ms": int(1000 * seconds), "event": kind, "step": step, **fields}) + "\n"


def events_of(folder: Path) -> list[Event]:
    """The records of event files, oldest file first: a length, its checksum, the bytes, theirs."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


class MetricsTest(tool_case.ToolCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_folder = self.folder / "nano"
        self.write("nano/events.jsonl", event_line("start", 0, 1000.0, detail="x"))
        self.write("nano/run.jsonl", step_line(1) + step_line(2))

    def append(self, name: str, text: str) -> None:
        with (self.run_folder / name).open("a") as file:
            file.write(text)

    def metrics(self, *arguments: object) -> dict[str, float]:
        done = self.run_tool("metrics.py", "nano", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.parsed(done.stdout)

    @staticmethod
    def parsed(text: str) -> dict[str, float]:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def test_the_newest_step_and_sums_over_all_are_printed(self) -> None:
        found = self.metrics()
        self.assertEqual(found['kente_step{run="nano"}'], 2)
        self.assertEqual(found['kente_loss{run="nano"}'], 8)
        self.assertEqual(found['kente_predicted_step_seconds{run="nano"}'], 1.9)
        self.assertEqual(found['kente_steps_total{run="nano"}'], 2)
        self.assertEqual(found['kente_tokens_total{run="nano"}'], 200)
        self.assertEqual(found['kente_busy_seconds_total{run="nano"}'], 4)
        self.assertEqual(found['kente_events_total{event="start",run="nano"}'], 1)
        self.assertEqual(found['kente_running{run="nano"}'], 1)
        self.assertEqual(found['kente_unreadable_lines_total{run="nano"}'], 0)
        # What was not measured is left out, not 0.
        self.assertFalse([name for name in found if "ceiling" in name or "joules" in name])

    def test_ranks_and_validation_have_labels(self) -> None:
        ranks = [{"rank": 1, "device": 'a"b\\', "measured": PHASES, "predicted": PHASES}]
        self.append("run.jsonl", step_line(3, ranks=ranks) + step_line(4))
        sources = [{"id": "de", "loss": 3.5, "bits_per_byte": 1.25, "tokens": 9}]
        self.append("events.jsonl", event_line("validation", 3, 1009, loss=3, sources=sources))
        self.append("events.jsonl", event_line("finished", 4, 1010))
        found = self.metrics()
        labels = 'device="a\\"b\\\\",kind="measured",phase="wait",rank="1",run="nano"'
        self.assertEqual(found[f"kente_rank_seconds{{{labels}}}"], 0.4)
        self.assertEqual(found['kente_validation_loss{run="nano",source="all"}'], 3)
        self.assertEqual(found['kente_validation_bits_per_byte{run="nano",source="de"}'], 1.25)
        self.assertEqual(found['kente_running{run="nano"}'], 0)

    def test_torn_and_foreign_lines_are_counted_and_a_torn_last_one_waits(self) -> None:
        hostile = ["[" * 100_000, "null", '{"step": "7"}', "\x00\xff", '{"step": 1' + "0" * 400]
        self.append("run.jsonl", "\n".join(hostile) + "\n")
        odd = step_line(3, loss="x", seconds=None, lr=10**400, ranks=[3, {"measured": 4}])
        self.append("run.jsonl", odd + '{"step": 4, "loss"')
        follower = RunFollower(self.run_folder)
        follower.poll()
        self.assertEqual(follower.state.unreadable, len(hostile))
        self.assertEqual(follower.state.step["step"], 3)
        self.append("run.jsonl", ": 5.5}\n")
        self.assertEqual([record.step for record in follower.poll()], [4])
        self.assertEqual(follower.state.step["loss"], 5.5)
        self.assertEqual(self.metrics()['kente_loss{run="nano"}'], 5.5)

    def test_a_run_that_begins_anew_is_read_from_its_beginning(self) -> None:
        follower = RunFollower(self.run_folder)
        follower.poll()
        self.write("nano/run.jsonl", step_line(1))
        self.assertEqual([record.step for record in follower.poll()], [1])

    def test_steps_have_the_time_of_the_start_they_follow(self) -> None:
        self.append("events.jsonl", event_line("resume", 2, 5000.0))
        self.append("run.jsonl", step_line(3) + step_line(4))
        records = [r for r in RunFollower(self.run_folder).poll() if r.kind == "step"]
        self.assertEqual(
            [(r.step, r.time) for r in records], [(1, 1002), (2, 1004), (3, 5002), (4, 5004)]
        )

    def test_tensorboard_gets_every_step_and_what_a_resumed_run_repeats_replaces_it(self) -> None:
        self.append("run.jsonl", step_line(3) + step_line(2, loss=7.5) + step_line(3, loss=6.5))
        self.append("events.jsonl", event_line("validation", 3, 1010, loss=3.0, bits_per_byte=1.0))
        done = self.run_tool("metrics.py", "nano", "--tensorboard", "boards")
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        events = events_of(self.folder / "boards/nano")
        self.assertEqual(events[0].file_version, "brain.Event:2")
        starts = [e.step for e in events if e.session_log.status == SessionLog.START]
        self.assertEqual(starts, [1, 2])
        losses = [
            (e.step, v.simple_value)
            for e in events
            for v in e.summary.value
            if v.tag == "train/loss"
        ]
        self.assertEqual(losses, [(1, 9), (2, 8), (3, 7), (2, 7.5), (3, 6.5)])
        tags = {v.tag for e in events for v in e.summary.value}
        self.assertIn("validation_loss/all", tags)
        self.assertIn("train/learning_rate", tags)
        self.assertNotIn("train/step", tags)

    def test_serving_answers_with_what_was_appended_until_it_is_stopped(self) -> None:
        command = [sys.executable, "-B", str(tool_case.LAUNCH / "metrics.py"), "nano"]
        with subprocess.Popen(
            [*command, "--serve", "127.0.0.1:0", "--every", "0.05"],
            stdout=subprocess.PIPE, text=True, cwd=self.folder,
        ) as server:  # fmt: skip
            try:
                url = server.stdout.readline().removeprefix("serving ").strip()
                self.append("run.jsonl", step_line(3))
                found = {}
                while found.get('kente_step{run="nano"}') != 3:
                    with urllib.request.urlopen(url, timeout=10) as answer:
                        found = self.parsed(answer.read().decode())
                server.send_signal(signal.SIGTERM)
                self.assertEqual(server.wait(timeout=30), 0)
            finally:
                server.kill()

    def test_wrong_arguments_are_one_line(self) -> None:
        for arguments, word in (
            (["missing"], "name a run"),
            (["nano", "--serve", "9464x"], "HOST:PORT"),
            (["nano", "--serve", "127.0.0.1:99999"], "HOST:PORT"),
            (["nano", "--serve", "256.1.1.1:0"], "cannot listen"),
            (["nano", "--follow"], "--tensorboard"),
            (["nano", "--every", "0"], "--every"),
            (["nano", "nano"], "two runs are named nano"),
        ):
            done = self.run_tool("metrics.py", *arguments)
            self.assert_one_line(done, 2)
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
