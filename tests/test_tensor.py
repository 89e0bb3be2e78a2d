"""What a tensor is: creation, types, values in and out, indexing, updates."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml
from tinyml.dtypes import COMPLEX, COMPUTABLE, DTYPES, FLOATS, INTEGERS, SIGNED, STORED
from tinyml.errors import ArgumentError, ArgumentTypeError, DeviceError, DTypeError, GradientError

pytestmark = pytest.mark.kernels(1)

Array = Any


def grid(*shape: int) -> Array:
    """0, 1, 2, ... as float32 in a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# ---- creation


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (3, "int64", ()),
        (3.0, "float32", ()),
        (True, "bool", ()),
        ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)),
        ([1, 2], "int64", (2,)),
        ([1, 2.5], "float32", (2,)),
        ([True, False], "bool", (2,)),
        (((1, 2), (3, 4)), "int64", (2, 2)),
        (np.arange(3, dtype=np.int16), "int16", (3,)),
        (np.float64(2.0), "float64", ()),
        (np.ones(2), "float64", (2,)),
        (np.arange(3, dtype=">i4"), "int32", (3,)),
        (np.asfortranarray(np.ones((2, 3), np.float32)), "float32", (2, 3)),
    ],
)
def test_tensor_takes_shape_and_type_from_data(
    data: Any, dtype: str, shape: tuple[int, ...], device: str
) -> None:
    if dtype == "float64" and not as_device(device).supports(tinyml.float64):
        pytest.skip(f"{device} has no float64")
    x = tinyml.tensor(data, device=device)
    assert (x.dtype.name, x.shape, x.ndim, x.size) == (dtype, shape, len(shape), math.prod(shape))
    assert str(x.device) == device
    np.testing.assert_array_equal(x.numpy(), np.asarray(data))


def as_device(name: str) -> Any:
    """The device of a name."""
    return tinyml.zeros((), device=name).device


def test_creation_from_nothing(device: str) -> None:
    made: dict[str, tuple[Any, Any]] = {
        "zeros": (tinyml.zeros((2, 3), device=device), np.zeros((2, 3), np.float32)),
        "a size alone": (tinyml.zeros(2, device=device), np.zeros(2, np.float32)),
        "ones": (tinyml.ones((2,), dtype="int8", device=device), np.ones(2, np.int8)),
        "full": (tinyml.full((2,), 1.5, device=device), np.full(2, 1.5, np.float32)),
        "full of an int": (tinyml.full((), 3, device=device), np.asarray(3)),
        "full of a bool": (tinyml.full((1,), True, device=device), np.array([True])),
        "arange": (tinyml.arange(5, device=device), np.arange(5)),
        "arange backwards": (tinyml.arange(5, 0, -2, device=device), np.arange(5, 0, -2)),
        "arange of floats": (
            tinyml.arange(0.0, 1.0, 0.25, device=device), np.arange(0, 1, 0.25, dtype=np.float32)),
        "linspace": (
            tinyml.linspace(0.0, 1.0, 5, device=device), np.linspace(0, 1, 5, dtype=np.float32)),
        "eye": (tinyml.eye(2, 3, device=device), np.eye(2, 3, dtype=np.float32)),
        "zeros_like": (
            tinyml.zeros_like(tinyml.ones((2,), dtype="int8", device=device)),
            np.zeros(2, np.int8)),
        "ones_like": (
            tinyml.ones_like(tinyml.zeros((2,), device=device), dtype="bool"), np.ones(2, bool)),
        "full_like": (
            tinyml.full_like(tinyml.zeros((2,), device=device), 7), np.full(2, 7, np.float32)),
        "nothing": (tinyml.zeros((2, 0, 3), device=device), np.zeros((2, 0, 3), np.float32)),
    }
    for name, (x, want) in made.items():
        assert x.dtype.numpy == want.dtype and x.shape == want.shape, name
        assert str(x.device) == device, name
        np.testing.assert_array_equal(x.numpy(), want, name)


