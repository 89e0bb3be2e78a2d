"""Saving and loading: what is written comes back, whole or not at all, and nothing hostile runs."""

from __future__ import annotations

import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinyml
from tinyml import io
from tinyml.dtypes import as_dtype
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    FileFormatError,
    FileMissingError,
)
from tinyml.io import load, read_metadata, save

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float16", "bfloat16", "float32", "float64", "complex64", "float8_e4m3fn", "float8_e5m2"]
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, given as JSON's value or as bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_a_round_trip_keeps_every_bit(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(as_dtype(dtype).numpy)
    path = tmp_path / "x.safetensors"
    tinyml.save(path, {"a": tinyml.tensor(values), "b": values}, {"k": "\u00e4"})
    readers = [io.load_numpy, *([load_file] if hasattr(np, dtype) else [])]
    for loaded in [read(path) for read in readers]:
        for name in "ab":
            assert loaded[name].dtype == values.dtype and loaded[name].shape == shape
            assert np.array_equal(loaded[name], values)
    tensors = tinyml.load(path)
    assert tensors["a"].dtype.name == dtype and np.array_equal(tensors["a"].numpy(), values)
    assert io.read_metadata(path) == {"k": "\u00e4"}


def test_special_values_keep_their_bits(tmp_path: Path) -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    io.save(tmp_path / "x", {"x": values})
    assert io.load_numpy(tmp_path / "x")["x"].tobytes() == values.tobytes()


@pytest.mark.parametrize("values", [
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(12.0)[::-2],
    np.broadcast_to(np.float32(3), (2, 2)),
    np.float64(2.5),
], ids=["big-endian", "fortran", "reversed", "stride 0", "scalar"])
def test_odd_arrays_are_saved_by_value(tmp_path: Path, values: Any) -> None:
    io.save(tmp_path / "x", {"x": values})
    loaded = io.load_numpy(tmp_path / "x")["x"]
    assert np.array_equal(loaded, values) and loaded.shape == np.shape(values)


def test_no_tensors_and_no_metadata(tmp_path: Path) -> None:
    io.save(tmp_path / "x", {})
    assert io.load(tmp_path / "x") == {} and io.read_metadata(tmp_path / "x") == {}


def test_files_of_the_format_s_own_writer_are_read(tmp_path: Path) -> None:
    values: dict[str, Any] = {"w": np.ones((2, 2), np.float32), "n": np.arange(3)}
    save_file(values, tmp_path / "x", {"format": "np"})
    loaded = io.load_numpy(tmp_path / "x")
    assert all(np.array_equal(loaded[name], values[name]) for name in values)
    assert io.read_metadata(tmp_path / "x") == {"format": "np"}


