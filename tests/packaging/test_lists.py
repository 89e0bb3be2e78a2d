"""The lists in setup.cfg against the folders: what is unlisted is missing from the wheel."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPPED = {"tinyml": "tinyml", "tinyml.kernels": "kernels", "tinyml.conformance": "conformance"}
NOT_SHIPPED = {"README.md"}


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def _package_of(path: Path) -> str:
    """The import name of the folder that a file stands in."""
    parts = path.parent.relative_to(ROOT).parts
    return ".".join(parts if parts[0] == "tinyml" else ("tinyml", *parts))


def test_folders_are_mapped(setup: configparser.ConfigParser) -> None:
    pairs = re.findall(r"(\S+) *= *(\S+)", setup["options"]["package_dir"])
    assert dict(pairs) == MAPPED


def test_every_folder_of_python_is_listed(setup: configparser.ConfigParser) -> None:
    listed = setup["options"]["packages"].split()
    found = {
        _package_of(path)
        for folder in MAPPED.values()
        for path in _files(ROOT / folder)
        if path.suffix == ".py"
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == found | set(MAPPED)


def test_every_data_file_is_listed(setup: configparser.ConfigParser) -> None:
    found = {
        (_package_of(path), path)
        for folder in MAPPED.values()
        for path in _files(ROOT / folder)
        if path.suffix not in {".py", ".pyc"} and path.name not in NOT_SHIPPED
    }
    listed = {
        (package, path)
        for package, patterns in setup["options.package_data"].items()
        for pattern in patterns.split()
        for path in _folder(package).glob(pattern)
    }
    assert {path for _, path in found - listed} == set(), "add these to package_data"
    for package, patterns in setup["options.package_data"].items():
        for pattern in patterns.split():
            assert list(_folder(package).glob(pattern)), f"{package}: {pattern} matches nothing"


def _folder(package: str) -> Path:
    name = max((name for name in MAPPED if f"{package}.".startswith(f"{name}.")), key=len)
    return ROOT.joinpath(MAPPED[name], *package.removeprefix(name).strip(".").split("."))


def test_the_mapped_folders_have_no_init_and_theirs_have_one() -> None:
    for folder in ("kernels", "conformance"):
        assert not (ROOT / folder / "__init__.py").exists()
        for path in _files(ROOT / folder):
            if path.suffix == ".py":
                assert path.parent != ROOT / folder, f"{path.name} stands beside the subfolders"
                assert (path.parent / "__init__.py").exists()


def test_the_map_of_the_kernels_names_every_device() -> None:
    text = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    for folder in (ROOT / "kernels").iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert f"[`{folder.name}/`]({folder.name})" in text


def test_there_is_one_version() -> None:
    import tinyml

    assert tinyml.__version__.count(".") == 2
    assert not (ROOT / "setup.py").exists()
    assert "version" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8").replace(
        "target-version", ""
    ).replace("pythonVersion", "")
