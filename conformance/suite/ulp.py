"""Distance from the exact value in units in the last place, measured in long double."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference

Array = npt.NDArray[Any]

# The exact value is itself rounded to long double: 2^-11 of a float64's unit. A correctly rounded
# result may therefore seem this far beyond half a unit away.
REFERENCE_SLACK = 2.0**-10


def spacing(exact: Array, dtype: np.dtype[Any]) -> Array:
    """Return one unit in the last place of `dtype` at `exact`, never below a subnormal's.

    >>> float(spacing(np.longdouble(1.5), np.dtype("float32")) * 2**23)
    1.0
    """
    info = ml_dtypes.finfo(dtype)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(np.asarray(exact, np.longdouble))
    # frexp's mantissa lies in [0.5, 1), so its exponent is one above that of the leading bit.
    exponent = np.where(exact == 0, info.minexp, exponent - 1)
    exponent = np.clip(exponent, info.minexp, info.maxexp - 1)
    return np.asarray(np.ldexp(np.longdouble(1), exponent - info.nmant))


def distance(computed: Array, exact: Array, signed_zero: bool = True) -> Array:
    """Return how many units in the last place of its dtype `computed` lies from the exact value.

    `computed` may have any dtype. `exact` has the same shape, and is long double where `computed`
    is a float, else of any integer or bool dtype. The distance is infinite where the two differ in
    kind: NaN against a number, an infinity against anything else, unequal integers, and, with
    `signed_zero`, zeros of different sign. An infinity for a finite value beyond the range counts
    from one unit beyond the greatest number. All NaNs are equal.

    >>> x = np.array([1.0, np.nan, 0.0], "float32")
    >>> distance(x, np.array([1 + 2**-23, np.nan, -0.0], np.longdouble)).astype(float).tolist()
    [1.0, 0.0, inf]
    """
    if computed.dtype.kind == "c":
        return _of_parts(computed, np.asarray(exact, np.clongdouble))
    if reference.kind(computed.dtype) != "f":
        differs = computed != exact
        whole: Array = np.where(differs, np.longdouble(np.inf), np.longdouble(0))
        return whole
    info = ml_dtypes.finfo(computed.dtype)
    exact = np.asarray(exact, np.longdouble)
    with np.errstate(invalid="ignore"):  # converting a NaN of ml_dtypes
        wide = computed.astype(np.longdouble)
    beyond = np.ldexp(np.longdouble(1), info.maxexp)
    with np.errstate(all="ignore"):
        result = np.abs(np.clip(wide, -beyond, beyond) - np.clip(exact, -beyond, beyond))
        result = result / spacing(exact, computed.dtype)
    both_nan = np.isnan(wide) & np.isnan(exact)
    unequal = np.isnan(wide) != np.isnan(exact)
    unequal |= np.isinf(exact) & (wide != exact)
    if signed_zero:
        both_zero = (wide == 0) & (exact == 0)
        unequal |= both_zero & (np.signbit(wide) != np.signbit(exact))
    result = np.where(unequal, np.longdouble(np.inf), result)
    counted: Array = np.where(both_nan, np.longdouble(0), result)
    return counted


def _of_parts(computed: Array, exact: Array) -> Array:
    """Return the distance of complex numbers in the plane, in ULPs of the larger part.

    A non-finite number is a single value: NaN if either part is NaN, else infinity.
    """
    part = computed.real.dtype
    beyond = np.ldexp(np.longdouble(1), np.finfo(part).maxexp)
    with np.errstate(invalid="ignore"):  # values beyond the type's range become infinite
        exact = np.where(np.maximum(abs(exact.real), abs(exact.imag)) >= beyond, np.inf, exact)
    size = np.maximum(np.abs(exact.real), np.abs(exact.imag))
    with np.errstate(all="ignore"):
        result = np.abs(computed.astype(np.clongdouble) - exact) / spacing(size, part)
    differs = np.isnan(computed) != np.isnan(exact)
    differs |= ~np.isnan(exact) & (np.isinf(computed) != np.isinf(exact))
    apart: Array = np.where(differs, np.longdouble(np.inf), np.where(np.isfinite(exact), result, 0))
    return apart
