"""kente metrics against the real readers: TensorBoard, and Prometheus that scrapes a served run."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

import tool_case
from metrics_test import event_line, step_line
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PATIENCE_SECONDS = 60
UNPACKED = tool_case.PROJECT / ".cache/prometheus/usr/bin/prometheus"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class MetricsPeerTest(tool_case.ToolCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("nano/events.jsonl", event_line("start", 0, 1000.0))
        self.write(
            "nano/run.jsonl",
            step_line(1) + step_line(2) + step_line(3) + step_line(2, loss=7.5),
        )

    def test_tensorboard_shows_the_steps_that_count(self) -> None:
        done = self.run_tool("metrics.py", "nano", "--tensorboard", "boards")
        self.assertEqual(done.returncode, 0, done.stderr)
        board = EventAccumulator(str(self.folder / "boards/nano"))
        board.Reload()
        losses = [(event.step, event.value) for event in board.Scalars("train/loss")]
        self.assertEqual(losses, [(1, 9.0), (2, 7.5)])
        self.assertEqual([event.wall_time for event in board.Scalars("train/loss")][0], 1002.0)

    def test_prometheus_scrapes_a_run_that_goes_on(self) -> None:
        program = shutil.which("prometheus") or UNPACKED
        serving = [sys.executable, "-B", str(tool_case.LAUNCH / "metrics.py"), "nano"]
        with subprocess.Popen(
            [*serving, "--serve", "127.0.0.1:0", "--every", "0.1"],
            stdout=subprocess.PIPE, text=True, cwd=self.folder,
        ) as server:  # fmt: skip
            self.addCleanup(server.kill)
            target = server.stdout.readline().removeprefix("serving http://").split("/")[0]
            config = self.write(
                "prometheus.yml",
                "global: { scrape_interval: 1s }\n"
                "scrape_configs:\n"
                f"  - {{ job_name: kente, static_configs: [{{ targets: ['{target}'] }}] }}\n",
            )
            port = free_port()
            with (self.folder / "log").open("w") as log, subprocess.Popen(
                [str(program), f"--config.file={config}", f"--storage.tsdb.path={self.folder}/db",
                 f"--web.listen-address=127.0.0.1:{port}"],
                stdout=log, stderr=log,
            ) as prometheus:  # fmt: skip
                self.addCleanup(prometheus.kill)
                try:
                    self.assertEqual(self.asked(port, 'kente_loss{run="nano"}', 7.5), 7.5)
                    with (self.folder / "nano/run.jsonl").open("a") as run:
                        run.write(step_line(3, loss=6.5))
                    self.assertEqual(self.asked(port, 'kente_loss{run="nano"}', 6.5), 6.5)
                    self.assertEqual(self.asked(port, "kente_steps_total", 5), 5)
                finally:
                    prometheus.terminate()
                    server.terminate()

    @staticmethod
    def asked(port: int, query: str, wanted: float) -> float | None:
        """What Prometheus answers, once that is what is wanted or patience ends."""
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        value = None
        end = time.monotonic() + PATIENCE_SECONDS
        while value != wanted and time.monotonic() < end:
            time.sleep(0.2)
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    result = json.load(answer)["data"]["result"]
            except OSError:
                continue
            value = float(result[0]["value"][1]) if result else None
        return value


if __name__ == "__main__":
    unittest.main()
