"""Reductions: sums, products, extremes and their indices, variance. Each nest names a monoid."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.upload import as_tensor
from tinyml.dtypes import (
    COMPLEX,
    COMPUTABLE,
    FLOATS,
    DType,
    as_dtype,
    bool_,
    float32,
    int64,
    uint64,
)
from tinyml.errors import AxisError, DTypeError, ShapeError, expect
from tinyml.ir.monoids import ALL_OF, ANY_OF, ARGMAX, ARGMIN, MAX, MIN, PRODUCT, SUM
from tinyml.ir.nest import ZERO, Ids, Monoid, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_axes, as_axis, as_flag, as_number, with_shape
from tinyml.ops.elementwise import astype, conj, sqrt, where
from tinyml.ops.elementwise.define import NUMBERS
from tinyml.ops.samples import ErrorCase, error_cases
from tinyml.ops.views import broadcast_to, permute_dims, reshape

__all__ = ["all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod", "std",
           "sum", "var"]


def reduced_shape(shape: tuple[int, ...], axis: tuple[int, ...],
                  keepdims: bool) -> tuple[int, ...]:
    """Return the shape after a reduction.

    >>> reduced_shape((2, 3, 4), (1,), False), reduced_shape((2, 3), (0,), True)
    ((2, 4), (1, 3))
    """
    if keepdims:
        return tuple([1 if d in axis else n for d, n in enumerate(shape)])
    return tuple([n for d, n in enumerate(shape) if d not in axis])


def widen(n: Nest, index: Ids, x: Any, axis: tuple[int, ...], keepdims: bool) -> tuple[Ids, Ids]:
    """Return, for one element of the result, the index into x and the reduced axes."""
    over = n.over(index, [x.shape[a] for a in axis])
    inner = dict(zip(axis, over))
    kept = iter(i for d, i in enumerate(index) if not (keepdims and d in axis))
    return tuple([inner[d] if d in inner else next(kept) for d in range(x.ndim)]), over


def ends_rows(shape: tuple[int, ...], axis: tuple[int, ...]) -> bool:
    """Return whether the last axis of more than one element is reduced.

    >>> ends_rows((5, 4, 1), (1,)), ends_rows((5, 4), (0,))
    (True, False)
    """
    return builtins.max([d for d, n in enumerate(shape) if n > 1], default=-1) in axis


def restore(g: Any, x: Any, axis: tuple[int, ...]) -> Any:
    """Return a reduced value broadcast back to the shape of x."""
    kept = reduced_shape(x.shape, axis, True)
    return broadcast_to(reshape(g, kept), x.shape)


def _normalize(x: Spec, axis: Any = None, keepdims: bool = False, **attrs: Any) -> dict[str, Any]:
    return {"axis": as_axes(axis, x.ndim), "keepdims": bool(keepdims), **attrs}


def _bad_axis() -> Callable[[], list[ErrorCase]]:
    x = np.ones((2, 3), np.float32)
    return error_cases(
        ErrorCase((x,), {"axis": (2,), "keepdims": False}, AxisError, "-2 <= axis < 2"),
        ErrorCase((x,), {"axis": (0, 0), "keepdims": False}, AxisError, "each axis once"),
    )


def sum_dtype(dtype: DType) -> DType:
    """Return the type of a sum: integers and bools use 64 bits (Array API standard, sum)."""
    if dtype.kind in ("bool", "int"):
        return int64
    if dtype.kind == "uint":
        return uint64
    return dtype


def _define(name: str, monoid: Monoid, out: Callable[[DType], DType], identity: bool = True,
            through: DType | None = None, **fields: Any) -> Op:
    """Define a reduction with result type out(x's type); elements are cast to `through` first."""

    def infer(x: Spec, *, axis: tuple[int, ...], keepdims: bool) -> Spec:
        expect(identity or builtins.all(x.shape[a] for a in axis), "at least one element to reduce",
               f"shape {x.shape} over axes {axis}", ShapeError)
        return with_shape(x, reduced_shape(x.shape, axis, keepdims), out(x.dtype))

    def nest(n: Nest, index: Ids, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> int:
        full, over = widen(n, index, x, axis, keepdims)
        value = n.cast(x(full), through or x.dtype)
        return n.reduce(monoid, over, n.cast(value, out(x.dtype)),
                        in_lanes=ends_rows(x.shape, axis))[0]

    return define(name, infer, nest=nest, normalize=_normalize, errors=_bad_axis(), **fields)


SUM_OP: Op = _define(
    "sum", SUM, sum_dtype,
    grad=(lambda g, _y, _x, axis, keepdims: restore(g, _x, axis),),
    samples=samples.reduction(), dtypes=COMPUTABLE,
    doc="The sum over axes: blocks of at most 64 terms in a row, in 64 lanes on the CPU and 8 "
        "elsewhere where a last axis is reduced, merged as a binary tree.",
)


def _prod_grad(g: Any, _y: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Return g times the product of all other elements: those before each one and those after.

    There is no division, so zeros do no harm.
    """
    order = (*[d for d in range(x.ndim) if d not in axis], *axis)
    moved = permute_dims(x, order)
    rows = reshape(moved, (*reduced_shape(x.shape, axis, False), _count(x.shape, axis)))
    before, after = [rows.op("cumprod", axis=-1, reverse=back, exclusive=True)
                     for back in (False, True)]
    others = reshape(conj(before * after), moved.shape)
    back = tuple(sorted(range(x.ndim), key=lambda d: order[d]))
    return restore(g, x, axis) * permute_dims(others, back)


PROD_OP: Op = _define(
    "prod", PRODUCT, sum_dtype, grad=(_prod_grad,), samples=samples.reduction(), dtypes=COMPUTABLE,
    doc="The product over axes; integers are multiplied in 64 bits.",
)
_test: dict[str, Any] = {"through": bool_, "differentiable": False,
                         "samples": samples.reduction(), "dtypes": COMPUTABLE}
ALL_OP: Op = _define("all", ALL_OF, lambda d: bool_, **_test,
                     doc="Whether all elements over axes are true or nonzero; NaN is nonzero.")
ANY_OP: Op = _define("any", ANY_OF, lambda d: bool_, **_test,
                     doc="Whether any element over axes is true or nonzero; NaN is nonzero.")
COUNT_OP: Op = _define("count_nonzero", SUM, lambda d: int64, **_test,
                       doc="The number (int64) of nonzero elements over axes; NaN is nonzero.")


def _extreme_grad(g: Any, y: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Return g shared equally among the elements that hold the extreme."""
    hits = (x == restore(y, x, axis)).astype(g.dtype)
    return restore(g, x, axis) * hits / restore(hits.sum(axis, True), x, axis)


_extreme: dict[str, Any] = {
    "grad": (_extreme_grad,), "dtypes": (*NUMBERS,),
    "samples": samples.reduction(identity=False),
}
MAX_OP: Op = _define("max", MAX, lambda d: d, False, **_extreme,
                 doc="The greatest element over axes; NaN where one is NaN.")
MIN_OP: Op = _define("min", MIN, lambda d: d, False, **_extreme,
                 doc="The least element over axes; NaN where one is NaN.")


def _arg(name: str, monoid: Monoid, doc: str) -> Op:
    def infer(x: Spec, *, axis: int, keepdims: bool) -> Spec:
        expect(x.shape[axis] > 0, "at least one element to reduce", x.shape, ShapeError)
        return with_shape(x, reduced_shape(x.shape, (axis,), keepdims), int64)

    def nest(n: Nest, index: Ids, x: Any, *, axis: int, keepdims: bool) -> int:
        full, over = widen(n, index, x, (axis,), keepdims)
        return n.reduce(monoid, over, x(full), over[0])[1]

    def normalize(x: Spec, axis: Any, keepdims: bool = False) -> dict[str, Any]:
        return {"axis": as_axis(axis, x.ndim), "keepdims": bool(keepdims)}

    case = ErrorCase((np.ones((2, 3), np.float32),), {"axis": 2, "keepdims": False}, AxisError,
                     "-2 <= axis < 2")
    return define(name, infer, nest=nest, normalize=normalize, differentiable=False, doc=doc,
                  samples=samples.arg_reduction(), dtypes=NUMBERS, errors=error_cases(case))


ARGMAX_OP: Op = _arg("argmax", ARGMAX, "The index of the first greatest element; NaN is greatest.")
ARGMIN_OP: Op = _arg("argmin", ARGMIN, "The index of the first least element; NaN is least.")


def _var_infer(x: Spec, *, axis: tuple[int, ...], correction: float, keepdims: bool) -> Spec:
    if not x.dtype.is_float:
        raise DTypeError(f"{x.dtype.name} is not accepted", remedy="cast with .astype('float32')")
    return with_shape(x, reduced_shape(x.shape, axis, keepdims))


def _count(shape: tuple[int, ...], axis: tuple[int, ...]) -> int:
    return int(np.prod([shape[a] for a in axis], dtype=np.int64))


def _var_nest(n: Nest, index: Ids, x: Any, *, axis: tuple[int, ...], correction: float,
              keepdims: bool) -> int:
    full, over = widen(n, index, x, axis, keepdims)
    in_lanes, value = ends_rows(x.shape, axis), n.widen(x(full))
    dtype = n.code[value].dtype
    count = n.cast(n.add(ZERO, n.param(_count(x.shape, axis))), dtype)
    mean = n.prim("div", n.reduce(SUM, over, value, in_lanes=in_lanes)[0], count)
    off = n.prim("sub", value, mean)
    (squares,) = n.reduce(SUM, over, n.prim("mul", off, off), in_lanes=in_lanes)
    (rest,) = n.reduce(SUM, over, off, in_lanes=in_lanes)  # what rounding left of the mean
    squares = n.prim("sub", squares, n.prim("div", n.prim("mul", rest, rest), count))
    zero = n.const(0, dtype)
    divisor = n.prim("maximum", n.prim("sub", count, n.const(correction, dtype)), zero)
    return n.prim("div", n.prim("maximum", squares, zero), divisor)


def _var_grad(g: Any, _y: Any, x: Any, axis: tuple[int, ...], correction: float,
              keepdims: bool) -> Any:
    divisor = builtins.max(_count(x.shape, axis) - correction, 0.0)
    centred = x - x.mean(axis, True)
    return restore(g, x, axis) * centred * (2.0 / divisor if divisor else float("nan"))


VAR_OP: Op = define(
    "var", _var_infer, nest=_var_nest, grad=(_var_grad,),
    normalize=lambda x, axis=None, correction=0.0, keepdims=False: _normalize(
        x, axis, keepdims, correction=float(as_number(correction, "correction"))),
    samples=samples.variance(), dtypes=FLOATS, errors=lambda: [
        case._replace(attrs={**case.attrs, "correction": 0.0}) for case in _bad_axis()()],
    doc="The variance: the sum of squared deviations from the mean over n - correction, in two "
        "passes, with what rounding left of the mean taken off (Chan, Golub and LeVeque 1983).",
)


def _mean_infer(x: Spec, *, axis: tuple[int, ...], keepdims: bool) -> Spec:
    return with_shape(x, reduced_shape(x.shape, axis, keepdims),
                      x.dtype if x.dtype.is_inexact else float32)


def _mean_body(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    values = x if x.dtype.is_inexact else x.astype(float32)
    count = _count(x.shape, axis)
    return values.sum(axis, keepdims) / float(count)


MEAN_OP: Op = define("mean", _mean_infer, body=_mean_body, normalize=_normalize, errors=_bad_axis(),
                 samples=samples.reduction(identity=False),
                 dtypes=(*FLOATS, *COMPLEX, "int32", "bool"),
                 doc="The sum over axes divided by the count; float32 for integers.")


def root(total: Any) -> Tensor:
    """Return the square root of a sum of squares: the slope at 0, a kink, is 0."""
    none = total == 0
    return where(none, 0.0, sqrt(where(none, 1.0, total)))


STD_OP: Op = define(
    "std", _var_infer, body=lambda x, **attrs: root(apply(VAR_OP, x, **attrs)),
    normalize=VAR_OP.normalize, dtypes=FLOATS, errors=VAR_OP.errors, ulp=3,
    # Squares of the smallest numbers underflow to 0, so their root says nothing about them.
    samples=lambda dtype: [s for s in samples.variance()(dtype) if s.name != "hard rows"],
    doc="The square root of the variance.",
)


# ---- public functions


def _cast_first(op: Op, x: Any, axis: Any, keepdims: bool, dtype: Any) -> Tensor:
    """Reduce x after casting it to a type, with a result of that type."""
    wanted = as_dtype(dtype)
    return astype(apply(op, astype(as_tensor(x), wanted), axis=axis, keepdims=keepdims), wanted)


P = ParamSpec("P")
R = TypeVar("R")


def _hinted(function: Callable[P, R]) -> Callable[P, R]:
    """Do as `named_in_errors` does for what is given by another name than `axis` and `keepdims`.

    Other calls pay one plain call; their errors name the op already.
    """
    named = named_in_errors(function)
    direct: Any = function

    def call(x: Any, axis: Any = None, keepdims: Any = False, **options: Any) -> Any:
        return named(x, axis, keepdims, **options) if options else direct(x, axis, keepdims)

    return cast("Callable[P, R]", functools.update_wrapper(call, function))


@_hinted
def sum(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum over `axis`: an int, a tuple of them, or None for all axes.

    Integers and bools are summed in 64 bits. With `dtype`, x is cast to it first, and the result
    has that type. An empty sum is 0. Raises AxisError.

    >>> import tinyml
    >>> tinyml.sum(tinyml.tensor([[1, 2], [3, 4]]), axis=0).tolist()
    [4, 6]
    """
    if dtype is not None:
        return _cast_first(SUM_OP, x, axis, keepdims, dtype)
    return apply(SUM_OP, x, axis=axis, keepdims=keepdims)


@_hinted
def prod(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product over `axis`; arguments are as in `sum`, and an empty product is 1.

    >>> import tinyml
    >>> tinyml.prod(tinyml.tensor([2, 3, 4])).item()
    24
    """
    if dtype is not None:
        return _cast_first(PROD_OP, x, axis, keepdims, dtype)
    return apply(PROD_OP, x, axis=axis, keepdims=keepdims)


@_hinted
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean over `axis`: an int, a tuple of them, or None for all axes.

    float32 for integers; the mean of no elements is NaN. Raises AxisError.

    >>> import tinyml
    >>> tinyml.mean(tinyml.tensor([1.0, 2.0, 6.0])).item()
    3.0
    """
    return apply(MEAN_OP, x, axis=axis, keepdims=keepdims)


@_hinted
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the greatest element over `axis`: an int, a tuple of them, or None for all axes.

    NaN where one is NaN. Equal greatest elements share the gradient. Raises ShapeError if there are
    no elements, AxisError, DTypeError for complex numbers.

    >>> import tinyml
    >>> tinyml.max(tinyml.tensor([[1, 5], [4, 2]]), axis=1).tolist()
    [5, 4]
    """
    return apply(MAX_OP, x, axis=axis, keepdims=keepdims)


@_hinted
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the least element over `axis`; see `max`."""
    return apply(MIN_OP, x, axis=axis, keepdims=keepdims)


@_hinted
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return whether all elements over `axis` are true or nonzero; NaN is nonzero.

    `axis` is an int, a tuple of them, or None for all axes. True if empty. Raises AxisError.

    >>> import tinyml
    >>> tinyml.all(tinyml.tensor([[1, 0], [2, 3]]), axis=1).tolist()
    [False, True]
    """
    return apply(ALL_OP, x, axis=axis, keepdims=keepdims)


@_hinted
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return whether any element over `axis` is true or nonzero; False if empty. See `all`."""
    return apply(ANY_OP, x, axis=axis, keepdims=keepdims)


@named_in_errors
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the number (int64) of nonzero elements over `axis`; NaN is nonzero. See `all`."""
    return apply(COUNT_OP, x, axis=axis, keepdims=keepdims)


@named_in_errors
def var(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the variance over `axis`: the sum of squared deviations over n - correction.

    `axis` is an int, a tuple of them, or None for all axes. NaN unless n is greater than the
    correction. Raises DTypeError if x does not have a float type, AxisError.

    >>> import tinyml
    >>> tinyml.var(tinyml.tensor([1.0, 3.0])).item()
    1.0
    """
    return apply(VAR_OP, x, axis=axis, correction=correction, keepdims=keepdims)


@named_in_errors
def std(x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the standard deviation over `axis`: the square root of `var`."""
    return apply(STD_OP, x, axis=axis, correction=correction, keepdims=keepdims)


@_hinted
def argmax(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the int64 index of the first greatest element along `axis`, or in the flattened x.

    NaN is greatest. Raises ShapeError where there is no element, AxisError.

    >>> import tinyml
    >>> tinyml.argmax(tinyml.tensor([1.0, 3.0, 3.0])).item()
    1
    """
    return _place(ARGMAX_OP, x, axis, keepdims)


@_hinted
def argmin(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the int64 index of the first least element along `axis`, or in the flattened x.

    NaN is least. Raises ShapeError where there is no element, AxisError.
    """
    return _place(ARGMIN_OP, x, axis, keepdims)


def _place(op: Op, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    if axis is not None:
        return apply(op, x, axis=axis, keepdims=keepdims)
    x = as_tensor(x)
    flat = apply(op, reshape(x, (x.size,)), axis=0, keepdims=False)
    kept = keepdims is not False and as_flag(keepdims, "keepdims")
    return reshape(flat, (1,) * x.ndim) if kept else flat
