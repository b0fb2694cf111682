"""launch/tokenizer_files.py: training is a pure function of the texts, and text cannot end a
document."""

from __future__ import annotations

import random
import subprocess
import sys
import unittest

import tool_case
from tokenizer_files import DocumentTokenizer, train_tokenizer
from tool_errors import UsageError

# Many pairs of equal counts: their order decides the merges.
TEXTS = ["".join(random.Random(i).choices("abcdefgh ö漢", k=200)) for i in range(50)]


class TokenizerFilesTest(unittest.TestCase):
    def test_training_again_in_another_process_gives_the_same_bytes(self) -> None:
        here = train_tokenizer(TEXTS, 400)
        self.assertEqual(train_tokenizer(iter(TEXTS), 400), here)
        program = (
            "import sys, random; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
            "from tokenizer_files_test import TEXTS; from tokenizer_files import train_tokenizer\n"
            "sys.stdout.buffer.write(train_tokenizer(TEXTS, 400))"
        )
        folders = (str(tool_case.LAUNCH), str(tool_case.PROJECT / "tests/launch"))
        for threads in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-B", "-c", program, *folders],
                capture_output=True,
                check=True,
                env={"RAYON_NUM_THREADS": threads},
                timeout=120,
            )
            self.assertEqual(done.stdout, here)

    def test_any_text_is_encoded_without_loss(self) -> None:
        tokenizer = DocumentTokenizer(train_tokenizer(TEXTS, 300), "t")
        for text in ("", "ab", " \n\t x ", "日本語 🙂 ß", "<|endoftext|>", "\u0301a", "a" * 999):
            ids = next(tokenizer.encode([text]))
            self.assertEqual(ids[-1], tokenizer.end_of_document)
            self.assertNotIn(tokenizer.end_of_document, ids[:-1])
            self.assertEqual(tokenizer.decode(ids[:-1]), text)
            self.assertLess(max(ids), tokenizer.vocab_size)

    def test_files_that_are_no_tokenizer_are_refused(self) -> None:
        for data in (b"", b"{}", b"\xff", b"[" * 100_000, b'{"model": {"type": "BPE"}}'):
            with self.assertRaisesRegex(UsageError, "^t: not a tokenizer"):
                DocumentTokenizer(data, "t")

    def test_a_tokenizer_without_a_known_end_token_is_refused_unless_one_is_named(self) -> None:
        data = train_tokenizer(TEXTS, 300).replace(b"<|endoftext|>", b"<|stop|>")
        with self.assertRaisesRegex(UsageError, "--end-of-document"):
            DocumentTokenizer(data, "t")
        self.assertEqual(DocumentTokenizer(data, "t", "<|stop|>").end_of_document, 0)


if __name__ == "__main__":
    unittest.main()