def test_the_default_device_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYML_DEVICE", raising=False)
    assert str(tinyml.zeros(1).device) == "cpu"
    monkeypatch.setenv("TINYML_DEVICE", "nowhere")
    with pytest.raises(DeviceError, match="no device 'nowhere'"):
        tinyml.zeros(1)


def test_tensor_copies_and_asarray_shares() -> None:
    array = np.zeros(3, np.float32)
    copied, from_numpy = tinyml.tensor(array), tinyml.from_numpy(array)
    shared = tinyml.asarray(array)
    array[0] = 5.0
    assert copied[0].item() == from_numpy[0].item() == 0.0
    assert shared[0].item() == 5.0
    assert tinyml.asarray(shared) is shared
    assert tinyml.asarray(array, copy=True)[0].item() == 5.0
    array[0] = 6.0
    with pytest.raises(ArgumentError, match="shared"):
        tinyml.asarray([1.0], copy=False)
    strided = np.arange(6, dtype=np.float32)[::-2]
    assert tinyml.asarray(strided).tolist() == [5.0, 3.0, 1.0]
    with pytest.raises(ArgumentTypeError):
        tinyml.from_numpy([1.0])  # type: ignore[arg-type]


def test_tensor_of_a_tensor_is_another(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device)
    y = tinyml.tensor(x)
    y[0] = 9.0
    assert x.tolist() == [1.0, 2.0] and y.tolist() == [9.0, 2.0]
    assert tinyml.tensor(x, dtype="int32").dtype is tinyml.int32
    assert str(tinyml.tensor(x, device="cpu").device) == "cpu"


# ---- promotion

KINDS = ({"bool"}, {*INTEGERS}, {*FLOATS}, {*COMPLEX})


@pytest.mark.parametrize(("first", "second"), [*itertools.product(DTYPES, DTYPES)])
def test_types_meet_as_in_the_array_api(first: str, second: str) -> None:
    """NumPy's own table within a kind; the higher kind wins, stored types meet no other."""
    stored = first != second and {first, second} & set(STORED)
    if stored or "uint64" in (first, second) and {first, second} & {*SIGNED}:
        with pytest.raises(DTypeError, match="no common type"):
            tinyml.dtypes.promote(DTYPES[first], DTYPES[second])
        return
    ranks = [next((r for r, kind in enumerate(KINDS) if d in kind), 9) for d in (first, second)]
    if first == second or ranks[0] != ranks[1] and {first, second} != {"complex64", "float64"}:
        want = max(zip(ranks, (first, second)))[1]
    elif {first, second} == {"float16", "bfloat16"}:
        want = "float32"
    else:
        want = np.result_type(DTYPES[first].numpy, DTYPES[second].numpy).name
    assert tinyml.dtypes.promote(DTYPES[first], DTYPES[second]).name == want


def test_a_result_has_the_type_in_which_operands_meet(device: str) -> None:
    small, wide = tinyml.ones(2, dtype="int8", device=device), tinyml.ones(2, "uint8", device)
    assert (small + wide).dtype is tinyml.int16
    assert (wide + tinyml.ones(2, device=device)).dtype is tinyml.float32
    assert (tinyml.ones(2, "bool", device) + small).dtype is tinyml.int8
    assert (wide / wide).dtype is tinyml.float32
    assert wide.exp().dtype is tinyml.float32
    assert (wide < small).dtype is tinyml.bool
    assert wide.sum().dtype is tinyml.uint64 and small.sum().dtype is tinyml.int64
    assert tinyml.ones(3, "bool", device).sum().item() == 3
    with pytest.raises(DTypeError, match="no common type"):
        tinyml.ones(2, "uint64", device) + tinyml.ones(2, "int8", device)