MALFORMED = {
    "empty": b"",
    "short": b"\x01\x02",
    "huge header": packed({}, length=2**62),
    "header past the end": packed({}, length=100),
    "not JSON": packed(b"{nonsense"),
    "not text": packed(b"\xff\xfe{}"),
    "not an object": packed(b"[1, 2]"),
    "nested deeply": packed(b"[" * 200_000),
    "data too short": packed({"a": ONE}, b"123"),
    "data too long": packed({"a": ONE}, b"12345"),
    "negative size": packed({"a": {**ONE, "shape": [-1]}}, b"1234"),
    "overflowing size": packed({"a": {**ONE, "shape": [2**63, 4]}}, b"1234"),
    "overflowing empty size": packed({"a": {**ONE, "shape": [0, 2**62, 2**62],
                                            "data_offsets": [0, 0]}}),
    "overlap": packed({"a": ONE, "b": ONE}, b"1234"),
    "hole": packed({"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, b"1" * 12),
    "duplicate": packed(b'{"a":%s,"a":%s}' % ((json.dumps(ONE).encode(),) * 2), b"1234"),
    "unknown dtype": packed({"a": {**ONE, "dtype": "F33"}}, b"1234"),
    "metadata of numbers": packed({"__metadata__": {"a": 1}}),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(MALFORMED[case])
    with pytest.raises(FileFormatError) as caught:
        io.load(path)
    assert isinstance(caught.value, ValueError) and str(path) in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    io.save(path, {"w": np.arange(4.0)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            io.load_numpy(path)


def test_mutated_files_load_or_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    io.save(path, {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, bool)})
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(500):
        mutated = bytearray(content)
        for place in generator.integers(0, len(content), generator.integers(1, 4)):
            mutated[place] = generator.integers(256)
        path.write_bytes(bytes(mutated))
        try:
            loaded = io.load_numpy(path)
        except (FileFormatError, DTypeError):
            refused += 1
        else:
            assert sum(array.nbytes for array in loaded.values()) <= len(content)
    assert 0 < refused < 500


def test_a_bool_is_zero_or_one_whatever_byte_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(packed({"a": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}},
                            b"\x00\x02\xff"))
    assert io.load_numpy(path)["a"].view(np.uint8).tolist() == [0, 1, 1]


def test_a_dtype_that_is_not_ours_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(packed({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}},
                            b"1234"))
    with pytest.raises(DTypeError, match="'a'.*F8_E8M0"):
        io.load(path)


def test_a_missing_file_is_the_standard_error_too(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError) as caught:
        io.load(tmp_path / "none")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(FileMissingError, match="no folder"):
        io.write_atomic(tmp_path / "none" / "x", b"")


def test_what_is_no_regular_file_is_refused_without_reading(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="regular"):
        io.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileFormatError, match="regular"):
            io.load(tmp_path / "pipe")


@pytest.mark.parametrize(("tensors", "metadata", "error"), [
    ({"a": [1.0]}, None, ArgumentTypeError),
    ({1: np.ones(1)}, None, ArgumentTypeError),
    ({"__metadata__": np.ones(1)}, None, ArgumentError),
    ({"a": np.array(["x"])}, None, DTypeError),
    ({"a": np.array([None])}, None, DTypeError),
    ({"a": np.zeros(1, [("x", "f4")])}, None, DTypeError),
    ({"a": np.ones(1, np.clongdouble)}, None, DTypeError),
    ({"a": np.ones(1)}, {"epoch": 3}, ArgumentTypeError),
])
def test_bad_arguments_leave_the_old_file(tmp_path: Path, tensors: Any, metadata: Any,
                                          error: type[Exception]) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(error):
        io.save(path, tensors, metadata)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_system_call_leaves_the_old_file(tmp_path: Path, call: str,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        io.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    io.write_atomic(link, b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    mask = os.umask(0)
    os.umask(mask)
    io.write_atomic(tmp_path / "fresh", b"")
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o666 & ~mask


KILLED = """
import sys, numpy as np
from tinyml.io import write_atomic
print("ready", flush=True)
for i in range(10**9):
    write_atomic(sys.argv[1], bytes([i % 256]) * 300_000)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_leaves_an_old_or_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\0" * 300_000)
    generator = np.random.default_rng(0)
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)],
                                 stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(generator.uniform(0.01, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        content = path.read_bytes()
        assert len(content) == 300_000 and len(set(content)) == 1


def test_one_tensor_is_saved_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    for value in (tinyml.tensor([[1.5, -2.0]]), np.arange(3, dtype=np.int8), np.float64(2.5)):
        save(path, value, {"of": "one"})
        found = load(path)
        assert isinstance(found, tinyml.Tensor)
        assert np.array_equal(found.numpy(), np.asarray(value))
        assert str(found.dtype.name) == value.dtype.name and read_metadata(path) == {"of": "one"}
    leaf = tinyml.ones(2, requires_grad=True)
    save(path, leaf)
    assert load(path).tolist() == [1.0, 1.0]
    save(path, {"a": leaf})
    assert list(load(path)) == ["a"]
    with pytest.raises(ArgumentError, match="belongs to the format"):
        save(path, {"__tensor__": leaf})


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "x/\0", b"a\0", 3, True, None, 1.5, 2**70,
                                 ["a"], np.array("a")], ids=repr)
def test_what_names_no_file_is_refused(bad: Any) -> None:
    from tinyml.io import load_numpy, write_atomic

    calls: tuple[Callable[[], Any], ...] = (
        lambda: load(bad), lambda: load_numpy(bad), lambda: read_metadata(bad),
        lambda: save(bad, {"a": tinyml.ones(1)}), lambda: write_atomic(bad, b""),
        lambda: tinyml.load_graph(bad),
        lambda: tinyml.save_graph(bad, tinyml.trace(tinyml.exp)(tinyml.ones(1))))
    for call in calls:
        with pytest.raises((ArgumentError, ArgumentTypeError)):
            call()


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb", 3, None, b"a"], ids=repr)
def test_names_and_metadata_are_text(tmp_path: Path, bad: Any) -> None:
    path, x = tmp_path / "text", tinyml.ones(1)
    wrong: tuple[tuple[Any, Any], ...] = (
        ({bad: x}, None), ({"a": x}, {bad: "b"}), ({"a": x}, {"b": bad}), ({"a": x}, [bad]))
    for tensors, metadata in wrong:
        with pytest.raises((ArgumentError, ArgumentTypeError)):
            save(path, tensors, metadata)
    assert not path.exists()
