"""The order of sums: fixed by what a user can see, and with an error that grows with its logarithm.

Each term of a float sum takes part in at most 64 additions in a row (512 in a product), and in as
many more as a binary tree of blocks is deep. Layouts, fusion and threads change no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinyml
from tinyml.ir.devices import find_device

pytestmark = pytest.mark.kernels(4)

Array = Any
Tensor = Any


def additions(n: int, block: int = 64) -> float:
    """The additions that one of n terms takes part in, by the documented bound."""
    return min(n, block + math.log2(max(n / block, 1)) + 4)


def rising(*shape: int) -> Array:
    """Positive values that no sum represents exactly, so that rounding errors do not cancel."""
    size = math.prod(shape)
    return (0.1 + np.arange(size) % 7 / 70).reshape(shape).astype(np.float32)


def mixed(*shape: int) -> Array:
    """Seeded normal values."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


# ---- every kind of sum within the bound

Kind = tuple[Callable[..., Tensor], Callable[..., Array], tuple[Array, ...], float]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def _broadcast_gradient(x: Tensor) -> Tensor:
    scale = tinyml.ones((1, x.shape[1]), device=x.device)
    return tinyml.grad(lambda s: (s * x).sum())(scale)


# Each: in tinyml, in NumPy on float64, the operands, and the additions of a term. The result of
# NumPy on the magnitudes is what the error is compared with.
KINDS: dict[str, Kind] = {
    "all": (lambda x: x.sum(), lambda x: x.sum(), (rising(3_000_001),), additions(3_000_001)),
    "mean": (lambda x: x.mean(), lambda x: x.mean(), (rising(1000, 2003),), additions(2_003_000)),
    "last axis": (lambda x: x.sum(1), lambda x: x.sum(1), (rising(3, 200_001),),
                  additions(200_001)),
    "first axis": (lambda x: x.sum(0), lambda x: x.sum(0), (rising(100_001, 9),),
                   additions(100_001)),
    "outer axes": (lambda x: x.sum((0, 2)), lambda x: x.sum((0, 2)), (rising(301, 4, 777),),
                   additions(301 * 777)),
    "product": (lambda x, y: x @ y, lambda x, y: x @ y, (rising(9, 70_000), rising(70_000, 10)),
                additions(70_000, 512)),
    "row by column": (lambda x, y: x @ y, lambda x, y: x @ y, (rising(300_001), rising(300_001)),
                      additions(300_001, 512)),
    "einsum": (lambda x, y: tinyml.einsum("kab,kab->b", x, y),
               lambda x, y: np.einsum("kab,kab->b", x, y),
               (rising(9001, 7, 3), rising(9001, 7, 3)), additions(9001 * 7, 512)),
    "convolution": (lambda x, w: tinyml.conv2d(x, w)[0, 0],
                    lambda x, w: (x[0] * w[0]).sum().reshape(1, 1),
                    (rising(1, 37, 41, 43), rising(1, 37, 41, 43)), additions(37 * 41 * 43, 512)),
    "running sums": (lambda x: tinyml.cumsum(x), lambda x: x.cumsum(), (rising(200_003),),
                     2 * additions(200_003) + 4),
    "running sums of rows": (lambda x: tinyml.cumsum(x, 1, reverse=True),
                             lambda x: x[:, ::-1].cumsum(1)[:, ::-1], (rising(66, 9_999),),
                             additions(9_999) + 4),
    "gradient of a broadcast": (_broadcast_gradient, lambda x: x.sum(0, keepdims=True),
                                (rising(90_001, 5),), additions(90_001)),
    "softmax": (lambda x: tinyml.softmax(x, 0), _softmax, (mixed(100_001),),
                additions(100_001) + 2 * 16 + 20),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_error_of_a_sum_grows_with_its_block_and_a_logarithm(name: str, device: str) -> None:
    ours, theirs, arrays, roundings = KINDS[name]
    have = ours(*[tinyml.tensor(a, device=device) for a in arrays]).numpy().astype(np.float64)
    want = theirs(*[a.astype(np.float64) for a in arrays])  # all terms are positive
    assert have.shape == np.shape(want)
    assert np.max(np.abs(have - want) / want) <= (roundings + 2) / 2 * np.finfo(np.float32).eps


def test_the_mean_of_very_many_ones_is_one(device: str) -> None:
    ones = tinyml.broadcast_to(tinyml.ones((1, 1), device=device), (1 << 13, (1 << 12) + 1))
    assert ones.mean().item() == 1.0


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("centre", [3e4, -1e6])
def test_a_variance_keeps_its_digits_far_from_zero(centre: float, axis: Any, device: str) -> None:
    x = (centre + mixed(900, 301)).astype(np.float32)
    want = x.astype(np.float64).var(axis)
    have = tinyml.tensor(x, device=device).var(axis).numpy()
    np.testing.assert_allclose(have, want, rtol=4e-6)
    ignoring = tinyml.nanvar(tinyml.tensor(x, device=device), axis).numpy()
    np.testing.assert_allclose(ignoring, want, rtol=4e-6)
    norm = tinyml.layer_norm(tinyml.tensor(x, device=device), tinyml.ones(301, device=device),
                             tinyml.zeros(301, device=device), 0.0).numpy()
    spread = x.astype(np.float64).std(1, keepdims=True)
    off = (x - x.astype(np.float64).mean(1, keepdims=True)) / spread
    # The mean that is taken off is a sum like every other.
    shift = (additions(301) + 2) / 2 * np.finfo(np.float32).eps * abs(centre)
    np.testing.assert_allclose(norm, off, atol=2e-5 + 1.2 * shift)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "complex64"])
