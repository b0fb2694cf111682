"""Adds up what ctest wrote with --output-junit: prints "passed failed skipped", names what did not pass.

usage: test_counts.py FILE...

A file that is missing or torn counts as one failure: ctest was killed. A test that ctest could not run
is a failure too; only one that said itself why it skips is skipped.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """passed, failed or skipped, for one <testcase>."""
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    if skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        return "skipped"
    return "skipped" if case.get("status") == "disabled" else "failed"


def reason(case):
    """What the test printed about itself, as one line."""
    output = case.findtext("system-out") or ""
    skip = re.search(r"Skipped\n(.*)", output)
    if skip:
        return skip.group(1).strip()
    lines = [line for line in output.splitlines() if "Failure" in line or "ERROR" in line]
    return lines[0].strip() if lines else "see the file " + LAST_LOG


LAST_LOG = "Testing/Temporary/LastTest.log in the build directory"


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sys.argv[1:]:
        try:
            cases = list(ElementTree.parse(path).getroot().iter("testcase"))
        except (OSError, ElementTree.ParseError) as failure:
            print(f"failed: {path}: {failure}", file=sys.stderr)
            counts["failed"] += 1
            continue
        for case in cases:
            result = outcome(case)
            counts[result] += 1
            if result != "passed":
                print(f"{result}: {case.get('name')}: {reason(case)}", file=sys.stderr)
    print(counts["passed"], counts["failed"], counts["skipped"])


if __name__ == "__main__":
    main()
