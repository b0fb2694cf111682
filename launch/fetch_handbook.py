#!/usr/bin/env python3
"""Fetches the Debian Administrator's Handbook, a free book in many languages, as sources for kente
data prepare."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import atomic_output
import tool_errors
from token_files import sha256_file
from tool_errors import UsageError, printable

PACKAGE = "debian-handbook"
_DOC = Path("usr/share/doc") / PACKAGE
LICENCE = "GPL-2.0-or-later OR CC-BY-SA-3.0"
_ORIGIN = "Debian package debian-handbook {version}, https://debian-handbook.info"
_SECONDS = 900

# Folders in the package whose text is really translated; the other languages are mostly English.
# English comes first: a paragraph nobody translated stays there and vanishes everywhere else.
LANGUAGES = {
    "en": "en-US", "de": "de-DE", "es": "es-ES", "fr": "fr-FR", "ru": "ru-RU", "ja": "ja-JP",
    "ar": "ar-MA", "zh": "zh-CN", "ca": "ca-ES", "fa": "fa-IR", "id": "id-ID", "it": "it-IT",
    "nb": "nb-NO", "pt": "pt-BR",
}  # fmt: skip
# Those the quickstart recipe trains on: few enough that a small model learns each.
QUICKSTART = ("en", "de", "es", "fr", "ru", "ja")

_NO_NETWORK = (
    "connect to the network and run again, or train on your own text: launch/quickstart --text DIR "
    "(DIR holds .txt, .md, .html or .jsonl files)"
)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as failure:
        raise UsageError(
            f"no {command[0]} here, so the handbook cannot be fetched; "
            f"{_NO_NETWORK.partition(', or ')[2]}"
        ) from failure
    except subprocess.TimeoutExpired as failure:
        raise UsageError(
            f"{command[0]} took over {_SECONDS} s to fetch {PACKAGE}; {_NO_NETWORK}"
        ) from failure


def download(folder: Path) -> Path:
    """Downloads the package into folder, checked by apt against its signed lists; installs
    nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    # Root's apt would switch to a user who may not write here.
    plain = ["apt-get", "-q", "-o", "APT::Sandbox::User="]
    got = first = _run([*plain, "download", PACKAGE], folder)
    if got.returncode != 0:
        # No lists yet, or old ones: fetch some of our own, which needs no root.
        lists = folder / "apt"
        for part in ("lists/partial", "cache/archives/partial"):
            (lists / part).mkdir(parents=True, exist_ok=True)
        own = [
            *plain,
            "-o",
            f"Dir::State::Lists={lists.absolute()}/lists",
            "-o",
            f"Dir::Cache={lists.absolute()}/cache",
        ]
        _run([*own, "update"], folder)
        got = _run([*own, "download", PACKAGE], folder)
        shutil.rmtree(lists, ignore_errors=True)
    packages = sorted(folder.glob(f"{PACKAGE}_*.deb"), key=lambda path: path.stat().st_mtime)
    if got.returncode != 0 or not packages:
        reason = next(
            (line for line in first.stderr.splitlines() if line.startswith("E:")),
            "apt-get gave no reason",
        )
        raise UsageError(
            f"cannot download the Debian package {PACKAGE}: {reason.strip()}; {_NO_NETWORK}"
        )
    return packages[-1]


def unpack(package: Path, folder: Path) -> None:
    """Unpacks into folder/text, whole or not at all."""
    target = folder / "text"
    temporary = folder / f".text-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    got = _run(["dpkg-deb", "-x", str(package.absolute()), str(temporary.absolute())], folder)
    if got.returncode != 0:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UsageError(
            f"cannot unpack {printable(package)}: {got.stderr.strip()[:200]}; remove it and "
            "run again"
        )
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def write_spec(folder: Path, version: str, languages: list[str]) -> Path:
    """Writes folder/sources.toml; returns its path."""
    html = Path("text") / _DOC / "html"
    lines = [
        f"# The Debian Administrator's Handbook, {PACKAGE} {version}. Licence: "
        f"text/{_DOC}/copyright"
    ]
    for language in languages:
        path = html / LANGUAGES[language]
        if not (folder / path).is_dir():
            raise UsageError(
                f"{PACKAGE} {version} has no {LANGUAGES[language]}; leave '{language}' out of "
                "--languages"
            )
        fields = {
            "id": f"handbook-{language}",
            "path": str(path),
            "title": f"The Debian Administrator's Handbook ({LANGUAGES[language]})",
            "licence": LICENCE,
            "language": LANGUAGES[language],
            "lab": "Debian",
            "origin": _ORIGIN.format(version=version),
        }
        lines += ["", "[[source]]", *(f'{key} = "{value}"' for key, value in fields.items())]
    spec = folder / "sources.toml"
    atomic_output.replace_file(spec, ("\n".join(lines) + "\n").encode("utf-8"))
    return spec


def fetch(folder: Path, languages: list[str]) -> Path:
    """Downloads and unpacks unless an earlier call did; returns the sources.toml for the
    languages."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "unpacked"
    packages = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    package = packages[-1] if packages else download(folder)
    # The package is kept, so that "have I unpacked this one" can be answered by its digest.
    digest = sha256_file(package)
    if not stamp.exists() or stamp.read_text().strip() != digest:
        unpack(package, folder)
        atomic_output.replace_file(stamp, f"{digest}\n".encode())
    return write_spec(folder, package.name.split("_")[1], languages)


def main(arguments: list[str]) -> int:
    """Prints the path of the sources.toml; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch/fetch_handbook.py", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".cache/handbook"), metavar="DIR")
    parser.add_argument(
        "--languages",
        default=",".join(QUICKSTART),
        help=f"comma-separated, of {' '.join(LANGUAGES)}; or all (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    languages = list(LANGUAGES) if options.languages == "all" else options.languages.split(",")
    for language in languages:
        if language not in LANGUAGES:
            raise UsageError(
                f"--languages: '{printable(language)}' is none of {' '.join(LANGUAGES)}"
            )
    try:
        print(fetch(options.output, languages))
    except OSError as failure:
        raise tool_errors.storage_error("write to", options.output, failure) from failure
    return tool_errors.EXIT_DONE


if __name__ == "__main__":
    tool_errors.run_tool("fetch_handbook", main)
