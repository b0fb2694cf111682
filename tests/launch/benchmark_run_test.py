"""Checks how benchmarks/run.py reads pages, compares them and records them."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

import run  # noqa: E402

PAGE = """# C4: a pipeline

| schedule | m | layers | overhead, median | min .. max | share of independent ranks |
|---|---|---|---|---|---|
| 1F1B | 8 | 0-4 + 5-7 | 1.0 % | 1.0 .. 1.2 % | 89.6 % |
| GPipe | 16 | 0-4 + 5-7 | 0.7 % | 0.6 .. 1.0 % |  |
"""

C4 = run.BENCHMARKS["c4"]


def compare(name, new, recorded):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        worse = run.compare(name, new, recorded)
    return worse, out.getvalue()


class TestFigures(unittest.TestCase):
    def test_reads_the_compared_columns_of_every_row(self):
        found = run.figures(PAGE, C4)
        self.assertEqual(
            {key: figure.value() for key, figure in found.items()},
            {
                ("1F1B, 8, 0-4 + 5-7", "overhead, median"): 1.01,
                ("1F1B, 8, 0-4 + 5-7", "share of independent ranks"): 89.6,
                ("GPipe, 16, 0-4 + 5-7", "overhead, median"): 1.007,
            },
        )

    def test_every_recorded_page_holds_every_compared_column(self):
        for name, benchmark in run.BENCHMARKS.items():
            page = (run.RESULTS / benchmark.page).read_text(encoding="utf-8")
            columns = {column for _, column in run.figures(page, benchmark)}
            self.assertEqual(columns, {column.name for column in benchmark.columns}, name)
            self.assertLessEqual(set(benchmark.goals), columns, name)


class TestComparison(unittest.TestCase):
    def test_five_percent_less_is_worse_where_more_is_better(self):
        worse, text = compare("c4", PAGE.replace("89.6", "85.0"), PAGE)
        self.assertEqual(worse, 1)
        self.assertRegex(text, r"1F1B, 8, .*share of independent ranks +85\.0 % +89\.6 %.* worse\n")
        self.assertEqual(compare("c4", PAGE.replace("89.6", "85.2"), PAGE)[0], 0)
        self.assertEqual(compare("c4", PAGE.replace("89.6", "99.9"), PAGE)[0], 0)

    def test_five_percent_more_is_worse_where_less_is_better(self):
        self.assertEqual(compare("c4", PAGE.replace("1.0 % |", "6.2 % |", 1), PAGE)[0], 1)
        self.assertEqual(compare("c4", PAGE.replace("1.0 % |", "5.9 % |", 1), PAGE)[0], 0)

    def test_what_was_never_recorded_is_shown_and_not_worse(self):
        worse, text = compare("c4", PAGE, "")
        self.assertEqual(worse, 0)
        self.assertIn("89.6 %", text)


class TestRecord(unittest.TestCase):
    def test_keeps_what_was_written_by_hand(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.md"
            path.write_text(f"# old\n\n{run.BY_HAND}\n\nWhy it is so.\n", encoding="utf-8")
            run.record("# new\n\n| a |\n", path)
            self.assertEqual(
                path.read_text(encoding="utf-8"),
                f"# new\n\n| a |\n\n{run.BY_HAND}\n\nWhy it is so.\n",
            )
            path.unlink()
            run.record("# new\n", path)
            self.assertEqual(path.read_text(encoding="utf-8"), "# new\n")


if __name__ == "__main__":
    unittest.main()
