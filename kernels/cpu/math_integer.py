"""Division with remainder, powers and divisors: integer arithmetic of more than one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyml.kernels.cpu.intrinsics import bits, inlined, libm, select

u64 = np.uint64
_fmod = libm("fmod", 2)


def _divisions(t: Any, whole_type: Any, mantissa: int, bias: int) -> dict[str, Any]:
    """Return remainder, floor_divide and ldexp of a float type; fmod, which they use, is exact."""
    places = whole_type(mantissa)

    @inlined
    def remainder(x: Any, y: Any) -> Any:
        """Return x less y times what floor_divide gives: its sign is that of y."""
        rest = _fmod(x, y)
        moved = select((rest < t(0)) != (y < t(0)), rest + y, rest)
        return select(rest == t(0), select(y < t(0), t(-0.0), t(0)), moved)

    @inlined
    def floor_divide(x: Any, y: Any) -> Any:
        """Return the floor of x / y; x / y itself where one is infinite or y is 0."""
        rest = _fmod(x, y)
        down = select((rest != t(0)) & ((rest < t(0)) != (y < t(0))), t(1), t(0))
        # x - rest is a multiple of y but for its rounding, which np.rint removes.
        whole = np.rint((x - rest) / y - down)
        quotient = x / y
        whole = select(whole == t(0), quotient * t(0), whole)
        beyond = (abs(x) == t(np.inf)) | (abs(y) == t(np.inf))
        return select((y == t(0)) | beyond, quotient, whole)

    @inlined
    def ldexp(x: Any, n: Any) -> Any:
        """Return x 2^n for an integer n, in four steps, so that no factor overflows."""
        most = t(3.5 * bias)
        k = whole_type(select(n > most, most, select(n < -most, -most, n)))
        part = whole_type(k >> whole_type(2))
        step = bits(whole_type(whole_type(part + whole_type(bias)) << places))
        last = whole_type(k - whole_type(3) * part) + whole_type(bias)
        y = x * step * step * step * bits(whole_type(whole_type(last) << places))
        return select(n != n, n, y)

    short = "f32" if t is np.float32 else "f64"
    return {f"remainder_{short}": remainder, f"floor_divide_{short}": floor_divide,
            f"ldexp_{short}": ldexp}


@inlined
def power_u64(x: Any, n: Any) -> Any:
    """Return x to the power n modulo 2^64, by squaring."""
    y = u64(1)
    while n != u64(0):
        if n & u64(1):
            y = y * x
        x = x * x
        n = n >> u64(1)
    return y


@inlined
def gcd_u64(x: Any, y: Any) -> Any:
    """Return the greatest common divisor, by Euclid's algorithm; gcd(0, 0) is 0."""
    while y != u64(0):
        x, y = y, x % y
    return x


DIVISION: dict[str, Callable[..., Any]] = {
    **_divisions(np.float32, np.int32, 23, 127), **_divisions(np.float64, np.int64, 52, 1023),
    "power_u64": power_u64, "gcd_u64": gcd_u64,
}
