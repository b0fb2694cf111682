"""Checks launch/test_counts.py on a file as ctest writes it."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "launch" / "test_counts.py"

JUNIT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="x" tests="6" failures="2" disabled="1" skipped="2">
  <testcase name="A.Passes" status="run"><system-out>fine</system-out></testcase>
  <testcase name="A.Fails" status="fail"><failure message="x"/>
    <system-out>a.cpp:3: Failure&#10;Expected 1</system-out></testcase>
  <testcase name="A.SkipsItself" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>a.cpp:9: Skipped&#10;no /dev/full here</system-out></testcase>
  <testcase name="A.CouldNotStart" status="notrun"><skipped message="Unable to find executable"/></testcase>
  <testcase name="A.IsDisabled" status="disabled"/>
  <testcase name="A.PassesToo" status="run"/>
</testsuite>
"""


def count(*paths):
    done = subprocess.run([sys.executable, TOOL, *paths], capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


class TestCounts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name) / "junit.xml"

    def test_a_test_that_could_not_start_is_a_failure_and_one_that_skips_itself_is_not(self):
        self.path.write_text(JUNIT)
        counts, said = count(self.path)
        self.assertEqual(counts, "2 2 2")
        self.assertIn("failed: A.Fails: a.cpp:3: Failure", said)
        self.assertIn("failed: A.CouldNotStart", said)
        self.assertIn("skipped: A.SkipsItself: no /dev/full here", said)

    def test_a_missing_or_torn_file_is_a_failure(self):
        self.assertEqual(count(self.path)[0], "0 1 0")
        self.path.write_text(JUNIT[:200])
        self.assertEqual(count(self.path)[0], "0 1 0")

    def test_several_files_are_added_up(self):
        self.path.write_text(JUNIT)
        self.assertEqual(count(self.path, self.path)[0], "4 4 4")


if __name__ == "__main__":
    unittest.main()
