"""kente data prepare from end to end, run as users run it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import tool_case
import data_prepare
from manifest import manifest_digest
from token_files import read_token_file, sha256_file
from tokenizer_files import load_tokenizer
from tool_errors import UsageError, run_tool

RECIPE = """# a comment
name: "mine"
model { model_type: gpt2 vocab_size: 99 hidden_size: 64 }
data {
  source { id: "old" digest: "00" }
  stop_at_documents: true  # kept
}
"""


class DataPrepareTest(tool_case.ToolCase):
    def corpus(self) -> None:
        """Two sources in three formats, with markup that spells the end-of-document token."""
        draw = random.Random(5)
        words = [
            f"{draw.choice('bdfgklmn')}{draw.choice('aeiou')}{draw.choice('rst')}"
            for _ in range(40)
        ]
        for i in range(25):
            lines = [" ".join(draw.choices(words, k=30)) for _ in range(4)]
            self.write(f"de/{i}.html", "".join(f"<p>Größe {line}</p>" for line in lines))
            self.write(f"en/{i}.txt", "\n\n".join(lines[:2] + [f"<|endoftext|> {i} {lines[3]}"]))
        rows = [
            json.dumps({"text": f"row {i}: " + " ".join(draw.choices(words, k=30))})
            for i in range(25)
        ]
        self.write("en/rows.jsonl", "\n".join(rows))
        self.write(
            "sources.toml",
            '[[source]]\nid = "en"\npath = "en"\nlicence = "CC0-1.0"\nlab = "ours"\n'
            '[[source]]\nid = "de"\npath = ["de"]\ntitle = "Größe"\nweight = 2.5\n',
        )

    def prepare(self, output: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.run_tool("data_prepare.py", "sources.toml", "--output", output, *arguments)

    def manifest(self, output: str, name: str) -> dict:
        return json.loads((self.folder / output / f"{name}.manifest.json").read_text())

    def test_manifests_name_the_files_they_lie_beside_and_their_own_digest(self) -> None:
        self.corpus()
        done = self.prepare("out", "--train-tokenizer", 300, "--hold-back", 0.1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "")
        tokenizer = sha256_file(self.folder / "out/tokenizer.json")
        for name in ("en", "de"):
            manifest = self.manifest("out", name)
            bare = {key: value for key, value in manifest.items() if key != "digest"}
            canonical = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self.assertEqual(manifest["digest"], hashlib.sha256(canonical.encode()).hexdigest())
            self.assertEqual((manifest["kente_source"], manifest["vocab_size"]), (1, 300))
            self.assertEqual(manifest["tokenizer_sha256"], tokenizer)
            for part in ("train", "validation"):
                info = manifest[part]
                self.assertEqual(info["name"], f"{name}.{part}")
                for end in ("bin", "idx"):
                    path = self.folder / "out" / f"{info['name']}.{end}"
                    self.assertEqual(path.stat().st_size, info[f"{end}_bytes"])
                    self.assertEqual(sha256_file(path), info[f"{end}_sha256"])
                documents = read_token_file(self.folder / "out" / info["name"])
                self.assertEqual(len(documents), info["documents"])
                self.assertEqual(sum(map(len, documents)), info["tokens"])
            self.assertTrue(0.5 < manifest["byte_trigram_bits_per_byte"] < 8)
        self.assertEqual(self.manifest("out", "en")["licence"], "CC0-1.0")
        self.assertEqual(self.manifest("out", "de")["title"], "Größe")

    def test_tokens_decode_to_the_text_and_only_documents_end_in_the_end_token(self) -> None:
        self.corpus()
        done = self.prepare("out", "--train-tokenizer", 300, "--hold-back", 0.1)
        self.assertEqual(done.returncode, 0, done.stderr)
        tokenizer = load_tokenizer(self.folder / "out/tokenizer.json")
        end = tokenizer.end_of_document
        for name in ("en", "de"):
            manifest = self.manifest("out", name)
            self.assertEqual(manifest["end_of_document"], end)
            for part in ("train", "validation"):
                size = 0
                for document in read_token_file(self.folder / "out" / f"{name}.{part}"):
                    ids = document.tolist()
                    self.assertEqual(
                        [i for i, token in enumerate(ids) if token == end], [len(ids) - 1]
                    )
                    size += len(tokenizer.decode(ids[:-1]).encode())
                self.assertEqual(size, manifest[part]["text_bytes"])
        texts = [
            tokenizer.decode(d.tolist()) for d in read_token_file(self.folder / "out/en.train")
        ]
        self.assertTrue(any("<|endoftext|> " in text for text in texts))

    def test_the_same_text_gives_the_same_bytes_whatever_the_processes(self) -> None:
        self.corpus()
        for output, processes in (("one", 1), ("two", 2), ("three", 3)):
            done = self.prepare(output, "--train-tokenizer", 350, "--processes", processes)
            self.assertEqual(done.returncode, 0, done.stderr)
        for other in ("two", "three"):
            names = sorted(path.name for path in (self.folder / "one").iterdir())
            self.assertEqual(names, sorted(p.name for p in (self.folder / other).iterdir()))
            for name in names:
                left, right = (self.folder / d / name for d in ("one", other))
                self.assertEqual(left.read_bytes(), right.read_bytes(), name)

    def test_an_existing_tokenizer_is_used_as_it_is(self) -> None:
        self.corpus()
        self.assertEqual(self.prepare("one", "--train-tokenizer", 300).returncode, 0)
        done = self.prepare("two", "--tokenizer", self.folder / "one/tokenizer.json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.manifest("one", "de")["digest"], self.manifest("two", "de")["digest"])
        done = self.prepare("x", "--tokenizer", "one/tokenizer.json", "--end-of-document", "<nope>")
        self.assert_one_line(done, 2)
        self.assertIn("<nope>", done.stderr)

    def test_a_recipe_gets_the_sources_and_keeps_the_rest(self) -> None:
        self.corpus()
        self.write("base.textproto", RECIPE)
        done = self.prepare(
            "out", "--train-tokenizer", 300, "--recipe", "base.textproto", "my.textproto"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        text = (self.folder / "my.textproto").read_text()
        block = (self.folder / "out/sources.textproto").read_text()
        self.assertIn(self.manifest("out", "de")["digest"], text)
        for line in block.splitlines()[1:-1]:
            self.assertIn(line, text)
        self.assertIn("vocab_size: 300", text)
        self.assertIn("stop_at_documents: true  # kept", text)
        self.assertIn("weight: 2.5", text)
        self.assertNotIn('"old"', text)

    def test_nothing_is_overwritten_without_force(self) -> None:
        self.corpus()
        self.assertEqual(self.prepare("out", "--train-tokenizer", 300).returncode, 0)
        before = self.manifest("out", "de")
        done = self.prepare("out", "--train-tokenizer", 310)
        self.assert_one_line(done, 2)
        self.assertIn("--force", done.stderr)
        self.assertEqual(self.manifest("out", "de"), before)
        self.assertEqual(self.prepare("out", "--train-tokenizer", 310, "--force").returncode, 0)
        self.assertEqual(self.manifest("out", "de")["vocab_size"], 310)

    def test_a_failure_leaves_no_file(self) -> None:
        self.corpus()
        self.write("empty/x.txt", "\n\n")
        self.write("sources.json", json.dumps({"source": [
            {"id": "en", "path": "en"}, {"id": "empty", "path": "empty"}]}))  # fmt: skip
        done = self.run_tool("data_prepare.py", "sources.json", "--output", "out")
        self.assert_one_line(done, 2)
        self.assertIn("source empty", done.stderr)
        self.assertEqual(list((self.folder / "out").iterdir()), [])

    def test_what_a_killed_run_left_is_removed_by_the_next(self) -> None:
        self.corpus()
        command = [sys.executable, "-B", str(tool_case.LAUNCH / "data_prepare.py"), "sources.toml"]
        killed = subprocess.Popen(
            [*command, "--output", "out"],
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not list(self.folder.glob("out/.preparing-*")) and time.monotonic() < deadline:
            self.assertIsNone(killed.poll())
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        self.assertEqual(len(list(self.folder.glob("out/.preparing-*"))), 1)
        self.assertEqual(self.prepare("out", "--train-tokenizer", 300).returncode, 0)
        self.assertEqual(list(self.folder.glob("out/.preparing-*")), [])

    def test_wrong_command_lines_and_specs_are_one_clear_line(self) -> None:
        self.corpus()
        self.write("text.toml", "not = [toml")
        self.write("deep.json", "[" * 100_000)
        self.write("unknown.toml", '[[source]]\nid = "a"\npath = "en"\ncolour = "red"\n')
        self.write("id.toml", '[[source]]\nid = "../a"\npath = "en"\n')
        self.write("twice.toml", '[[source]]\nid = "a"\npath = "en"\n' * 2)
        self.write("binary.toml", b"\xff\x00\x01")
        self.write("weight.toml", '[[source]]\nid = "a"\npath = "en"\nweight = -1\n')
        self.write("junk.json", "{}")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        for arguments, said in (
            (["missing.toml"], "missing.toml"), (["text.toml"], "text.toml"),
            (["deep.json"], "deep.json"),
            (["unknown.toml"], "colour"), (["id.toml"], "../a"), (["twice.toml"], "twice"),
            (["binary.toml"], "binary.toml"), (["weight.toml"], "weight"), (["en"], "en"),
            ([], "--path"),
            (["sources.toml", "--hold-back", "2"], "--hold-back"),
            (["sources.toml", "--train-tokenizer", "5"], "--train-tokenizer"),
            (["sources.toml", "--tokenizer", "junk.json"], "junk.json"),
            (["sources.toml", "--recipe", "junk.json", "out.textproto"], "junk.json"),
            (["--path", "missing"], "missing"),
        ):  # fmt: skip
            with self.assertRaises(UsageError, msg=arguments) as failure:
                with contextlib.redirect_stderr(io.StringIO()):
                    data_prepare.main([*arguments, "--output", "out"])
            self.assertIn(said, str(failure.exception))
            self.assertNotIn("\n", str(failure.exception))
        done = self.run_tool("data_prepare.py", "missing.toml")
        self.assert_one_line(done, 2)
        self.assertRegex(done.stderr, "^kente data prepare: cannot read missing.toml: .*\n$")

    @unittest.skipUnless(Path("/dev/full").exists(), "no /dev/full here")
    def test_a_full_disk_is_a_storage_failure(self) -> None:
        def fill(_: list[str]) -> int:
            with open("/dev/full", "wb", buffering=0) as file:
                file.write(b"x")
            return 0

        with self.assertRaises(SystemExit) as stop, contextlib.redirect_stderr(io.StringIO()):
            run_tool("data prepare", fill)
        self.assertEqual(stop.exception.code, 4)

    def test_own_digest_is_checked_by_the_same_rule(self) -> None:
        manifest = {"b": "ü", "a": [1, 2.5, None], "digest": "ignored"}
        expected = hashlib.sha256('{"a":[1,2.5,null],"b":"ü"}'.encode()).hexdigest()
        self.assertEqual(manifest_digest(manifest), expected)


if __name__ == "__main__":
    unittest.main()
