"""Sorting, nonzero and sizes that only a run tells; running sums and products beside torch's."""

from __future__ import annotations

import copy
import operator
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml
from tinyml.core.apply import apply
from tinyml.errors import AxisError, DTypeError, DynamicShapeError, ShapeError, TinyMLError
from tinyml.ir.dims import Dim
from tinyml.ops.cumulative import cumprod, cumsum, cumulative_prod, cumulative_sum, linear_scan
from tinyml.ops.sorting import SORT, argsort, nonzero, sort, topk

pytestmark = pytest.mark.kernels(2)

Tensor = Any
NAN = float("nan")
HARD = [2.0, NAN, -0.0, float("inf"), 0.0, -1.0, NAN, 2.0, float("-inf"), 0.0, -0.0, 1.0]
ORDER = [8, 5, 2, 4, 9, 10, 11, 0, 7, 3, 1, 6]
DOWN = [1, 6, 3, 0, 7, 11, 2, 4, 9, 10, 5, 8]


def network(x: Tensor, axis: int = 0, descending: bool = False) -> tuple[Tensor, Tensor]:
    """The record's body, which a device without a kernel of its own runs."""
    body: Any = SORT.body
    found: tuple[Tensor, Tensor] = body(x, axis=axis, descending=descending)
    return found


# ---- sort


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_greatest_zeros_are_equal_and_equals_keep_their_order(
    dtype: str, device: str
) -> None:
    x = tinyml.tensor(HARD, dtype=dtype, device=device)
    for descending, order in ((False, ORDER), (True, DOWN)):
        assert argsort(x, descending=descending).tolist() == order
        want = np.array(HARD, dtype)[order]
        for values in (sort(x, descending=descending), network(x, 0, descending)[0]):
            np.testing.assert_array_equal(values.numpy(), want)
            np.testing.assert_array_equal(np.signbit(values.numpy())[:11], np.signbit(want)[:11])
        assert network(x, 0, descending)[1].tolist() == order


ARRAYS = st.sampled_from(["bool", "int8", "uint16", "int32", "uint32", "float32", "float64",
                          "int64", "uint64"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=9)))


@pytest.mark.kernels(55)
@given(array=ARRAYS, descending=st.booleans(), data=st.data())
def test_every_way_of_sorting_gives_the_same(array: Any, descending: bool, data: Any) -> None:
    """The CPU's kernel, the network, and an order by rank, of which there is one only."""
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    rank = np.unique(np.where(array != array, 0, array), return_inverse=True)[1]
    rank = np.where(array != array, array.size, rank.reshape(array.shape))
    order = np.argsort(-rank if descending else rank, axis, kind="stable")
    want = np.take_along_axis(array, order, axis)
    x = tinyml.tensor(array)
    pairs = [apply(SORT, x, axis=axis, descending=descending),
             network(x, axis % array.ndim, descending)]
    for values, indices in pairs:
        np.testing.assert_array_equal(indices.numpy(), order)
        np.testing.assert_array_equal(values.numpy(), want)
        assert values.dtype is x.dtype and indices.dtype is tinyml.int64


@pytest.mark.kernels(7)
@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 1000])
def test_sizes_around_powers_of_two(size: int, device: str) -> None:
    array = np.random.default_rng(size).integers(-50, 50, (2, size)).astype(np.float32)
    x = tinyml.tensor(array, device=device)
    np.testing.assert_array_equal(argsort(x).numpy(), np.argsort(array, -1, kind="stable"))
    np.testing.assert_array_equal(sort(x, axis=0).numpy(), np.sort(array, 0))


def test_views_are_sorted_as_they_look(device: str) -> None:
    array = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    x, view = tinyml.tensor(array, device=device), np.s_[1:5, ::-2]
    for axis in (0, 1):
        np.testing.assert_array_equal(sort(x[view], axis=axis).numpy(), np.sort(array[view], axis))
        np.testing.assert_array_equal(sort(x.T, axis=axis).numpy(), np.sort(array.T, axis))


def test_empty_and_one(device: str) -> None:
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 3), 1), ((2, 1), 1), ((1,), 0)):
        x = tinyml.ones(shape, device=device)
        assert sort(x, axis=axis).shape == argsort(x, axis=axis).shape == shape
        assert argsort(x, axis=axis).tolist() == np.zeros(shape, int).tolist()


