"""Small floats as bits: to float32 and back, rounded to nearest even, in integer arithmetic.

A format is a sign, an exponent and a mantissa, whose widths `tinyml.dtypes` states. There is no
branch and no call, so LLVM makes vectors of them; the OpenCL emitter has the same steps in C. A
processor that rounds to float16 itself does so: the bits are the same. Widening stays in integers,
since LLVM 22 loses the sign of a zero in halves (seen in elu, where x > 0 chooses 0 or x).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy import float32 as f32
from numpy import float64 as f64
from numpy import int32 as i32
from numpy import uint8 as u8
from numpy import uint16 as u16

from tinyml.dtypes import DTYPES, DType
from tinyml.kernels.common.small_floats import INFINITY, float_format
from tinyml.kernels.cpu.intrinsics import bits, half, inlined, select


def widening(dtype: DType) -> Callable[..., Any]:
    """Return the function from the bits of a small float to a float32."""
    bias, drop, sign, magnitude, overflow, *_ = float_format(dtype)
    mantissa = dtype.mantissa
    unit = 2.0 ** (1 - bias - mantissa)

    def widen(x: Any) -> Any:
        code = i32(x) & i32(magnitude)
        normal = i32(i32(code << i32(drop)) + i32((127 - bias) << 23))
        tiny = bits(f32(f32(code) * f32(unit)))
        whole = select(code < i32(1 << mantissa), tiny, normal)
        beyond = i32(i32(INFINITY) | i32(i32(code & i32((1 << mantissa) - 1)) << i32(drop)))
        whole = select(code >= i32(overflow), beyond, whole)
        return bits(i32(whole | select(i32(x) & i32(sign) != i32(0), i32(-(1 << 31)), i32(0))))

    def same_range(x: Any) -> Any:
        return bits(i32(i32(x) << i32(drop)))

    return same_range if dtype.exponent == 8 else widen


def narrowing(dtype: DType) -> Callable[..., Any]:
    """Return the function from a float32 to the bits of the nearest small float."""
    bias, drop, sign, _, overflow, nan, min_normal, rounder = float_format(dtype)
    store = u16 if dtype.bits == 16 else u8
    subnormal = dtype.exponent < 8

    def narrow(x: Any) -> Any:
        code = i32(bits(x) & i32(0x7FFFFFFF))
        odd = i32(i32(code >> i32(drop)) & i32(1))
        near = i32(i32(i32(code + i32((1 << (drop - 1)) - 1)) + odd) >> i32(drop))
        near = i32(near - i32((127 - bias) << (23 - drop)))
        if subnormal:  # adding a number with the wanted unit in the last place rounds to it
            tiny = i32(bits(f32(bits(code) + bits(i32(rounder)))) - i32(rounder))
            near = select(code < i32(min_normal), tiny, near)
        near = select((near > i32(overflow)) | (code >= i32(INFINITY)), i32(overflow), near)
        near = select(code > i32(INFINITY), i32(nan), near)
        return store(near | select(bits(x) < i32(0), i32(sign), i32(0)))

    return narrow


@inlined
def odd_f64(x: Any) -> Any:
    """Round a float64 to a float32 from which one more rounding gives the nearest small float.

    A result that is not exact is the neighbour with an odd mantissa (Boldo and Melquiond, IEEE
    Transactions on Computers 57, 2008).
    """
    near = f32(x)
    code = bits(near)
    beyond = abs(f64(near)) > abs(x)
    inexact = (f64(near) != x) & (x == x)
    code = select(inexact & beyond, i32(code - i32(1)), code)
    return bits(select(inexact, i32(code | i32(1)), code))


FUNCTIONS: dict[str, Callable[..., Any]] = {"odd_f64": odd_f64}
for _dtype in DTYPES.values():
    if _dtype.is_small_float:
        FUNCTIONS[f"{_dtype.name}_f32"] = inlined(narrowing(_dtype))
        FUNCTIONS[f"{_dtype.name}_u{_dtype.bits}"] = inlined(widening(_dtype))
if half is not None:
    FUNCTIONS["float16_f32"] = inlined(lambda x: half(x))
