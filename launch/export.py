#!/usr/bin/env python3
"""kente export: a checkpoint as a folder that Hugging Face transformers loads."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

import atomic_output
import hf_names
import textproto
import tool_errors
from checkpoint_reader import (
    MANIFEST,
    Checkpoint,
    find_checkpoints,
    open_checkpoint,
    read_parameters,
)
from tokenizer_files import DocumentTokenizer, load_tokenizer
from tool_errors import ToolError, UsageError, printable

RECIPE = "recipe.textproto"
TOKENIZER = "tokenizer.json"
_WEIGHTS = "model.safetensors"
_CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json")
_MODEL_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "initializer_range", "tie_word_embeddings",
)  # fmt: skip


def find_run(path: Path) -> tuple[Path, list[Path]]:
    """The run directory, and the step directories to try, for a run or for one of its
    checkpoints."""
    if (path / MANIFEST).is_file():
        folder = path.absolute()
        return folder.parent.parent, [folder]
    if not (path / RECIPE).is_file():
        raise UsageError(
            f"{printable(path)}: neither a run ({RECIPE}) nor a checkpoint ({MANIFEST}); name one"
        )
    return path, find_checkpoints(path / "ckpt")


def load_parameters(path: Path, step: int | None) -> tuple[Path, Checkpoint, dict[str, np.ndarray]]:
    """The run, the checkpoint and its weights: of the wanted step, or of the newest that is
    whole."""
    run, folders = find_run(path)
    if step is not None:
        folders = [folder for folder in folders if folder.name == f"step-{step:012d}"]
        if not folders:
            raise UsageError(
                f"{printable(path)}: no checkpoint of step {step}; kente ckpt ls "
                f"{printable(run)} lists them"
            )
    failures: list[ToolError] = []
    for folder in folders:
        try:
            checkpoint = open_checkpoint(folder)
            return run, checkpoint, read_parameters(checkpoint)
        except ToolError as failure:
            failures.append(failure)
            if len(folders) > 1:
                print(f"warning: {failure}: trying an older one", file=sys.stderr)
        except (KeyError, TypeError, ValueError) as failure:
            # The digest was right, so somebody wrote it on purpose: refuse it like any other
            # damage.
            failures.append(
                UsageError(
                    f"{printable(folder / MANIFEST)}: not a manifest ({failure}); use another "
                    "--step"
                )
            )
    raise (
        failures[0]
        if failures
        else UsageError(f"{printable(path)}: no checkpoint in it; train first")
    )


def read_model(run: Path) -> dict[str, object]:
    """The model of a run's resolved recipe, as hf_names wants it."""
    _, recipe = textproto.read(run / RECIPE)
    fields = recipe.message("model")
    model: dict[str, object] = {name: fields.get(name) for name in _MODEL_FIELDS}
    family = fields.get("model_type")
    model["family"] = family
    model["norm_epsilon"] = fields.get("layer_norm_epsilon" if family == "gpt2" else "rms_norm_eps")
    model["rope_theta"] = fields.get("rope_theta")
    needed = [name for name in model if name != "rope_theta" or family != "gpt2"]
    missing = [name for name in needed if model[name] is None]
    if missing or family not in hf_names.FAMILIES:
        what = (
            f"model.{missing[0]} is missing"
            if missing
            else f"model_type {printable(family)} is unknown"
        )
        raise UsageError(f"{printable(run / RECIPE)}: {what}; want the resolved recipe of a run")
    return model


def configs(model: dict, tokenizer: DocumentTokenizer | None) -> dict[str, dict]:
    """The JSON files of the folder, by name."""
    config = {**hf_names.hf_config(model), "dtype": "float32", "use_cache": True}
    generation: dict[str, object] = {"do_sample": True, "temperature": 0.8, "top_k": 50}
    files = {"config.json": config, "generation_config.json": generation}
    if tokenizer is None:
        return files
    end = tokenizer.end_of_document
    for target in (config, generation):
        target.update(bos_token_id=end, eos_token_id=end)
    token = tokenizer.token(end)
    files["tokenizer_config.json"] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token,
        "eos_token": token,
        "model_max_length": model["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
    }
    return files


def export(path: Path, target: Path, step: int | None = None) -> Checkpoint:
    """Writes target; returns the checkpoint it was made of. Files appear complete or not at all."""
    run, checkpoint, parameters = load_parameters(path, step)
    model = read_model(run)
    try:
        tensors = hf_names.to_hf(model, parameters)
    except (KeyError, ValueError) as failure:
        raise UsageError(
            f"{printable(checkpoint.folder)}: its tensors do not fit {RECIPE}: {failure}"
        ) from failure
    tokenizer = load_tokenizer(run / TOKENIZER) if (run / TOKENIZER).is_file() else None
    with atomic_output.staging_folder(target) as stage:
        written = configs(model, tokenizer)
        for name, content in written.items():
            atomic_output.write_file(
                stage / name, (json.dumps(content, indent=2) + "\n").encode("utf-8")
            )
        names = [_WEIGHTS, *(name for name in written if name != "config.json")]
        if tokenizer is not None:
            atomic_output.write_file(stage / TOKENIZER, tokenizer.data)
            names.append(TOKENIZER)
        atomic_output.write_file(
            stage / _WEIGHTS, safetensors.numpy.save(tensors, metadata={"format": "pt"})
        )
        atomic_output.publish(stage, target, names, ["config.json"])
    return checkpoint


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(prog="kente export", description=__doc__)
    parser.add_argument("run", type=Path, help="a run directory, or one checkpoint in RUN/ckpt")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--step", type=int, help="which checkpoint (default: the newest that is whole)"
    )
    parser.add_argument("--force", action="store_true", help="replace files in --to")
    options = parser.parse_args(arguments)
    if not options.force:
        atomic_output.refuse_to_overwrite(options.to, [_WEIGHTS, TOKENIZER, *_CONFIGS])
    checkpoint = export(options.run, options.to, options.step)
    print(f"wrote step {checkpoint.step} to {printable(options.to)}")
    return tool_errors.EXIT_DONE


if __name__ == "__main__":
    tool_errors.run_tool("export", main)