def test_sort_refuses() -> None:
    x = tinyml.ones((2, 3))
    for wrong in (lambda: sort(x, axis=2), lambda: argsort(x, axis=-3), lambda: sort(x, axis=True),
                  lambda: sort(tinyml.tensor(1.0)), lambda: topk(x, 4), lambda: topk(x, -1),
                  lambda: topk(x, 1.5)):  # type: ignore[arg-type]
        with pytest.raises(TinyMLError) as caught:
            wrong()
        assert caught.value.op in ("sort", "topk") and caught.value.remedy


def test_a_device_without_a_kernel_compiles_one_for_all_steps(device: str) -> None:
    """What is structure is the dtype and the rank; which step it is, and the size, are numbers."""
    from tinyml.ops.sorting import STEP

    network(tinyml.tensor(np.arange(40.0, dtype="float32"), device=device))
    known = set(STEP.memo.values())
    network(tinyml.tensor(np.arange(40.0, dtype="float32")[::-1].copy(), device=device))
    assert set(STEP.memo.values()) == known


def test_the_cpu_sorts_without_numba() -> None:
    code = ("import sys, tinyml; from tinyml.ops.sorting import sort; "
            "sort(tinyml.tensor([2.0, 1.0])).tolist(); print('numba' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_gradient_goes_back_to_where_elements_were(device: str) -> None:
    x = tinyml.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, -1.0]], device=device)
    w = tinyml.tensor([[1.0, 10.0, 100.0]], device=device)
    g = tinyml.grad(lambda x: (sort(x) * w).sum())(x)
    assert g.tolist() == [[100.0, 1.0, 10.0], [10.0, 100.0, 1.0]]
    g = tinyml.grad(lambda x: (topk(x, 2, axis=0)[0] ** 3.0).sum())(x)
    assert g.tolist() == [[27.0, 3.0, 12.0], [0.0, 0.0, 3.0]]
    second = tinyml.grad(lambda x: (tinyml.grad(lambda x: (sort(x) ** 3.0 * w).sum())(x)).sum())
    assert second(x)[0].tolist() == [1800.0, 6.0, 120.0]


def test_indices_have_no_gradient() -> None:
    x = tinyml.tensor([3.0, 1.0], requires_grad=True)
    assert not argsort(x).requires_grad


def test_topk(device: str) -> None:
    x = tinyml.tensor([[4.0, NAN, 4.0, 1.0]], device=device)
    values, indices = topk(x, 3)
    np.testing.assert_array_equal(values.numpy(), [[NAN, 4.0, 4.0]])
    assert indices.tolist() == [[1, 0, 2]]
    assert topk(x, 2, largest=False)[1].tolist() == [[3, 0]]
    assert topk(x, 0)[0].shape == (1, 0)


# ---- nonzero


@given(array=hnp.arrays(st.sampled_from(["bool", "int8", "uint64", "float32"]),
                        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6),
                        fill=st.just(0)))
def test_nonzero_is_that_of_numpy(array: Any) -> None:
    found, want = nonzero(tinyml.tensor(array)), np.nonzero(array)
    assert len(found) == len(want)
    for x, y in zip(found, want):
        assert x.dtype is tinyml.int64
        np.testing.assert_array_equal(x.numpy(), y)


def test_nonzero_on_a_device(device: str) -> None:
    array = (np.arange(5000).reshape(50, 100) % 7 == 0) * np.float32(-2.5)
    array[3, 4], array[0, 0] = np.nan, -0.0
    x = tinyml.tensor(array, device=device)
    for view, seen in ((x, array), (x.T, array.T), (x[::-1, ::3], array[::-1, ::3])):
        for found, want in zip(nonzero(view), np.nonzero(seen), strict=True):
            np.testing.assert_array_equal(found.numpy(), want)
    rows, columns = nonzero(x)
    assert not np.isin(0.0, x.reshape(-1)[rows * 100 + columns].numpy())


def test_nonzero_refuses_a_number() -> None:
    with pytest.raises(ShapeError, match="at least 1 axis") as caught:
        nonzero(tinyml.tensor(1.0))
    assert caught.value.remedy == "x.reshape(1)"


# ---- sizes that only a run tells


def test_a_dim_is_equal_to_itself_alone() -> None:
    n, m = Dim.fresh(12), Dim.fresh(12)
    assert n == n and n != m and len({n, m, n}) == 2
    assert (3, n) == (3, n) and (3, n) != (3, m)
    assert n != "n" and n is not None
    assert n.limit == 12 and repr(n).endswith("<=12") and repr(n) != repr(m)


