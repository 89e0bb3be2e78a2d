"""The disk cache: whatever goes wrong with it costs one warning, and never a result."""

from __future__ import annotations

import ast
import errno
import hashlib
import os
import pickletools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tinyml
from tinyml.errors import BuildError, CacheWarning
from tinyml.kernels.common import cache

pytestmark = pytest.mark.kernels(7)

ROOT = Path(__file__).parents[2]
HEAD = len(b"tinyml-1") + 32  # of an entry: the format's name and the payload's SHA-256
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX's owners and modes")

PROGRAM = """
import sys
import tinyml
x = tinyml.tensor([[1.5, -2.0], [0.25, 4.0]], device=sys.argv[1])
y = tinyml.tanh(x * 2 + 1).sum(axis=0)
print(y.numpy().tobytes().hex(), sorted({"numba", "pickle"} & set(sys.modules)))
"""
# Simulated, since root ignores modes and a disk is not filled for a test.
READ_ONLY = """
import errno, os
_open = os.open
def read_only(path, flags, *more, **options):
    if flags & os.O_CREAT:
        raise OSError(errno.EROFS, "Read-only file system")
    return _open(path, flags, *more, **options)
os.open = read_only
"""
FULL_DISK = """
import errno, os
def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
os.replace = full
"""
TROUBLES = {"a read-only folder": READ_ONLY, "a full disk": FULL_DISK}


def start(device: str, folder: Path, before: str = "", **more: str) -> subprocess.Popen[str]:
    """A process that computes PROGRAM's result with this folder as its cache."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{before}\n{PROGRAM}"
    environment = {**os.environ, "TINYML_CACHE_DIR": str(folder), **more}
    return subprocess.Popen(
        [sys.executable, "-W", "always::tinyml.errors.CacheWarning", "-c", code, device],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, list[str], str]:
    """The result's bits, the cache's warnings, and what of numba and pickle was loaded."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    bits, _, loaded = output.strip().partition(" ")
    return bits, [line for line in errors.splitlines() if "CacheWarning" in line], loaded


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """A folder that holds all that PROGRAM needs on a device, and the right bits; made once."""
    made: dict[str, tuple[Path, str]] = {}

    def make(device: str) -> tuple[Path, str]:
        if device not in made:
            folder = tmp_path_factory.mktemp(device) / "cache"
            bits, warned, _ = finish(start(device, folder))
            assert not warned and list(folder.iterdir())
            made[device] = folder, bits
        return made[device]

    return make


def _entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.stat().st_size}


def _restore(folder: Path, entries: dict[str, bytes]) -> None:
    for name, data in entries.items():
        (folder / name).write_bytes(data)


def _assert_one_warning(warned: list[str], folder: Path) -> None:
    assert len(warned) == 1, warned
    assert str(folder) in warned[0] and "Remedy" in warned[0] and "TINYML_CACHE_DIR" in warned[0]


# ---- what is kept


def test_a_warm_process_loads_no_numba(warm: Any, device: str) -> None:
    folder, bits = warm(device)
    before = _entries(folder)
    again, warned, loaded = finish(start(device, folder))
    assert again == bits and not warned and "numba" not in loaded
    assert _entries(folder) == before


def test_entries_are_checked_and_no_pickle(warm: Any, device: str) -> None:
    folder, _ = warm(device)
    entries = _entries(folder)
    assert any(name.endswith(".o" if device == "cpu" else ".bin") for name in entries)
    for name, data in entries.items():
        payload = data[HEAD:]
        assert data.startswith(b"tinyml-1") and hashlib.sha256(payload).digest() == data[8:HEAD]
        with pytest.raises(Exception):  # noqa: B017  # pickletools raises errors of many kinds
            list(pickletools.genops(payload))
        if name.endswith(".o"):
            _, _, code = payload.partition(b"\0")
            assert not code.startswith(b"\x80")


