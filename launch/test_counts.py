"""Adds up what ctest wrote with --output-junit: prints "passed failed skipped", names what did not pass.

usage: test_counts.py JUNIT [FOLDER]

A program that ran many cases left them in FOLDER/NAME.xml, as GoogleTest writes it, NAME being what ctest calls
the program's run: then its cases are counted, and one failure more when it failed otherwise (a crash at the end, a
leak). A file that is missing or torn counts as one failure: ctest or the program was killed. A test that ctest
could not run is a failure too; only one that said itself why it skips is skipped.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

LAST_LOG = "Testing/Temporary/LastTest.log in the build directory"


def outcome(test):
    """passed, failed or skipped, for one <testcase> of ctest."""
    if test.get("status") == "run":
        return "passed"
    skipped = test.find("skipped")
    if skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        return "skipped"
    return "skipped" if test.get("status") == "disabled" else "failed"


def reason(test):
    """What the test printed about itself, as one line."""
    output = test.findtext("system-out") or ""
    skip = re.search(r"Skipped\n(.*)", output)
    if skip:
        return skip.group(1).strip()
    lines = [line for line in output.splitlines() if "Failure" in line or "ERROR" in line]
    return lines[0].strip() if lines else "see the file " + LAST_LOG


def outcome_of_case(case):
    """(outcome, why) for one <testcase> of GoogleTest."""
    failure = case.find("failure")
    if failure is not None:
        return "failed", " ".join((failure.get("message") or "").split("\n")[:2])
    skipped = case.find("skipped")
    if skipped is not None:
        return "skipped", (skipped.get("message") or "").strip().splitlines()[-1]
    return ("passed", "") if case.get("status") == "run" else ("skipped", "disabled")


def outcomes(test, folder):
    """[(outcome, name, why)] for one <testcase> of ctest: its cases if it left any."""
    name = test.get("name")
    whole = (outcome(test), name, reason(test))
    cases = folder / f"{name}.xml" if folder else None
    if not cases or not cases.exists():
        return [whole]
    try:
        found = [(*outcome_of_case(case), f"{case.get('classname')}.{case.get('name')}")
                 for case in ElementTree.parse(cases).getroot().iter("testcase")]
    except ElementTree.ParseError:
        return [("failed", name, f"{cases} is torn")]
    each = [(how, case, why) for how, why, case in found]
    if whole[0] == "failed" and all(how != "failed" for how, _, _ in each):
        each.append(whole)
    return each


def main():
    path = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        tests = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as failure:
        print(f"failed: {path}: {failure}", file=sys.stderr)
        print(0, 1, 0)
        return
    counts = Counter()
    for test in tests:
        for how, name, why in outcomes(test, folder):
            counts[how] += 1
            if how != "passed":
                print(f"{how}: {name}: {why}", file=sys.stderr)
    print(counts["passed"], counts["failed"], counts["skipped"])


if __name__ == "__main__":
    main()
