"""Tensors in files: safetensors, written atomically and read without running anything.

A save writes a temporary file in the same folder, flushes it to the disk and renames it over the
old one, so a process that is killed in between leaves the old file or the new one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyml.core.error_context import named_in_errors
from tinyml.dtypes import as_dtype
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    FileFormatError,
    FileMissingError,
    shown,
)
from tinyml.ops.creation import tensor
from tinyml.tensor import Tensor

Array = npt.NDArray[Any]
Path = str | os.PathLike[str]

HEADER_LIMIT = 100_000_000  # bytes, as in the format's own reader
LENGTH_BYTES = 8  # the file begins with the header's length, little-endian
RESERVED = "__metadata__"
SINGLE = "__tensor__"  # the name of a tensor that was saved by itself

# The format's types by name; the others (complex128, int4) are refused by name.
_NAMES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


@named_in_errors
def save(path: Path, tensors: Mapping[str, Tensor | Array] | Tensor | Array,
         metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors of any shapes and dtypes to one safetensors file, atomically.

    One tensor by itself is saved, too, and `load` returns it. `metadata` is text that is saved with
    them. Raises ArgumentTypeError for a name that is not a
    string or a value that is not a tensor, DTypeError for a dtype that the format lacks, and
    OSError if the system refuses; the old file is then unchanged.

    >>> import os, tempfile, tinyml
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> save(path, {"w": tinyml.ones((2,))}, {"epoch": "3"})
    >>> load(path)["w"].tolist(), read_metadata(path)
    ([1.0, 1.0], {'epoch': '3'})
    """
    from safetensors.numpy import save as serialize

    arrays = {}
    if isinstance(tensors, (Tensor, np.ndarray, np.generic)):
        arrays[SINGLE] = _as_little_endian(SINGLE, tensors)
    else:
        for name, value in _items(tensors, "tensors by name, or one tensor"):
            if name in (RESERVED, SINGLE):
                raise ArgumentError(f"the name {name} belongs to the format")
            arrays[name] = _as_little_endian(name, value)
    text = {}
    for key, word in _items({} if metadata is None else metadata, "text by name"):
        text[key] = _as_text(word, f"metadata {key!r}")
    write_atomic(path, serialize(arrays, metadata=text or None))


def _items(mapping: Any, what: str) -> list[tuple[str, Any]]:
    """Return a mapping's entries, the names checked."""
    if not isinstance(mapping, Mapping):
        raise ArgumentTypeError(f"Expect: {what}. Actual: a {type(mapping).__name__}",
                                remedy="a dict, such as {'name': value}")
    return [(_as_text(name, "a name"), value) for name, value in mapping.items()]


def _as_text(word: Any, what: str) -> str:
    """Return text that UTF-8 can write; raises ArgumentTypeError, ArgumentError."""
    if not isinstance(word, str):
        raise ArgumentTypeError(f"{what} is {shown(word)}", remedy="a string")
    try:
        word.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"{what} is {shown(word)}, half of a surrogate pair",
                            remedy="whole characters") from None
    return word


@named_in_errors
def load(path: Path, device: Any = None) -> Any:
    """Return the tensors of a safetensors file by name, on `device`.

    A tensor that was saved by itself is returned by itself. Raises FileMissingError if there is no
    file, FileFormatError if it is malformed, before anything larger than the file is allocated, and
    DTypeError for a dtype that tinyml lacks.
    """
    result = {}
    for name, array in load_numpy(path).items():
        try:
            result[name] = tensor(array, device=device)
        except DTypeError as error:
            raise DTypeError(
                f"{os.fspath(path)}: tensor {name!r}: {error.message}", remedy=error.remedy
            ) from None
    return result[SINGLE] if list(result) == [SINGLE] else result


