"""Scans: running sums, running products and linear recurrences along an axis.

A nest runs along the axis element by element, in parallel over the other axes. A long axis with few
rows is cut into blocks: their totals are scanned first, and each block begins with the state before
it. The shape alone decides this, and so the order of every sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyml.ops.samples.cumulative as samples
from tinyml.core.apply import apply, apply_many, full
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.dtypes import COMPLEX, COMPUTABLE, FLOATS, DType, as_dtype, float64, promote
from tinyml.errors import ArgumentError, AxisError, DTypeError, ShapeError, expect
from tinyml.ir.lower import NotOneNest
from tinyml.ir.monoids import AFFINE, PRODUCT, SUM
from tinyml.ir.nest import ZERO, Axis, Ids, Monoid, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axis, broadcast_shapes, with_shape
from tinyml.ops.concat import concat
from tinyml.ops.creation import asarray
from tinyml.ops.elementwise import astype, conj, maximum, minimum
from tinyml.ops.pad import pad
from tinyml.ops.reduction import sum_dtype
from tinyml.ops.samples.values import ErrorCase
from tinyml.ops.views import broadcast_to, reshape, slice_axis

__all__ = ["cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "linear_scan"]

LONG_AXIS = 4096  # a shorter axis is not cut into blocks
MANY_ROWS = 64  # with this many rows none is: the rows run in parallel
BLOCK = 1024  # approximate number of elements in a block


# ---- shapes


def in_blocks(shape: tuple[int, ...], axis: int) -> bool:
    """Return whether a scan of this shape is cut into blocks.

    >>> in_blocks((1_000_000,), 0), in_blocks((1000, 1000), 1)
    (True, False)
    """
    return shape[axis] >= LONG_AXIS and 0 < math.prod(shape) < MANY_ROWS * shape[axis]


def block_length(size: int) -> int:
    """Return the length of a block: a divisor of the size near 1024, else 1024, with padding.

    >>> block_length(1_000_000), block_length(65_536), block_length(4099)
    (1000, 1024, 1024)
    """
    near = [n for n in range(BLOCK // 2, 2 * BLOCK) if size % n == 0]
    return min(near, key=lambda n: abs(n - BLOCK), default=BLOCK)


def _kept(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def split_blocks(x: Any, axis: int, length: int, fill: int) -> Any:
    """Split the axis in two, blocks and positions in a block, padding the last block."""
    blocks = -(-x.shape[axis] // length)
    missing = blocks * length - x.shape[axis]
    if missing:
        after = tuple([missing if d == axis else 0 for d in range(x.ndim)])
        x = pad(x, (0,) * x.ndim, after, fill)
    return reshape(x, (*x.shape[:axis], blocks, length, *x.shape[axis + 1 :]))


def join_blocks(x: Any, axis: int, size: int) -> Any:
    """Join blocks into one axis again, without the padding of the last one."""
    x = reshape(x, (*x.shape[:axis], -1, *x.shape[axis + 2 :]))
    return x if x.shape[axis] == size else slice_axis(x, axis, 0, size)


def _last(x: Any, axis: int, reverse: bool) -> Any:
    """Return the element at which a scan ends, keeping the axis."""
    size = x.shape[axis]
    return slice_axis(x, axis, 0, 1) if reverse else slice_axis(x, axis, size - 1, size)


def shifted(x: Any, axis: int, reverse: bool, first: Any = None) -> Any:
    """Return each element's predecessor in scan order; the first gets `first`, by default 0."""
    size = x.shape[axis]
    if not size:
        return x
    rest = slice_axis(x, axis, 1, size) if reverse else slice_axis(x, axis, 0, size - 1)
    if first is not None:
        return concat([rest, first] if reverse else [first, rest], axis)
    one = tuple([int(d == axis) for d in range(x.ndim)])
    none = (0,) * x.ndim
    return pad(rest, none, one) if reverse else pad(rest, one, none)


# ---- records


def _normalize(x: Spec, *_: Spec, axis: Any, **ways: Any) -> dict[str, Any]:
    return {"axis": as_axis(axis, x.ndim), **{k: bool(v) for k, v in ways.items()}}


def _two_ways(x: Spec, *rest: Spec, axis: Any, reverse: Any = False,
              exclusive: Any = False) -> dict[str, Any]:
    return _normalize(x, *rest, axis=axis, reverse=reverse, exclusive=exclusive)


