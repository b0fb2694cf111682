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

CASES = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" skipped="1"><testsuite name="Sum">
  <testcase name="IsRight" status="run" result="completed" classname="Sum"/>
  <testcase name="IsWrong" status="run" result="completed" classname="Sum">
    <failure message="b.cpp:7&#10;Expected 1&#10;  got 2">x</failure></testcase>
  <testcase name="Waits" status="run" result="skipped" classname="Sum">
    <skipped message="b.cpp:9&#10;no such device&#10;"/></testcase>
</testsuite></testsuites>
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

    def test_the_cases_of_a_program_are_counted(self):
        self.path.write_text(JUNIT)
        (self.path.parent / "A.Passes.xml").write_text(CASES)
        counts, said = count(self.path, self.path.parent)
        self.assertEqual(counts, "2 3 3")
        self.assertIn("failed: Sum.IsWrong: b.cpp:7 Expected 1", said)
        self.assertIn("skipped: Sum.Waits: no such device", said)

    def test_a_program_that_ends_badly_after_good_cases_is_a_failure_more(self):
        self.path.write_text(JUNIT)
        (self.path.parent / "A.Fails.xml").write_text(CASES.replace("<failure", "<x").replace("</failure", "</x"))
        counts, said = count(self.path, self.path.parent)
        self.assertEqual(counts, "4 2 3")
        self.assertIn("failed: A.Fails: a.cpp:3: Failure", said)

    def test_torn_cases_are_a_failure(self):
        self.path.write_text(JUNIT)
        (self.path.parent / "A.Passes.xml").write_text(CASES[:80])
        counts, said = count(self.path, self.path.parent)
        self.assertEqual(counts, "1 3 2")
        self.assertIn("A.Passes.xml is torn", said)


if __name__ == "__main__":
    unittest.main()
