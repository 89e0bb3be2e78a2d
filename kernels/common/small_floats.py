"""What the conversions of small floats need to know of a format, for every device."""

from __future__ import annotations

from typing import NamedTuple

from tinyml.dtypes import DType

INFINITY = 0x7F800000  # the bits of float32's


class FloatFormat(NamedTuple):
    """The numbers that the conversions of one format need.

    bias        of the exponent
    drop        bits of float32's mantissa that the format lacks
    sign        the bit of the sign
    magnitude   all other bits
    overflow    what stands for all that is too great
    nan         a NaN
    min_normal  the bits of the least normal number, in float32
    rounder     the bits of a float32 whose unit in the last place is that of our subnormals
    """

    bias: int
    drop: int
    sign: int
    magnitude: int
    overflow: int
    nan: int
    min_normal: int
    rounder: int


def float_format(dtype: DType) -> FloatFormat:
    """Return the format of a small float.

    >>> from tinyml.dtypes import float16
    >>> hex(float_format(float16).overflow), float_format(float16).bias
    ('0x7c00', 15)
    """
    bias = (1 << (dtype.exponent - 1)) - 1
    is_finite = dtype.name.endswith("fn")  # no infinities, and one NaN: all bits set
    magnitude = (1 << (dtype.bits - 1)) - 1
    infinity = ((1 << dtype.exponent) - 1) << dtype.mantissa
    return FloatFormat(
        bias=bias,
        drop=23 - dtype.mantissa,
        sign=1 << (dtype.bits - 1),
        magnitude=magnitude,
        overflow=magnitude if is_finite else infinity,
        nan=magnitude if is_finite else infinity | 1 << (dtype.mantissa - 1),
        min_normal=(127 - bias + 1) << 23,
        rounder=(127 - bias + 1 + 23 - dtype.mantissa) << 23,
    )