@pytest.mark.kernels(6)
@pytest.mark.parametrize("name", COMPUTABLE)
def test_python_scalars_are_weak(name: str) -> None:
    """A number takes the tensor's type within its kind (Array API, mixing with Python scalars)."""
    x = tinyml.ones(2, dtype=name)
    dtype = DTYPES[name]
    floated = dtype if dtype.is_inexact else tinyml.float32
    whole = tinyml.int64 if name == "bool" else dtype
    assert (x + 1).dtype is (1 + x).dtype is whole
    assert (x * 0.5).dtype is (0.5 * x).dtype is floated
    assert (x == True).dtype is tinyml.bool  # noqa: E712
    turned = {"float64": tinyml.complex128}.get(name, tinyml.complex64)
    assert (x * 2j).dtype is (2j * x).dtype is (dtype if dtype.kind == "complex" else turned)
    if name != "bool":
        assert (x + True).dtype is dtype
        assert (x + 1).tolist() == [2, 2] and (x * 0.5).tolist() == [0.5, 0.5]


@pytest.mark.kernels(4)
@pytest.mark.parametrize("number", [0.5, -0.0, 2, 0, True, math.nan, 1 << 70, -1e-300])
def test_a_number_is_true_unless_it_is_zero(number: Any, device: str) -> None:
    x = tinyml.tensor([True, False], device=device)
    f = tinyml.tensor([1.5, 0.0], device=device)
    for have in (tinyml.logical_and(x, number), tinyml.logical_and(f, number)):
        assert have.tolist() == [bool(number), False]
    assert tinyml.logical_or(number, x).tolist() == [True, bool(number)]
    chosen = tinyml.where(number, f, 9.0)
    assert chosen.tolist() == ([1.5, 0.0] if number else [9.0, 9.0])


def test_numbers_beyond_a_type_overflow_or_are_refused(device: str) -> None:
    """A float becomes infinite; an integer is refused where it would wrap."""
    f = tinyml.tensor([1.5, -1.0], device=device)
    assert (f * 1e300).tolist() == [math.inf, -math.inf]
    assert (f + (1 << 70)).tolist() == [2.0**70, 2.0**70]
    assert (f * 1e-300).tolist() == [0.0, 0.0]
    for number in (1 << 2000, -(1 << 2000)):
        with pytest.raises(ArgumentError):
            f + number
    for number in (1 << 63, -(1 << 63) - 1, 1 << 70):
        with pytest.raises(ArgumentError, match="does not fit"):
            tinyml.tensor([1], device=device) + number
    assert (tinyml.zeros(1, "uint64", device) + ((1 << 64) - 1)).tolist() == [(1 << 64) - 1]


def test_numpy_operands_are_as_strong_as_tensors(device: str) -> None:
    x = tinyml.ones(2, device=device)
    for y in (np.ones(2, np.float32) + x, x + np.ones(2, np.float32), x + np.float32(1.0)):
        assert isinstance(y, tinyml.Tensor) and str(y.device) == device
        assert y.dtype is tinyml.float32 and y.tolist() == [2.0, 2.0]
    assert (x + np.int8(1)).dtype is tinyml.float32


# ---- values


def test_numpy_is_read_only_and_right_for_views(device: str) -> None:
    x = tinyml.tensor(grid(3, 4), device=device)
    views = {
        "itself": (x, grid(3, 4)),
        "transpose": (x.T, grid(3, 4).T),
        "reversed": (x[::-1, ::-2], grid(3, 4)[::-1, ::-2]),
        "part": (x[1:, 1:3], grid(3, 4)[1:, 1:3]),
        "wide": (tinyml.broadcast_to(x[0], (2, 4)), np.broadcast_to(grid(4), (2, 4))),
        "nothing": (x[3:], grid(3, 4)[3:]),
        "one": (x[2, 3], np.asarray(11.0)),
    }
    for name, (y, want) in views.items():
        array = y.numpy()
        np.testing.assert_array_equal(array, want, name)
        assert array.shape == want.shape and not array.flags.writeable, name
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert not np.asarray(y).flags.writeable
    assert np.array(x).flags.writeable
    assert np.array(x, dtype="int8").dtype == np.int8
    assert np.asarray(x.T).tolist() == x.T.tolist()


def test_an_array_outlives_its_tensor() -> None:
    array = (tinyml.ones((1000,)) + 1.0).numpy()
    for _ in range(3):
        tinyml.zeros((1000,)).copy()
    assert (array == 2.0).all()


