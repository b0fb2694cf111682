"""launch/text_extract.py and launch/html_text.py: what is read, what is left out, and that nothing
crashes."""

from __future__ import annotations

import json
import os
import unittest
from pathlib import Path

import tool_case
import text_extract
from html_text import HtmlError, html_paragraphs
from text_extract import Extracted, extract, find_files, plan_pieces
from tool_errors import UsageError


class HtmlTextTest(unittest.TestCase):
    def test_scripts_and_navigation_are_dropped_and_what_follows_them_is_kept(self) -> None:
        page = (
            b"<head><title>t</title></head><body><nav><p>home</p></nav>first"
            b"<script>x()</script> half<ul class='docnav top'><li>next</li></ul><p>second</p>"
            b"<div role=navigation>up</div></body>"
        )
        self.assertEqual(html_paragraphs(page), ["first half", "second"])

    def test_inline_elements_join_and_block_elements_part(self) -> None:
        page = (
            b"<p>a <b>b</b>\n\t c<br>d</p><ul><li>e<li>f</ul><table><tr><td>1<td>2<tr><td>3</table>"
        )
        self.assertEqual(html_paragraphs(page), ["a b c\nd", "e", "f", "1 2", "3"])

    def test_preformatted_text_keeps_its_lines_and_indentation(self) -> None:
        self.assertEqual(html_paragraphs(b"<pre>if x:\n    y  z\n</pre>"), ["if x:\n    y  z"])

    def test_declared_and_marked_encodings_are_obeyed(self) -> None:
        text = "Größe"
        latin = b"<meta charset=iso-8859-1><p>" + text.encode("latin-1")
        self.assertEqual(html_paragraphs(latin), [text])
        self.assertEqual(html_paragraphs(f"<p>{text}".encode("utf-16")), [text])
        self.assertEqual(html_paragraphs(f"<p>{text}".encode("utf-8-sig")), [text])

    def test_hostile_pages_are_refused_with_a_reason(self) -> None:
        for page in (
            b"<p>a</p>" + b"<div>" * 100_000 + b"deep",
            b"<p>\xff no charset",
            b"<meta charset=zip><p>\xff",
            b"\x00\x01\x02" * 1000,
        ):
            with self.assertRaises(HtmlError, msg=page[:20]):
                html_paragraphs(page)

    def test_pages_without_text_are_empty(self) -> None:
        for page in (b"", b" \n", b"<script>x</script>", b"<html></html>"):
            self.assertEqual(html_paragraphs(page), [])


class TextExtractTest(tool_case.ToolCase):
    def read(self, path: Path, piece_bytes: int = text_extract.PIECE_BYTES) -> list[Extracted]:
        return [extract(piece) for piece in plan_pieces(path, piece_bytes)]

    def test_text_is_cut_at_blank_lines(self) -> None:
        path = self.write("a.txt", "one\ntwo\r\n\r\n \t\nthree\n\n\n")
        self.assertEqual(self.read(path)[0].documents, [["one\ntwo", "three"]])

    def test_every_jsonl_line_is_a_document(self) -> None:
        path = self.write("a.jsonl", '{"text": "x\\n\\ny", "id": 1}\n\n{"text": "z"}')
        self.assertEqual(self.read(path)[0].documents, [["x", "y"], ["z"]])

    def test_bad_jsonl_lines_are_named_by_line_and_skipped(self) -> None:
        lines = [
            b'{"text": "good"}', b"junk", b'{"text": 1}', b"[]", b'{"text": "a", "text": "b"}',
            b'{"text": "\\ud800"}', b'{"text": "\xff"}', b"[" * 100_000, b'{"text": "\\u0000"}',
            b'{"n": ' + b"9" * 5000 + b"}", b'{"text": "fine"}',
        ]  # fmt: skip
        result = self.read(self.write("a.jsonl", b"\n".join(lines)))[0]
        self.assertEqual(result.documents, [["good"], ["fine"]])
        self.assertEqual([problem.line for problem in result.problems], list(range(2, 11)))

    def test_pieces_of_any_size_read_the_same_lines_with_the_same_numbers(self) -> None:
        lines = [json.dumps({"text": "w" * (i * 7 % 50)}) if i % 5 else "bad" for i in range(200)]
        path = self.write("a.jsonl", "\n".join(lines) + "\n")
        whole = self.read(path)[0]
        self.assertEqual(whole.newlines, 200)
        for size in (1, 3, 17, 64, 1000):
            parts = self.read(path, size)
            self.assertEqual([d for part in parts for d in part.documents], whole.documents)
            numbers, before = [], 0
            for part in parts:
                numbers += [before + problem.line for problem in part.problems]
                before += part.newlines
            self.assertEqual(numbers, [problem.line for problem in whole.problems], size)

    def test_broken_utf8_costs_its_line_and_zero_bytes_the_file(self) -> None:
        result = self.read(self.write("a.txt", b"good\n\nbad \xff\n\nfine\n"))[0]
        self.assertEqual((result.documents, result.problems[0].line), ([["good", "fine"]], 3))
        result = self.read(self.write("b.txt", b"ELF\n\x00\x01\n"))[0]
        self.assertEqual((result.documents, result.problems[0].what), ([], "binary data"))

    def test_a_line_over_the_limit_is_skipped_in_constant_memory(self) -> None:
        path = self.write("a.txt", b"before\n\n")
        with open(path, "ab") as file:
            file.truncate(8 + (256 << 20))  # one line of zero bytes, without storing them
            file.seek(0, os.SEEK_END)
            file.write(b"\nafter\n")
        results = self.read(path)
        self.assertEqual([d for r in results for d in r.documents], [["before"], ["after"]])
        problems = [(p.what, p.line) for r in results for p in r.problems]
        self.assertEqual(problems, [("line over 1 MiB", 3)])
        self.assertEqual(sum(r.newlines for r in results), 4)

    def test_text_without_blank_lines_is_cut_at_line_ends(self) -> None:
        path = self.write("a.txt", "0123456789\n" * 20_000)
        paragraphs = self.read(path)[0].documents[0]
        self.assertGreater(len(paragraphs), 2)
        self.assertEqual("\n".join(paragraphs) + "\n", "0123456789\n" * 20_000)

    def test_folders_are_read_in_the_order_of_names_and_only_regular_files_are_opened(self) -> None:
        for name in ("b/x.txt", "a.md", "b/a.html", "b.bin", ".git/x.txt"):
            self.write(name, "text")
        os.mkfifo(self.folder / "pipe.txt")
        files, others = find_files(self.folder)
        names = [str(file.relative_to(self.folder)) for file in files]
        self.assertEqual((names, others), (["a.md", "b/a.html", "b/x.txt"], 2))

    def test_missing_and_unknown_paths_are_the_users_error(self) -> None:
        self.write("x.bin", "")
        for name in ("missing", "x.bin"):
            with self.assertRaises(UsageError):
                find_files(self.folder / name)


if __name__ == "__main__":
    unittest.main()