def _check_start(x: Spec, start: tuple[Spec, ...], axis: int, dtype: DType) -> None:
    expect(len(start) <= 1, "at most one start", len(start), ArgumentError)
    for spec in start:
        shape = _kept(x.shape, axis, 1)
        expect(spec.shape == shape, f"a start of shape {shape}", spec.shape, ShapeError)
        expect(spec.dtype is dtype, f"a start of {dtype.name}", spec.dtype.name, DTypeError)


def scan_nest(n: Nest, index: Ids, monoid: Monoid, xs: tuple[Any, ...], start: tuple[Any, ...],
              dtype: DType, axis: int, reverse: bool, exclusive: bool) -> int:
    """Return one element of a scan; raises NotOneNest where its index is not an axis itself."""
    along, size = index[axis], xs[0].shape[axis]
    if in_blocks(xs[0].shape, axis):
        raise NotOneNest
    if size > 1:
        own = n.code[along].payload
        others = n.join([i for d, i in enumerate(index) if d != axis])
        if not isinstance(own, Axis) or n.axes[own.name] != size or own.name in others:
            raise NotOneNest
    items = [n.cast(x(index), dtype) for x in xs]
    begin = [value((*index[:axis], ZERO, *index[axis + 1 :])) for value in start]
    state = (*monoid.init(n, (dtype,))[:-1], *begin) if begin else None
    return n.scan(monoid, along, *items, start=state, reverse=reverse, exclusive=exclusive)[-1]


def _in_blocks(op: Op, xs: tuple[Any, ...], fills: tuple[int, ...], before: Any, axis: int,
               **ways: bool) -> Any:
    """Scan block by block, each starting from the state `before` it."""
    length = block_length(xs[0].shape[axis])
    blocks = [split_blocks(x, axis, length, fill) for x, fill in zip(xs, fills)]
    begin = reshape(before, (*before.shape[: axis + 1], 1, *before.shape[axis + 1 :]))
    return join_blocks(apply(op, *blocks, begin, axis=axis + 1, **ways), axis, xs[0].shape[axis])


def _wide(x: Any) -> DType:
    """Return the type of the totals: float64 if the device has it.

    A block's product is the quotient of the results at its two ends, so it may overflow even if
    they do not.
    """
    if x.dtype.is_float and x.device.supports(float64):
        return float64
    return sum_dtype(x.dtype)


def _totals_infer(x: Spec, *rest: Spec, axis: int, reverse: bool, dtype: DType) -> Any:
    total = with_shape(x, (*x.shape[:axis], *x.shape[axis + 1 :]), dtype)
    return (total, total) if rest else total


def _totals_nest(monoid: Monoid) -> Callable[..., Ids | int]:
    """Return the nest that combines all elements of a block, in scan order."""

    def nest(n: Nest, index: Ids, *xs: Any, axis: int, reverse: bool, dtype: DType) -> Ids | int:
        size = xs[0].shape[axis]
        over = n.over(index, (size,))
        place = n.sub(n.param(size - 1), over[0]) if reverse else over[0]
        items = [n.cast(x((*index[:axis], place, *index[axis:])), dtype) for x in xs]
        found = n.reduce(monoid, over, *items)
        return found if len(found) > 1 else found[0]

    return nest


PRODUCTS: Op = define(
    "block_products", _totals_infer, nest=_totals_nest(PRODUCT), differentiable=False,
    internal=True, dtypes=(), doc="The product of each block along an axis.",
)
MAPS: Op = define(
    "block_maps", _totals_infer, nest=_totals_nest(AFFINE), differentiable=False, internal=True,
    dtypes=(), doc="The composition y -> a y + b of each block's maps, in order.",
)


def _define(name: str, monoid: Monoid, **fields: Any) -> Op:
    def infer(x: Spec, *start: Spec, axis: int, reverse: bool, exclusive: bool) -> Spec:
        _check_start(x, start, axis, sum_dtype(x.dtype))
        return with_shape(x, x.shape, sum_dtype(x.dtype))

    def nest(n: Nest, index: Ids, x: Any, *start: Any, axis: int, reverse: bool,
             exclusive: bool) -> int:
        return scan_nest(n, index, monoid, (x,), start, sum_dtype(x.dtype), axis, reverse,
                         exclusive)

    return define(name, infer, nest=nest, normalize=_two_ways, dtypes=COMPUTABLE, errors=_errors,
                  **fields)


