"""launch/token_files.py: Megatron's layout, byte for byte."""

from __future__ import annotations

import struct
import unittest

import tool_case
from token_files import TokenFileWriter, read_token_file, sha256_file, token_dtype
from tool_errors import UsageError

GOLDEN = tool_case.PROJECT / "tests/golden/megatron"


class TokenFilesTest(tool_case.ToolCase):
    def write_pair(self, documents: list[list[int]], vocab_size: int) -> None:
        writer = TokenFileWriter(self.folder, "x", vocab_size)
        for document in documents:
            writer.add(document, 1)
        self.info = writer.close()

    def test_index_has_the_bytes_of_the_documented_layout(self) -> None:
        self.write_pair([[5, 6, 0], [7, 0]], 300)
        expected = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 2, 3)
        expected += (
            struct.pack("<2i", 3, 2) + struct.pack("<2q", 0, 6) + struct.pack("<3q", 0, 1, 2)
        )
        self.assertEqual((self.folder / "x.idx").read_bytes(), expected)
        self.assertEqual((self.folder / "x.bin").read_bytes(), struct.pack("<5H", 5, 6, 0, 7, 0))

    def test_wide_vocabularies_take_four_bytes_a_token(self) -> None:
        self.assertEqual(token_dtype(65_499).itemsize, 2)
        self.assertEqual(token_dtype(65_500).itemsize, 4)
        self.write_pair([[70_000, 1]], 80_000)
        self.assertEqual((self.folder / "x.bin").read_bytes(), struct.pack("<2i", 70_000, 1))

    def test_info_describes_the_written_files(self) -> None:
        self.write_pair([[1, 2], [3]], 300)
        for end, size, digest in (
            ("bin", self.info.bin_bytes, self.info.bin_sha256),
            ("idx", self.info.idx_bytes, self.info.idx_sha256),
        ):
            path = self.folder / f"x.{end}"
            self.assertEqual((path.stat().st_size, sha256_file(path)), (size, digest))
        self.assertEqual((self.info.documents, self.info.tokens, self.info.text_bytes), (2, 3, 2))

    def test_reader_returns_what_was_written_also_nothing(self) -> None:
        for documents in ([[1, 2, 3], [4]], []):
            self.write_pair(documents, 300)
            self.assertEqual([d.tolist() for d in read_token_file(self.folder / "x")], documents)

    def test_files_that_megatron_wrote_are_read(self) -> None:
        for name, documents in (
            ("uint16", [[11, 12, 13, 0], [21, 0], [31, 32, 65_000, 0]]),
            ("int32", [[70_000, 1, 0], [2, 0]]),
        ):
            read = [d.tolist() for d in read_token_file(GOLDEN / name)]
            self.assertEqual(read, documents, name)

    def test_our_writer_makes_the_very_bytes_that_megatron_makes(self) -> None:
        for name, vocab_size in (("uint16", 65_001), ("int32", 70_001)):
            documents = [d.tolist() for d in read_token_file(GOLDEN / name)]
            self.write_pair(documents, vocab_size)
            for end in ("bin", "idx"):
                ours = (self.folder / f"x.{end}").read_bytes()
                self.assertEqual(ours, (GOLDEN / f"{name}.{end}").read_bytes(), f"{name}.{end}")

    def test_damaged_indices_are_refused(self) -> None:
        self.write_pair([[1, 2], [3]], 300)
        good = (self.folder / "x.idx").read_bytes()
        damaged = {
            "empty": b"",
            "other magic": b"X" + good[1:],
            "version 2": good[:9] + struct.pack("<Q", 2) + good[17:],
            "unknown type": good[:17] + b"\x07" + good[18:],
            "cut": good[:-1],
            "outside": good[:34] + struct.pack("<i", 2**31 - 1) + good[38:],
            "negative": good[:34] + struct.pack("<i", -1) + good[38:],
        }
        for what, data in damaged.items():
            (self.folder / "x.idx").write_bytes(data)
            with self.assertRaises(UsageError, msg=what):
                read_token_file(self.folder / "x")


if __name__ == "__main__":
    unittest.main()
