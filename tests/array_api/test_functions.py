"""The Array API's functions against NumPy's, over shapes, types, axes and hard values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml
from tinyml.errors import ArgumentError, AxisError, ShapeError

pytestmark = pytest.mark.kernels(2)

Array = Any
DTYPES = ("bool", "int8", "int32", "int64", "uint8", "uint64", "float32")
NUMBERS = DTYPES[1:]
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


def arrays(dtypes: tuple[str, ...] = DTYPES, shapes: Any = SHAPES) -> st.SearchStrategy[Array]:
    """Arrays of a few values, so that some are equal; floats hold NaN, infinities and -0.0."""

    def elements(dtype: str) -> st.SearchStrategy[Any]:
        if dtype == "bool":
            return st.booleans()
        if dtype == "float32":
            return st.sampled_from([0.0, -0.0, 1.0, -2.5, 3.0, math.nan, math.inf, -math.inf])
        low = -3 if dtype.startswith("int") else 0
        return st.integers(low, 4)

    return st.sampled_from(dtypes).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes, elements=elements(dtype)))


def same(got: Any, expected: Any) -> None:
    """Shape, type and values; lists and tuples part by part."""
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for one, other in zip(got, expected):
            same(one, other)
        return
    assert (got.shape, got.dtype.name) == (expected.shape, expected.dtype.name)
    np.testing.assert_array_equal(got.numpy(), expected)


def axis_of(x: Array) -> st.SearchStrategy[int]:
    """An axis of an array, counted from either end."""
    return st.integers(-x.ndim, x.ndim - 1)


def axes_of(x: Array) -> st.SearchStrategy[Any]:
    """None, an axis, or a tuple of some."""
    several = st.lists(st.integers(0, x.ndim - 1), unique=True, max_size=x.ndim).map(tuple)
    return st.none() | axis_of(x) | several


# ---- manipulation: (function of the namespace xp, an array and how to draw)

Draw = Callable[[Any], Any]
MOVES: dict[str, Callable[[Any, Array, Draw], Any]] = {
    "expand_dims": lambda xp, x, draw: ((x, draw(st.integers(-x.ndim - 1, x.ndim))), {}),
    "flip": lambda xp, x, draw: ((x,), {"axis": draw(axes_of(x))}),
    "moveaxis": lambda xp, x, draw: ((x, draw(axis_of(x)), draw(axis_of(x))), {}),
    "permute_dims": lambda xp, x, draw: (
        (x, tuple(draw(st.permutations(range(x.ndim))))), {}),
    "repeat": lambda xp, x, draw: (
        (x, draw(st.integers(0, 3))), {"axis": draw(st.none() | axis_of(x))}),
    "roll": lambda xp, x, draw: (
        (x, draw(st.integers(-9, 9))), {"axis": draw(st.none() | axis_of(x))}),
    "tile": lambda xp, x, draw: (
        (x, tuple(draw(st.lists(st.integers(0, 3), max_size=4)))), {}),
    "unstack": lambda xp, x, draw: ((x,), {"axis": draw(axis_of(x))}),
    "concat": lambda xp, x, draw: (([x, x],), {"axis": draw(st.none() | axis_of(x))}),
    "stack": lambda xp, x, draw: (([x, x],), {"axis": draw(axis_of(x))}),
    "broadcast_to": lambda xp, x, draw: ((x, (2, *x.shape)), {}),
    "reshape": lambda xp, x, draw: (
        (x, draw(st.sampled_from([(x.size,), (1, -1) if x.size else (1, 0), x.shape[::-1]]))),
        {"copy": draw(st.sampled_from([None, True]))}),
    "squeeze": lambda xp, x, draw: ((x[None, :, ..., None], (0, -1)), {}),
    "matrix_transpose": lambda xp, x, draw: ((x[None],), {}),
    "tril": lambda xp, x, draw: ((x[None],), {"k": draw(st.integers(-3, 3))}),
    "triu": lambda xp, x, draw: ((x[None],), {"k": draw(st.integers(-3, 3))}),
}


def tensors(value: Any, device: str) -> Any:
    """Arrays as tensors on a device, in lists too; the rest as it is."""
    if isinstance(value, np.ndarray):
        return tinyml.asarray(value, device=device)
    return [tensors(v, device) for v in value] if isinstance(value, list) else value


@pytest.mark.kernels(3)
@pytest.mark.parametrize("name", sorted(MOVES))
@settings(max_examples=12, deadline=None)
@given(x=arrays(), data=st.data())
def test_what_is_moved(name: str, device: str, x: Array, data: Any) -> None:
    args, options = MOVES[name](np, x, data.draw)
    if name == "unstack":
        expected: Any = tuple(np.moveaxis(x, options["axis"], 0))
    else:
        plain = {k: v for k, v in options.items() if v is not None or k == "axis"}
        expected = getattr(np, name)(*args, **plain)
    same(getattr(tinyml, name)(*[tensors(a, device) for a in args], **options), expected)


@settings(max_examples=12, deadline=None)
@given(x=arrays(shapes=hnp.array_shapes(max_dims=2, max_side=4)), data=st.data())
def test_repeats_that_differ(device: str, x: Array, data: Any) -> None:
    axis = data.draw(axis_of(x))
    repeats = data.draw(hnp.arrays("int64", x.shape[axis], elements=st.integers(0, 3)))
    got = tinyml.repeat(tensors(x, device), tensors(repeats, device), axis=axis)
    same(got, np.repeat(x, repeats, axis))


def test_several_axes_at_once(device: str) -> None:
    x = np.arange(24).reshape(2, 3, 4)
    y = tensors(x, device)
    same(tinyml.roll(y, (1, 2), axis=(0, 2)), np.roll(x, (1, 2), (0, 2)))
    same(tinyml.roll(y, 1, axis=(0, 2)), np.roll(x, 1, (0, 2)))
    same(tinyml.moveaxis(y, (0, 1), (-1, 0)), np.moveaxis(x, (0, 1), (-1, 0)))
    same(tinyml.expand_dims(y, (0, -1)), np.expand_dims(x, (0, -1)))


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=3),
       indexing=st.sampled_from(["xy", "ij"]))
def test_grids(device: str, sizes: list[int], indexing: str) -> None:
    vectors = [np.arange(n, dtype="int32") for n in sizes]
    got = tinyml.meshgrid(*tensors(vectors, device), indexing=indexing)
    same(got, list(np.meshgrid(*vectors, indexing=indexing)))
    open_ones = [v.reshape([-1 if d == k else 1 for d in range(len(sizes))])
                 for k, v in enumerate(vectors)]
    same(tinyml.broadcast_arrays(*tensors(open_ones, device)), np.broadcast_arrays(*open_ones))


def test_an_object_of_its_own_comes_back_even_where_nothing_moves() -> None:
    x = tinyml.asarray([1, 2, 3])
    for y in (tinyml.roll(x, 3), tinyml.reshape(x, 3), tinyml.flip(x, axis=()),
              tinyml.repeat(x, 1), tinyml.tile(x, 1), tinyml.diff(x, n=0), tinyml.squeeze(x, ())):
        y[0] = 9
        assert x.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("call", "error"), [
    (lambda x: tinyml.roll(x, (1, 2), axis=(0,)), ArgumentError),
    (lambda x: tinyml.moveaxis(x, (0, 0), (0, 1)), AxisError),
    (lambda x: tinyml.expand_dims(x, 3), AxisError),
    (lambda x: tinyml.expand_dims(x, (0, 0)), AxisError),
    (lambda x: tinyml.squeeze(x, 0), ShapeError),
    (lambda x: tinyml.repeat(x, -1), ArgumentError),
    (lambda x: tinyml.repeat(x, tinyml.asarray([1, -1]), axis=0), ArgumentError),
    (lambda x: tinyml.tile(x, (-1,)), ArgumentError),
    (lambda x: tinyml.stack([x, x[0]]), ShapeError),
    (lambda x: tinyml.meshgrid(x), ShapeError),
    (lambda x: tinyml.meshgrid(x[0], indexing="yx"), ArgumentError),
    (lambda x: tinyml.diff(x, n=-1), ArgumentError),
    (lambda x: tinyml.reshape(tinyml.asarray(x, copy=True).mT, 6, copy=False), ArgumentError),
    (lambda x: tinyml.asarray(x, dtype="int8", copy=False), ArgumentError),
    (lambda x: tinyml.tril(x[0]), ShapeError),
    (lambda x: tinyml.searchsorted(x[0], x, side="middle"), ArgumentError),
    (lambda x: tinyml.searchsorted(x, x), ShapeError),
    (lambda x: tinyml.vecdot(x, x.mT), ShapeError),
    (lambda x: tinyml.tensordot(x, x, axes=1), ShapeError),
    (lambda x: tinyml.tensordot(x, x, axes=3), AxisError),
])
def test_what_cannot_be_is_refused(call: Callable[[Any], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        call(tinyml.ones((2, 3)))


# ---- creation


@pytest.mark.parametrize("dtype", [None, "int8", "float32"])
def test_creation(device: str, dtype: str | None) -> None:
    kept = {"dtype": dtype, "device": device}
    for k, columns in itertools.product((-4, -1, 0, 2), (None, 2)):
        same(tinyml.eye(3, columns, k=k, **kept), np.eye(3, columns, k, dtype or "float32"))
    for endpoint, num in itertools.product((True, False), (0, 1, 5)):
        got = tinyml.linspace(-1, 3, num, endpoint=endpoint, **kept)
        same(got, np.linspace(-1, 3, num, endpoint, dtype=dtype or "float32"))
    x = tinyml.ones((2, 3), dtype="int16")
    for like in (tinyml.zeros_like, tinyml.ones_like, tinyml.empty_like):
        made = like(x, **kept)
        assert (made.shape, made.dtype.name, str(made.device)) == (
            (2, 3), dtype or "int16", device)
    same(tinyml.full_like(x, 7, **kept), np.full((2, 3), 7, dtype or "int16"))
    assert tinyml.empty((2, 0), **kept).dtype.name == (dtype or "float32")


def test_asarray_copies_or_shares_as_told(device: str) -> None:
    x = tinyml.asarray([1.0, 2.0], device=device)
    assert tinyml.asarray(x) is x is tinyml.asarray(x, copy=False, dtype="float32", device=device)
    copied = tinyml.asarray(x, copy=True)
    copied[0] = 5.0
    assert x.tolist() == [1.0, 2.0] and str(copied.device) == device


# ---- reductions


@pytest.mark.kernels(8)
@pytest.mark.parametrize("name", ["sum", "prod", "all", "any", "count_nonzero", "max", "min"])
@settings(max_examples=15, deadline=None)
@given(x=arrays(), data=st.data())
def test_reductions(name: str, device: str, x: Array, data: Any) -> None:
    if name in ("max", "min"):
        x = np.ones((1, *x.shape), x.dtype) if 0 in x.shape else x
        x = x.astype("int8") if x.dtype == bool else x
        if 0 in x.shape:
            return
    axis, keepdims = data.draw(axes_of(x)), data.draw(st.booleans())
    options: dict[str, Any] = {"axis": axis, "keepdims": keepdims}
    if name in ("sum", "prod"):
        options["dtype"] = data.draw(st.sampled_from([None, "int8", "int64", "float32"]))
    wide = {"b": "int64", "i": "int64", "u": "uint64", "f": "float32"}[x.dtype.kind]
    given_type = {"dtype": options["dtype"] or wide} if "dtype" in options else {}
    if given_type and np.dtype(given_type["dtype"]).kind == "i" and x.dtype.kind == "f":
        x = np.nan_to_num(x, posinf=2.0, neginf=-2.0)
    with np.errstate(all="ignore"):
        if given_type:
            expected = getattr(np, name)(x.astype(given_type["dtype"]), axis=axis,
                                         keepdims=keepdims, **given_type)
        else:
            expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    same(getattr(tinyml, name)(tensors(x, device), **options), np.asarray(expected))


@pytest.mark.kernels(15)
@settings(max_examples=15, deadline=None)
@given(x=hnp.arrays("float32", SHAPES, elements=st.floats(-9, 9, width=32)), data=st.data())
def test_statistics(device: str, x: Array, data: Any) -> None:
    axis, keepdims = data.draw(axes_of(x)), data.draw(st.booleans())
    correction = data.draw(st.sampled_from([0, 0.5, 1]))
    taken = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if math.prod(x.shape[a] for a in taken) <= correction:
        return
    y = tensors(x, device)
    close = {"rtol": 1e-4, "atol": 1e-5}
    options = {"axis": axis, "keepdims": keepdims}
    np.testing.assert_allclose(tinyml.mean(y, **options).numpy(), np.mean(x, **options), **close)
    for name in ("var", "std"):
        got = getattr(tinyml, name)(y, correction=correction, **options).numpy()
        expected = getattr(np, name)(x.astype("float64"), ddof=correction, **options)
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(x=arrays(NUMBERS), data=st.data())
def test_places_and_differences(device: str, x: Array, data: Any) -> None:
    axis, y = data.draw(axis_of(x)), tensors(x, device)
    if x.shape[axis]:
        for name in ("argmax", "argmin"):
            expected = getattr(np, name)(x, axis=axis, keepdims=True)
            same(getattr(tinyml, name)(y, axis=axis, keepdims=True), expected)
    n = data.draw(st.integers(0, 2))
    with np.errstate(all="ignore"):
        same(tinyml.diff(y, axis=axis, n=n, prepend=y), np.diff(x, n, axis, prepend=x))
        for name, combine in (("sum", np.cumsum), ("prod", np.cumprod)):
            got = getattr(tinyml, f"cumulative_{name}")(y, axis=axis)
            same(got, combine(x, axis).astype(got.numpy().dtype))


# ---- order


@pytest.mark.kernels(25)
@settings(max_examples=25, deadline=None)
@given(x=arrays())
def test_sets(device: str, x: Array) -> None:
    y = tensors(x, device)
    values, indices, inverse, counts = np.unique_all(x)
    got = tinyml.unique_all(y)
    same(got.values, values)
    same(got.counts, counts.astype("int64"))
    same(got.inverse_indices, inverse.astype("int64"))
    first = x.reshape(-1)[got.indices.numpy()]
    np.testing.assert_array_equal(first, values)
    if x.dtype.kind != "f":
        same(got.indices, indices.astype("int64"))
    same(tinyml.unique_values(y), values)
    same(tinyml.unique_counts(y).counts, counts.astype("int64"))
    same(tinyml.unique_inverse(y).inverse_indices, inverse.astype("int64"))


@pytest.mark.kernels(20)
@settings(max_examples=25, deadline=None)
@given(table=arrays(NUMBERS, hnp.array_shapes(max_dims=1, min_side=0, max_side=9)), data=st.data())
def test_searches(device: str, table: Array, data: Any) -> None:
    values = data.draw(arrays((table.dtype.name,)))
    side = data.draw(st.sampled_from(["left", "right"]))
    order = np.argsort(table, kind="stable")
    expected = np.asarray(np.searchsorted(table[order], values, side))
    one, other = tensors(table, device), tensors(values, device)
    same(tinyml.searchsorted(one, other, side=side, sorter=tensors(order, device)), expected)
    same(tinyml.searchsorted(tinyml.sort(one), other, side=side), expected)


@settings(max_examples=15, deadline=None)
@given(x=arrays(), data=st.data())
def test_taking(device: str, x: Array, data: Any) -> None:
    axis = data.draw(axis_of(x))
    size = x.shape[axis]
    shape = list(x.shape)
    shape[axis] = 3 if size else 0
    where = data.draw(hnp.arrays("int64", tuple(shape), elements=st.integers(-size, size - 1))
                      if size else st.just(np.zeros(shape, "int64")))
    same(tinyml.take_along_axis(tensors(x, device), tensors(where, device), axis=axis),
         np.take_along_axis(x, where, axis))
    row = where.reshape(-1)[:4]
    same(tinyml.take(tensors(x, device), tensors(row, device), axis=axis), np.take(x, row, axis))


def test_an_empty_mask_chooses_nothing_of_any_size(device: str) -> None:
    x = tinyml.ones((2, 3), device=device)
    for shape in ((0,), (0, 3), (2, 0), (0, 0)):
        got = x[tinyml.zeros(shape, dtype="bool", device=device)]
        assert got.shape == (0, *x.shape[len(shape):])
    with pytest.raises(IndexError):
        x[tinyml.zeros((1, 3), dtype="bool", device=device)]


# ---- products


@pytest.mark.kernels(8)
@pytest.mark.parametrize("dtype", ["int8", "uint32", "float32"])
def test_products(device: str, dtype: str) -> None:
    x, y = [np.arange(24).reshape(shape).astype(dtype) % 5 for shape in ((2, 3, 4), (3, 4, 2))]
    one, other = tensors(x, device), tensors(y, device)
    for axes in (2, ((2, 0), (1, 2)), ((-1,), (1,)), 0):
        with np.errstate(all="ignore"):
            same(tinyml.tensordot(one, other, axes=axes), np.tensordot(x, y, axes))
    same(tinyml.vecdot(one, one), np.vecdot(x, x))
    same(tinyml.vecdot(one, one, axis=-2), np.vecdot(x, x, axis=-2))
    same(tinyml.vecdot(one, one[0, 0]), np.vecdot(x, x[0, 0]))
    same(tinyml.tensordot(one, other[..., :0], axes=((1,), (0,))),
         np.tensordot(x, y[..., :0], ((1,), (0,))))


# ---- gradients of what is a function here, not a record


@pytest.mark.kernels(2)
@pytest.mark.parametrize("function", [
    lambda x: tinyml.roll(x, 1) * x, lambda x: tinyml.repeat(x, 2) ** 2,
    lambda x: tinyml.tile(x, (2, 2)) ** 2, lambda x: tinyml.diff(x) ** 2,
    lambda x: tinyml.flip(tinyml.moveaxis(x, 0, 1)) ** 2,
    lambda x: tinyml.unique_values(x) ** 2, lambda x: tinyml.vecdot(x, x * x),
    lambda x: tinyml.tensordot(x, x * x, axes=((0, 1), (0, 1))), lambda x: tinyml.triu(x) ** 3,
    lambda x: tinyml.repeat(x, tinyml.asarray([2, 1]), axis=0) ** 2,
    lambda x: tinyml.stack(tinyml.unstack(x), axis=1) ** 2, lambda x: tinyml.std(x, axis=1),
    lambda x: tinyml.prod(x, axis=(0, 1)), lambda x: tinyml.cumulative_prod(x, axis=1),
    lambda x: tinyml.take_along_axis(x, tinyml.argsort(x)) ** 2,
])
def test_gradients_go_through(function: Callable[[Any], Any]) -> None:
    """First and second order against central differences of the order below."""
    point = np.array([[0.7, -1.3, 2.1], [1.9, 0.4, -0.6]])
    weight = np.array([[1.1, -0.4, 0.7], [0.3, 1.7, -0.9]])

    def total(x: Any) -> Any:
        return tinyml.sum(function(x))

    def slope(x: Any) -> Any:
        return tinyml.sum(tinyml.grad(total)(x) * tinyml.asarray(weight))

    for f in (total, slope):
        got = tinyml.grad(f)(tinyml.asarray(point)).numpy()
        for place in np.ndindex(point.shape):
            step = np.zeros_like(point)
            step[place] = 1e-5
            ends = [f(tinyml.asarray(point + way * step)).item() for way in (1, -1)]
            assert got[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6)
