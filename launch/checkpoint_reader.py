"""Reads a checkpoint (csrc/ckpt/checkpoint.h): MANIFEST.json and safetensors shards, all verified
before use."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from token_files import sha256_file
from tool_errors import StorageError, UsageError, printable, storage_error

MANIFEST = "MANIFEST.json"
# Version 2 stores optimizer state in pieces; weights are whole in both.
_VERSIONS = (1, 2)
_MANIFEST_BYTES = 64 << 20
_STEP = re.compile(r"step-(\d{12})")
# The digest is the first key, so it is checked before any JSON is parsed.
_DIGEST = re.compile(rb'\{"digest":"([0-9a-f]{64})",')
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_OPTIMIZER_STATE = ("exp_avg.", "exp_avg_sq.")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's directory and its manifest, whose digest was right."""

    folder: Path
    step: int
    manifest: dict


def find_checkpoints(folder: Path) -> list[Path]:
    """The step directories in RUN/ckpt, newest first."""
    try:
        names = [entry for entry in folder.iterdir() if _STEP.fullmatch(entry.name)]
    except OSError as failure:
        raise storage_error("read", folder, failure) from failure
    return sorted(names, key=lambda entry: entry.name, reverse=True)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads a step directory's manifest. Raises UsageError if it is damaged or newer than this
    tool."""
    path = folder / MANIFEST
    name = printable(path)
    try:
        if path.stat().st_size > _MANIFEST_BYTES:
            raise UsageError(f"{name}: over {_MANIFEST_BYTES >> 20} MiB; not a manifest")
        text = path.read_bytes()
    except OSError as failure:
        raise storage_error("read", path, failure) from failure
    head = _DIGEST.match(text)
    bare = b"{" + text[head.end() :].removesuffix(b"\n") if head else b""
    if head is None or hashlib.sha256(bare).hexdigest() != head.group(1).decode():
        raise UsageError(
            f"{name}: damaged, its digest is not that of its bytes; use another --step"
        )
    try:
        manifest = json.loads(bare)
    except (ValueError, RecursionError) as failure:
        raise UsageError(f"{name}: not JSON; use another --step") from failure
    version = manifest.get("kente_checkpoint")
    if version not in _VERSIONS:
        raise UsageError(
            f"{name}: format version {version}, this tool reads up to {_VERSIONS[-1]}; use its kente"
        )
    return Checkpoint(folder, int(manifest["step"]), manifest)


def read_parameters(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The fp32 master weights by name. Every byte of every shard is checked against its SHA-256."""
    tensors: dict[str, np.ndarray] = {}
    for shard in checkpoint.manifest["shards"]:
        wanted = [t for t in shard["tensors"] if not t["name"].startswith(_OPTIMIZER_STATE)]
        path = checkpoint.folder / _plain(shard["file"], checkpoint)
        if not path.exists():
            raise UsageError(
                f"{printable(path)}: missing; if another node wrote it, copy it here, else "
                "use another --step"
            )
        _check_shard(path, shard)
        for tensor in wanted:
            tensors[tensor["name"]] = _read_tensor(path, tensor, shard["bytes"])
    return tensors


def _plain(name: str, checkpoint: Checkpoint) -> str:
    """A shard's file name, which must stay inside the checkpoint."""
    if not _PLAIN.fullmatch(name):
        raise UsageError(
            f"{printable(checkpoint.folder / MANIFEST)}: '{printable(name)}' is no shard name"
        )
    return name


def _check_shard(path: Path, shard: dict) -> None:
    try:
        size, digest = path.stat().st_size, sha256_file(path)
    except OSError as failure:
        raise storage_error("read", path, failure) from failure
    if size != shard["bytes"] or digest != shard["sha256"]:
        raise StorageError(
            f"{printable(path)}: {size} bytes of digest {digest[:16]}, want {shard['bytes']} of "
            f"{shard['sha256'][:16]}: damaged; use another --step"
        )


def _read_tensor(path: Path, tensor: dict, file_bytes: int) -> np.ndarray:
    name = f"{printable(path)}: tensor {printable(tensor['name'])}"
    shape, offset, size = tensor["shape"], tensor["offset"], tensor["bytes"]
    if tensor["dtype"] != "f32":
        raise UsageError(f"{name}: dtype {printable(tensor['dtype'])}; want f32 master weights")
    count = 1
    for extent in shape:
        count *= extent
    if offset < 8 or size != 4 * count or offset + size > file_bytes:
        raise UsageError(f"{name}: {size} bytes at {offset} do not hold shape {shape}")
    return np.fromfile(path, dtype="<f4", count=count, offset=offset).reshape(shape)
