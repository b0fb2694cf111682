"""Writing a folder of results so that a crash never leaves half of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from token_files import sync_and_close
from tool_errors import StorageError, UsageError, printable, storage_error

_PREFIX = ".preparing-"


@contextlib.contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """A new folder inside output for files on their way; removed at the end, whatever happens. What
    a killed process left is removed too."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        for entry in output.iterdir():
            if entry.name.startswith(_PREFIX) and not _alive(entry.name):
                shutil.rmtree(entry, ignore_errors=True)
        stage = output / f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        stage.mkdir()
    except OSError as failure:
        raise storage_error("write to", output, failure) from failure
    try:
        yield stage
    except OSError as failure:
        if failure.filename is None:  # a write that failed: a full disk, most likely
            raise StorageError(
                f"cannot write to {printable(stage.parent)}: {failure.strerror}; make room, "
                "then run again"
            ) from failure
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _alive(name: str) -> bool:
    """Whether the process that made a staging folder still runs (or another one has its number)."""
    pid = name.removeprefix(_PREFIX).split("-")[0]
    return pid.isdigit() and Path("/proc", pid).exists()


def write_file(path: Path, data: bytes) -> None:
    """Writes and syncs a file."""
    with open(path, "wb") as file:
        file.write(data)
        sync_and_close(file)


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as failure:
        temporary.unlink(missing_ok=True)
        raise storage_error("write", path, failure) from failure


def refuse_to_overwrite(output: Path, names: list[str]) -> None:
    """Raises UsageError if one of the files exists."""
    for name in names:
        if (output / name).exists():
            raise UsageError(
                f"{printable(output / name)} exists; use another --output, or --force to replace it"
            )


def publish(stage: Path, output: Path, names: list[str], last: list[str]) -> None:
    """Moves staged files to output, those in last at the end: a reader trusts nothing without
    them."""
    for name in last:
        (output / name).unlink(missing_ok=True)
    _sync_folder(output)
    for name in names:
        os.replace(stage / name, output / name)
    _sync_folder(output)
    for name in last:
        os.replace(stage / name, output / name)
    _sync_folder(output)


def _sync_folder(folder: Path) -> None:
    """Makes a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