def test_item_tolist_and_conversions(device: str) -> None:
    x = tinyml.tensor([[1, 2], [3, 4]], device=device)
    assert x.tolist() == [[1, 2], [3, 4]] and len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    one = tinyml.tensor([2.5], device=device)
    assert one.item() == 2.5 and type(one.item()) is float
    assert (float(one), int(one), bool(one)) == (2.5, 2, True)
    assert ["a", "b"][tinyml.tensor(1, device=device)] == "b"
    assert type(tinyml.tensor(True, device=device).item()) is bool
    assert not tinyml.tensor(0.0, device=device) and tinyml.tensor([[7]], device=device)
    assert 3 in x and 5 not in x
    first, second = x
    assert second.tolist() == [3, 4]


def test_identity_hash_and_elementwise_equality() -> None:
    x, y = tinyml.ones(2), tinyml.ones(2)
    nothing: Any = None
    assert len({x, y, x}) == 2 and hash(x) != hash(y)
    assert (x == y).tolist() == [True, True] and (x != y).tolist() == [False, False]
    assert (x == nothing) is False


def test_repr_tells_values_shape_type_and_device(device: str) -> None:
    text = repr(tinyml.tensor([[1.5, 2.0]], device=device))
    assert "1.5" in text and "shape=(1, 2)" in text and "dtype=float32" in text
    assert ("device='opencl'" in text) == (device == "opencl")
    assert "requires_grad=True" in repr(tinyml.ones(1, requires_grad=True))
    assert len(repr(tinyml.zeros((1000, 1000), device=device))) < 1000


def test_copies_are_separate(device: str) -> None:
    x = tinyml.tensor(grid(3, 4), device=device).T
    for y in (x.copy(), copy.copy(x), copy.deepcopy(x)):
        assert y.spec.contiguous and y.tolist() == x.tolist()
        y[0, 0] = 100.0
        assert x[0, 0].item() == 0.0
    leaf = tinyml.ones(1, requires_grad=True)
    assert copy.deepcopy([leaf, leaf])[0].requires_grad


def test_to_moves_between_devices(device: str) -> None:
    x = tinyml.tensor(grid(3, 4))
    y = x.T.to(device)
    assert str(y.device) == device and y.to(device) is y
    np.testing.assert_array_equal(y.numpy(), grid(3, 4).T)
    np.testing.assert_array_equal(y[::-1].to("cpu").numpy(), grid(3, 4).T[::-1])
    assert y.to(y.device) is y
    if device != "cpu":
        leaf = tinyml.tensor([1.0, 2.0], requires_grad=True)
        moved = leaf.to(device)
        assert moved.requires_grad and str(moved.device) == device
        (moved * moved).sum().backward()
        assert leaf.grad is not None and str(leaf.grad.device) == "cpu"
        assert leaf.grad.tolist() == [2.0, 4.0]
        with tinyml.no_grad():
            assert not leaf.to(device).requires_grad


def test_astype_keeps_the_tensor_that_has_the_type(device: str) -> None:
    x = tinyml.tensor([1.9, -1.9, np.inf, np.nan], device=device)
    assert x.astype("float32") is x
    assert x.astype(tinyml.int8).tolist() == [1, -1, 127, 0]
    assert x.astype(bool).tolist() == [True, True, True, True]
    assert tinyml.tensor([300, -1], device=device).astype("uint8").tolist() == [44, 255]


# ---- NumPy and DLPack


def test_dlpack_shares_on_the_cpu() -> None:
    array = grid(2, 3)
    x = tinyml.from_dlpack(array)
    assert x.tolist() == array.tolist()
    array[0, 0] = 7.0
    assert x[0, 0].item() == 7.0
    back = np.from_dlpack(tinyml.tensor(grid(3, 2)).T)
    np.testing.assert_array_equal(back, grid(3, 2).T)
    assert tinyml.from_dlpack(array, copy=True).tolist() == array.tolist()
    with pytest.raises(ArgumentTypeError, match="__dlpack__"):
        tinyml.from_dlpack([1.0])


