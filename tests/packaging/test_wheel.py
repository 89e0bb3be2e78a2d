"""A wheel, installed elsewhere beside a stranger who owns the import name `kernels`, works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHAT_A_BUILD_READS = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
SMOKE = """
import kernels, sys
import numpy as np
import tinyml
import tinyml.kernels.cpu

x = tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])
y = tinyml.tanh(x @ x).numpy()
assert np.allclose(y, np.tanh(x.numpy() @ x.numpy())), y
g = tinyml.grad(lambda x: (x * x).sum())(x).numpy()
assert np.array_equal(g, 2 * x.numpy()), g
print(tinyml.__file__, tinyml.kernels.cpu.__file__, kernels.WHOSE, sep="\\n")
"""

pytestmark = pytest.mark.slow


def _run(*command: str | Path, folder: Path) -> str:
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools keeps a `build/` whose old files would join the next wheel."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("tinyml", "kernels", "conformance"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=without)
    for name in WHAT_A_BUILD_READS:
        shutil.copy(ROOT / name, folder / "source")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    _run(*pip, "--wheel-dir", ".", "./source", folder=folder)
    (built,) = folder.glob("tinyml-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's interpreter; the dependencies are those of the one that runs here."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=True, symlinks=os.name != "nt")
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    fresh = scripts / ("python.exe" if os.name == "nt" else "python")
    _run(fresh, "-m", "pip", "install", "--quiet", "--no-deps", wheel, folder=folder)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(_run(fresh, "-c", where, folder=folder).strip())
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    stranger = site / "kernels" / "cpu"
    stranger.mkdir(parents=True)
    (stranger.parent / "__init__.py").write_text("WHOSE = 'a stranger'\n", encoding="utf-8")
    (stranger / "__init__.py").write_text("raise ImportError('not yours')\n", encoding="utf-8")
    return fresh


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = set()
    for folder in ("tinyml", "kernels", "conformance"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "README.md":
                name = path.relative_to(ROOT).as_posix()
                expected.add(name if folder == "tinyml" else f"tinyml/{name}")
    assert held == expected


def test_it_computes_from_another_folder(python: Path, tmp_path: Path) -> None:
    home, kernels, whose = _run(python, "-c", SMOKE, folder=tmp_path).strip().split("\n")
    assert whose == "a stranger"
    assert ROOT not in Path(home).parents
    assert Path(kernels) == Path(home).parent / "kernels" / "cpu" / "__init__.py"


def test_its_command_answers(python: Path, tmp_path: Path) -> None:
    assert "train" in _run(python.parent / "tinyml", "--help", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
