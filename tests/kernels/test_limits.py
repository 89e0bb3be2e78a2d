"""The memory limit: set by name or number, and asked before the host takes any memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tinyml.errors import AllocationError, ArgumentError, DeviceError
from tinyml.ir.devices import find_device
from tinyml.kernels.common.pool import byte_count
from tinyml.kernels.cpu.device import _group_limits

pytestmark = pytest.mark.kernels(1)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _default_afterwards() -> Iterator[None]:
    yield
    tinyml.set_memory_limit(None)


# ---- setting it


@pytest.mark.parametrize(("text", "size"), [
    ("2GB", 2_000_000_000), ("512 MiB", 512 << 20), ("1.5gib", 3 << 29), ("64kb", 64_000),
    ("7", 7), (" 3 TB ", 3 * 10**12), ("10b", 10), (0, 0), (123_456, 123_456)])
def test_a_limit_is_a_number_or_has_a_unit(text: int | str, size: int, device: str) -> None:
    assert byte_count(text) == size
    tinyml.set_memory_limit(text, device)
    assert tinyml.memory_stats(device).budget == size


@pytest.mark.parametrize("wrong", [-1, True, 2.5, "", "GB", "2 XB", "1e9", "²", "-1GB", "0x10",
                                   [], b"2GB", "9" * 400, "2GBB", "1.5.2MB", "inf"])
def test_what_is_no_limit_is_refused(wrong: Any, device: str) -> None:
    before = tinyml.memory_stats(device).budget
    for chosen in (None, device):
        with pytest.raises(ArgumentError, match="memory limit") as caught:
            tinyml.set_memory_limit(wrong, chosen)
        assert "2GB" in str(caught.value.remedy)
    assert tinyml.memory_stats(device).budget == before


def test_a_limit_is_for_every_device_or_one(device: str) -> None:
    default = {name: tinyml.memory_stats(name).budget for name in {"cpu", device}}
    tinyml.set_memory_limit("100MB")
    assert {tinyml.memory_stats(name).budget for name in default} == {100_000_000}
    tinyml.set_memory_limit("50MB", device)
    assert tinyml.memory_stats(device).budget == 50_000_000
    assert tinyml.memory_stats("cpu").budget == (50 if device == "cpu" else 100) * 1_000_000
    tinyml.set_memory_limit(None)
    assert {name: tinyml.memory_stats(name).budget for name in default} == default
    with pytest.raises(DeviceError):
        tinyml.set_memory_limit("1GB", "gpu")


def test_a_limit_holds_for_a_device_opened_later(device: str) -> None:
    code = ("import tinyml; tinyml.set_memory_limit('3MB'); "
            f"print(tinyml.memory_stats({device!r}).budget)")
    assert _run(code) == "3000000\n"
    code = "import tinyml; print(tinyml.memory_stats('cpu').budget)"
    assert _run(code, TINYML_MEMORY_LIMIT="2 MiB") == "2097152\n"


def test_a_lower_limit_keeps_what_exists(device: str) -> None:
    x = tinyml.ones((500, 500), device=device).copy()
    tinyml.set_memory_limit("10kB", device)
    with pytest.raises(AllocationError, match="10000") as caught:
        x + 1.0
    assert "set_memory_limit" in str(caught.value.remedy)
    assert (x.numpy() == 1.0).all()
    tinyml.set_memory_limit(None, device)
    assert (x + 1.0).sum().item() == 500_000.0


# ---- the default


def test_the_limits_of_control_groups(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")

    write("a/b/memory.max", "max\n")
    write("a/memory.max", "3000\n")
    write("memory/x/y/memory.limit_in_bytes", "5000\n")
    write("memory/x/memory.limit_in_bytes", "9223372036854771712\n")
    assert _group_limits(str(tmp_path), "0::/a/b\n") == [3000]
    assert min(_group_limits(str(tmp_path), "4:cpu,cpuacct:/z\n7:memory:/x/y\n0::/\n")) == 5000
    assert _group_limits(str(tmp_path), "1:cpu:/a\nnonsense\n0::/../../other\n") == []
    write("memory.max", "700\n")  # a container that sees its group as the root
    assert min(_group_limits(str(tmp_path), "")) == 700


# ---- before the host takes memory

# The limit is far below what each needs; the peak must show nothing of it.
BEFORE = """
import resource
import numpy as np
import tinyml
device = sys.argv[1]
tinyml.set_memory_limit("40MB")
x = tinyml.ones(1000, device=device) + 1.0
x.numpy()
tinyml.fft.rfftfreq(8, device=device), tinyml.triu_indices(3, device=device)
long = [0.25] * 20_000_000
far = tinyml.broadcast_to(tinyml.ones(1, device=device), (1 << 34,))
resource.setrlimit(resource.RLIMIT_AS, (1 << 35, resource.getrlimit(resource.RLIMIT_AS)[1]))
uses = {
    "rfftfreq": lambda: tinyml.fft.rfftfreq(1 << 26, device=device),
    "fftfreq": lambda: tinyml.fft.fftfreq(30_000_001, device=device),
    "fftfreq without end": lambda: tinyml.fft.fftfreq(1 << 62, device=device),
    "triu_indices": lambda: tinyml.triu_indices(9_000, 3, 8_000, device=device),
    "tril_indices without end": lambda: tinyml.tril_indices(1 << 31, device=device),
    "a range": lambda: tinyml.tensor(range(1 << 24), device=device),
    "a range without end": lambda: tinyml.tensor(range(0, 1 << 70, 3), device=device),
    "lists": lambda: tinyml.asarray([range(1 << 23)] * 3, device=device),
    "an array of stride 0": lambda: tinyml.tensor(np.broadcast_to(1.0, (1 << 40,)), device=device),
    "a cast of an array": lambda: tinyml.tensor(small, dtype="float64", device="cpu"),
    "linspace": lambda: tinyml.linspace(0.0, 1.0, 1 << 27, device=device),
    "eye": lambda: tinyml.eye(1 << 14, device=device),
    "gradient": lambda: tinyml.gradient(far, 0.5),
    "pad": lambda: tinyml.pad(x, (1 << 28, 0), mode="linear_ramp"),
    "histogram": lambda: tinyml.histogram(x, 1 << 28, (0.0, 1.0)),
    "a list": lambda: tinyml.tensor(long, device=device),
}
small = np.broadcast_to(np.float32(1.0), (6_000_000,))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, use in uses.items():
    try:
        use()
    except tinyml.TinyMLError as error:
        assert isinstance(error, MemoryError), (name, error)
    else:
        raise SystemExit(f"{name} was not refused")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if name != "a list":  # whose text, in the error, is long
        assert grown * 1024 < 30_000_000, (name, grown)