_X = np.ones((2, 3), np.float32)
_WAYS = {"reverse": False, "exclusive": False}


def _errors() -> list[ErrorCase]:
    return [
        ErrorCase((_X,), {"axis": 2, **_WAYS}, AxisError, "-2 <= axis < 2"),
        ErrorCase((_X, _X), {"axis": 1, **_WAYS}, ShapeError, r"a start of shape \(2, 1\)"),
    ]


# ---- sums


def _cumsum_body(x: Any, *start: Any, axis: int, reverse: bool, exclusive: bool) -> Any:
    ways = {"reverse": reverse, "exclusive": exclusive}
    if not in_blocks(x.shape, axis):
        return apply(CUMSUM, x, *start, axis=axis, **ways)
    blocks = split_blocks(x, axis, block_length(x.shape[axis]), 0)
    totals = blocks.sum(axis + 1)
    before = apply(CUMSUM, totals, *start, axis=axis, reverse=reverse, exclusive=True)
    return _in_blocks(CUMSUM, (x,), (0,), before, axis, **ways)


def _cumsum_grad(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...], axis: int, reverse: bool,
                 exclusive: bool) -> list[Any]:
    found = [apply(CUMSUM, g, axis=axis, reverse=not reverse, exclusive=exclusive)
             if wanted[0] else None]
    if len(_xs) > 1:
        found.append(g.sum(axis, True) if wanted[1] else None)
    return found


CUMSUM: Op = _define(
    "cumsum", SUM, fallback=_cumsum_body, grad=_cumsum_grad, samples=samples.running_sum(),
    doc="The running sums along an axis; `exclusive`: without each element itself; `reverse`: from "
        "the end. An optional second operand is the starting value.",
)


# ---- products


def _cumprod_body(x: Any, *start: Any, axis: int, reverse: bool, exclusive: bool) -> Any:
    ways = {"reverse": reverse, "exclusive": exclusive}
    if not in_blocks(x.shape, axis):
        return apply(CUMPROD, x, *start, axis=axis, **ways)
    blocks, dtype = split_blocks(x, axis, block_length(x.shape[axis]), 1), _wide(x)
    totals = apply(PRODUCTS, blocks, axis=axis + 1, reverse=reverse, dtype=dtype)
    begin = [value.astype(dtype) for value in start]
    before = apply(CUMPROD, totals, *begin, axis=axis, reverse=reverse, exclusive=True)
    return _in_blocks(CUMPROD, (x,), (1,), before.astype(sum_dtype(x.dtype)), axis, **ways)


def _cumprod_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], axis: int, reverse: bool,
                  exclusive: bool) -> list[Any]:
    """Return dx_i = P_i R_i: P_i is the product before i, and R_i = g_i + x_(i+1) R_(i+1).

    There is no division, so zeros do no harm.
    """
    x, *start = [conj(each) for each in xs]
    back = not reverse
    arriving = shifted(g, axis, back) if exclusive else g
    rest = apply(LINEAR_SCAN, shifted(x, axis, back), arriving, axis=axis, reverse=back)
    before = apply(CUMPROD, x, *start, axis=axis, reverse=reverse, exclusive=True)
    found = [before * rest if wanted[0] else None]
    if start:
        first = _last(x * rest + g if exclusive else x * rest, axis, back)
        found.append(first if wanted[1] else None)
    return found


CUMPROD: Op = _define(
    "cumprod", PRODUCT, fallback=_cumprod_body, grad=_cumprod_grad,
    samples=samples.running_product(),
    doc="The running products along an axis; `exclusive`: without each element itself; `reverse`: "
        "from the end. An optional second operand is the starting value.",
)


# ---- linear recurrences


def _linear_infer(a: Spec, b: Spec, *start: Spec, axis: int, reverse: bool) -> Spec:
    expect(b.shape == a.shape, f"b of shape {a.shape}", b.shape, ShapeError)
    expect(b.dtype is a.dtype, f"b of {a.dtype.name}", b.dtype.name, DTypeError)
    expect(a.dtype.kind != "bool", "numbers", a.dtype.name, DTypeError)
    _check_start(a, start, axis, a.dtype)
    return with_shape(a, a.shape)