def test_no_module_of_the_cache_s_path_unpickles() -> None:
    files = sorted((ROOT / "kernels").rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert not {"pickle", "shelve", "marshal", "dill", "joblib"} & set(names), file


@POSIX
def test_the_folder_is_private(warm: Any) -> None:
    folder, _ = warm("cpu")
    assert folder.stat().st_mode & 0o077 == 0
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


# ---- what goes wrong


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": _flip,
    "half of it": lambda data: data[: len(data) // 2],
    "nothing": lambda data: b"",
    "something else": lambda data: b"\x80\x04N." * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", False)
    cache.put("entry", b"payload" * 9)
    path = tmp_path / "cache" / "entry"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.warns(CacheWarning, match="entry is damaged") as caught:
        assert cache.get("entry") is None
    assert len(caught) == 1 and not path.exists()
    cache.put("entry", b"new")
    assert cache.get("entry") == b"new"


def test_damaged_entries_of_a_computation(warm: Any, device: str) -> None:
    folder, bits = warm(device)
    entries = _entries(folder)
    for name in entries:
        (folder / name).write_bytes(_flip(entries[name]))
    try:
        again, warned, _ = finish(start(device, folder))
        assert again == bits
        _assert_one_warning(warned, folder)
        healed, warned, loaded = finish(start(device, folder))
        assert healed == bits and not warned and "numba" not in loaded
    finally:
        _restore(folder, entries)


def test_a_file_in_place_of_the_folder(warm: Any, device: str, tmp_path: Path) -> None:
    _, bits = warm(device)
    place = tmp_path / "cache"
    place.write_text("not a folder")
    again, warned, _ = finish(start(device, place))
    assert again == bits and place.read_text() == "not a folder"
    _assert_one_warning(warned, place)


@POSIX
def test_a_folder_that_others_may_write_to(warm: Any, device: str) -> None:
    folder, bits = warm(device)
    before = _entries(folder)
    folder.chmod(0o777)
    try:
        again, warned, loaded = finish(start(device, folder))
    finally:
        folder.chmod(0o700)
    assert again == bits and _entries(folder) == before
    _assert_one_warning(warned, folder)
    assert device == "opencl" or "numba" in loaded  # nothing of it was trusted


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_folder_that_takes_nothing(trouble: str, warm: Any, tmp_path: Path) -> None:
    _, bits = warm("cpu")
    folder = tmp_path / "cache"
    again, warned, _ = finish(start("cpu", folder, TROUBLES[trouble]))
    assert again == bits and not _entries(folder)
    _assert_one_warning(warned, folder)


def test_a_disk_that_fills_up_while_writing(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A file that takes nothing."""

        def __init__(self, handle: int, *_: Any) -> None:
            self.handle = handle

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: Any) -> None:
            os.close(self.handle)

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.setattr(os, "fdopen", Full)
    with pytest.warns(CacheWarning, match="No space left") as caught:
        cache.put("entry", b"payload")
        cache.put("another", b"payload")
    assert len(caught) == 1 and not list((tmp_path / "cache").iterdir())
    assert cache.get("entry") is None


def test_an_entry_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path / "cache"))
    name = cache.key("a", "b")
    assert cache.get(name) is None
    cache.put(name, b"payload")
    assert cache.get(name) == b"payload" and cache.entries()[0] == 1
    assert cache.key("a", "b") == name != cache.key("ab") != cache.key("ab", "")


# ---- several processes


@pytest.mark.slow
def test_processes_that_meet_in_a_cold_cache(warm: Any, device: str, tmp_path: Path) -> None:
    folder, bits = warm(device)
    shared = tmp_path / "cache"
    cold = {"POCL_CACHE_DIR": str(tmp_path / "pocl")}  # PoCL's own, which fails under many
    running = [start(device, shared, **cold) for _ in range(3 if device == "opencl" else 2)]
    for result, warned, _ in [finish(process) for process in running]:
        assert result == bits and not warned
    assert set(_entries(shared)) == set(_entries(folder))  # no scratch file is left


# ---- what may be kept at all


FOREIGN = {
    "math.gamma": ("p[0] = math.gamma(p[0])", "gamma"),
    "math.hypot": ("p[0] = math.hypot(p[0], p[1])", "PyErr"),
    "a complex exponential": ("p[0] = cmath.exp(complex(p[0], p[1])).real", "PyErr"),
    "an allocation": ("p[0] = np.ones(int(p[0])).sum()", "NRT"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_code_that_needs_numba_at_run_time_is_refused(name: str) -> None:
    from tinyml.kernels.cpu import objectcode

    text, symbol = FOREIGN[name]
    source = f"import cmath\n\ndef k(p):\n    {text}\n"
    with pytest.raises(BuildError, match="a process without numba does not have") as caught:
        objectcode.build(source, ("*float64",))
    assert symbol in caught.value.message and "vocabulary" in str(caught.value.remedy)


def test_code_that_does_not_compile_says_why() -> None:
    from tinyml.kernels.cpu import objectcode

    with pytest.raises(BuildError, match="does not compile") as caught:
        objectcode.build("def k(p):\n    p[0] = 'text'\n", ("*float64",))
    assert "p[0] = 'text'" in caught.value.message


def test_what_the_vocabulary_needs_is_allowed() -> None:
    from tinyml.kernels.cpu import objectcode

    source = "def k(p):\n    p[0] = math.exp(p[0]) + math.erf(p[1]) * math.tanh(p[0]) ** 1.5\n"
    symbol, code = objectcode.build(source, ("*float64",))
    assert objectcode.place(symbol, code)
    assert tinyml.ones(1).tolist() == [1.0]