def test_dlpack_refuses_negative_strides_instead_of_dying() -> None:
    with pytest.raises(BufferError, match="negative strides"):
        np.from_dlpack(tinyml.tensor(grid(3))[::-1])
    assert np.from_dlpack(tinyml.tensor(grid(3))[::-1].copy()).tolist() == [2.0, 1.0, 0.0]


def test_dlpack_to_and_from_other_devices(device: str) -> None:
    x = tinyml.from_dlpack(grid(2, 3), device=device)
    assert str(x.device) == device
    np.testing.assert_array_equal(np.from_dlpack(x), grid(2, 3))


@pytest.mark.peers("torch")
def test_torch_tensors_come_and_go() -> None:
    import torch

    theirs = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    for source in (theirs, theirs.T, theirs[:, ::2]):
        for x in (tinyml.from_dlpack(source), tinyml.asarray(source)):
            assert x.shape == tuple(source.shape) and x.tolist() == source.tolist()
    ours = tinyml.tensor(grid(2, 3))
    assert torch.from_dlpack(ours).tolist() == ours.tolist()
    assert torch.from_dlpack(ours.T).tolist() == ours.T.tolist()
    with pytest.raises(ArgumentTypeError, match="DLPack"):
        tinyml.from_dlpack(torch.ones(2, requires_grad=True))


@pytest.mark.peers("jax")
def test_jax_arrays_come_and_go() -> None:
    import jax.numpy as jnp

    theirs = jnp.arange(6, dtype=jnp.float32).reshape(2, 3)
    assert tinyml.from_dlpack(theirs).tolist() == theirs.tolist()
    assert jnp.from_dlpack(tinyml.tensor(grid(2, 3))).tolist() == grid(2, 3).tolist()


# ---- x[...]


INDICES: list[Any] = [
    0, -1, (1, 2), (slice(None), 1), (slice(None, None, -1),), (slice(4, 0, -2), 1),
    (Ellipsis, 0), (0, Ellipsis), Ellipsis, None, (None, 1, None), (slice(1, 1),),
    (slice(-100, 100, 3), slice(2)), (0, 0, 0), (np.int64(1), np.int8(-1)), (),
    (slice(None), None, slice(1, None)), (slice(2, 0),), (slice(None), slice(None), -1),
]


@pytest.mark.kernels(3)
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_basic_indices_as_numpys(index: Any, device: str) -> None:
    array = grid(3, 4, 2)
    x = tinyml.tensor(array, device=device)
    np.testing.assert_array_equal(x[index].numpy(), array[index])
    assert x[index].shape == array[index].shape
    written = array.copy()
    written[index] = -1.0
    np.testing.assert_array_equal(x.at[index].set(-1.0).numpy(), written)
    written = array.copy()
    written[index] += 2.0
    np.testing.assert_array_equal(x.at[index].add(2.0).numpy(), written)
    np.testing.assert_array_equal(x.numpy(), array)


@settings(max_examples=60)
@given(data=st.data())
def test_any_basic_index_as_numpys(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=5))
    array = grid(*shape)
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    x = tinyml.tensor(array)
    np.testing.assert_array_equal(x[index].numpy(), array[index])
    np.testing.assert_array_equal(x[index].permute_dims(*range(x[index].ndim)[::-1]).numpy(),
                                  array[index].T)


@settings(max_examples=25)
@given(data=st.data())
def test_any_basic_update_as_numpys(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(max_dims=2, max_side=4))
    array = grid(*shape)
    index = data.draw(hnp.basic_indices(shape))
    x = tinyml.tensor(array)
    values = np.asarray(array[index]) * 2.0 + 100.0
    written = array.copy()
    written[index] = values
    np.testing.assert_array_equal(x.at[index].set(tinyml.tensor(values)).numpy(), written)
    x[index] = values
    np.testing.assert_array_equal(x.numpy(), written)


TABLES: list[Any] = [
    (np.array([2, 0, -1]),), (np.array([[0, 1], [2, -3]]),), (slice(None), np.array([3, 3, 0])),
    (np.array([0, 2]), np.array([1, -1])), (slice(None), np.array([0, 2]), np.array([1, -1])),
    (np.array([[0], [2]]), np.array([[1, 3]])), (slice(1, None), np.array([0, 2])),
    (np.array([0, 2]), slice(None), 1), (np.array([], np.int64),), ([0, 2],),
    (0, np.array([1, 1])), (np.array([2, 1]), 3), (Ellipsis, np.array([1, 0, 1])),
    (np.array([0, 1], np.uint8), None),
]