def _linear_nest(n: Nest, index: Ids, a: Any, b: Any, *start: Any, axis: int,
                 reverse: bool) -> int:
    return scan_nest(n, index, AFFINE, (a, b), start, a.dtype, axis, reverse, False)


def _linear_body(a: Any, b: Any, *start: Any, axis: int, reverse: bool) -> Any:
    if not in_blocks(a.shape, axis):
        return apply(LINEAR_SCAN, a, b, *start, axis=axis, reverse=reverse)
    length, dtype = block_length(a.shape[axis]), _wide(a) if a.dtype.is_float else a.dtype
    blocks = split_blocks(a, axis, length, 1), split_blocks(b, axis, length, 0)
    factor, term = apply_many(MAPS, *blocks, axis=axis + 1, reverse=reverse, dtype=dtype)
    if dtype.is_float:  # an infinite factor times a zero would be NaN
        most = float(np.finfo(dtype.numpy).max)
        factor = maximum(minimum(factor, most), -most)
    begin = [value.astype(dtype) for value in start]
    ends = apply(LINEAR_SCAN, factor, term, *begin, axis=axis, reverse=reverse)
    before = shifted(ends, axis, reverse, *begin).astype(a.dtype)
    return _in_blocks(LINEAR_SCAN, (a, b), (1, 0), before, axis, reverse=reverse)


def _linear_grad(g: Any, y: Any, *xs: Any, wanted: tuple[bool, ...], axis: int,
                 reverse: bool) -> list[Any]:
    """Return da_i = db_i y_(i-1) and db_i = g_i + a_(i+1) db_(i+1), the recurrence backwards."""
    a, _b, *start = xs
    a, back = conj(a), not reverse
    db = apply(LINEAR_SCAN, shifted(a, axis, back), g, axis=axis, reverse=back)
    found = [db * conj(shifted(y, axis, reverse, *start)) if wanted[0] else None, db]
    if start:
        found.append(_last(a * db, axis, back) if wanted[2] else None)
    return found


LINEAR_SCAN: Op = define(
    "linear_scan", _linear_infer, nest=_linear_nest, fallback=_linear_body,
    grad=_linear_grad,
    normalize=lambda a, *rest, axis, reverse=False: _normalize(
        a, *rest, axis=axis, reverse=reverse),
    samples=samples.recurrence(), dtypes=(*FLOATS, *COMPLEX, "int32", "int64"),
    errors=lambda: [
        ErrorCase((_X, _X[:1]), {"axis": 0, "reverse": False}, ShapeError, r"b of shape \(2, 3\)"),
        ErrorCase((_X, _X), {"axis": 2, "reverse": False}, AxisError, "-2 <= axis < 2"),
    ],
    doc="y_i = a_i y_(i-1) + b_i along an axis; `reverse`: from the end. An optional third operand "
        "is the value before the first y, by default 0.",
)


# ---- public functions


def _of_axis(x: Any, axis: Any) -> tuple[Any, int]:
    """Return a tensor and the axis to scan; None is a vector's only axis."""
    x = asarray(x)
    if axis is None:
        expect(x.ndim == 1, "an axis, or one axis only", f"axis=None with {x.ndim} axes", AxisError,
               remedy=f"axis=0 to axis={x.ndim - 1}" if x.ndim else "x.reshape(1)")
        return x, 0
    return x, as_axis(axis, x.ndim)


def _cumulative(op: Op, empty: int, x: Any, axis: Any, dtype: Any, include_initial: bool) -> Tensor:
    x, place = _of_axis(x, axis)
    if dtype is not None:
        wanted = as_dtype(dtype)
        expect(wanted.kind != "bool", "a type of numbers", wanted.name, DTypeError)
        x = astype(x, wanted)
    result = apply(op, x, axis=place, reverse=False, exclusive=False)
    if include_initial:
        shape = _kept(x.shape, place, 1)
        result = concat([full(shape, empty, result.dtype, result.device), result], place)
    return result if dtype is None else astype(result, wanted)


