"""Data types, constants, and the Array API's inspection of this namespace."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

import tinyml.ops.elementwise as words
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.core.upload import SCALARS
from tinyml.dtypes import (
    DTYPES,
    DType,
    as_dtype,
    complex64,
    float32,
    int64,
    integer_range,
    promote,
    promote_scalar,
)
from tinyml.errors import ArgumentError, ArgumentTypeError, DeviceError, DTypeError, expect, shown
from tinyml.ir.devices import ROOMS, Device, find_device

__all__ = ["__array_namespace_info__", "astype", "can_cast", "e", "finfo", "iinfo", "inf",
           "isdtype", "nan", "newaxis", "pi", "result_type"]

e, pi, inf, nan = math.e, math.pi, math.inf, math.nan
newaxis = None

# The standard's kinds, each in terms of the records' kinds (Array API standard 2024.12, isdtype).
KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int",),
    "unsigned integer": ("uint",),
    "integral": ("int", "uint"),
    "real floating": ("float",),
    "complex floating": ("complex",),
    "numeric": ("int", "uint", "float", "complex"),
}
STANDARD = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
            "float32", "float64", "complex64", "complex128")


class FloatInfo(NamedTuple):
    """What `finfo` returns for a float type; for a complex one, what it returns for its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IntegerInfo(NamedTuple):
    """What `iinfo` returns for an integer type."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(type: Any) -> DType:
    return type.spec.dtype if isinstance(type, Data) else as_dtype(type)


@named_in_errors
def astype(x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Tensor:
    """Return x converted to another data type (Array API standard 2024.12, astype).

    Floats truncate and saturate when cast to integers, and NaN becomes 0; integers wrap around. The
    result is on `device` if one is given. With `copy` False, x itself is returned if it already has
    the type. Raises DTypeError for complex to real.

    >>> import tinyml
    >>> tinyml.astype(tinyml.tensor([1.9, -300.0]), tinyml.int8).tolist()
    [1, -128]
    """
    expect(isinstance(x, Data), "a tensor", type(x).__name__, ArgumentTypeError)
    result = words.astype(x, as_dtype(dtype))
    if device is not None:
        result = result.to(device)
    return result.copy() if copy and result is x else result


@named_in_errors
def can_cast(from_: Any, to: Any) -> bool:
    """Return whether promotion can take a type, or a tensor's type, to another type.

    >>> can_cast("int8", "int16"), can_cast("int16", "uint16"), can_cast("float64", "float32")
    (True, False, False)
    """
    wanted = as_dtype(to)
    try:
        return promote(_dtype_of(from_), wanted) is wanted
    except DTypeError:
        return False


@named_in_errors
def finfo(type: Any) -> FloatInfo:
    """Return bits, eps, max, min and smallest normal number of a float type or a tensor's type.

    Raises DTypeError for other types.

    >>> finfo("float32").eps == 2.0 ** -23, finfo("float64").bits
    (True, 64)
    """
    dtype = _dtype_of(type)
    if dtype.kind == "complex":
        dtype = DTYPES[f"float{dtype.bits // 2}"]
    expect(dtype.kind == "float", "a float type", dtype.name, DTypeError)
    describe: Any = np.finfo
    if dtype.numpy.type.__module__ != "numpy":  # a type of ml_dtypes
        import ml_dtypes

        describe = ml_dtypes.finfo
    found = describe(dtype.numpy)
    return FloatInfo(dtype.bits, float(found.eps), float(found.max), float(found.min),
                     float(found.smallest_normal), dtype)


@named_in_errors
def iinfo(type: Any) -> IntegerInfo:
    """Return bits, max and min of an integer type or a tensor's type. Raises DTypeError for others.

    >>> iinfo("int8").min, iinfo("uint8").max
    (-128, 255)
    """
    dtype = _dtype_of(type)
    expect(dtype.is_integer, "an integer type", dtype.name, DTypeError)
    low, high = integer_range(dtype)
    return IntegerInfo(dtype.bits, high, low, dtype)


@named_in_errors
def isdtype(dtype: Any, kind: Any) -> bool:
    """Return whether a type equals `kind`, or is of that kind or one of several (standard 2024.12).

    Raises ArgumentError for a kind that the standard does not define.

    >>> isdtype("int8", "integral"), isdtype("int8", ("bool", "float32"))
    (True, False)
    """
    own = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(own, each) for each in kind)
    if isinstance(kind, str) and kind in KINDS:
        return own.kind in KINDS[kind]
    try:
        return own is as_dtype(kind)
    except DTypeError:
        raise ArgumentError(f"no kind of data types {shown(kind)}",
                            remedy=f"one of {', '.join(KINDS)}, or a data type") from None


@named_in_errors
def result_type(*arrays_and_dtypes: Any) -> DType:
    """Return the common type of tensors, types and Python numbers; numbers are weakly typed.

    Array API standard 2024.12, result_type. Raises DTypeError where there is none.

    >>> result_type("int8", "uint8"), result_type("float64", 1.0)
    (tinyml.int16, tinyml.float64)
    """
    numbers = [x for x in arrays_and_dtypes if isinstance(x, SCALARS)]
    dtypes = [as_dtype(getattr(x, "dtype", x)) for x in arrays_and_dtypes
              if not isinstance(x, SCALARS)]
    expect(len(dtypes) > 0, "at least one tensor or type", "none", ArgumentError)
    return functools.reduce(promote_scalar, map(type, numbers), functools.reduce(promote, dtypes))


class NamespaceInfo:
    """The Array API's inspection interface for this namespace (2024.12, inspection)."""

    def capabilities(self) -> dict[str, Any]:
        """Return the capabilities: boolean indices, data-dependent shapes, no limit on axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> Device:
        """Return the device of tensors created without naming one."""
        return find_device()

    def devices(self) -> list[Device]:
        """Return the devices that can be opened, the default one first."""
        found = [find_device()]
        for name in ROOMS:
            try:
                found.append(find_device(name))
            except (DeviceError, ImportError):
                continue
        return list(dict.fromkeys(found))

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """Return the types of tensors created without naming one, by kind of value."""
        return {"real floating": float32, "complex floating": complex64, "integral": int64,
                "indexing": int64}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """Return the standard's types that a device supports, of one or several kinds, by name."""
        where = find_device(device)
        return {name: DTYPES[name] for name in STANDARD
                if where.supports(DTYPES[name])
                and (kind is None or isdtype(DTYPES[name], kind))}


def __array_namespace_info__() -> NamespaceInfo:
    """Return an object whose methods report capabilities, devices and data types.

    >>> sorted(__array_namespace_info__().dtypes(kind="signed integer"))
    ['int16', 'int32', 'int64', 'int8']
    """
    return NamespaceInfo()
