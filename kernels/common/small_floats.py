"""The constants of a narrow float format that its conversions need, on every device."""

from __future__ import annotations

from tinyml.dtypes import DType

INFINITY = 0x7F800000  # the bits of float32's


def layout(dtype: DType) -> dict[str, int]:
    """Return the numbers that the conversions of one format need.

    >>> from tinyml.dtypes import float16
    >>> hex(layout(float16)["top"]), layout(float16)["bias"]
    ('0x7c00', 15)
    """
    bias = (1 << (dtype.exponent - 1)) - 1
    finite = dtype.name.endswith("fn")  # no infinities, and one NaN: all bits set
    every = (1 << (dtype.bits - 1)) - 1
    infinity = ((1 << dtype.exponent) - 1) << dtype.mantissa
    return {
        "bias": bias,
        "drop": 23 - dtype.mantissa,  # bits of float32's mantissa that it lacks
        "sign": 1 << (dtype.bits - 1),
        "every": every,
        "top": every if finite else infinity,  # the code of every value that is too large
        "nan": every if finite else infinity | 1 << (dtype.mantissa - 1),
        "least": (127 - bias + 1) << 23,  # float32 bits of the smallest normal number
        "magic": (127 - bias + 1 + 23 - dtype.mantissa) << 23,  # its ulp is our subnormals' ulp
    }
