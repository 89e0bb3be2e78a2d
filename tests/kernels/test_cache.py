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
HEAD = len(b"tinyml-2") + 32  # of an entry: the format's name and a SHA-256
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
        named = len(name).to_bytes(8, "little") + name.encode() + payload
        assert data.startswith(b"tinyml-2") and hashlib.sha256(named).digest() == data[8:HEAD]
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


# ---- what stands in an entry's place


def _fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _: Path) -> None:
    path.mkdir()


def _link(path: Path, other: Path) -> None:
    path.symlink_to(other)


def _hole(path: Path, _: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 42)  # a file that no memory holds


def _public(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())
    path.chmod(0o666)


PLACED = {"a pipe": _fifo, "a folder": _folder, "a link": _link, "a huge file": _hole,
          "a file that others may change": _public}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test, which warns anew."""
    monkeypatch.setenv("TINYML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.setattr(cache, "_swept", set())
    return tmp_path / "cache"


@POSIX
@pytest.mark.parametrize("what", PLACED)
def test_what_is_no_file_of_the_user_is_not_read(what: str, place: Path) -> None:
    cache.put("entry", b"payload")
    other = place.parent / "other"
    other.write_bytes((place / "entry").read_bytes())
    (place / "entry").unlink()
    PLACED[what](place / "entry", other)
    with pytest.warns(CacheWarning, match="entry"):
        assert cache.get("entry") is None
    cache.put("entry", b"new")
    assert cache.get("entry") == (None if what == "a folder" else b"new")
    assert other.read_bytes().endswith(b"payload")


@POSIX
def test_a_file_of_another_user_is_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put("entry", b"payload")
    real = os.fstat

    def others(handle: int) -> Any:
        status = list(real(handle))
        status[4] += 1  # st_uid
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", others)
    with pytest.warns(CacheWarning, match="another user"):
        assert cache.get("entry") is None


def test_entries_do_not_answer_to_another_name(place: Path) -> None:
    names = [cache.key(text) + ".o" for text in ("x - 1", "x - 3")]
    for name, payload in zip(names, (b"minus one", b"minus three")):
        cache.put(name, payload)
    one, other = [place / name for name in names]
    one.rename(place / "kept")
    other.rename(one)
    (place / "kept").rename(other)
    with pytest.warns(CacheWarning, match="damaged"):
        assert [cache.get(name) for name in names] == [None, None]


def test_exchanged_kernels_are_compiled_again(warm: Any, device: str, tmp_path: Path) -> None:
    folder, bits = warm(device)
    ending = ".o" if device == "cpu" else ".bin"
    names = sorted(name for name in _entries(folder) if name.endswith(ending))
    turned = tmp_path / "cache"
    turned.mkdir(mode=0o700)
    for name, other in zip(names, [*names[1:], names[0]]):
        (turned / name).write_bytes((folder / other).read_bytes())
        (turned / name).chmod(0o600)
    again, warned, _ = finish(start(device, turned))
    assert again == bits and len(names) > 1
    if device == "cpu":  # on others, what a driver's build warns of is not shown
        _assert_one_warning(warned, turned)


def test_without_a_home_nothing_is_kept(warm: Any, tmp_path: Path) -> None:
    _, bits = warm("cpu")
    # `~` means nothing where the variables are missing and the user has no entry.
    lost = f"import os; os.chdir({str(tmp_path)!r})\nos.path.expanduser = lambda path: path"
    missing = {"XDG_CACHE_HOME": "", "LOCALAPPDATA": ""}
    code = start("cpu", Path(), lost, **missing, TINYML_CACHE_DIR="")
    again, warned, _ = finish(code)
    assert again == bits and not list(tmp_path.iterdir())
    assert len(warned) == 1 and "no home" in warned[0]


@pytest.mark.parametrize("chosen", ["~/kernels", "~nobody-has-this-name/kernels"])
def test_a_home_in_the_variable_is_resolved(chosen: str, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYML_CACHE_DIR", chosen)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    known = chosen.startswith("~/")
    assert cache.folder() == (str(tmp_path / "kernels") if known else "")
    assert (cache.problem() is None) is known


def _aged(path: Path, days: float) -> Path:
    path.write_bytes(b"x" * 1000)
    moment = path.stat().st_mtime - days * cache.DAY
    os.utime(path, (moment, moment))
    return path


def test_what_killed_processes_left_goes(place: Path) -> None:
    place.mkdir(mode=0o700)
    entry = "a1" * 32 + ".o"
    gone = [_aged(place / name, 0.5) for name in (f"{entry}.31-7fe0.part", f"{entry}.31.7fe0")]
    gone.append(_aged(place / ("b2" * 32 + ".bin"), cache.KEPT_DAYS + 1))
    kept = [_aged(place / name, days) for name, days in (
        (f"{entry}.99-7fe0.part", 0.01), (entry, cache.KEPT_DAYS - 1), ("build.lock", 999),
        ("notes.txt", 999))]
    cache.put(cache.key("new") + ".o", b"payload")
    assert not any(path.exists() for path in gone) and all(path.exists() for path in kept)


def test_the_oldest_goes_first_if_there_is_too_much(place: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir(mode=0o700)
    paths = [_aged(place / (f"{number:02}" * 32 + ".o"), number + 1) for number in range(6)]
    monkeypatch.setattr(cache, "MOST_BYTES", 3_500)
    cache.put(cache.key("new") + ".o", b"payload")
    assert [path.exists() for path in paths] == [True] * 3 + [False] * 3


def test_an_entry_in_use_stays_young(place: Path) -> None:
    name = cache.key("used") + ".o"
    cache.put(name, b"payload")
    moment = (place / name).stat().st_mtime - 50 * cache.DAY
    os.utime(place / name, (moment, moment))
    assert cache.get(name) == b"payload"
    assert (place / name).stat().st_mtime > moment + 49 * cache.DAY


def test_an_interrupt_leaves_no_scratch_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.put("entry", b"payload")
    assert not list(place.iterdir())


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
