"""What needs no device runs without numba and pyopencl: these tests do, where both are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEVICE_FREE = (
    "tests/ir", "tests/core/test_plan.py", "tests/test_tree.py", "tests/data",
    "tests/conformance/test_ulp.py", "tests/conformance/test_reference.py",
    "tests/train/test_progress.py", "tests/packaging/test_floors.py",
)
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(["numba", "llvmlite", "pyopencl"]))
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def _without(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTEST_ADDOPTS": "", "TINYML_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", WITHOUT, "-q", "--processes=1", "-p", "no:cacheprovider",
               "-m", "not slow and not peers and not data", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_device_free_tests_run_without_the_compilers(tmp_path: Path) -> None:
    done = _without(*DEVICE_FREE, cache=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_test_that_computes_does_not(tmp_path: Path) -> None:
    done = _without("tests/test_tiny.py::test_save_and_load", "tests/test_tiny.py::test_words[cpu]",
                    cache=tmp_path)
    assert "1 failed, 1 passed" in done.stdout, done.stdout[-3000:]