@pytest.mark.kernels(3)
@pytest.mark.parametrize("index", TABLES, ids=str)
def test_integer_tables_as_numpys(index: Any, device: str) -> None:
    array = grid(3, 4, 2)
    x = tinyml.tensor(array, device=device)
    ours = tuple(tinyml.tensor(i, device=device) if isinstance(i, np.ndarray) else i for i in index)
    np.testing.assert_array_equal(x[ours].numpy(), array[index])
    np.testing.assert_array_equal(x[index].numpy(), array[index])
    written = array.copy()
    np.add.at(written, index, np.float32(2.0))
    np.testing.assert_array_equal(x.at[ours].add(2.0).numpy(), written)
    written = array.copy()
    written[index] = -5.0
    np.testing.assert_array_equal(x.at[ours].set(-5.0).numpy(), written)


def test_the_last_of_several_updates_of_one_place_wins(device: str) -> None:
    x = tinyml.zeros(3, device=device)
    where = tinyml.tensor([1, 1, 2, 1], device=device)
    values = tinyml.tensor([1.0, 2.0, 3.0, 4.0], device=device)
    assert x.at[where].set(values).tolist() == [0.0, 4.0, 3.0]
    assert x.at[where].add(values).tolist() == [0.0, 7.0, 3.0]


def test_updates_broadcast_and_take_the_tensors_type(device: str) -> None:
    x = tinyml.zeros((2, 3), dtype="int32", device=device)
    assert x.at[0].set(tinyml.tensor([1, 2, 3], device=device)).tolist() == [[1, 2, 3], [0, 0, 0]]
    assert x.at[:, 1].set(2.9).dtype is tinyml.int32
    assert x.at[...].set([[7], [8]]).tolist() == [[7, 7, 7], [8, 8, 8]]
    assert x.at[:, None].add(1).tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(ValueError, match="broadcast"):
        x.at[0].set([1, 2])
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = np.zeros((2, 3))


# ---- x[i] = v


