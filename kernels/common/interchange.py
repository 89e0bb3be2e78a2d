"""Memory interchange with other libraries: DLPack, NumPy's protocols, buffers, nested lists.

Memory that the host can address is shared without a copy, through a NumPy array that keeps it
alive. NumPy writes the DLPack capsules; we only correct the type code in them for types that NumPy
does not know (bfloat16, float8). A tensor's values do not change, so every protocol that can mark
memory read-only does; see `Export.dlpack` for those that cannot.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tinyml.dtypes import DTYPES, as_dtype, int64, integer_range, uint64
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    ExportError,
    expect,
    shown,
    typed,
)
from tinyml.ir.spec import Spec, make_spec

Array = np.ndarray[Any, Any]
CPU = (1, 0)  # kDLCPU, device number 0
VERSION = (1, 0)  # of DLPack's structures, the first with a read-only flag
# DLDataTypeCode of dlpack.h 1.1 for the types that NumPy lacks.
_CODES = {"bfloat16": 4, "float8_e4m3fn": 10, "float8_e5m2": 12}
_WHOLE = {bool, int}
_NUMBERS = _WHOLE | {float, complex}
_DEFAULTS = {"float64": np.dtype(np.float32), "complex128": np.dtype(np.complex64)}
_UNSIGNED = 1  # kDLUInt, the code under which their bits pass through NumPy


# ---- addresses and layouts as arrays


def reach(spec: Spec) -> tuple[int, int]:
    """Return where a tensor's memory begins, in bytes from its first element, and its byte length.

    >>> from tinyml.dtypes import float32
    >>> reach(make_spec((2, 3), float32, None, (-3, 1)))
    (-12, 24)
    """
    if spec.contiguous:
        return 0, spec.size * spec.dtype.itemsize
    low = sum(min(0, (n - 1) * s) for n, s in zip(spec.shape, spec.strides))
    high = sum(max(0, (n - 1) * s) for n, s in zip(spec.shape, spec.strides))
    itemsize = spec.dtype.itemsize
    return low * itemsize, (high - low + 1) * itemsize


class _Bytes:
    """Memory described by NumPy's array interface, and its owner.

    A ctypes array would not do: it makes a class for each size, and each is a reference cycle.
    """

    __slots__ = ("__array_interface__", "keep")

    def __init__(self, address: int, keep: Any, shape: tuple[int, ...], itemsize: int,
                 strides: tuple[int, ...] | None) -> None:
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": f"|V{itemsize}",
                                    "strides": strides, "data": (address, False)}
        self.keep = keep


def array_at(address: int, keep: Any, spec: Spec, writeable: bool = False) -> Array:
    """Return an array over a tensor whose first element is at `address`; it keeps `keep` alive."""
    size = spec.dtype.itemsize
    strides = tuple([step * size for step in spec.strides])
    array: Array = np.asarray(_Bytes(address, keep, spec.shape, size, strides)).view(
        spec.dtype.numpy)
    array.flags.writeable = writeable
    return array


def spec_of(array: Array, device: Any) -> Spec | None:
    """Return the spec of a tensor in an array's memory; None if no tensor can use that memory.

    Elements must be aligned, in native byte order, with strides of whole elements.
    """
    dtype = as_dtype(array.dtype)
    if dtype.is_subbyte or not (array.dtype.isnative and array.flags.aligned):
        return None
    if any(step % array.itemsize for step in array.strides):
        return None
    strides = tuple([step // array.itemsize for step in array.strides])
    return make_spec(array.shape, dtype, device, strides)


# ---- export


class Export:
    """A tensor's memory for other libraries, in each protocol that they support."""

    def __init__(self, device: Any, buffer: Any, spec: Spec) -> None:
        lent = device.lend(buffer, spec)
        self.spec = spec
        self.shared = lent is not None  # otherwise the values are already a copy
        self.values: Array = device.download(buffer, spec) if lent is None else lent

    def array(self, dtype: Any, copy: bool | None) -> Array:
        """Implement `__array__`: return the tensor's own memory, read-only, or else a copy."""
        if not isinstance(dtype, (str, type, np.dtype, type(None))):
            raise DTypeError(f"no data type of NumPy's: {shown(dtype)}", remedy="numpy.float32")
        other = dtype is not None and np.dtype(dtype) != self.values.dtype
        expect(copy is not False or (self.shared and not other), "values that need no copy",
               f"{self.spec} as {np.dtype(dtype) if other else self.values.dtype}", ArgumentError,
               remedy="copy=None")
        if other:
            return self.values.astype(dtype)
        return self.values.copy() if copy else self.values

    def interface(self) -> dict[str, Any]:
        """Implement `__array_interface__` (version 3).

        The data is an object that keeps the memory alive; a bare address could outlive it once
        `x[i] = v` has given x new memory. Raises AttributeError for types without a NumPy code, so
        that NumPy calls `__array__` instead.
        """
        dtype, values = self.spec.dtype, self.values
        if dtype.is_small_float and dtype.name != "float16" or dtype.is_subbyte:
            raise AttributeError(f"{dtype.name} has no code in NumPy's array interface")
        low, high = np.lib.array_utils.byte_bounds(values)
        whole: Any = np.asarray(_Bytes(low, values, (high - low,), 1, None))
        return {"version": 3, "shape": values.shape, "typestr": values.dtype.str,
                "strides": values.strides, "data": memoryview(whole.view(np.uint8)).toreadonly(),
                "offset": values.ctypes.data - low}

    def buffer(self) -> memoryview:
        """Implement `__buffer__`: return a read-only view (PEP 688, Python 3.12 and later)."""
        try:
            values: Any = self.values
            return memoryview(values)
        except ValueError as error:
            raise ExportError(f"no buffer of {self.spec.dtype.name}: {error}",
                              remedy="x.numpy(), or from_dlpack") from None

    def dlpack(self, stream: Any, max_version: tuple[int, int] | None,
               dl_device: tuple[int, int] | None, copy: bool | None) -> Any:
        """Implement `__dlpack__`: return a capsule; see Tensor.__dlpack__."""
        expect(stream is None, "no stream, since CPU memory has none", stream, ExportError)
        expect(dl_device is None or tuple(dl_device) == CPU, f"device {CPU}, the CPU", dl_device,
               ExportError, remedy="DLPack takes tensors out by way of the CPU")
        dtype, values = self.spec.dtype, self.values
        expect(not dtype.is_subbyte, "elements of whole bytes", dtype.name, ExportError,
               remedy="x.astype('int8')")
        expect(self.shared or copy is not False, "memory on the CPU", self.spec, ExportError,
               remedy="x.to('cpu'), or copy=None")
        expect(copy or min(values.strides, default=0) >= 0,
               "no negative strides, which others die of", values.strides, ExportError,
               remedy="x.copy() first, or copy=True")
        if dtype.name in _CODES:
            values = values.view(f"u{dtype.itemsize}")
        if copy:
            values = values.copy()
        values.flags.writeable = bool(copy) or not self.shared
        versioned = max_version is not None and max_version[0] >= VERSION[0]
        if versioned and np.lib.NumpyVersion(np.__version__) >= "2.1.0":
            capsule = values.__dlpack__(max_version=VERSION)
        else:
            values.flags.writeable = True  # the unversioned form cannot mark memory read-only
            capsule = values.__dlpack__()
        if dtype.name in _CODES:
            _header(capsule).code = _CODES[dtype.name]
        return capsule


