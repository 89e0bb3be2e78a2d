"""An interrupt while a kernel is compiled: the compiler stays usable, and the cache whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernels(3)

ROOT = Path(__file__).parents[2]

# Every 50 ms: while numba is imported, while it compiles, while object code is loaded.
PROGRAM = """
import signal
import numpy as np
import tinyml

class Stop(BaseException):
    pass

def interrupt(*_):
    if armed:
        raise Stop

def attempt(use):
    global armed
    try:
        try:
            armed = True
            result = use().numpy()
            armed = False
            return result
        except Stop:
            armed = False
    except Stop:
        armed = False
    return None

armed, hits = False, 0
x = tinyml.tensor(np.linspace(-1.0, 2.0, 12).reshape(4, 3))
values = x.numpy()
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
for use, right in ((lambda: tinyml.cosh(x) - 1.0, np.cosh(values) - 1.0),
                   (lambda: (x * x).sum(axis=0), (values * values).sum(axis=0)),
                   (lambda: x @ x.T, values @ values.T)):
    while (found := attempt(use)) is None:
        hits += 1
    assert np.allclose(found, right, rtol=1e-12)
signal.setitimer(signal.ITIMER_REAL, 0)
assert hits > 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs interval timers")
def test_a_compiler_that_was_interrupted_compiles(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROGRAM}"],
        env={**os.environ, "TINYML_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [path.name for path in (tmp_path / "cache").iterdir() if path.suffix == ".part"]
