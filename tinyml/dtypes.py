"""Data types as records, and the rules by which they promote."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.errors import DTypeError


class DType:
    """One data type: its name, kind and bits, how it is stored and in what it is computed.

    `kind` is 'bool', 'int', 'uint' or 'float'; `storage` names the type of an element in memory
    and `compute` the type of arithmetic on it (both are the type itself unless a row says so).

    >>> import tinyml
    >>> tinyml.float32, tinyml.float32.itemsize
    (tinyml.float32, 4)
    """

    __slots__ = ("name", "kind", "bits", "storage", "compute", "itemsize", "numpy")

    def __init__(self, name: str, kind: str, bits: int, storage: str | None = None,
                 compute: str | None = None) -> None:
        self.name = name
        self.kind = kind
        self.bits = bits
        self.storage = storage or name
        self.compute = compute or name
        self.itemsize = max(bits, 8) // 8
        self.numpy: np.dtype[Any] = np.dtype(name)

    def __repr__(self) -> str:
        return f"tinyml.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_dtype, (self.name,))

    @property
    def is_float(self) -> bool:
        """Whether gradients may flow through values of this type."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """Whether this is a signed or unsigned integer type."""
        return self.kind in ("int", "uint")


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
        ("float32", "float", 32),
        ("float64", "float", 64),
    )
}
bool_ = DTYPES["bool"]
int8, int16, int32, int64 = (DTYPES[f"int{n}"] for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (DTYPES[f"uint{n}"] for n in (8, 16, 32, 64))
float32, float64 = DTYPES["float32"], DTYPES["float64"]

_ALIASES: dict[Any, DType] = {bool: bool_, int: int64, float: float32}
_ALIASES.update({dtype.numpy: dtype for dtype in DTYPES.values()})
_ALIASES.update(DTYPES)
_SCALAR_KINDS = {bool: 0, int: 1, float: 2}
_KIND_RANK = {"bool": 0, "int": 1, "uint": 1, "float": 2}


def as_dtype(dtype: Any) -> DType:
    """The DType that a DType, a name, a NumPy dtype or a Python type stands for.

    Raises DTypeError where there is none.

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
        return _ALIASES[np.dtype(dtype).newbyteorder("=")]
    except (KeyError, TypeError):
        raise DTypeError(
            f"no data type {dtype!r}", remedy=f"one of {', '.join(DTYPES)}"
        ) from None


def promote(first: DType, second: DType) -> DType:
    """The type in which values of two types meet (Array API standard 2024.12, type promotion).

    Beyond the standard: an integer or bool that meets a float takes the float's type, and a bool
    takes the other's. A uint64 and a signed integer have no common type: DTypeError.

    >>> promote(int8, uint8), promote(int64, float32)
    (tinyml.int16, tinyml.float32)
    """
    if first is second:
        return first
    ranks = _KIND_RANK[first.kind], _KIND_RANK[second.kind]
    if ranks[0] != ranks[1]:
        return first if ranks[0] > ranks[1] else second
    if first.kind == second.kind:
        return first if first.bits > second.bits else second
    signed, unsigned = (first, second) if first.kind == "int" else (second, first)
    if signed.bits > unsigned.bits:
        return signed
    if unsigned.bits == 64:
        raise DTypeError(
            f"{first.name} and {second.name} have no common type",
            remedy="cast one of them with .astype(...)",
        )
    return DTYPES[f"int{2 * unsigned.bits}"]


def promote_scalar(dtype: DType, scalar: type) -> DType:
    """The type in which a value of `dtype` meets a Python scalar, which is weakly typed.

    >>> promote_scalar(float64, int), promote_scalar(int8, float)
    (tinyml.float64, tinyml.float32)
    """
    rank = _SCALAR_KINDS[scalar]
    if rank <= _KIND_RANK[dtype.kind]:
        return dtype
    return int64 if rank == 1 else float32


def integer_range(dtype: DType) -> tuple[int, int]:
    """The least and the greatest value of an integer type.

    >>> integer_range(int8)
    (-128, 127)
    """
    if dtype.kind == "int":
        return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1
    return 0, (1 << dtype.bits) - 1
