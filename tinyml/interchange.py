"""Tensors handed to other libraries, and taken from them: DLPack, NumPy's protocols, odd arrays.

On the CPU a tensor's own memory is handed out, through a NumPy array over it that keeps it alive:
NumPy's exporter writes the DLPack capsules, and only the code of a type that NumPy does not know
(bfloat16, float8) is mended in them. Values of tensors do not change, so every protocol that can
say "read-only" says it; see `dlpack` for those that cannot.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tinyml.dtypes import DTYPES, DType
from tinyml.errors import ArgumentError, ArgumentTypeError, ExportError, GradientError, expect

Array = np.ndarray[Any, Any]
CPU = (1, 0)  # kDLCPU, and the number of the one there is
VERSION = (1, 0)  # of DLPack's structures, the first that can say "read-only"
# DLDataTypeCode of dlpack.h 1.1 for the types that NumPy does not have.
_CODES = {"bfloat16": 4, "float8_e4m3fn": 10, "float8_e5m2": 12}
_NUMBERS = {bool, int, float, complex}
_UNSIGNED = 1  # kDLUInt, under which their bits pass through NumPy


# ---- out


def exported(x: Any) -> Array:
    """The values of a tensor as a read-only array: its own memory on the CPU, else a copy.

    Raises GradientError where the gradient that flows through x would end unseen, as torch does.
    """
    if x.node is not None:
        raise GradientError(f"{x.spec} has a gradient, which would end in another library's array",
                            remedy="x.detach(), or x.numpy() for its values")
    array: Array = x.numpy()
    return array


def _shares(x: Any) -> bool:
    """Whether the array of `exported` is the tensor's own memory."""
    return x.device.name == "cpu" and not x.dtype.packed


def array(x: Any, dtype: Any, copy: bool | None) -> Array:
    """What `__array__` gives: the tensor's own memory where it can, read-only; else a copy."""
    values = exported(x)
    other = dtype is not None and np.dtype(dtype) != values.dtype
    expect(copy is not False or (_shares(x) and not other), "values that need no copy",
           f"{x.spec} as {np.dtype(dtype) if other else values.dtype}", ArgumentError,
           remedy="copy=None")
    if other:
        return values.astype(dtype)
    return values.copy() if copy else values


def interface(x: Any) -> dict[str, Any]:
    """What `__array_interface__` gives (version 3): the memory as an object that keeps it alive.

    An address alone would outlive what it points at once `x[i] = v` gives x another content.
    Raises AttributeError for types without a code of NumPy's, so that NumPy asks `__array__`.
    """
    if x.dtype.narrow and x.dtype.name != "float16" or x.dtype.packed:
        raise AttributeError(f"{x.dtype.name} has no code in NumPy's array interface")
    values = exported(x)
    low, high = np.lib.array_utils.byte_bounds(values)
    raw: Any = (ctypes.c_char * (high - low)).from_address(low)
    raw.owner = values
    return {"version": 3, "shape": values.shape, "typestr": values.dtype.str,
            "strides": values.strides, "data": memoryview(raw).toreadonly(),
            "offset": values.ctypes.data - low}


def buffer(x: Any) -> memoryview:
    """What `__buffer__` gives: a read-only view (PEP 688, from Python 3.12 on)."""
    try:
        values: Any = exported(x)
        return memoryview(values)
    except ValueError as error:
        raise ExportError(f"no buffer of {x.dtype.name}: {error}",
                          remedy="x.numpy(), or from_dlpack") from None


def dlpack(x: Any, stream: Any, max_version: tuple[int, int] | None,
           dl_device: tuple[int, int] | None, copy: bool | None) -> Any:
    """The capsule that `__dlpack__` gives; see Tensor.__dlpack__."""
    expect(stream is None, "no stream, since CPU memory has none", stream, ExportError)
    expect(dl_device is None or tuple(dl_device) == CPU, f"device {CPU}, the CPU", dl_device,
           ExportError, remedy="DLPack takes tensors out by way of the CPU")
    shared = _shares(x)
    expect(shared or copy is not False, "memory on the CPU", x.spec, ExportError,
           remedy="x.to('cpu'), or copy=None")
    values = exported(x)
    expect(copy or min(values.strides, default=0) >= 0, "no negative strides, which others die of",
           values.strides, ExportError, remedy="x.copy() first, or copy=True")
    expect(not x.dtype.packed, "elements of whole bytes", x.dtype.name, ExportError,
           remedy="x.astype('int8')")
    name = x.dtype.name
    if name in _CODES:
        values = values.view(f"u{x.dtype.itemsize}")
    if copy:
        values = values.copy()
    values.flags.writeable = bool(copy) or not shared
    versioned = max_version is not None and max_version[0] >= VERSION[0]
    if versioned and np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        capsule = values.__dlpack__(max_version=VERSION)
    else:
        values.flags.writeable = True  # not to say so is all that the old form can
        capsule = values.__dlpack__()
    if name in _CODES:
        _header(capsule).code = _CODES[name]
    return capsule


