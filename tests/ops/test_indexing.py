"""x[key], x[key] = v, x.at[key] and their likes: NumPy's rules, on every device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml
from tinyml import errors

pytestmark = pytest.mark.kernels(2)

Array = Any


def grid(*shape: int) -> Array:
    """0, 1, 2, ... as float32 in a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# ---- any key


@st.composite
def keys(draw: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A key that NumPy takes for an array of this shape: parts of every kind in any order."""
    parts: list[Any] = []
    inner = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    count = None  # places of a mask, which all tables must fit
    axis = 0
    dotted = False
    while axis < len(shape):
        kind = draw(st.sampled_from(["int", "slice", "table", "mask", "none", "dots", "stop"]))
        size = shape[axis]
        if kind == "int" and size:
            parts.append(draw(st.integers(-size, size - 1)))
            axis += 1
        elif kind == "slice":
            parts.append(draw(st.slices(size)))
            axis += 1
        elif kind == "table" and (size or 0 in inner):
            own = draw(st.sampled_from([inner, inner[1:], tuple([1] * len(inner))]))
            if not size and 0 not in own:
                continue
            if count is not None and own not in ((), (1,), (count,)):
                own = ()
                if not size:
                    continue
            parts.append(draw(hnp.arrays(
                draw(st.sampled_from([np.int64, np.int32, np.int8])), own,
                elements=st.integers(-size, max(size - 1, -size)))))
            axis += 1
        elif kind == "mask" and count is None and not any(
                isinstance(p, np.ndarray) for p in parts):
            rank = draw(st.integers(0, min(2, len(shape) - axis)))
            mask = draw(hnp.arrays(np.bool_, shape[axis : axis + rank]))
            count = int(mask.sum())
            parts.append(mask if rank or draw(st.booleans()) else bool(mask))
            axis += rank
        elif kind == "none":
            parts.append(None)
        elif kind == "dots" and not dotted:
            dotted = True
            parts.append(Ellipsis)
            axis = draw(st.integers(axis, len(shape)))
        elif kind == "stop":
            break
        if len(parts) > 6:
            break
    return tuple(parts)


def ours(part: Any, device: str) -> Any:
    """A part of a key as a tensor where it is an array."""
    return tinyml.tensor(part, device=device) if isinstance(part, np.ndarray) else part


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


@settings(max_examples=60)
@given(data=st.data())
def test_any_key_reads_as_numpys(data: st.DataObject, device: str) -> None:
    array = grid(*data.draw(SHAPES))
    key = data.draw(keys(array.shape))
    if data.draw(st.booleans()):
        key = tuple([ours(part, device) for part in key])
    plain = tuple([part.numpy() if isinstance(part, tinyml.Tensor) else part for part in key])
    try:
        want = array[plain]
    except IndexError:
        return  # sizes that do not broadcast
    have = tinyml.tensor(array, device=device)[key]
    assert have.shape == want.shape
    np.testing.assert_array_equal(have.numpy(), want)


@pytest.mark.kernels(20)
@settings(max_examples=40)
@given(data=st.data())
def test_any_key_writes_as_numpys(data: st.DataObject, device: str) -> None:
    array = grid(*data.draw(SHAPES))
    key = data.draw(keys(array.shape))
    try:
        shape = array[key].shape
    except IndexError:
        return
    value = np.float32(data.draw(st.integers(-9, 9)))
    if data.draw(st.booleans()):
        lead = data.draw(st.integers(0, len(shape)))
        own = tuple([data.draw(st.sampled_from([1, n])) for n in shape[lead:]])
        value = np.asarray(-grid(*own) - 1.5)
    x = tinyml.tensor(array, device=device)
    theirs = tuple([ours(part, device) for part in key])
    want = array.copy()
    want[key] = value
    np.testing.assert_array_equal(x.at[theirs].set(value).numpy(), want)
    name, ufunc = data.draw(st.sampled_from([
        ("add", np.add), ("mul", np.multiply), ("min", np.minimum), ("max", np.maximum)]))
    want = array.copy()
    ufunc.at(want, key, value)
    have = getattr(x.at[theirs], name)(value)
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-6)
    x[theirs] = value
    want = array.copy()
    want[key] = value
    np.testing.assert_array_equal(x.numpy(), want)


# ---- what a key may be


KEYS: list[Any] = [
    True, False, np.True_, (True, 1), (0, False), (slice(None), True, 1), [True, False, True],
    ([0, 2], slice(None), [1, 0]), ([0, 2], None, [1, 0]), ([0, 2], Ellipsis, [1, 0]),
    (0, slice(None), [1, 0]), (slice(None), 0, [1, 0]), (np.int8(-1), [1], None), [],
    ([[0], [2]], [1, 3]), (np.array(1), slice(None), np.array(0)), (np.uint64(2),),
    (np.array([2, 0], np.uint64),), (np.array([[True, False, True, False]] * 3),),
    (slice(None), np.array([True, False, True, False]), 1), (Ellipsis, np.array([True, False])),
    ([2, 0], np.array([[True, False]] * 4)[:2, 0].tolist() + [False] * 2),
    (np.zeros((3, 4), bool),), (np.zeros(0, np.int64), 0), (slice(None, None, -2), [3, 0, 3]),
    slice(-(2**63), 2**63 - 1), slice(2**100, None, -(2**70)), (slice(None), None, [[1]], None),
]


@pytest.mark.kernels(4)
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_keys_of_every_kind(key: Any, device: str) -> None:
    array = grid(3, 4, 2)
    x = tinyml.tensor(array, device=device)
    np.testing.assert_array_equal(x[key].numpy(), array[key])
    assert x[key].shape == array[key].shape
    want = array.copy()
    np.add.at(want, key, np.float32(2.5))
    np.testing.assert_array_equal(x.at[key].add(2.5).numpy(), want)
    assert x.at[key].get().tolist() == x[key].tolist() and x.tolist() == array.tolist()


def test_basic_keys_are_views() -> None:
    x = tinyml.tensor(grid(3, 4))
    start = x.numpy().ctypes.data
    for key, offset in ((0, 0), (slice(1, None), 16), ((None, 2, slice(None, None, -1)), 44)):
        assert x[key].numpy().ctypes.data == start + offset


@pytest.mark.kernels(9)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "bfloat16", "float64",
                                   "float8_e5m2", "int4", "uint4"])
def test_every_type_is_indexed_and_set(dtype: str, device: str) -> None:
    x = tinyml.tensor(np.arange(6).reshape(2, 3) % 2, device=device).astype(dtype)
    array = x.numpy()
    for key in ((1, slice(None, None, -1)), ([1, 0, 1],), ([0, 1], [2, 0]), x.numpy() == 0):
        np.testing.assert_array_equal(x[key].numpy(), array[key])
        want = array.copy()
        want[key] = 1
        np.testing.assert_array_equal(x.at[key].set(1).numpy(), want)


def test_complex_numbers_are_indexed_and_joined() -> None:
    x = tinyml.tensor(np.array([1 + 1j, 2 - 1j, 3j]))
    assert x[[2, 0]].tolist() == [3j, 1 + 1j]
    assert x.at[[0, 0]].mul(1j).tolist() == [-1 - 1j, 2 - 1j, 3j]
    with pytest.raises(errors.DTypeError, match="not accepted"):
        x.at[[0, 0]].min(1.0)
    with pytest.raises(errors.DTypeError, match=r"\.real"):
        tinyml.zeros(3).at[0].set(x[0])


# ---- updates


def test_repeated_indices_are_served_in_row_major_order(device: str) -> None:
    x = tinyml.tensor([2.0, 3.0], device=device)
    i = tinyml.tensor([[0, 1], [1, 0]], device=device)
    v = tinyml.tensor([[5.0, 6.0], [7.0, 8.0]], device=device)
    there = x.at[i]
    assert there.set(v).tolist() == [8.0, 7.0]
    assert there.add(v).tolist() == [15.0, 16.0]
    assert there.mul(v).tolist() == [80.0, 126.0]
    assert there.divide(v).tolist() == [0.05000000074505806, 0.0714285746216774]
    assert there.min(v).tolist() == [2.0, 3.0]
    assert there.max(v).tolist() == [8.0, 7.0]
    assert there.apply(lambda part: part + 1.0).tolist() == [3.0, 4.0]
    assert x.at[0].max(float("nan")).tolist()[1] == 3.0
    assert np.isnan(x.at[[0]].max(float("nan")).numpy()[0])


def test_the_order_of_sums_is_the_order_of_indices(device: str) -> None:
    values = np.float32([1e8, 1.0, -1e8, 1.0])
    want = np.float32(0)
    for value in values:
        want += value
    x = tinyml.zeros(2, device=device).at[[1, 1, 1, 1]].add(values)
    assert x.tolist() == [0.0, float(want)]


def test_a_value_where_a_mask_holds_needs_no_number_of_places(device: str) -> None:
    x = tinyml.tensor(grid(3, 2), device=device)
    mask = tinyml.tensor([True, False, True], device=device)
    row = tinyml.tensor([7.0, 8.0], device=device)

    def f(x: Any, mask: Any) -> Any:
        return x.at[mask].set(-1.0), x.at[mask].add(row), x.at[x > 2.0].mul(2.0)

    for have, plain in zip(tinyml.jit(f)(x, mask), f(x, mask), strict=True):
        assert have.tolist() == plain.tolist()
    assert f(x, mask)[1].tolist() == [[7.0, 9.0], [2.0, 3.0], [11.0, 13.0]]
    assert tinyml.jit(lambda x, mask: x[mask].sum())(x, mask).item() == 10.0


def test_values_for_each_place_of_a_mask_need_the_number(device: str) -> None:
    x, mask = tinyml.zeros(3, device=device), tinyml.tensor([True, False, True], device=device)
    values = tinyml.tensor([1.0, 2.0], device=device)
    assert x.at[mask].set(values).tolist() == [1.0, 0.0, 2.0]
    with pytest.raises(errors.DynamicShapeError, match="where"):
        tinyml.jit(lambda x, mask: x.at[mask].set(values))(x, mask)
    with pytest.raises(errors.ShapeError, match="broadcast"):
        x.at[mask].set(tinyml.zeros(3, device=device))


def test_integers_that_do_not_fit_are_refused(device: str) -> None:
    x = tinyml.zeros(2, dtype="int8", device=device)
    with pytest.raises(errors.ArgumentError, match="-128 to 127"):
        x.at[0].set(300)
    with pytest.raises(errors.ArgumentError, match="-128 to 127"):
        x.at[:].set([1, 300])
    assert x.at[0].set(-128).tolist() == [-128, 0]


# ---- gradients


UPDATES: dict[str, Any] = {
    "get": lambda x, u: (x[[0, 2, 0]] * u) ** 2,
    "pairs": lambda x, u: x.reshape((1, 4))[[0, 0, 0], [3, 1, 3]] * u * u,
    "mask": lambda x, u: x[tinyml.tensor([True, False, True, True])] * u**2,
    "set": lambda x, u: x.at[[0, 2, 0]].set(u * u) ** 2,
    "add": lambda x, u: x.at[[0, 2, 0]].add(u * u) ** 2,
    "mul": lambda x, u: x.at[[0, 2, 0]].mul(u * u) ** 2,
    "mul by zeros": lambda x, u: (x - x[0]).at[[0, 0, 1]].mul(u - u[1]) ** 2,
    "min": lambda x, u: x.at[[0, 2, 0]].min(u * u) ** 2,
    "max": lambda x, u: x.at[[0, 2, 0]].max(u * u) ** 2,
    "divide": lambda x, u: x.at[[0, 2, 0]].divide(u) ** 2,
    "slice": lambda x, u: x.at[1:].mul(u) ** 2,
    "where a mask holds": lambda x, u: x.at[tinyml.tensor([True, False] * 2)].add(u[0] ** 2) ** 2,
    "take_along_axis": lambda x, u: tinyml.take_along_axis(x, tinyml.tensor([3, 0, 3])) * u * u,
    "put_along_axis": lambda x, u: tinyml.put_along_axis(
        x, tinyml.tensor([3, 0, 3]), u * u, mode="mul") ** 2,
}


@pytest.mark.kernels(3)
@pytest.mark.parametrize("name", UPDATES)
def test_gradients_to_second_order(name: str) -> None:
    f = UPDATES[name]
    point = np.array([0.7, -1.2, 1.9, 0.4, 1.3, -0.8, 0.6])

    def total(z: Any) -> Any:
        return (f(z[:4], z[4:]) ** 2).sum()

    z = tinyml.tensor(point)
    slope, curve = tinyml.grad(total)(z).numpy(), tinyml.hessian(total)(z).numpy()
    step = 1e-5
    for k in range(7):
        shift = np.zeros(7)
        shift[k] = step
        up, down = tinyml.tensor(point + shift), tinyml.tensor(point - shift)
        near = (total(up).item() - total(down).item()) / (2 * step)
        np.testing.assert_allclose(slope[k], near, rtol=1e-6, atol=1e-7)
        near = (tinyml.grad(total)(up) - tinyml.grad(total)(down)).numpy() / (2 * step)
        np.testing.assert_allclose(curve[k], near, rtol=1e-6, atol=1e-6)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("mode", ["prod", "amin", "amax"])
def test_gradients_of_reducing_updates_are_torchs(mode: str) -> None:
    import torch

    x, u = np.array([2.0, -1.0, 3.0]), np.array([0.5, 4.0, 2.0, 0.0])
    i = np.array([0, 2, 0, 1])
    ours = {"prod": "mul", "amin": "min", "amax": "max"}[mode]
    y, back = tinyml.vjp(lambda x, u: getattr(x.at[i], ours)(u), tinyml.tensor(x), tinyml.tensor(u))
    tx, tu = (torch.tensor(v, requires_grad=True) for v in (x, u))
    ty = tx.scatter_reduce(0, torch.tensor(i), tu, mode)
    np.testing.assert_allclose(y.numpy(), ty.detach().numpy())
    g = np.array([1.0, 10.0, 100.0])
    ty.backward(torch.tensor(g))
    for have, want in zip(back(tinyml.tensor(g)), (tx.grad, tu.grad), strict=True):
        np.testing.assert_allclose(have.numpy(), want.numpy())


# ---- take and its likes


def test_take_has_modes(device: str) -> None:
    array = grid(3, 4)
    x = tinyml.tensor(array, device=device)
    for mode in ("clip", "wrap"):
        for axis in (None, 0, -1):
            size = array.size if axis is None else array.shape[axis]
            for where in (np.array([[5, -1], [-9, 2]]), np.array([200, 3], np.uint8),
                          np.array([2**63 - 1, -(2**63)]), np.array([2**64 - 1], np.uint64)):
                have = tinyml.take(x, tinyml.tensor(where, device=device), axis=axis, mode=mode)
                # NumPy wraps by adding the size until it fits: years from the extremes.
                near = where % size if mode == "wrap" else where.clip(0, size - 1)
                np.testing.assert_array_equal(have.numpy(), np.take(array, near, axis))
    np.testing.assert_array_equal(tinyml.take(x, [5, -1]).numpy(), array.reshape(-1)[[5, -1]])
    with pytest.raises(errors.ArgumentError, match="wrap"):
        tinyml.take(x, [0], mode="bounce")
    with pytest.raises(errors.OutOfRangeError, match="index 4 is out of range for axis 1 of"):
        tinyml.take(x, [4], axis=1).numpy()


@pytest.mark.kernels(7)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_index_per_place_is_taken_and_put(axis: int, device: str) -> None:
    array = grid(3, 4)
    x = tinyml.tensor(array, device=device)
    where = np.array([[1, -1, 0, 1]]) if axis == 0 else np.array([[3, 0], [-1, 3], [2, 2]])
    i = tinyml.tensor(where, device=device)
    have = tinyml.take_along_axis(x, i, axis=axis)
    np.testing.assert_array_equal(have.numpy(), np.take_along_axis(array, where, axis))
    wide = tinyml.take_along_axis(x, i[:1], axis=axis)  # the rest broadcasts
    np.testing.assert_array_equal(
        wide.numpy(), np.take_along_axis(array, np.broadcast_to(
            where[:1], where.shape if axis else where[:1].shape), axis))
    values = -grid(*where.shape) - 2.0
    want = array.copy()
    np.put_along_axis(want, where, values, axis)
    np.testing.assert_array_equal(tinyml.put_along_axis(x, i, values, axis).numpy(), want)
    for mode, ufunc in (("add", np.add), ("mul", np.multiply), ("min", np.minimum),
                        ("max", np.maximum)):
        want = array.copy()
        places: list[Any] = list(np.ogrid[tuple(map(slice, where.shape))])
        places[axis] = where
        ufunc.at(want, tuple(places), values)
        have = tinyml.put_along_axis(x, i, values, axis, mode)
        np.testing.assert_array_equal(have.numpy(), want)


# ---- bad keys


@pytest.mark.parametrize(("key", "error", "words"), [
    (4, errors.OutOfRangeError, "index 4 is out of range for axis 0 of size 4"),
    ((0, -4), errors.OutOfRangeError, "index -4 is out of range for axis 1 of size 3"),
    (2**31, errors.OutOfRangeError, "index 2147483648"),
    (-(2**63), errors.OutOfRangeError, "index -9223372036854775808"),
    ((0, 0, 0), errors.AxisError, "at most 2 axes"),
    ((..., ...), errors.AxisError, "one ..."),
    (1.0, errors.ArgumentTypeError, "type float"),
    ("a", errors.ArgumentTypeError, "type str"),
    (object(), errors.ArgumentTypeError, "type object"),
    (slice(0.5, 2), errors.ArgumentTypeError, "slice"),
    (slice(None, None, 0), errors.ArgumentTypeError, "slice"),
    (np.ones(4, np.float32), errors.DTypeError, "mask"),
    (np.ones((4, 3)), errors.DTypeError, "float64"),
    (np.ones(3, bool), errors.OutOfRangeError, r"mask of shape \(4,\)"),
    (np.ones((4, 4), bool), errors.OutOfRangeError, r"mask of shape \(4, 3\)"),
    (([0, 1], [0, 1, 2]), errors.ShapeError, "broadcast"),
    ([[0], [1, 2]], errors.ArgumentTypeError, "no tensor"),
], ids=str)
def test_bad_keys_are_named(key: Any, error: type[Exception], words: str, device: str) -> None:
    x = tinyml.tensor(grid(4, 3), device=device)
    for function in (lambda: x[key], lambda: x.at[key].set(1.0), lambda: x.at[key].mul(1.0)):
        with pytest.raises(error, match=words) as caught:
            function()
        assert isinstance(caught.value, tinyml.TinyMLError) and caught.value.remedy


EXTREMES = [(4, "int64"), (-5, "int64"), (2**31, "int64"), (-(2**31), "int32"), (2**32, "int64"),
            (2**63 - 1, "int64"), (-(2**63), "int64"), (2**64 - 1, "uint64"), (2**63, "uint64"),
            (255, "uint8"), (-128, "int8")]


@pytest.mark.kernels(7)
@pytest.mark.parametrize(("index", "dtype"), EXTREMES)
def test_indices_out_of_range_in_a_table(index: int, dtype: str, device: str) -> None:
    """At once on the CPU, on OpenCL where the result is read; and all is as before."""
    x = tinyml.tensor(grid(4, 4), device=device)
    i = tinyml.tensor(np.array([1, index]).astype(dtype) if index < 2**63 else
                      np.array([1, index], np.uint64), device=device)
    said = min(index, 2**63 - 1)
    for axis, function in (
        (0, lambda: x[i]), (1, lambda: x[:, i]), (1, lambda: x[[0, 1], i]),
        (0, lambda: x.at[i].set(1.0)), (1, lambda: x.at[:, i].add(1.0)),
        (0, lambda: x.at[i, [0, 1]].max(1.0)), (1, lambda: tinyml.take(x, i, axis=1)),
        (0, lambda: tinyml.take_along_axis(x, i.reshape((2, 1)), axis=0)),
        (1, lambda: tinyml.put_along_axis(x, i.reshape((1, 2)), 1.0, 1, "add")),
    ):
        with pytest.raises(IndexError, match=f"index {said} is out of range for axis {axis} of "):
            function().numpy()
    assert x.tolist() == grid(4, 4).tolist()
