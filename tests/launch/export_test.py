"""kente export on checkpoints made here: everything is verified, nothing of the weights is lost."""

from __future__ import annotations

import hashlib
import json
import unittest
from pathlib import Path

import numpy as np
import safetensors.numpy
import tool_case
from run_fixture import MODELS, make_parameters, write_checkpoint, write_run


class ExportTest(tool_case.ToolCase):
    def export(self, *arguments: object) -> object:
        return self.run_tool("export.py", *arguments)

    def weights(self, folder: str = "hf") -> dict[str, np.ndarray]:
        return safetensors.numpy.load_file(self.folder / folder / "model.safetensors")

    def test_every_family_exports_each_weight_once(self) -> None:
        for family in MODELS:
            parameters = write_run(self.folder / family, family, steps=[3])
            done = self.export(family, "--to", f"hf-{family}")
            self.assertEqual(done.returncode, 0, done.stderr)
            exported = self.weights(f"hf-{family}")
            self.assertEqual(
                sum(t.size for t in exported.values()), sum(t.size for t in parameters.values())
            )
            config = json.loads((self.folder / f"hf-{family}/config.json").read_text())
            self.assertEqual(config["model_type"], family)
            self.assertEqual(config["eos_token_id"], 0)
            names = sorted(path.name for path in (self.folder / f"hf-{family}").iterdir())
            self.assertEqual(
                names,
                ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                 "tokenizer_config.json"],
            )  # fmt: skip

    def test_the_newest_step_is_taken_unless_one_is_named(self) -> None:
        write_run(self.folder / "run", "gpt2", steps=[3, 20])
        self.assertIn("step 20", self.export("run", "--to", "hf").stdout)
        self.assertIn("step 3 ", self.export("run", "--to", "hf3", "--step", 3).stdout)
        folder = "run/ckpt/step-000000000003"
        self.assertIn("step 3 ", self.export(folder, "--to", "hf4").stdout)
        name = "transformer.wte.weight"
        self.assertTrue((self.weights("hf3")[name] == self.weights("hf4")[name]).all())
        self.assertFalse((self.weights("hf")[name] == self.weights("hf3")[name]).all())
        self.assert_one_line(self.export("run", "--to", "hf5", "--step", 4), 2)

    def damage(self, path: Path, at: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    def test_one_flipped_bit_anywhere_is_noticed(self) -> None:
        for name, at in (
            ("rank-0000.safetensors", -1),
            ("rank-0001.safetensors", 20),
            ("MANIFEST.json", 200),
        ):
            run = self.folder / f"run-{at}"
            write_run(run, "gpt2", steps=[3])
            self.damage(run / "ckpt/step-000000000003" / name, at)
            done = self.export(run, "--to", "hf")
            self.assertIn(done.returncode, (2, 4))
            self.assertNotIn("Traceback", done.stderr)
            self.assertIn(name, done.stderr)
            self.assertFalse((self.folder / "hf").exists())

    def test_a_damaged_newest_step_falls_back_to_an_older_one_with_a_warning(self) -> None:
        write_run(self.folder / "run", "gpt2", steps=[3, 20])
        self.damage(self.folder / "run/ckpt/step-000000000020/rank-0000.safetensors", -1)
        done = self.export("run", "--to", "hf")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("step 3 ", done.stdout)
        self.assertIn("trying an older one", done.stderr)
        self.assert_one_line(self.export("run", "--to", "hf2", "--step", 20), 4)

    def test_hostile_manifests_are_refused(self) -> None:
        write_run(self.folder / "run", "gpt2", steps=[3])
        folder = self.folder / "run/ckpt/step-000000000003"
        good = json.loads((folder / "MANIFEST.json").read_text())
        del good["digest"]

        def outside(m: dict) -> None:
            m["shards"][0]["file"] = "../../../secret.safetensors"

        def beyond(m: dict) -> None:
            m["shards"][0]["tensors"][0]["offset"] = 1 << 60

        def huge(m: dict) -> None:
            m["shards"][0]["tensors"][0]["shape"] = [1 << 40, 1 << 40]

        def missing(m: dict) -> None:
            del m["shards"]

        def newer(m: dict) -> None:
            m["kente_checkpoint"] = 3

        def negative(m: dict) -> None:
            m["shards"][0]["tensors"][0].update(shape=[-4, -4], offset=8)

        def text(m: dict) -> None:
            m["shards"] = "none"

        for change in (outside, beyond, huge, missing, newer, negative, text):
            manifest = json.loads(json.dumps(good))
            change(manifest)
            write_checkpoint.manifest(folder, manifest)
            done = self.export("run", "--to", "hf")
            self.assert_one_line(done, 2)
            self.assertIn(
                "MANIFEST.json" if change not in (beyond, huge, negative) else "tensor", done.stderr
            )

    def test_missing_things_are_named_with_what_to_do(self) -> None:
        self.assert_one_line(self.export("nowhere", "--to", "hf"), 2)
        write_run(self.folder / "run", "gpt2", steps=[])
        done = self.export("run", "--to", "hf")
        self.assert_one_line(done, 2)
        self.assertIn("train first", done.stderr)
        write_run(self.folder / "part", "gpt2", steps=[3])
        (self.folder / "part/ckpt/step-000000000003/rank-0001.safetensors").unlink()
        done = self.export("part", "--to", "hf")
        self.assert_one_line(done, 2)
        self.assertIn("another node", done.stderr)

    def test_tensors_of_another_model_are_refused(self) -> None:
        write_run(self.folder / "run", "gpt2", steps=[3])
        recipe = self.folder / "run/recipe.textproto"
        recipe.write_text(
            recipe.read_text().replace("num_hidden_layers: 2", "num_hidden_layers: 3")
        )
        self.assert_one_line(self.export("run", "--to", "hf"), 2)

    def test_nothing_is_overwritten_without_force(self) -> None:
        write_run(self.folder / "run", "gpt2", steps=[3])
        self.assertEqual(self.export("run", "--to", "hf").returncode, 0)
        self.assert_one_line(self.export("run", "--to", "hf"), 2)
        self.assertEqual(self.export("run", "--to", "hf", "--force").returncode, 0)

    def test_the_fixture_writes_what_its_digests_say(self) -> None:
        parameters = write_run(self.folder / "run", "llama", steps=[3])
        folder = self.folder / "run/ckpt/step-000000000003"
        read: dict[str, np.ndarray] = {}
        for shard in json.loads((folder / "MANIFEST.json").read_text())["shards"]:
            data = (folder / shard["file"]).read_bytes()
            self.assertEqual(hashlib.sha256(data).hexdigest(), shard["sha256"])
            read |= safetensors.numpy.load(data)
        self.assertEqual(set(read) & set(parameters), set(make_parameters("llama", 3)))


if __name__ == "__main__":
    unittest.main()
