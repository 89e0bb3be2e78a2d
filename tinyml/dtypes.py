"""Data types as records, and their promotion rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.errors import DTypeError, shown

__all__ = ["DType", "bfloat16", "complex128", "complex64", "float16", "float32", "float64",
           "float8_e4m3fn", "float8_e5m2", "int16", "int32", "int4", "int64", "int8", "uint16",
           "uint32", "uint4", "uint64", "uint8"]


class DType:
    """A data type: its name, kind and bits, and the types in which it is stored and computed.

    `kind` is 'bool', 'int', 'uint', 'float' or 'complex'. `storage` names the type of an element in
    memory and `compute` the type of arithmetic on it (both are the type itself unless the table
    says otherwise). Types smaller than 8 bits are packed: element 0 is in the low bits of byte 0.
    `exponent` and `mantissa` are the widths in bits of a narrow float's two fields.

    >>> import tinyml
    >>> tinyml.float32, tinyml.float32.itemsize, tinyml.bfloat16.compute
    (tinyml.float32, 4, 'float32')
    """

    __slots__ = ("name", "kind", "bits", "storage", "compute", "exponent", "mantissa", "itemsize",
                 "is_float", "is_integer", "is_inexact", "is_small_float", "is_subbyte", "_numpy")

    def __init__(self, name: str, kind: str, bits: int, storage: str | None = None,
                 compute: str | None = None, exponent: int = 0, mantissa: int = 0) -> None:
        self.name: str = name
        self.kind: str = kind
        self.bits: int = bits
        self.storage: str = storage or name
        self.compute: str = compute or name
        self.exponent: int = exponent
        self.mantissa: int = mantissa
        self.itemsize: int = max(bits, 8) // 8
        self.is_float: bool = kind == "float"
        self.is_integer: bool = kind in ("int", "uint")
        self.is_inexact: bool = kind in ("float", "complex")  # such values have gradients
        self.is_small_float: bool = exponent > 0
        self.is_subbyte: bool = kind != "bool" and bits < 8
        self._numpy: np.dtype[Any] | None = None

    def __repr__(self) -> str:
        return f"tinyml.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_dtype, (self.name,))

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type with the same values, from ml_dtypes if NumPy has none."""
        if self._numpy is None:
            if self.name in _FOREIGN:
                import ml_dtypes

                self._numpy = np.dtype(getattr(ml_dtypes, self.name))
            else:
                self._numpy = np.dtype(self.name)
        return self._numpy


