"""kente sample: what the worker is told, and what becomes of its answer."""

from __future__ import annotations

import json
import subprocess
import unittest

import tool_case
from run_fixture import write_run
from tokenizer_files import load_tokenizer

WORKER = """#!/bin/sh
printf '%s\\n' "$@" >> {log}
{body}
"""


class SampleTest(tool_case.ToolCase):
    def setUp(self) -> None:
        super().setUp()
        write_run(self.folder / "run", "gpt2", steps=[])
        self.tokenizer = load_tokenizer(self.folder / "run/tokenizer.json")

    def sample(self, body: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs the tool with a worker that does body."""
        path = self.write("bin/kente-worker", WORKER.format(log=self.folder / "log", body=body))
        path.chmod(0o755)
        environment = {"KENTE_BIN_DIR": str(path.parent)}
        return self.run_tool("sample.py", "run", *arguments, environment=environment)

    def answer(self, text: str) -> str:
        record = {"step": 7, "tokens": self.tokenizer.encode_prompt(text)}
        return f"echo '{json.dumps(record)}'"

    def told(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def test_the_answer_is_decoded(self) -> None:
        done = self.sample(self.answer("text grün 漢"), "--prompt", "text")
        self.assertEqual((done.returncode, done.stdout), (0, "text grün 漢\n"), done.stderr)
        done = self.sample(self.answer("text"), "--prompt", "text", "--json")
        self.assertEqual(json.loads(done.stdout)["text"], "text")
        self.assertEqual(json.loads(done.stdout)["step"], 7)

    def test_the_worker_is_told_tokens_and_options(self) -> None:
        self.sample(self.answer("x"), "--prompt", "some", "--count", 9, "--seed", 4, "--top-k", 0,
                    "--temperature", 0)  # fmt: skip
        told = self.told()
        ids = " ".join(map(str, self.tokenizer.encode_prompt("some")))
        expected = ["sample", "--run", "run", "--tokens", ids, "--count", "9",
                    "--temperature", "0.0",
                    "--top-k", "0", "--seed", "4", "--end-token", "0"]  # fmt: skip
        self.assertEqual(told, expected)

    def test_without_a_prompt_a_document_is_begun(self) -> None:
        self.sample(self.answer("x"))
        told = self.told()
        self.assertEqual(told[told.index("--tokens") + 1], str(self.tokenizer.end_of_document))

    def test_several_samples_take_seeds_in_order(self) -> None:
        done = self.sample(self.answer("x"), "--samples", 3, "--seed", 5)
        told = self.told()
        seeds = [told[i + 1] for i, word in enumerate(told) if word == "--seed"]
        self.assertEqual((done.returncode, seeds), (0, ["5", "6", "7"]))

    def test_the_workers_failure_is_ours(self) -> None:
        done = self.sample("echo 'kente: no complete checkpoint' >&2; exit 4")
        self.assert_one_line(done, 4)
        self.assertIn("no complete checkpoint", done.stderr)
        self.assert_one_line(self.sample("kill -9 $$"), 1)
        self.assert_one_line(self.sample("echo nonsense"), 1)

    def test_what_is_missing_is_named(self) -> None:
        nowhere = {"KENTE_BIN_DIR": str(self.folder / "nowhere")}
        done = self.run_tool("sample.py", "run", environment=nowhere)
        self.assert_one_line(done, 2)
        self.assertIn("build it", done.stderr)
        self.assert_one_line(self.run_tool("sample.py", "nothing"), 2)
        self.assert_one_line(self.run_tool("sample.py", "run", "--count", 0), 2)


if __name__ == "__main__":
    unittest.main()
