"""No file names a path of somebody's machine or a package registry's host."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each pattern holds a one-letter class, so that this file does not name them either.
MACHINES = r"/[r]oot/ /[w]ork/ /[h]ome/\w /[U]sers/\w [A-Z]:\\[U]sers"
HOSTS = (
    r"pypi[.]org [p]ythonhosted deb[.]debian[.]org archive[.]ubuntu[.]com registry[.]npmjs "
    r"crates[.]io conda[.]anaconda[.]org"
)
FORBIDDEN = re.compile("|".join([*MACHINES.split(), *HOSTS.split()]))


def _files() -> list[Path]:
    """What git would commit; in a copy without git, every file of the house."""
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        command = [git, "ls-files", "-co", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    folders = ("tinyml", "kernels", "conformance", "tests", "docs", ".ci", ".github")
    return [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(
        ROOT.glob("*.*")
    )


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in _files():
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in FORBIDDEN.finditer(text)]
    assert found == []


@pytest.mark.parametrize("name", ["root", "work", "home"])
def test_a_planted_machine_is_seen(name: str) -> None:
    assert FORBIDDEN.search(f"cd /{name}/ann")


def test_a_planted_registry_is_seen() -> None:
    assert FORBIDDEN.search("index-url = https://{}/simple".format(".".join(["pypi", "org"])))