DTYPES: dict[str, DType] = {
    row[0]: DType(*row)
    for row in (
        ("bool", "bool", 1, "uint8"),
        ("int8", "int", 8),
        ("int16", "int", 16),
        ("int32", "int", 32),
        ("int64", "int", 64),
        ("uint8", "uint", 8),
        ("uint16", "uint", 16),
        ("uint32", "uint", 32),
        ("uint64", "uint", 64),
        ("float16", "float", 16, "uint16", "float32", 5, 10),
        ("bfloat16", "float", 16, "uint16", "float32", 8, 7),
        ("float32", "float", 32),
        ("float64", "float", 64),
        ("complex64", "complex", 64, None, "float32"),
        ("complex128", "complex", 128, None, "float64"),
        ("int4", "int", 4, "uint8", "int8"),
        ("uint4", "uint", 4, "uint8", "uint8"),
        ("float8_e4m3fn", "float", 8, "uint8", "float32", 4, 3),
        ("float8_e5m2", "float", 8, "uint8", "float32", 5, 2),
    )
}
bool_ = DTYPES["bool"]
int8, int16, int32, int64 = (DTYPES[f"int{n}"] for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (DTYPES[f"uint{n}"] for n in (8, 16, 32, 64))
float16, bfloat16 = DTYPES["float16"], DTYPES["bfloat16"]
float32, float64 = DTYPES["float32"], DTYPES["float64"]
complex64, complex128 = DTYPES["complex64"], DTYPES["complex128"]
int4, uint4 = DTYPES["int4"], DTYPES["uint4"]
float8_e4m3fn, float8_e5m2 = DTYPES["float8_e4m3fn"], DTYPES["float8_e5m2"]

# Names by family, used where records list the types that they accept.
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = (*SIGNED, *UNSIGNED)
FLOATS = ("float16", "bfloat16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
REAL = ("bool", *INTEGERS, *FLOATS)
COMPUTABLE = (*REAL, *COMPLEX)
STORED = ("int4", "uint4", "float8_e4m3fn", "float8_e5m2")  # can be moved and cast, nothing else
EVERY = (*COMPUTABLE, *STORED)

_FOREIGN = ("bfloat16", *STORED)
_ALIASES: dict[Any, DType] = {bool: bool_, int: int64, float: float32, complex: complex64}
_ALIASES.update(DTYPES)
_KIND_RANK = {"bool": 0, "int": 1, "uint": 1, "float": 2, "complex": 3}
_SCALAR_KINDS = {bool: 0, int: 1, float: 2, complex: 3}


def as_dtype(dtype: Any) -> DType:
    """Return the DType that a DType, a name, a NumPy dtype or a Python type stands for.

    Raises DTypeError if there is none.

    >>> as_dtype("int8"), as_dtype(float)
    (tinyml.int8, tinyml.float32)
    """
    if isinstance(dtype, DType):
        return dtype
    try:
        return _ALIASES[dtype]
    except (KeyError, TypeError):
        pass
    try:
        if isinstance(dtype, (str, type, np.dtype)):  # of others NumPy reads .dtype, or guesses
            known = np.dtype(dtype)
            found = _ALIASES[known] = _ALIASES[known.name]  # NumPy needs a microsecond for a name
            return found
    except (KeyError, TypeError, ValueError, SyntaxError):
        pass
    raise DTypeError(f"no data type {shown(dtype)}", remedy=(
        "one tuple for several sizes, such as (3, 4)" if isinstance(dtype, int)
        else f"one of {', '.join(DTYPES)}"))


def promote(first: DType, second: DType) -> DType:
    """Return the promoted type of two types (Array API standard 2024.12, type promotion).

    Beyond the standard: a type promotes to one of a higher kind (int64 and float16 give float16),
    a bool promotes to the other type, and float16 and bfloat16 give float32. Raises DTypeError for
    uint64 with a signed integer, and for types that are only stored (int4, float8).

    >>> promote(int8, uint8), promote(int64, float32), promote(complex64, float64)
    (tinyml.int16, tinyml.float32, tinyml.complex128)
    """
    if first is second:
        return first
    if first.name in STORED or second.name in STORED:
        raise _apart(first, second)
    ranks = _KIND_RANK[first.kind], _KIND_RANK[second.kind]
    if ranks[0] != ranks[1]:
        high, low = (first, second) if ranks[0] > ranks[1] else (second, first)
        return complex128 if high is complex64 and low is float64 else high
    if first.kind == second.kind:
        if first.bits == second.bits:
            return float32  # float16 and bfloat16
        return first if first.bits > second.bits else second
    signed, unsigned = (first, second) if first.kind == "int" else (second, first)
    if signed.bits > unsigned.bits:
        return signed
    if unsigned.bits == 64:
        raise _apart(first, second)
    return DTYPES[f"int{2 * unsigned.bits}"]


def _apart(first: DType, second: DType) -> DTypeError:
    return DTypeError(f"{first.name} and {second.name} have no common type",
                      remedy="cast one of them with .astype(...)")


def promote_scalar(dtype: DType, scalar: type) -> DType:
    """Return the promoted type of `dtype` and a Python scalar, which is weakly typed.

    >>> promote_scalar(float64, int), promote_scalar(int8, float), promote_scalar(float64, complex)
    (tinyml.float64, tinyml.float32, tinyml.complex128)
    """
    rank = _SCALAR_KINDS[scalar]
    if rank <= _KIND_RANK[dtype.kind]:
        return dtype
    if rank == 3:
        return complex128 if dtype is float64 else complex64
    return int64 if rank == 1 else float32


def part(dtype: DType) -> DType:
    """Return the type of a complex type's parts; a real type is returned unchanged.

    >>> part(complex128), part(float16)
    (tinyml.float64, tinyml.float16)
    """
    return DTYPES[dtype.compute] if dtype.kind == "complex" else dtype


def integer_range(dtype: DType) -> tuple[int, int]:
    """Return the least and the greatest value of an integer type.

    >>> integer_range(int8)
    (-128, 127)
    """
    if dtype.kind == "int":
        return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1
    return 0, (1 << dtype.bits) - 1


def rounded(value: Any, name: str) -> float:
    """Return the value of a float type nearest to a Python number, infinite beyond its range.

    >>> rounded(1.001, "bfloat16"), rounded(1e9, "float16")
    (1.0, inf)
    """
    with np.errstate(over="ignore"):
        return float(DTYPES[name].numpy.type(float(value)))


def truncated(value: float, dtype: DType) -> int:
    """Return what the cast rule makes of a float in an integer type.

    >>> truncated(-300.7, int8), truncated(2.9, int8), truncated(float("nan"), int8)
    (-128, 2, 0)
    """
    low, high = integer_range(dtype)
    return 0 if value != value else int(max(low, min(high, value)))
