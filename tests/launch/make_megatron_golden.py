#!/usr/bin/env python3
"""Writes tests/golden/megatron/ with Megatron's own builder (launch/setup --peers installs it).

usage: make_megatron_golden.py DIR
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy
import torch
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

DOCUMENTS = {
    "uint16": (numpy.uint16, [[11, 12, 13, 0], [21, 0], [31, 32, 65_000, 0]]),
    "int32": (numpy.int32, [[70_000, 1, 0], [2, 0]]),
}


def main(folder: Path) -> None:
    """Builds one pair for each token type."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (dtype, documents) in DOCUMENTS.items():
        builder = IndexedDatasetBuilder(str(folder / f"{name}.bin"), dtype=dtype)
        for document in documents:
            builder.add_document(torch.tensor(document), [len(document)])
        builder.finalize(str(folder / f"{name}.idx"))
    version = importlib.metadata.version("megatron-core")
    text = f"Written by tests/launch/make_megatron_golden.py with megatron-core {version}.\n"
    (folder / "README").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
