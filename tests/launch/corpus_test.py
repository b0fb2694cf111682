"""launch/corpus.py: duplicates vanish across sources, and held-back text never occurs in
training."""

from __future__ import annotations

import io
import random
import unittest

import tool_case
from corpus import ReadOptions, SourceText, hold_back, read_corpus
from data_sources import Source
from progress import Progress
from tool_errors import UsageError


class CorpusTest(tool_case.ToolCase):
    def read(self, *ids: str, strict: bool = False, processes: int = 1) -> list[SourceText]:
        sources = [Source(name, (self.folder / name,)) for name in ids]
        self.output = io.StringIO()
        stage = self.folder / ".stage"
        stage.mkdir(exist_ok=True)
        return read_corpus(sources, stage, ReadOptions(processes, strict), Progress(self.output))

    def documents(self, text: SourceText) -> list[str]:
        return [data.decode() for data in text.texts(text.documents)]

    def test_a_paragraph_stays_where_it_came_first(self) -> None:
        self.write("a/1.txt", "shared  words\n\nonly a\n\nshared words")
        self.write("b/1.txt", "only b\n\n shared\n words\n\nonly a")
        a, b = self.read("a", "b")
        self.assertEqual(self.documents(a), ["shared  words\n\nonly a"])
        self.assertEqual(self.documents(b), ["only b"])
        self.assertEqual((a.duplicates, b.duplicates), (1, 2))

    def test_a_source_without_text_of_its_own_is_refused(self) -> None:
        self.write("a/1.txt", "text")
        self.write("b/1.txt", "text")
        with self.assertRaisesRegex(UsageError, "every paragraph was in an earlier source"):
            self.read("a", "b")

    def test_two_processes_read_what_one_reads(self) -> None:
        for i in range(30):
            self.write(f"a/{i}.jsonl", "".join(f'{{"text": "{i} {j % 7}"}}\n' for j in range(9)))
        self.assertEqual(
            self.documents(self.read("a", processes=1)[0]),
            self.documents(self.read("a", processes=2)[0]),
        )

    def test_problems_are_counted_and_named_with_file_and_line(self) -> None:
        self.write("a/1.jsonl", '{"text": "x"}\njunk\n' + "junk\n" * 50)
        text = self.read("a")[0]
        self.assertEqual(text.problems["not JSON"], 51)
        self.assertIn("1.jsonl:2: not JSON: skipped", self.output.getvalue())
        self.assertLess(self.output.getvalue().count("skipped"), 15)
        with self.assertRaisesRegex(UsageError, r"1\.jsonl:2: not JSON"):
            self.read("a", strict=True)

    def test_held_back_paragraphs_do_not_occur_in_training(self) -> None:
        draw = random.Random(1)
        for name in ("a", "b"):
            for i in range(60):
                words = [f"paragraph {draw.randrange(150)}" for _ in range(4)]
                self.write(f"{name}/{i}.txt", "\n\n".join([f"{name} {i}", *words]))
        texts = self.read("a", "b")
        train: set[str] = set()
        held: set[str] = set()
        for text in texts:
            hold_back(text, 0.1)
            train |= {p for d in text.texts(text.train) for p in d.decode().split("\n\n")}
            held |= {p for d in text.texts(text.validation) for p in d.decode().split("\n\n")}
        self.assertGreater(len(held), 5)
        self.assertEqual(train & held, set())

    def test_hold_back_takes_at_most_the_fraction_and_depends_on_content_alone(self) -> None:
        names = [f"{i}" for i in range(100)]
        chosen = []
        for order in (names, names[::-1]):
            for place, content in enumerate(order):
                self.write(f"a/{place:03}.txt", f"document number {content} " + "x" * 50)
            text = self.read("a")[0]
            hold_back(text, 0.1)
            held = sum(span.size for span in text.validation)
            total = sum(span.size for span in text.documents)
            self.assertLessEqual(held, 0.1 * total)
            self.assertGreater(held, 0.08 * total)
            chosen.append(set(text.texts(text.validation)))
        self.assertEqual(chosen[0], chosen[1])

    def test_one_long_document_gives_its_end(self) -> None:
        self.write("a/1.txt", "\n\n".join(f"paragraph {i}" for i in range(1000)))
        text = self.read("a")[0]
        hold_back(text, 0.02)
        train, held = (b"".join(text.texts(spans)) for spans in (text.train, text.validation))
        self.assertEqual(train + b"\n\n" + held, b"".join(text.texts(text.documents)))
        self.assertLess(len(held), 0.021 * len(train))
        self.assertTrue(held.startswith(b"paragraph "))

    def test_nothing_is_held_back_when_asked_for_nothing(self) -> None:
        self.write("a/1.txt", "x\n\ny")
        text = self.read("a")[0]
        hold_back(text, 0.0)
        self.assertEqual((len(text.train), len(text.validation)), (1, 0))


if __name__ == "__main__":
    unittest.main()