@named_in_errors
def cumulative_sum(x: Any, *, axis: int | None = None, dtype: Any = None,
                   include_initial: bool = False) -> Tensor:
    """Return the running sums along `axis` (Array API standard 2023.12).

    Integers are summed in 64 bits, or in `dtype`, to which x is cast first. `axis` may be None for
    a vector. With `include_initial` a 0 comes first, so the axis is one longer. Raises AxisError.

    >>> import tinyml
    >>> tinyml.cumulative_sum(tinyml.tensor([1.0, 2.0, 3.0]), include_initial=True).tolist()
    [0.0, 1.0, 3.0, 6.0]
    """
    return _cumulative(CUMSUM, 0, x, axis, dtype, include_initial)


@named_in_errors
def cumulative_prod(x: Any, *, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Tensor:
    """Return the running products along `axis` (Array API standard 2024.12).

    Integers are multiplied in 64 bits, or in `dtype`, to which x is cast first. `axis` may be None
    for a vector. With `include_initial` a 1 comes first, so the axis is one longer. Raises
    AxisError.

    >>> import tinyml
    >>> tinyml.cumulative_prod(tinyml.tensor([[1, 2], [3, 4]]), axis=0).tolist()
    [[1, 2], [3, 8]]
    """
    return _cumulative(CUMPROD, 1, x, axis, dtype, include_initial)


def _flat(x: Any, axis: Any) -> tuple[Any, int]:
    """Return a tensor and the axis to scan; None flattens the tensor."""
    x = asarray(x)
    return (reshape(x, (x.size,)), 0) if axis is None else (x, axis)


@named_in_errors
def cumsum(x: Any, axis: int | None = None, *, reverse: bool = False,
           exclusive: bool = False) -> Tensor:
    """Return the running sums along `axis`; None flattens x first.

    Integers are summed in 64 bits. `exclusive` leaves each element itself out, `reverse` sums from
    the end. Raises AxisError. The gradient is the same sum in the opposite direction.

    >>> import tinyml
    >>> x = tinyml.tensor([1.0, 2.0, 3.0])
    >>> tinyml.cumsum(x, 0).tolist(), tinyml.cumsum(x, 0, reverse=True, exclusive=True).tolist()
    ([1.0, 3.0, 6.0], [5.0, 3.0, 0.0])
    """
    x, axis = _flat(x, axis)
    return apply(CUMSUM, x, axis=axis, reverse=reverse, exclusive=exclusive)


@named_in_errors
def cumprod(x: Any, axis: int | None = None, *, reverse: bool = False,
            exclusive: bool = False) -> Tensor:
    """Return the running products along `axis`; None flattens x first.

    Integers are multiplied in 64 bits. `exclusive` leaves each element itself out, `reverse`
    multiplies from the end. Raises AxisError. The gradient has no division, so zeros do no harm.

    >>> import tinyml
    >>> tinyml.cumprod(tinyml.tensor([2.0, 0.0, 3.0])).tolist()
    [2.0, 0.0, 0.0]
    """
    x, axis = _flat(x, axis)
    return apply(CUMPROD, x, axis=axis, reverse=reverse, exclusive=exclusive)


@named_in_errors
def linear_scan(a: Any, b: Any, axis: int = 0, *, reverse: bool = False,
                start: Any = None) -> Tensor:
    """Return y_i = a_i y_(i-1) + b_i along `axis`, a linear recurrence; `reverse`: from the end.

    a and b broadcast and promote to the result's shape and type, which must not be bool. `start`,
    of that shape but size 1 along the axis, is the value before the first y, by default 0. Raises
    ShapeError, AxisError, DTypeError. Differentiable in all three.

    >>> import tinyml
    >>> tinyml.linear_scan(tinyml.tensor(0.5), tinyml.tensor([8.0, 0.0, 0.0])).tolist()
    [8.0, 4.0, 2.0]
    """
    device = next((x.spec.device for x in (a, b) if isinstance(x, Data)), None)
    a, b, *begin = [x if isinstance(x, Data) else asarray(x, device=device)
                    for x in ((a, b) if start is None else (a, b, start))]
    dtype, shape = promote(a.dtype, b.dtype), broadcast_shapes(a.shape, b.shape)
    a, b = [broadcast_to(astype(x, dtype), shape) for x in (a, b)]
    begin = [astype(x, dtype) for x in begin]
    return apply(LINEAR_SCAN, a, b, *begin, axis=axis, reverse=reverse)
