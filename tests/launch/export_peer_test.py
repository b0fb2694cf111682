"""Live against transformers: an exported folder loads, with our weights and our tokens. Needs
launch/setup --peers."""

from __future__ import annotations

import unittest

import numpy as np
import tool_case
import torch
import transformers
from reference_forward import logits as reference_logits
from run_fixture import MODELS, write_run
from tokenizer_files import load_tokenizer

TOLERANCE = 1e-4  # what the export promises, on logits of size 1 to 10


class ExportPeerTest(tool_case.ToolCase):
    def export(self, family: str) -> dict[str, np.ndarray]:
        parameters = write_run(self.folder / family, family, steps=[3])
        done = self.run_tool("export.py", family, "--to", f"hf-{family}")
        self.assertEqual(done.returncode, 0, done.stderr)
        return parameters

    def test_transformers_computes_the_logits_of_our_definition(self) -> None:
        ids = np.random.default_rng(1).integers(0, 300, (2, 33))
        for family in MODELS:
            parameters = self.export(family)
            model = transformers.AutoModelForCausalLM.from_pretrained(self.folder / f"hf-{family}")
            model.eval()
            with torch.no_grad():
                theirs = model(torch.from_numpy(ids)).logits.double().numpy()
            ours = reference_logits(family, MODELS[family], parameters, ids)
            self.assertGreater(np.abs(ours).max(), 1.0)
            self.assertLessEqual(np.abs(theirs - ours).max(), TOLERANCE, family)

    def test_every_weight_is_used_and_none_is_made_up(self) -> None:
        for family in MODELS:
            self.export(family)
            _, info = transformers.AutoModelForCausalLM.from_pretrained(
                self.folder / f"hf-{family}", output_loading_info=True
            )
            for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
                self.assertEqual(list(info[problem]), [], f"{family}: {problem}")

    def test_the_tokenizer_gives_our_tokens(self) -> None:
        self.export("gpt2")
        theirs = transformers.AutoTokenizer.from_pretrained(self.folder / "hf-gpt2")
        ours = load_tokenizer(self.folder / "gpt2/tokenizer.json")
        for text in ("some text to learn", " größe 漢\n\tx"):
            self.assertEqual(theirs(text)["input_ids"], ours.encode_prompt(text))
            self.assertEqual(theirs.decode(theirs(text)["input_ids"]), text)
        self.assertEqual(theirs.eos_token_id, ours.end_of_document)


if __name__ == "__main__":
    unittest.main()
