"""Products of tensors under NumPy's names: outer, inner, kron, cross; powers in columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.core.apply import full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.functions.rearrange import flip, roll
from tinyml.ops.arguments import as_axis, as_size, broadcast_shapes
from tinyml.ops.concat import concat
from tinyml.ops.creation import as_tensors, asarray
from tinyml.ops.cumulative import cumprod
from tinyml.ops.elementwise import multiply
from tinyml.ops.matmul import matmul
from tinyml.ops.rounding import rounded_once
from tinyml.ops.views import broadcast_to, permute_dims, reshape

__all__ = ["cross", "inner", "kron", "outer", "vander"]


@named_in_errors
def outer(x: Any, y: Any) -> Tensor:
    """Return the outer product of x and y, both flattened: (x.size, y.size).

    >>> import tinyml
    >>> tinyml.outer(tinyml.tensor([1, 2]), tinyml.tensor([3, 4])).tolist()
    [[3, 4], [6, 8]]
    """
    x, y = as_tensors(x, y)
    return reshape(x, (x.size, 1)) * reshape(y, (1, y.size))


@named_in_errors
def inner(x: Any, y: Any) -> Tensor:
    """Return dot products over the last axes: x.shape[:-1] + y.shape[:-1]; a scalar multiplies.

    Raises ShapeError where the last sizes differ.

    >>> import tinyml
    >>> tinyml.inner(tinyml.tensor([1, 2]), tinyml.tensor([3, 4])).item()
    11
    """
    x, y = as_tensors(x, y)
    if x.ndim == 0 or y.ndim == 0:
        return multiply(x, y)
    expect(x.shape[-1] == y.shape[-1], "x.shape[-1] == y.shape[-1]",
           f"{x.shape[-1]} != {y.shape[-1]}", ShapeError)
    size = x.shape[-1]
    left = reshape(x, (int(np.prod(x.shape[:-1])), size))
    right = reshape(y, (int(np.prod(y.shape[:-1])), size))
    found = matmul(left, permute_dims(right, (1, 0)))
    return reshape(found, (*x.shape[:-1], *y.shape[:-1]))


@named_in_errors
def kron(x: Any, y: Any) -> Tensor:
    """Return the Kronecker product: a copy of y for each element of x, times that element.

    >>> import tinyml
    >>> tinyml.kron(tinyml.tensor([1, 10]), tinyml.tensor([1, 2])).tolist()
    [1, 2, 10, 20]
    """
    x, y = as_tensors(x, y)
    ndim = max(x.ndim, y.ndim)
    left = (1,) * (ndim - x.ndim) + x.shape
    right = (1,) * (ndim - y.ndim) + y.shape
    spread = reshape(x, [n for size in left for n in (size, 1)])
    product = spread * reshape(y, [n for size in right for n in (1, size)])
    return reshape(product, [a * b for a, b in zip(left, right)])


@named_in_errors
@rounded_once
def cross(x: Any, y: Any, axis: int = -1) -> Tensor:
    """Return the cross product of vectors of size 3 along `axis`; the other axes broadcast.

    Raises ShapeError for vectors of another size.

    >>> import tinyml
    >>> tinyml.cross(tinyml.tensor([1, 0, 0]), tinyml.tensor([0, 1, 0])).tolist()
    [0, 0, 1]
    """
    x, y = as_tensors(x, y)
    shape = broadcast_shapes(x.shape, y.shape)
    place = as_axis(axis, len(shape))
    expect(shape[place] == 3, "3 elements along the axis", shape, ShapeError)
    x, y = broadcast_to(x, shape), broadcast_to(y, shape)
    x_after, y_after = (roll(v, -1, place) for v in (x, y))
    x_before, y_before = (roll(v, 1, place) for v in (x, y))
    return x_after * y_before - x_before * y_after


@named_in_errors
def vander(x: Any, n: int | None = None, increasing: bool = False) -> Tensor:
    """Return the powers of x along a new last axis: n - 1 down to 0, or upward if `increasing`.

    n is x.shape[-1] unless given.

    >>> import tinyml
    >>> tinyml.vander(tinyml.tensor([2.0, 3.0]), 3).tolist()
    [[4.0, 2.0, 1.0], [9.0, 3.0, 1.0]]
    """
    x = asarray(x)
    expect(x.ndim > 0, "at least 1 axis", x.shape, ShapeError)
    count = x.shape[-1] if n is None else as_size(n, "n")
    expect(count >= 0, "n is not negative", count, ArgumentError)
    columns = broadcast_to(reshape(x, (*x.shape, 1)), (*x.shape, max(count - 1, 0)))
    one = full((*x.shape, min(count, 1)), 1, x.dtype, x.device)
    rising = concat([one, cumprod(columns, x.ndim)], x.ndim) if count > 1 else one
    return rising if increasing else flip(rising, x.ndim)