@pytest.mark.parametrize("use", [
    int, float, bool, operator.index, operator.neg, abs, round, list(range(3)).__getitem__,
    lambda n: n + 1, lambda n: 1 + n, lambda n: n - 1, lambda n: 1 - n, lambda n: n * 2,
    lambda n: 2 * n, lambda n: n // 2, lambda n: n / 2, lambda n: n % 2, lambda n: 5 % n,
    lambda n: n ** 2, lambda n: divmod(n, 2), lambda n: n < 3, lambda n: n >= 3, lambda n: n == 3,
    lambda n: n != 3, lambda n: 3 in (n,), range, copy.deepcopy,
])
def test_every_other_use_of_a_dim_says_what_to_do(use: Callable[[Any], Any]) -> None:
    with pytest.raises(DynamicShapeError, match="depends on values") as caught:
        use(Dim.fresh(12))
    assert caught.value.remedy and isinstance(caught.value, TypeError)


def test_the_shape_rule_of_nonzero_mints_a_dim() -> None:
    spec = tinyml.ir.op.OPS["nonzero"].infer(tinyml.ones((3, 4)).spec)
    count, axes = spec.shape
    assert isinstance(count, Dim) and count.limit == 12 and axes == 2


# ---- running sums and products


def test_the_functions_of_the_standard(device: str) -> None:
    x = tinyml.tensor([[1, 2, 3], [4, 5, 6]], dtype="int8", device=device)
    assert cumulative_sum(x, axis=0).tolist() == [[1, 2, 3], [5, 7, 9]]
    assert cumulative_sum(x, axis=-1).dtype is tinyml.int64
    assert cumulative_prod(x, axis=1, dtype="int8").dtype is tinyml.int8
    assert cumulative_prod(x, axis=1, dtype="int8").tolist() == [[1, 2, 6], [4, 20, 120]]
    assert cumulative_prod(x, axis=1, dtype="float32").dtype is tinyml.float32
    assert cumulative_sum(x.astype("uint8"), axis=1).dtype is tinyml.uint64
    assert cumulative_sum(x, axis=1, include_initial=True).tolist() == [[0, 1, 3, 6],
                                                                        [0, 4, 9, 15]]
    assert cumulative_prod(x, axis=0, include_initial=True).tolist()[0] == [1, 1, 1]
    assert cumulative_sum(x[0]).tolist() == [1, 3, 6]
    assert cumulative_sum(x[:0], axis=0, include_initial=True).tolist() == [[0, 0, 0]]
    assert cumulative_sum(x > 2, axis=1).tolist() == [[0, 0, 1], [1, 2, 3]]


def test_the_functions_of_the_standard_refuse() -> None:
    x = tinyml.ones((2, 3))
    with pytest.raises(AxisError, match="axis=None with 2 axes"):
        cumulative_sum(x)
    with pytest.raises(AxisError, match="axis=None with 0 axes"):
        cumulative_prod(tinyml.tensor(1.0))
    with pytest.raises(AxisError, match="-2 <= axis < 2"):
        cumulative_sum(x, axis=2)
    with pytest.raises(DTypeError, match="a type of numbers"):
        cumulative_sum(x, axis=1, dtype="bool")
    with pytest.raises(ShapeError, match="do not broadcast"):
        linear_scan(tinyml.ones(2), tinyml.ones(3))
    with pytest.raises(ShapeError, match=r"a start of shape \(1, 3\)"):
        linear_scan(x, x, 0, start=tinyml.ones(3))
    with pytest.raises(DTypeError, match="numbers"):
        linear_scan(x > 0, x > 0)


