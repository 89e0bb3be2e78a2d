"""Indices out of range: refused where there is nothing to read, and never taken modulo 2^64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import errors

pytestmark = pytest.mark.kernels(2)

# ---- indices of nothing

EMPTY: dict[str, Any] = {  # name: the indexed axis has 3 elements, the result none
    "x[i]": lambda x, i: x[i],
    "x[:, i]": lambda x, i: tinyml.permute_dims(x, (1, 0))[:, i],
    "two tables": lambda x, i: tinyml.reshape(x, (1, 3, 0))[i * 0, i],
    "set": lambda x, i: x.at[i].set(1.0),
    "add": lambda x, i: x.at[i].add(1.0),
    "max": lambda x, i: x.at[i].max(1.0),
    "take": lambda x, i: tinyml.take(x, i, axis=0),
    "gather": lambda x, i: tinyml.gather(x, i),
    "scatter": lambda x, i: tinyml.scatter(x, i, tinyml.zeros((*i.shape, 0), device=x.device)),
    "segment_sum": lambda x, i: tinyml.segment_sum(
        tinyml.zeros((*i.shape, 0), device=x.device), i, 3),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_index_of_nothing_is_checked(name: str, device: str) -> None:
    x = tinyml.zeros((3, 0), device=device)
    for bad in ([3], [0, -4], [[1, 2], [9, 0]]):
        i = tinyml.tensor(bad, device=device)
        for call in (EMPTY[name], tinyml.jit(EMPTY[name])):
            with pytest.raises(errors.OutOfRangeError):
                call(x, i).numpy()
    i = tinyml.tensor([2, -3, 0], device=device)
    assert 0 in EMPTY[name](x, i).shape and EMPTY[name](x, i).numpy().size == 0
    nothing = tinyml.tensor(np.zeros((0,), np.int64), device=device)
    assert EMPTY[name](x, nothing).numpy().size == 0


def test_an_index_is_checked_where_a_graph_keeps_nothing_of_what_was_read(device: str) -> None:
    x, i = tinyml.ones((4, 2), device=device), tinyml.tensor([1, 9], device=device)
    for call in (lambda x, i: x[i][:0] + 1.0, lambda x, i: (x[i] * 2.0)[:, 2:].exp()):
        for run in (call, tinyml.jit(call)):
            with pytest.raises(errors.OutOfRangeError):
                run(x, i).numpy()
                x.numpy()  # an OpenCL device may report at the next read
            assert run(x, i - 6 * (i > 8)).numpy().size == 0


def test_an_axis_without_elements_has_no_index(device: str) -> None:
    none, i = tinyml.zeros((0,), device=device), tinyml.tensor([0], device=device)
    one = tinyml.ones((1,), device=device)
    for call in (lambda: none[i], lambda: none.at[i].set(1.0), lambda: none.at[i].add(1.0),
                 lambda: tinyml.take(none, i), lambda: tinyml.take_along_axis(none, i),
                 lambda: tinyml.put_along_axis(none, i, 1.0, mode="add"),
                 lambda: tinyml.put_along_axis(none, i, 1.0),
                 lambda: tinyml.scatter_reduce(none, i, one),
                 lambda: tinyml.zeros((0, 0), device=device)[i],
                 lambda: tinyml.segment_sum(one, i, 0)):
        with pytest.raises(errors.OutOfRangeError):
            call().numpy()
    assert tinyml.ones((3, 3), device=device)[[7], []].shape == (0,)  # as in NumPy


def test_unsigned_indices_never_wrap_around(device: str) -> None:
    """2^64 - k is no negative number."""
    x = tinyml.ones((6,), device=device)
    calls: list[Any] = [
        lambda i: tinyml.choose(i, [x[:1]] * 6), lambda i: x[i], lambda i: x.at[i].set(0.0),
        lambda i: tinyml.take_along_axis(x, i),
        lambda i: tinyml.put_along_axis(x, i, 1.0, mode="add"),
        lambda i: tinyml.scatter_reduce(x, i, x[:1]),
        lambda i: tinyml.segment_sum(x[:1], i, 6),
        lambda i: tinyml.cross_entropy(tinyml.reshape(x, (1, 6)), i)]
    for k in (1, 5, 2**63):
        i = tinyml.tensor([2**64 - k], dtype="uint64", device=device)
        for call in calls:
            with pytest.raises(errors.OutOfRangeError):
                call(i).numpy()
    ok = tinyml.tensor([4], dtype="uint64", device=device)
    assert tinyml.choose(ok, list(range(6))).tolist() == [4]
    assert tinyml.choose(tinyml.tensor([True]), [3, 4]).tolist() == [4]


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint64"])
def test_labels_of_any_integer_type_have_the_gradient_of_their_class(dtype: str,
                                                                     device: str) -> None:
    x = tinyml.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, 3.0]], device=device)
    labels = [2, 0]

    def slope(labels: list[int]) -> np.ndarray[Any, Any]:
        table = tinyml.tensor(labels, dtype=dtype, device=device)
        return tinyml.grad(lambda x: tinyml.cross_entropy(x, table))(x).numpy()

    e = np.exp(x.numpy())
    expected = (e / e.sum(1, keepdims=True) - np.eye(3)[labels]) / 2
    np.testing.assert_allclose(slope(labels), expected, atol=4e-7)
    if dtype != "uint64":
        np.testing.assert_array_equal(slope([-1, -3]), slope(labels))
