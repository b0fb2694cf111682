"""Live against Megatron: its reader reads what kente data prepare writes, and the golden files are
what its builder writes. Needs launch/setup --peers."""

from __future__ import annotations

import unittest

import make_megatron_golden
import tool_case
from megatron.core.datasets.indexed_dataset import IndexedDataset
from token_files import read_token_file

GOLDEN = tool_case.PROJECT / "tests/golden/megatron"


class MegatronPeerTest(tool_case.ToolCase):
    def test_megatrons_reader_reads_our_files(self) -> None:
        self.write("text/a.jsonl", "".join(f'{{"text": "document {i} öß"}}\n' for i in range(50)))
        done = self.run_tool(
            "data_prepare.py", "--path", "text", "--output", "out", "--train-tokenizer", 300
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in ("train", "validation"):
            prefix = self.folder / f"out/text.{part}"
            ours = [document.tolist() for document in read_token_file(prefix)]
            theirs = IndexedDataset(str(prefix))
            self.assertGreater(len(ours), 0)
            self.assertEqual([theirs[i].tolist() for i in range(len(theirs))], ours)
            self.assertEqual(theirs.document_indices.tolist(), list(range(len(ours) + 1)))
            self.assertEqual(theirs.sequence_lengths.tolist(), [len(d) for d in ours])

    def test_megatrons_builder_still_writes_the_golden_files(self) -> None:
        make_megatron_golden.main(self.folder)
        for name in make_megatron_golden.DOCUMENTS:
            for end in ("bin", "idx"):
                made = (self.folder / f"{name}.{end}").read_bytes()
                self.assertEqual(made, (GOLDEN / f"{name}.{end}").read_bytes(), f"{name}.{end}")


if __name__ == "__main__":
    unittest.main()
