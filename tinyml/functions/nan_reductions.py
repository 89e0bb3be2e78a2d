"""NumPy's functions that ignore NaN: sums, extremes and moments of the other elements.

Each replaces NaN with a neutral value and reduces as the plain function does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.ops.arguments import as_axes, as_float
from tinyml.ops.creation import asarray
from tinyml.ops.cumulative import cumprod, cumsum
from tinyml.ops.elementwise import astype, isnan, logical_not, where
from tinyml.ops.reduction import argmax, argmin, max, min, prod, reduced_shape, root, sum
from tinyml.ops.rounding import rounded_once
from tinyml.ops.views import reshape

__all__ = ["nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin",
           "nanprod", "nanstd", "nansum", "nanvar"]


def _filled(x: Any, value: Any) -> Any:
    """Return x with NaN replaced by `value`."""
    x = asarray(x)
    return where(isnan(x), value, x) if x.dtype.is_float else x


def _count(x: Any, axis: Any, keepdims: bool) -> Tensor:
    """Return the number of elements over the axis that are not NaN, in x's type."""
    return astype(sum(logical_not(isnan(x)), axis, keepdims), x.dtype)


@named_in_errors
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the sum over `axis` of the elements that are not NaN; 0 if there are none.

    >>> import tinyml
    >>> tinyml.nansum(tinyml.tensor([1.0, float("nan")])).item()
    1.0
    """
    return sum(_filled(x, 0.0), axis, keepdims)


@named_in_errors
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the product over `axis` of the elements that are not NaN; 1 if there are none."""
    return prod(_filled(x, 1.0), axis=axis, keepdims=keepdims)


@named_in_errors
def nancumsum(x: Any, axis: int | None = None) -> Tensor:
    """Return the running sums along `axis`, with NaN counting as 0."""
    return cumsum(_filled(x, 0.0), axis)


@named_in_errors
def nancumprod(x: Any, axis: int | None = None) -> Tensor:
    """Return the running products along `axis`, with NaN counting as 1."""
    return cumprod(_filled(x, 1.0), axis)


@named_in_errors
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the greatest element over `axis` that is not NaN; NaN where all are.

    >>> import tinyml
    >>> tinyml.nanmax(tinyml.tensor([1.0, float("nan")])).item()
    1.0
    """
    return _extreme(max, x, axis, keepdims, float("-inf"))


@named_in_errors
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the least element over `axis` that is not NaN; NaN where all are."""
    return _extreme(min, x, axis, keepdims, float("inf"))


def _extreme(reduction: Callable[..., Tensor], x: Any, axis: Any, keepdims: bool,
             worst: float) -> Tensor:
    x = asarray(x)
    if not x.dtype.is_float:
        return reduction(x, axis, keepdims)
    found = reduction(_filled(x, worst), axis, keepdims)
    return where(_count(x, axis, keepdims) == 0, float("nan"), found)


@named_in_errors
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the int64 index of the first greatest element along `axis` that is not NaN.

    If all are NaN, the index is 0. NumPy raises there, which would mean waiting for the values.
    """
    return argmax(_filled(x, float("-inf")), axis, keepdims)


@named_in_errors
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the int64 index of the first least element that is not NaN; see `nanargmax`."""
    return argmin(_filled(x, float("inf")), axis, keepdims)


@named_in_errors
@rounded_once
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean over `axis`, ignoring NaN; NaN if all are. Integers become float32.

    >>> import tinyml
    >>> tinyml.nanmean(tinyml.tensor([1.0, 3.0, float("nan")])).item()
    2.0
    """
    x = as_float(asarray(x))
    return sum(_filled(x, 0.0), axis, keepdims) / _count(x, axis, keepdims)


@named_in_errors
@rounded_once
def nanvar(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the variance over `axis` of the elements that are not NaN, divided by n - correction.

    NaN unless n is greater than `correction`. Integers become float32.
    """
    x = as_float(asarray(x))
    count = _count(x, axis, True)
    there = _filled(x, 0.0)
    centred = where(isnan(x), 0.0, there - sum(there, axis, True) / count)
    centred = where(isnan(x), 0.0, centred - sum(centred, axis, True) / count)  # its rounding
    squares = sum(centred * centred, axis, True)
    divisor = count - correction
    found = where(divisor > 0.0, squares / where(divisor > 0.0, divisor, 1.0), float("nan"))
    if keepdims:
        return found
    return reshape(found, reduced_shape(x.shape, as_axes(axis, x.ndim), False))


@named_in_errors
@rounded_once
def nanstd(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the standard deviation over `axis`, ignoring NaN: the square root of `nanvar`."""
    return root(nanvar(x, axis, correction, keepdims))