# ---- DLPack's structures (dlpack.h 1.0), as far as they are read or mended here


class _Header(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("offset", ctypes.c_uint64),
    ]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("version", ctypes.c_uint32 * 2), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Header),
    ]


_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


def _header(capsule: Any) -> Any:
    """The description of the tensor in a capsule of either form; ArgumentTypeError for others."""
    if _valid(capsule, b"dltensor_versioned"):
        return _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor
    if _valid(capsule, b"dltensor"):
        return _Header.from_address(_pointer(capsule, b"dltensor"))
    raise ArgumentTypeError(f"__dlpack__ gave a {type(capsule).__name__}, no DLPack capsule",
                            remedy="a capsule serves once: ask for a new one")


class _Given:
    """A capsule in hand, for NumPy to import."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU


# ---- in


def imported(data: Any, copy: bool | None = None) -> Array:
    """The memory of an object with `__dlpack__` as an array, which keeps it alive.

    What lies elsewhere is asked for as a copy on the CPU, unless `copy` is False. Raises
    ArgumentTypeError where the object refuses, or NumPy does not take what it gives.
    """
    if isinstance(data, np.ndarray):  # also those of types that NumPy does not export
        return data
    try:
        home = tuple(data.__dlpack_device__())
        capsule = _asked(data, home, copy)
        header = _header(capsule)
        name = next((n for n, code in _CODES.items() if code == header.code), None)
        if name is not None:
            header.code = _UNSIGNED
        values: Array = np.from_dlpack(_Given(capsule))
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ArgumentTypeError):
            raise
        raise ArgumentTypeError(f"DLPack import of a {type(data).__name__} refused: {error}",
                                remedy="detach it, and move it to the CPU first") from None
    return values if name is None else values.view(DTYPES[name].numpy)


def _asked(data: Any, home: tuple[Any, ...], copy: bool | None) -> Any:
    """The capsule; old exporters know fewer arguments than new ones."""
    wishes: dict[str, Any] = {} if copy is None else {"copy": copy}
    if int(home[0]) != CPU[0]:
        wishes["dl_device"] = CPU
    try:
        return data.__dlpack__(max_version=VERSION, **wishes)
    except TypeError:
        if "dl_device" in wishes:
            raise
        return data.__dlpack__()


def as_array(data: Any) -> Array:
    """An array of anything that holds numbers: another library's array, a buffer, nested lists.

    Python floats stand as float64; what they become is decided by who asked. Raises
    ArgumentTypeError for what holds none, and for masked arrays, whose masks would be lost.
    """
    if isinstance(data, np.ma.MaskedArray):
        raise ArgumentTypeError("a masked array: its mask would be lost",
                                remedy="x.filled(value) puts a value where the mask is")
    if isinstance(data, (np.ndarray, np.generic)):
        return np.asarray(data)
    if hasattr(data, "__dlpack__") and hasattr(data, "__dlpack_device__"):
        return imported(data)
    if isinstance(data, (str, bytes)):
        raise ArgumentTypeError(f"text is no tensor: {data!r:.80}", remedy="numbers")
    known = isinstance(data, (bool, int, float, complex, list, tuple, range))
    if not known and not any(hasattr(data, n) for n in ("__array__", "__array_interface__")):
        try:
            data = memoryview(data)  # array.array, bytearray, ...
        except TypeError:
            raise ArgumentTypeError(
                f"an operand is a {type(data).__name__}",
                remedy="a tensor, a number, an array or a list") from None
    try:
        return np.asarray(data)
    except (ValueError, OverflowError, TypeError, RuntimeError) as error:
        raise ArgumentTypeError(f"no tensor from {data!r:.80}: {error}") from None


def weak(data: Any) -> bool:
    """Whether data are Python's own numbers throughout, whose floats have no width of their own.

    >>> weak([1.0, [2, True]]), weak([np.float64(1.0)])
    (True, False)
    """
    if not isinstance(data, (list, tuple)):
        return type(data) in _NUMBERS
    return set(map(type, data)) <= _NUMBERS or all(map(weak, data))


def shareable(values: Array, dtype: DType) -> bool:
    """Whether a tensor can lie in the memory of an array: aligned, native, whole elements apart."""
    return bool(not dtype.packed and values.dtype.isnative and values.flags.aligned
                and all(step % values.itemsize == 0 for step in values.strides))
