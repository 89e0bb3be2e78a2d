"""README: its example runs, its two commands are one line each, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "kernels").glob("*.md"))


def _section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, flags=re.M | re.S)
    return str(found)


@pytest.mark.parametrize(("title", "last"), [("Run it", "train digits"), ("Test it", "pytest")])
def test_a_section_holds_one_command_of_one_line(title: str, last: str) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```", _section(title), flags=re.M | re.S)
    assert len(blocks) == 1
    assert blocks[0].count("\n") == 1
    assert blocks[0].strip().endswith(last)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_what_pyright_reads_runs() -> None:
    runpy.run_path(str(Path(__file__).with_name("public_interface.py")))


def test_every_folder_has_a_place_in_the_table() -> None:
    folders = {f"tinyml/{path.name}/" for path in (ROOT / "tinyml").iterdir()
               if path.is_dir() and path.name != "__pycache__"}
    folders |= {"kernels/", "conformance/", "docs/", "tests/"}
    rows = re.findall(r"^\| (`[^|]*/`) \|", _section("Where things are"), flags=re.M)
    assert {name.strip("`") for row in rows for name in row.split(", ")} == folders


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
