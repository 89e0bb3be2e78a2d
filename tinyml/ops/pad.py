"""Padding: a border of one value around a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.dtypes import EVERY, integer_range, truncated
from tinyml.errors import ArgumentError, ArgumentTypeError, ShapeError, expect
from tinyml.ir.nest import Ids, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_number, as_places, as_sizes, with_shape
from tinyml.ops.samples import ErrorCase
from tinyml.ops.views import SLICE, Ints, place_in_slice


def _normalize(x: Spec, *, before: Any, after: Any, value: Any) -> dict[str, Any]:
    number: Any = as_number(value, "value")
    if x.dtype.is_integer and isinstance(number, float):
        number = truncated(number, x.dtype)
    elif x.dtype.is_integer:
        low, high = integer_range(x.dtype)
        expect(low <= number <= high, f"a value that {x.dtype.name} holds, {low} to {high}",
               number, ArgumentError)
    return {"before": as_places(before, "before"), "after": as_places(after, "after"),
            "value": number}


def _infer(x: Spec, *, before: Ints, after: Ints, value: float) -> Spec:
    expect(len(before) == len(after) == x.ndim, f"{x.ndim} widths", (before, after))
    expect(min((*before, *after), default=0) >= 0, "widths are not negative", (before, after))
    return with_shape(x, tuple([b + n + a for b, n, a in zip(before, x.shape, after)]))


def _nest(n: Nest, index: Ids, x: Any, *, before: Ints, after: Ints, value: float) -> int:
    stop = tuple([b + size for b, size in zip(before, x.shape)])
    whole = tuple([b + size + a for b, size, a in zip(before, x.shape, after)])
    inner, guard = place_in_slice(n, index, before, stop, (1,) * x.ndim, whole)
    return int(x(inner, guard, n.const(value, x.dtype)))


_X = np.ones((3, 4), np.float32)

PAD: Op = define(
    "pad", _infer, normalize=_normalize, nest=_nest,
    grad=(lambda g, _y, _x, before, after, value: apply(
        SLICE, g, start=before, stop=tuple([b + n for b, n in zip(before, _x.shape)]),
        step=(1,) * g.ndim),),
    samples=samples.pad(), dtypes=EVERY,
    errors=lambda: [ErrorCase((_X,), {"before": (1, -1), "after": (0, 0), "value": 0.0},
                              ShapeError, "not negative"),
                    ErrorCase((_X,), {"before": (1, 1), "after": (0, 0), "value": "x"},
                              ArgumentTypeError, "value is 'x'")],
    doc="x with a border of one value, of given widths before and after each axis.",
)


@named_in_errors
def pad(x: Any, before: Any, after: Any, value: float = 0.0) -> Tensor:
    """Return x with a border of `value`, of widths `before` and `after` for each axis or for all.

    Raises ShapeError for widths that are negative or not one per axis.

    >>> import tinyml
    >>> from tinyml.ops.pad import pad
    >>> pad(tinyml.ones(2), 1, 0).tolist()
    [0.0, 1.0, 1.0]
    """
    ndim = x.ndim
    widths = [as_sizes(w) * (ndim if not hasattr(w, "__len__") else 1) for w in (before, after)]
    return apply(PAD, x, before=widths[0], after=widths[1], value=value)