def test_the_bound_holds_in_other_types(dtype: str, device: str) -> None:
    kind = tinyml.dtypes.as_dtype(dtype)
    if not find_device(device).supports(kind):
        with pytest.raises(tinyml.TinyMLError):
            tinyml.ones((2,), dtype=dtype, device=device)
        return
    x = tinyml.full((700, 1501), 0.7, dtype=dtype, device=device)
    term = complex(x[0, 0].item())
    have = complex(x.sum().item())
    eps = {"float64": 2.0**-52, "bfloat16": 2.0**-7}.get(dtype, 2.0**-23)
    assert abs(have - 700 * 1501 * term) <= additions(700 * 1501) * eps * 700 * 1501 * abs(term)


# ---- the same bits in every layout, fused or not, on any number of threads


def layouts(array: Array, device: str) -> dict[str, Tensor]:
    """The same values in memory of several layouts."""
    x = tinyml.tensor(array, device=device)
    steps = tuple(slice(None, None, 2) for _ in array.shape)
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    wide[steps] = array
    flips = tuple(slice(None, None, -1) for _ in array.shape)
    return {
        "dense": x,
        "strided": tinyml.tensor(wide, device=device)[steps],
        "reversed": tinyml.tensor(array[flips].copy(), device=device)[flips],
        "transposed": tinyml.permute_dims(
            tinyml.tensor(np.ascontiguousarray(array.T), device=device),
            tuple(range(array.ndim))[::-1]),
    }


LAYOUT_FREE: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "all": (lambda x: x.sum(), (5, 30, 70)),
    "last axis": (lambda x: x.sum(-1), (65, 4200)),
    "first axis": (lambda x: x.sum(0), (131, 33)),
    "outer axes": (lambda x: x.sum((0, -1)), (70, 9, 65)),
    "inner axes": (lambda x: x.mean((1, 2)), (2, 130, 33)),
    "variance": (lambda x: x.var(-1), (9, 4100)),
    "product": (lambda x: x @ x.T, (9, 1100)),
    "row by matrix": (lambda x: x[:1] @ x.T, (33, 700)),
    "running sums": (lambda x: tinyml.cumsum(x, 0), (200, 5)),
}