def test_without_an_axis_x_is_flattened() -> None:
    assert cumsum(tinyml.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist() == [1.0, 3.0, 6.0, 10.0]
    assert cumprod([[1.0, 2.0], [3.0, 4.0]]).tolist() == [1.0, 2.0, 6.0, 24.0]


def test_a_recurrence_meets_and_broadcasts(device: str) -> None:
    b = tinyml.tensor([[1, 2], [3, 4]], device=device)
    y = linear_scan(tinyml.tensor(0.5, device=device), b, 0, start=[[8.0, 0.0]])
    assert y.dtype is tinyml.float32 and y.tolist() == [[5.0, 2.0], [5.5, 5.0]]
    back = linear_scan(tinyml.tensor([2], device=device), b, 1, reverse=True)
    assert back.tolist() == [[5, 2], [11, 4]] and back.dtype is tinyml.int64


def _weights(shape: tuple[int, ...]) -> Any:
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("values", [
    [1.5, -2.0, 0.5, 3.0], [1.5, 0.0, -0.5, 3.0], [0.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0],
    [2.0], [3.0, 0.0],
])
def test_cumprod_differentiates_beside_zeros_as_in_torch(values: list[float], device: str) -> None:
    """First and second gradients; torch divides nothing where there are zeros, either."""
    import torch

    x = tinyml.tensor(values, dtype="float64", device=device)
    w = tinyml.tensor(_weights(x.shape), device=device)

    def loss(x: Tensor) -> Tensor:
        return (cumprod(x, 0) * w).sum()

    first = tinyml.grad(loss)(x)
    second = tinyml.grad(lambda x: (tinyml.grad(loss)(x) * w).sum())(x)
    t = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    tw = torch.from_numpy(_weights(x.shape))
    (torch_first,) = torch.autograd.grad((t.cumprod(0) * tw).sum(), t, create_graph=True)
    np.testing.assert_allclose(first.numpy(), torch_first.detach(), atol=1e-12)
    if len(values) > 1:
        (torch_second,) = torch.autograd.grad((torch_first * tw).sum(), t)
        np.testing.assert_allclose(second.numpy(), torch_second, atol=1e-12)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("shape", [(7,), (3, 5), (5000,), (2, 4200)])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "sort"])
def test_results_and_gradients_are_those_of_torch(
    name: str, shape: tuple[int, ...], device: str
) -> None:
    import torch

    array = 1.0 + 0.1 * np.random.default_rng(5).normal(size=shape) / np.sqrt(shape[-1])
    weights = _weights(shape)
    x = tinyml.tensor(array, device=device)
    w = tinyml.tensor(weights, device=device)
    ours = {"cumsum": lambda x: cumsum(x, -1), "cumprod": lambda x: cumprod(x, -1),
            "sort": lambda x: sort(x, descending=True)}[name]
    theirs = {"cumsum": lambda x: x.cumsum(-1), "cumprod": lambda x: x.cumprod(-1),
              "sort": lambda x: x.sort(-1, descending=True)[0]}[name]
    t = torch.from_numpy(array).requires_grad_()
    np.testing.assert_allclose(ours(x).numpy(), theirs(t).detach(), rtol=1e-11)
    want = torch.autograd.grad((theirs(t) ** 2 * torch.from_numpy(weights)).sum(), t)[0]
    found = tinyml.grad(lambda x: (ours(x).square() * w).sum())(x)
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-8, atol=1e-8)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrence_differentiates_to_the_third_order(reverse: bool, device: str) -> None:
    """Against torch's graph of the loop written out."""
    import torch

    rng = np.random.default_rng(9)
    arrays = [rng.normal(size=(2, 5)), rng.normal(size=(2, 5)), rng.normal(size=(2, 1))]
    weights = _weights((2, 5))

    def loop(a: Any, b: Any, start: Any) -> Any:
        y, rows = start[:, 0], []
        for k in range(4, -1, -1) if reverse else range(5):
            y = a[:, k] * y + b[:, k]
            rows.append(y)
        return torch.stack(rows[::-1] if reverse else rows, 1)

    ours = [tinyml.tensor(x, device=device) for x in arrays]
    w = tinyml.tensor(weights, device=device)
    theirs = [torch.from_numpy(x).requires_grad_() for x in arrays]

    def loss(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        return (linear_scan(a, b, 1, reverse=reverse, start=start).square() * w).sum()

    f: Any = loss
    total = (loop(*theirs) ** 2 * torch.from_numpy(weights)).sum()
    for _ in range(3):
        inner = tinyml.grad(f, (0, 1, 2))
        grads = inner(*ours)
        wanted = torch.autograd.grad(total, theirs, create_graph=True)
        for x, y in zip(grads, wanted, strict=True):
            np.testing.assert_allclose(x.numpy(), y.detach(), rtol=1e-9, atol=1e-9)
        total = sum((g ** 2).sum() for g in wanted)

        def again(*xs: Tensor, inner: Any = inner) -> Tensor:
            a, b, start = inner(*xs)
            return a.square().sum() + b.square().sum() + start.square().sum()

        f = again