"""


def _run(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}",
         *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
@pytest.mark.kernels(8)
def test_nothing_is_taken_before_the_budget_is_asked(device: str) -> None:
    _run(BEFORE, device)


def test_what_is_asked_for_is_there_afterwards(device: str) -> None:
    """The memory that was asked for is used by the upload, not held besides."""
    place: Any = find_device(device)
    place.pool.release()
    before = place.pool.usage()
    x = tinyml.tensor(np.ones((600, 700), np.float32), device=device)
    after = place.pool.usage()
    assert x.nbytes > 1 << 20 and after.allocations == before.allocations + 1


@given(st.integers(0, 6), st.integers(-9, 9), st.integers(0, 6) | st.none())
def test_indices_of_triangles_are_numpys(n: int, k: int, m: int | None) -> None:
    for ours, theirs in ((tinyml.tril_indices, np.tril_indices),
                         (tinyml.triu_indices, np.triu_indices)):
        for found, right in zip(ours(n, k, m), theirs(n, k, m)):
            assert found.dtype.name == "int64" and found.tolist() == right.tolist()


def test_few_indices_of_a_vast_matrix() -> None:
    rows, columns = tinyml.tril_indices(10**12, 2 - 10**12)
    assert rows.tolist() == [10**12 - 2, 10**12 - 1, 10**12 - 1] and columns.tolist() == [0, 0, 1]
    rows, columns = tinyml.triu_indices(10**12, 10**12 - 1)
    assert rows.tolist() == [0] and columns.tolist() == [10**12 - 1]
