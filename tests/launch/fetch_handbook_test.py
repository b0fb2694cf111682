"""launch/fetch_handbook.py with an apt-get of ours: no network is needed, and none is a clear
message."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
import unittest
from pathlib import Path

import tool_case

HTML = "usr/share/doc/debian-handbook/html"
FAILING = '#!/bin/sh\necho "$@" >> {log}\necho "E: Unable to fetch some archives" >&2\nexit 100\n'
SERVING = '#!/bin/sh\necho "$@" >> {log}\ncp {package} .\n'


class FetchHandbookTest(tool_case.ToolCase):
    def fetch(self, apt_get: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        package = self.folder / "debian-handbook_1.2_all.deb"
        text = apt_get.format(log=self.folder / "log", package=package)
        self.write("bin/apt-get", text).chmod(0o755)
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        return self.run_tool(
            "fetch_handbook.py", "--output", "book", *arguments, environment=environment
        )

    @unittest.skipUnless(
        shutil.which("dpkg-deb"), "no dpkg-deb here: not a Debian or Ubuntu machine"
    )
    def package(self) -> None:
        """A package with two languages."""
        for language in ("en-US", "de-DE"):
            self.write(f"tree/{HTML}/{language}/a.html", f"<p>{language}</p>")
        self.write(
            "tree/DEBIAN/control",
            "Package: debian-handbook\nVersion: 1.2\nArchitecture: all\nMaintainer: x "
            "<x@x>\nDescription: x\n",
        )
        os.chmod(self.folder / "tree/DEBIAN", 0o755)
        target = str(self.folder / "debian-handbook_1.2_all.deb")
        subprocess.run(
            ["dpkg-deb", "-b", str(self.folder / "tree"), target], check=True, capture_output=True
        )

    def test_languages_become_sources_with_licence_and_origin(self) -> None:
        self.package()
        done = self.fetch(SERVING, "--languages", "de,en")
        self.assertEqual((done.returncode, done.stdout), (0, "book/sources.toml\n"), done.stderr)
        spec = tomllib.loads((self.folder / "book/sources.toml").read_text())["source"]
        self.assertEqual([source["id"] for source in spec], ["handbook-de", "handbook-en"])
        self.assertIn("CC-BY-SA-3.0", spec[0]["licence"])
        self.assertIn("1.2", spec[0]["origin"])
        self.assertTrue(Path(self.folder, "book", spec[0]["path"], "a.html").is_file())

    def test_a_second_call_downloads_nothing(self) -> None:
        self.package()
        self.assertEqual(self.fetch(SERVING, "--languages", "en").returncode, 0)
        self.assertEqual(self.fetch(FAILING, "--languages", "en").returncode, 0)
        self.assertEqual(len((self.folder / "log").read_text().splitlines()), 1)

    def test_no_network_is_said_with_the_way_around_it(self) -> None:
        done = self.fetch(FAILING)
        self.assert_one_line(done, 2)
        self.assertIn("E: Unable to fetch some archives", done.stderr)
        self.assertIn("launch/quickstart --text DIR", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        # Old package lists are refreshed once before giving up.
        self.assertIn(" update", (self.folder / "log").read_text())

    def test_a_damaged_package_and_unknown_languages_are_refused(self) -> None:
        self.write("debian-handbook_1.2_all.deb", b"junk")
        self.assert_one_line(self.fetch(SERVING), 2)
        self.assertFalse((self.folder / "book/text").exists())
        self.assert_one_line(self.fetch(SERVING, "--languages", "tlh"), 2)

    def test_a_language_that_the_package_lacks_is_named(self) -> None:
        self.package()
        done = self.fetch(SERVING, "--languages", "en,fr")
        self.assert_one_line(done, 2)
        self.assertIn("fr-FR", done.stderr)


if __name__ == "__main__":
    unittest.main()
