"""Checking and normalising the arguments of operations: sizes, axes, shapes, numbers."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from tinyml.dtypes import DType, float32
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    AxisError,
    DTypeError,
    ShapeError,
    expect,
    shown,
)
from tinyml.ir.lower import Scalar, Source
from tinyml.ir.nest import ZERO, Ids, Nest
from tinyml.ir.spec import Spec, make_spec

MAX_PLACE = 1 << 60  # an offset or step in a tensor: sums of a few of them fit into 64 bits
MOST_PARTS = 1 << 20  # tensors that one call returns: more take minutes, and then all memory


def with_shape(spec: Spec, shape: tuple[int, ...], dtype: DType | None = None) -> Spec:
    """Return a dense spec of the given shape on the same device, with the same type by default."""
    return make_spec(shape, dtype or spec.dtype, spec.device, None, spec.symbolic)


def float_spec(spec: Spec) -> Spec:
    """Return a dense spec of the same shape in its own type if that is a float, else float32."""
    return with_shape(spec, spec.shape, spec.dtype if spec.dtype.is_float else float32)


def same_float(first: Spec, second: Spec) -> Spec:
    """Return a dense spec like both; raises if their shapes or float types differ."""
    expect(first.dtype.is_float, "a float type", first.dtype.name, DTypeError)
    expect(second.dtype is first.dtype, f"operand 1 of {first.dtype.name}", second.dtype.name,
           DTypeError)
    expect(second.shape == first.shape, f"operand 1 of shape {first.shape}", second.shape)
    return with_shape(first, first.shape)


def as_float(x: Any) -> Any:
    """Return a float tensor as it is, any other as float32."""
    return x if x.dtype.is_float else x.astype(float32)


def as_size(value: Any, what: str = "size") -> int:
    """Return a Python int from any kind of integer; raises ArgumentTypeError for anything else."""
    if isinstance(value, bool):
        raise ArgumentTypeError(f"{what} is a bool: {value}", remedy="an integer")
    try:
        size: int = operator.index(value)
        return size
    except TypeError:
        raise ArgumentTypeError(
            f"{what} is {shown(value)} of type {type(value).__name__}", remedy="an integer"
        ) from None


def as_sizes(values: Any, what: str = "shape") -> tuple[int, ...]:
    """Return a tuple of ints from one int or a sequence of them."""
    if (isinstance(values, (str, bytes)) or not isinstance(values, Iterable)
            or getattr(values, "ndim", 1) == 0):  # an array without axes says that it is iterable
        return (as_size(values, what),)
    return tuple([as_size(value, what) for value in values])


def as_flag(value: Any, what: str) -> bool:
    """Return the truth of a value; raises ArgumentTypeError for an array, which has several.

    >>> import numpy as np
    >>> as_flag(np.True_, "keepdims")
    True
    """
    if getattr(value, "ndim", 0):
        raise ArgumentTypeError(f"{what} is {shown(value)} of type {type(value).__name__}",
                                remedy="True or False")
    return bool(value)


def as_items(values: Any, what: str = "tensors") -> list[Any]:
    """Return a sequence's items as a list; a tensor's are its slices. Raises ArgumentTypeError."""
    if (isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable)
            or getattr(values, "ndim", 1) == 0):
        raise ArgumentTypeError(f"{what} are {shown(values)} of type {type(values).__name__}",
                                remedy=f"a list or a tuple of {what}")
    return list(values)


def as_places(values: Any, what: str) -> tuple[int, ...]:
    """Return ints whose sums fit into 64 bits: widths, steps, offsets. Raises ArgumentError."""
    places = as_sizes(values, what)
    expect(all(abs(n) <= MAX_PLACE for n in places), f"{what} of at most {MAX_PLACE}", places,
           ArgumentError)
    return places


def as_parts(count: int) -> int:
    """Return a number of tensors that a call may return; raises ArgumentError for more."""
    expect(count <= MOST_PARTS, f"at most {MOST_PARTS} parts", count, ArgumentError)
    return count


def as_number(value: Any, what: str) -> float:
    """Return a Python int or float from any kind of number; raises ArgumentTypeError.

    Arrays and tensors without axes count as numbers; a tensor's value is waited for.

    >>> as_number(1, "eps"), as_number(-0.0, "eps")
    (1, -0.0)
    """
    number = value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        number = value.item()
    if not isinstance(number, (bool, int, float)):
        raise ArgumentTypeError(f"{what} is {shown(value)} of type {type(value).__name__}",
                                remedy="a number")
    try:
        float(number)
    except OverflowError:
        raise ArgumentError(f"{what} is an int beyond float64",
                            remedy="a number of at most 1.8e308") from None
    return number


def as_shape(values: Any) -> tuple[int, ...]:
    """Return a shape, a tuple of ints that are not negative; raises ShapeError."""
    shape = as_sizes(values)
    expect(min(shape, default=0) >= 0, "sizes are not negative", shape, ShapeError)
    return shape


def as_axis(axis: Any, ndim: int) -> int:
    """Return an axis counted from the front; raises AxisError if there is no such axis.

    >>> as_axis(-1, 3)
    2
    """
    place = as_size(axis, "axis")
    expect(ndim > 0, "a tensor with axes", f"axis {place} of a tensor of shape ()", AxisError,
           remedy="reshape it, or leave the axis out")
    expect(-ndim <= place < ndim, f"{-ndim} <= axis < {ndim}", place, AxisError,
           remedy=f"the tensor has {ndim} axes")
    return place % ndim


def as_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front, in ascending order; None means all. Raises AxisError."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([as_axis(a, ndim) for a in as_sizes(axis, "axis")])
    expect(len(set(axes)) == len(axes), "each axis once", axes, AxisError)
    return tuple(sorted(axes))


def shape_along(size: int, axis: int, ndim: int) -> tuple[int, ...]:
    """Return the shape of a vector that lies along one of several axes.

    >>> shape_along(5, 1, 3)
    (1, 5, 1)
    """
    return tuple([size if d == axis else 1 for d in range(ndim)])


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common broadcast shape (standard 2024.12, broadcasting); raises ShapeError.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    ndim = max(map(len, shapes), default=0)
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded):
        wide = set(sizes) - {1}
        if len(wide) > 1:
            raise ShapeError(
                f"shapes {' and '.join(map(str, shapes))} do not broadcast: "
                f"sizes {' and '.join(map(str, sorted(wide)))} meet",
                remedy="make the sizes equal, or 1, with reshape or expand_dims",
            )
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def expanded_strides(spec: Spec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return strides under which the elements of `spec` appear in the wider `shape`."""
    lead = len(shape) - spec.ndim
    return (0,) * lead + tuple(
        [0 if have == 1 else stride for have, stride in zip(spec.shape, spec.strides)]
    )


def kind_of(value: Any) -> DType | type:
    """Return what an operand contributes to promotion: a dtype, or the kind of a Python number."""
    if isinstance(value, Scalar):
        return value.kind
    dtype = getattr(value, "dtype", None)
    return type(value) if dtype is None else dtype


def element(n: Nest, value: Any, index: Ids, dtype: DType) -> int:
    """Return the element at `index` of an operand that broadcasts, in the arithmetic's type."""
    if isinstance(value, Scalar):
        return value.at(n, dtype)
    if not isinstance(value, Source):
        return n.const(value, dtype)
    own = index[len(index) - value.ndim :]
    fitted = tuple([ZERO if size == 1 else i for i, size in zip(own, value.shape)])
    return n.cast(value(fitted), dtype)


def as_argnums(argnums: Any) -> int | tuple[int, ...]:
    """Return the numbers of arguments as an int or a tuple of ints; raises ArgumentTypeError."""
    if hasattr(argnums, "__iter__"):
        return as_sizes(argnums, "argnums")
    return as_size(argnums, "argnums")