def as_path(path: Any) -> str:
    """Return a path as text; raises ArgumentTypeError, ArgumentError for what no file is named.

    >>> as_path("a/b.safetensors")
    'a/b.safetensors'
    """
    if not isinstance(path, (str, bytes)) and not hasattr(type(path), "__fspath__"):
        raise ArgumentTypeError(f"a path is {shown(path)} of type {type(path).__name__}",
                                remedy="a string, or a pathlib.Path")
    text = os.fsdecode(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ArgumentError(f"no file is named {shown(text)}", remedy="whole characters") from None
    if "\0" in text:
        raise ArgumentError(f"no file is named {shown(text)}", remedy="a path without \\0")
    return text


@named_in_errors
def load_numpy(path: Path) -> dict[str, Array]:
    """Return the tensors of a safetensors file as NumPy arrays. Raises as `load` does."""
    import safetensors

    path = as_path(path)
    content = _read(path)
    try:
        deserialize: Any = safetensors.deserialize  # it has no type annotations
        items = deserialize(content)
    except safetensors.SafetensorError as error:
        raise _malformed(path, str(error)) from None
    _read_header(path, content)
    return {name: _read_array(path, name, item) for name, item in items}


@named_in_errors
def read_metadata(path: Path) -> dict[str, str]:
    """Return the text that was saved along with the tensors. Raises as `load` does."""
    path = as_path(path)
    metadata = _read_header(path, _read(path)).get(RESERVED, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _malformed(path, "metadata that is not text")
    return metadata


@named_in_errors
def write_atomic(path: Path, data: bytes) -> None:
    """Make `data` the content of the file; if anything fails, the old content remains.

    A symbolic link is followed, and an existing file keeps its permissions. Raises OSError where
    the system refuses (no such folder, no permission, full disk), and then leaves nothing behind.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "history.json")
    >>> write_atomic(path, b"[]")
    >>> with open(path) as file:
    ...     file.read()
    '[]'
    """
    target = os.path.realpath(as_path(path))
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:64]}.{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(temporary, flags, 0o666)
    except FileNotFoundError:
        raise FileMissingError(f"no folder {folder}", remedy="make it first") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise
    _sync_folder(folder)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the first error is the one to report


def _sync_folder(folder: str) -> None:
    """Flush the new name to the disk; only POSIX systems open folders."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the rename itself is done
    finally:
        os.close(handle)


def _as_little_endian(name: str, value: Any) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    elif not isinstance(value, (np.ndarray, np.generic)):
        raise ArgumentTypeError(
            f"{name!r} is a {type(value).__name__}", remedy="a tensor or a NumPy array"
        )
    if value.dtype.name not in _NAMES.values():
        raise DTypeError(f"{name!r} has the dtype {value.dtype}, which files do not hold")
    return np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")


def _read(path: Path) -> bytes:
    """Return the file's content; refuse anything but a regular file before reading."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise _malformed(path, "not a regular file")
        with open(path, "rb") as file:
            start = file.read(LENGTH_BYTES)
            length = int.from_bytes(start, "little")
            if len(start) < LENGTH_BYTES:
                raise _malformed(path, "shorter than the length of its header")
            if length > min(HEADER_LIMIT, status.st_size - LENGTH_BYTES):
                raise _malformed(path, f"a header of {length} bytes in {status.st_size}")
            return start + file.read()
    except FileNotFoundError:
        raise FileMissingError(
            f"no file {os.fspath(path)}", remedy="check the path and the current folder"
        ) from None


def _read_header(path: Path, content: bytes) -> dict[str, Any]:
    """Return the header as a dict; refuse a name that occurs twice in one object."""

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise _malformed(path, "a name stands twice in its header")
        return result

    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    text = content[LENGTH_BYTES : LENGTH_BYTES + length]
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=refuse_twins)
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _malformed(path, "its header is not an object")
    return header


def _read_array(path: Path, name: str, item: Any) -> Array:
    word = item["dtype"]
    if word not in _NAMES:
        raise DTypeError(f"{os.fspath(path)}: tensor {name!r} has the unknown dtype {word}")
    if word == "BOOL":  # a byte other than 0 and 1 would be a bool that is neither
        flat: Array = np.frombuffer(item["data"], np.uint8) != 0
    else:
        flat = np.frombuffer(item["data"], as_dtype(_NAMES[word]).numpy.newbyteorder("<"))
    try:
        result: Array = flat.reshape(item["shape"])
        return result
    except ValueError:  # sizes whose product NumPy cannot count, with a zero among them
        raise _malformed(path, f"tensor {name!r} has the shape {item['shape']}") from None


def _malformed(path: Path, reason: str) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)} is not a safetensors file: {reason}",
        remedy="save it again with tinyml.save, or fetch it again",
    )