def bits(x: Tensor) -> bytes:
    """The content of a tensor."""
    return bytes(x.numpy().tobytes())


@pytest.mark.kernels(7)
@pytest.mark.parametrize("name", LAYOUT_FREE)
def test_a_layout_changes_no_bit(name: str, device: str) -> None:
    body, shape = LAYOUT_FREE[name]
    found = {layout: bits(body(x)) for layout, x in layouts(mixed(*shape), device).items()}
    assert {k for k, v in found.items() if v != found["dense"]} == set()


STEPS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "sum": lambda x, axis: x.sum(axis, keepdims=True) * x,
    "all": lambda x, axis: x.sum() * x,
    "product": lambda x, axis: x @ (x.T @ x) * 0.01 if axis else (x @ x.T) @ x * 0.01,
    "mean and variance": lambda x, axis: (x - x.mean(axis, True)) * (x.var(axis, 0.0, True) + 1),
    "max": lambda x, axis: x - x.max(axis, True),
    "running sums": lambda x, axis: tinyml.cumsum(x, axis) * 0.1,
    "running sums from the end": lambda x, axis: tinyml.cumsum(
        x, axis, reverse=True, exclusive=True) * x,
    "softmax": lambda x, axis: tinyml.softmax(x, axis),
    "flip": lambda x, axis: tinyml.flip(x, axis),
    "transpose": lambda x, axis: (x.T * 0.5).T,
    "tanh": lambda x, axis: x.tanh(),
    "mul": lambda x, axis: x * 1.25 + x,
}
ENDS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "sum": lambda x, axis: x.sum(axis),
    "all": lambda x, axis: x.sum(),
    "mean": lambda x, axis: x.mean((0, 1), True),
    "variance": lambda x, axis: x.var(axis),
    "two": lambda x, axis: x.sum(axis) + x.max(axis) + x.square().mean(axis),
    "itself": lambda x, axis: x,
}
Graph = tuple[tuple[int, int], list[tuple[str, int]], tuple[str, int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A shape, steps along axes, and what is made of the last value."""
    shape = draw(st.sampled_from([(64, 10), (9, 130), (130, 70), (5, 333)]))
    axis = st.integers(0, 1)
    steps = draw(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), axis), min_size=1, max_size=4))
    return shape, steps, (draw(st.sampled_from(sorted(ENDS))), draw(axis))


def graph_body(graph: Graph) -> Callable[[Tensor], Tensor]:
    """The function that a graph describes."""
    _, steps, (end, axis) = graph

    def body(x: Tensor) -> Tensor:
        for name, along in steps:
            x = STEPS[name](x, along)
        return ENDS[end](x, axis)

    return body


@pytest.mark.kernels(60)
@settings(max_examples=6)
@given(graph=graphs(), seed=st.integers(0, 99))
@example(graph=((64, 10), [("sum", 1)], ("all", 0)), seed=1)
@example(graph=((130, 70), [("running sums", 0), ("mul", 0)], ("sum", 0)), seed=2)
@example(graph=((130, 70), [("max", 1), ("sum", 1)], ("two", 0)), seed=3)
def test_a_graph_gives_the_bits_of_eager(graph: Graph, seed: int, device: str) -> None:
    array = np.random.default_rng(seed).standard_normal(graph[0]).astype(np.float32)
    x = tinyml.tensor(array, device=device)
    body = graph_body(graph)
    assert bits(tinyml.jit(body)(x)) == bits(body(x))


@pytest.mark.parametrize("name", ["first axis", "last axis", "product"])
def test_threads_change_no_bit(name: str) -> None:
    x = tinyml.tensor(mixed(900, 700))
    before = tinyml.get_num_threads()
    found = set()
    try:
        for count in (1, 2, 4):
            tinyml.set_num_threads(count)
            found.add(bits(LAYOUT_FREE[name][0](x)))
    finally:
        tinyml.set_num_threads(before)
    assert len(found) == 1