def test_assignment_is_seen_by_aliases_and_not_by_views(device: str) -> None:
    x = tinyml.zeros((2, 3), device=device)
    alias, view, flat = x, x[0], x.reshape(6)
    x[0, 1] = 5.0
    assert alias is x and alias.tolist() == [[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]
    assert view.tolist() == [0.0, 0.0, 0.0] and flat.tolist() == [0.0] * 6
    view[2] = 7.0
    assert view.tolist() == [0.0, 0.0, 7.0] and x[0, 2].item() == 0.0
    before = x.numpy()
    x[...] = 1.0
    assert before.tolist() == [[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]


def test_assignment_leaves_a_shared_array_alone() -> None:
    array = np.zeros(3, np.float32)
    x = tinyml.asarray(array)
    x[0] = 5.0
    assert array.tolist() == [0.0, 0.0, 0.0] and x.tolist() == [5.0, 0.0, 0.0]


def test_assignment_from_itself_and_in_place_operators(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0, 3.0], device=device)
    x[::-1] = x
    assert x.tolist() == [3.0, 2.0, 1.0]
    x[1:] += 10.0
    assert x.tolist() == [3.0, 12.0, 11.0]
    y, view = x, x[:2]
    y += 1.0
    assert x is y and x.tolist() == [4.0, 13.0, 12.0] and view.tolist() == [3.0, 12.0]


def test_assignment_does_not_reach_what_was_recorded(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device, requires_grad=True)
    y = x * 1.0
    z = y * y
    y[0] = 10.0
    (z + y).sum().backward()
    assert z.tolist() == [1.0, 4.0]
    assert x.grad is not None and x.grad.tolist() == [2.0, 5.0]


def test_assignment_to_a_leaf_raises_but_not_inside_no_grad(device: str) -> None:
    x = tinyml.ones(2, device=device, requires_grad=True)
    with pytest.raises(GradientError, match=r"x\.at\[i\]\.set"):
        x[0] = 3.0
    with tinyml.no_grad():
        x[0] = 3.0
    assert x.tolist() == [3.0, 1.0] and x.requires_grad
    (x * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [6.0, 2.0]


def test_assignment_to_an_argument_inside_grad_raises(device: str) -> None:
    def f(x: Any) -> Any:
        x[0] = 0.0
        return x.sum()

    x = tinyml.ones(2, device=device)
    with pytest.raises(GradientError, match=r"x\.at\[i\]\.set"):
        tinyml.grad(f)(x)
    assert x.tolist() == [1.0, 1.0]


# ---- operators


@pytest.mark.kernels(30)
def test_operators_are_the_array_apis(device: str) -> None:
    a, b = np.array([7, -3, 0], np.int32), np.array([2, 5, 3], np.int32)
    x, y = tinyml.tensor(a, device=device), tinyml.tensor(b, device=device)
    for have, want in (
        (x + y, a + b), (x - y, a - b), (x * y, a * b), (-x, -a), (+x, a), (abs(x), abs(a)),
        (x & y, a & b), (x | y, a | b), (x ^ y, a ^ b), (~x, ~a), (x << 2, a << 2),
        (x >> 1, a >> 1), (x < y, a < b), (x <= 0, a <= 0), (x > y, a > b), (x >= y, a >= b),
        (x == y, a == b), (x != y, a != b), (2 - x, 2 - a), (3 & x, 3 & a), (1 | x, 1 | a),
        (1 ^ x, 1 ^ a),
    ):
        assert have.dtype.numpy == want.dtype
        np.testing.assert_array_equal(have.numpy(), want)
    u = tinyml.tensor([2.0, 3.0], device=device)
    np.testing.assert_allclose((u**2).numpy(), [4, 9])
    np.testing.assert_allclose((2**u).numpy(), [4, 8])
    np.testing.assert_allclose((1 / u).numpy(), [0.5, 1 / 3], rtol=1e-6)
    assert (~tinyml.tensor([True, False], device=device)).tolist() == [False, True]
    assert (u @ u).item() == 13.0 and (np.ones((2, 2), np.float32) @ u).tolist() == [5.0, 5.0]
    wide = tinyml.tensor([1, 255], dtype="uint8", device=device)
    assert (~wide).tolist() == [254, 0] and (wide + 1).tolist() == [2, 0]


def test_shape_methods(device: str) -> None:
    array = grid(2, 3, 4)
    x = tinyml.tensor(array, device=device)
    for have, want in (
        (x.reshape(6, 4), array.reshape(6, 4)), (x.reshape((-1,)), array.reshape(-1)),
        (x.permute_dims(2, 0, 1), array.transpose(2, 0, 1)), (x.mT, array.swapaxes(1, 2)),
        (x.permute_dims(2, 0, 1).reshape(4, 6), array.transpose(2, 0, 1).reshape(4, 6)),
        (x[:, ::2].reshape(2, 8), array[:, ::2].reshape(2, 8)),
        (tinyml.expand_dims(x, -1), array[..., None]), (tinyml.squeeze(x[:1], 0), array[0]),
        (tinyml.flip(x, 1), np.flip(array, 1)), (tinyml.stack([x, x], 1), np.stack([array] * 2, 1)),
        (tinyml.concat([x, x[:, :1]], 1), np.concatenate([array, array[:, :1]], 1)),
    ):
        np.testing.assert_array_equal(have.numpy(), want)


def test_python_floats_keep_their_digits_in_float64(device: str) -> None:
    assert tinyml.tensor([0.1], dtype="float64", device=device).tolist() == [0.1]
    assert tinyml.full((2,), 0.1, dtype="float64", device=device).tolist() == [0.1, 0.1]
    x = tinyml.zeros(2, dtype="float64", device=device)
    x[0] = 0.1
    assert x.at[1].set(0.1).tolist() == [0.1, 0.1]
    assert (x * 0.3)[0].item() == 0.1 * 0.3
