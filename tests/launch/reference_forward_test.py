"""tests/launch/reference_forward.py, against which exports are measured, agrees with the golden
logits."""

from __future__ import annotations

import json
import unittest

import numpy as np
import reference_forward
import safetensors
import tool_case

GOLDEN = tool_case.PROJECT / "tests/golden"
TOLERANCE = 2e-5  # the golden logits are fp32


class ReferenceForwardTest(unittest.TestCase):
    def test_logits_are_those_that_transformers_computed(self) -> None:
        for family in ("gpt2", "llama", "qwen2"):
            with safetensors.safe_open(GOLDEN / f"{family}.safetensors", "numpy") as file:
                model = json.loads(file.metadata()["model"])
                names = [name for name in list(file.keys()) if name.startswith("weights.")]
                parameters = {
                    name.removeprefix("weights."): file.get_tensor(name) for name in names
                }
                ids, golden = file.get_tensor("tokens")[0, :1, :16], file.get_tensor("logits")
            model["layer_norm_epsilon"] = model["rms_norm_eps"] = model["norm_epsilon"]
            ours = reference_forward.logits(family, model, parameters, ids)[0]
            self.assertLessEqual(np.abs(ours - golden).max(), TOLERANCE, family)


if __name__ == "__main__":
    unittest.main()
