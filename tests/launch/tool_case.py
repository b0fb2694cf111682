"""What the tools' tests share: a temporary folder, and a tool run as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = PROJECT / "launch"
if str(LAUNCH) not in sys.path:
    sys.path.insert(0, str(LAUNCH))


class ToolCase(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.addCleanup(self._temporary.cleanup)

    def write(self, name: str, content: bytes | str) -> Path:
        """Writes a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    def run_tool(
        self, tool: str, *arguments: object, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs launch/<tool> as a process. A hang is a failure."""
        return subprocess.run(
            [sys.executable, "-B", str(LAUNCH / tool), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **(environment or {})},
            cwd=self.folder,
        )

    def assert_one_line(self, done: subprocess.CompletedProcess[str], status: int) -> None:
        """The tool failed with this status and said so in one last line, without a traceback."""
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertTrue(done.stderr.strip(), "failed without a word")
