"""Vector norms, distances and equality of tensors; gradients of norms are finite at 0."""

from __future__ import annotations

import math
from typing import Any

from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import float32
from tinyml.errors import ShapeError, expect
from tinyml.functions.rearrange import expand_dims
from tinyml.ops.creation import as_tensors, asarray
from tinyml.ops.elementwise import abs, astype, equal, isclose, not_equal, square, where
from tinyml.ops.reduction import all as all_of
from tinyml.ops.reduction import max, min, root, sum
from tinyml.ops.rounding import rounded_once

__all__ = ["allclose", "array_equal", "cdist", "vector_norm"]


@named_in_errors
@rounded_once
def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """Return sum(|x| ** ord) ** (1 / ord) over `axis` (Array API 2024.12, linalg.vector_norm).

    inf and -inf give the greatest and the least magnitude, 0 the number of nonzero elements.
    Where the norm is 0 its gradient is 0. Integers become float32. Raises ShapeError if there are
    no elements and ord is infinite.

    >>> import tinyml
    >>> tinyml.vector_norm(tinyml.tensor([3.0, -4.0])).item()
    5.0
    """
    x = asarray(x)
    x = x if x.dtype.is_inexact else astype(x, float32)
    if ord == math.inf:
        return max(abs(x), axis, keepdims)
    if ord == -math.inf:
        return min(abs(x), axis, keepdims)
    if ord == 0:
        return sum(astype(not_equal(x, 0.0), abs(x).dtype), axis, keepdims)
    if ord == 1:
        return sum(abs(x), axis, keepdims)
    if ord == 2:
        return root(sum(square(abs(x) if x.dtype.kind == "complex" else x), axis, keepdims))
    size = abs(x)
    zero = equal(size, 0.0)
    # Take the power of 1 in place of 0's, whose slope may be infinite.
    powers = where(zero, 0.0 if ord > 0 else math.inf, where(zero, 1.0, size) ** ord)
    total = sum(powers, axis, keepdims)
    none = equal(total, 0.0)
    if ord < 0:
        none = equal(total, math.inf)
    return where(none, 0.0, where(none, 1.0, total) ** (1.0 / ord))


@named_in_errors
@rounded_once
def cdist(x: Any, y: Any, p: float = 2.0) -> Tensor:
    """Return distances (..., n, m) between rows (..., n, d) and (..., m, d) in the p-norm.

    Leading axes broadcast (scipy.spatial.distance.cdist, minkowski). Raises ShapeError.

    >>> import tinyml
    >>> tinyml.cdist(tinyml.tensor([[0.0, 0.0]]), tinyml.tensor([[3.0, 4.0]])).tolist()
    [[5.0]]
    """
    x, y = as_tensors(x, y)
    expect(x.ndim >= 2 and y.ndim >= 2 and x.shape[-1] == y.shape[-1],
           "rows of one size", (x.shape, y.shape), ShapeError)
    apart = expand_dims(x, -2) - expand_dims(y, -3)
    return sum(abs(apart), -1) if not apart.shape[-1] else vector_norm(apart, -1, ord=p)


@named_in_errors
def allclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> bool:
    """Return whether `isclose` holds everywhere, as a Python bool.

    >>> import tinyml
    >>> tinyml.allclose(tinyml.ones(2), tinyml.ones(2) + 1e-9)
    True
    """
    left, right = as_tensors(x, y)
    return bool(all_of(isclose(left, right, rtol, atol, equal_nan)))


@named_in_errors
def array_equal(x: Any, y: Any) -> bool:
    """Return whether x and y have the same shape and elements, as a Python bool.

    >>> import tinyml
    >>> tinyml.array_equal([1, 2], [1, 2]), tinyml.array_equal([1], [[1]])
    (True, False)
    """
    x, y = as_tensors(x, y)
    return x.shape == y.shape and bool(all_of(equal(x, y)))