# ---- DLPack's structures (dlpack.h 1.0): the parts that are read or corrected here


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
    """Return the DLTensor of a capsule of either form; raise ArgumentTypeError for others."""
    if _valid(capsule, b"dltensor_versioned"):
        return _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor
    if _valid(capsule, b"dltensor"):
        return _Header.from_address(_pointer(capsule, b"dltensor"))
    raise ArgumentTypeError(f"__dlpack__ gave a {type(capsule).__name__}, no DLPack capsule",
                            remedy="a capsule serves once: ask for a new one")


class _Exporter:
    """An object around a capsule that NumPy can import from."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU


# ---- import


def _from_dlpack(data: Any, copy: bool | None) -> Array:
    """Return the memory of an object with `__dlpack__` as an array that keeps it alive.

    Memory on another device is copied to the CPU, unless `copy` is False. Raises ArgumentTypeError
    if the object refuses, or if NumPy does not accept its capsule.
    """
    try:
        home = tuple(data.__dlpack_device__())
        capsule = _request_capsule(data, home, copy)
        header = _header(capsule)
        name = next((n for n, code in _CODES.items() if code == header.code), None)
        if name is not None:
            header.code = _UNSIGNED
        values: Array = np.from_dlpack(_Exporter(capsule))
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ArgumentTypeError):
            raise
        raise ArgumentTypeError(f"DLPack import of a {type(data).__name__} refused: {error}",
                                remedy="detach it, and move it to the CPU first") from None
    return values if name is None else values.view(DTYPES[name].numpy)


def _request_capsule(data: Any, home: tuple[Any, ...], copy: bool | None) -> Any:
    """Return the capsule of an exporter; older exporters take fewer arguments."""
    wishes: dict[str, Any] = {} if copy is None else {"copy": copy}
    if int(home[0]) != CPU[0]:
        wishes["dl_device"] = CPU
    try:
        return data.__dlpack__(max_version=VERSION, **wishes)
    except TypeError:
        if "dl_device" in wishes:
            raise
        return data.__dlpack__()


def as_array(data: Any, dtype: Any = None, copy: bool | None = None) -> Array:
    """Return an array made from anything that holds numbers: an array, a buffer, nested lists.

    `dtype` is the type that the tensor will have. If it is None, Python floats become float32 and
    complex numbers complex64, tinyml's defaults. `copy` is passed to DLPack objects. Raises
    ArgumentTypeError for data without numbers and for masked arrays, whose masks would be lost,
    ArgumentError for Python integers that do not fit `dtype`, and DTypeError without a `dtype` if
    they fit no integer type.

    >>> [as_array([0.5], dtype).dtype.name for dtype in (None, "float64", "int8")]
    ['float32', 'float64', 'float64']
    """
    array = _to_array(data, copy)
    if isinstance(data, np.ndarray):
        return array
    kinds = _kinds(data)
    if not kinds <= _NUMBERS:
        return array
    if kinds <= _WHOLE and array.size:
        return _whole_array(data, array, dtype)
    if array.dtype == object:  # integers beyond 64 bits among floats
        array = _rounded(array, complex if complex in kinds else float)
    if dtype is not None:
        return array
    with np.errstate(over="ignore"):  # beyond float32 is infinity
        return array.astype(_DEFAULTS.get(array.dtype.name, array.dtype))


def _kinds(data: Any) -> set[type]:
    """Return the types of the elements of nested lists; of anything else, its own type.

    Python numbers are weak: their floats have no width of their own.

    >>> _kinds([1.0, [2, 3]]) <= _NUMBERS, _kinds([np.float64(1.0)]) <= _NUMBERS
    (True, False)
    """
    if not isinstance(data, (list, tuple)):
        return {type(data)}
    kinds = set(map(type, data))
    return kinds if kinds <= _NUMBERS else set[type]().union(*map(_kinds, data))


def _whole_array(data: Any, array: Array, dtype: Any) -> Array:
    """Return Python integers as an exact array.

    Raises ArgumentError if the type cannot hold them, DTypeError if no integer type can.
    """
    # NumPy gives floats or objects for integers that none of its types holds.
    exact = array if array.dtype.kind in "biu" else np.array(data, object)
    wanted = None if dtype is None else as_dtype(dtype)
    if wanted is not None and not wanted.is_integer:
        return exact if exact is array else _rounded(exact, float)
    if wanted is None and exact is array:
        return array
    low, high = (data, data) if not exact.ndim else (int(exact.min()), int(exact.max()))
    for kind in (int64, uint64) if wanted is None else (wanted,):
        least, most = integer_range(kind)
        if least <= low and high <= most:
            return exact if exact is array else exact.astype(kind.numpy)
    if wanted is None:
        raise DTypeError(f"neither int64 nor uint64 holds {shown(data)}", remedy="dtype='float64'")
    raise ArgumentError(
        f"Expect: numbers that {kind.name} holds, {least} to {most}. Actual: {shown(data)}",
        remedy="a wider type, or numbers within these bounds")


def _rounded(array: Array, kind: type) -> Array:
    """Return objects as floats or complex numbers; raises ArgumentError beyond their range."""
    try:
        return array.astype(kind)
    except OverflowError:
        raise ArgumentError("an int beyond float64",
                            remedy="a number of at most 1.8e308") from None


def _to_array(data: Any, copy: bool | None) -> Array:
    """Return data as an array; Python floats become float64."""
    if type(data) in _NUMBERS:
        return np.asarray(data)
    if isinstance(data, np.ma.MaskedArray):
        raise ArgumentTypeError("a masked array: its mask would be lost",
                                remedy="x.filled(value) puts a value where the mask is")
    if isinstance(data, (np.ndarray, np.generic)):  # also types that NumPy does not export
        return np.asarray(data)
    if hasattr(data, "__dlpack__") and hasattr(data, "__dlpack_device__"):
        return _from_dlpack(data, copy)
    if isinstance(data, (str, bytes)):
        raise ArgumentTypeError(f"text is no tensor: {shown(data)}", remedy="numbers")
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
        if typed(error) is None:  # what a method of the caller's object raised
            raise
        raise ArgumentTypeError(f"no tensor from {shown(data)}: {error}") from None
