"""Scans in a nest: fused with what is around them, one loop each, blocks, threads, the emitters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
import tinyml.ops.cumulative as scans
from tinyml.autodiff.jvp import jvp
from tinyml.core.apply import apply
from tinyml.dtypes import float32, int64
from tinyml.ir.monoids import AFFINE, SUM
from tinyml.ir.nest import Load, Nest, Prim
from tinyml.ir.op import Op
from tinyml.ir.spec import dense_strides, make_spec
from tinyml.kernels.common.schedule import Block, Loop, ScheduledNest, schedule
from tinyml.ops.cumulative import cumprod, cumsum, linear_scan
from tinyml.ops.sorting import nonzero, sort

pytestmark = pytest.mark.kernels(1)

Tensor = Any
Body = Callable[..., Any]


def uniform(*shape: int, seed: int = 0) -> Any:
    """Seeded float32 values between -1 and 1."""
    return np.random.default_rng([seed, *shape]).uniform(-1, 1, shape).astype(np.float32)


def launch(body: Body, *xs: Tensor) -> tuple[Any, Any, str]:
    """A body op by op, the same body as one op, and how that op ran."""
    with tinyml.no_grad():
        apart = body(*xs)
        specs = make_spec(apart.shape, apart.dtype, apart.device)
        op = Op("temporary", lambda *_: specs, body=body)
        together = apply(op, *xs)
    (plan,) = op.memo.values()
    return apart.numpy(), together.numpy(), plan.how


# ---- in one loop with others

V, W, X, Y = uniform(7), uniform(5), uniform(5, 7), uniform(3, 7, seed=1)
LONGER = uniform(5, 45)
ONE_LAUNCH: dict[str, tuple[Body, tuple[Any, ...]]] = {
    "words before and after": (lambda x: cumsum((x * 2.0).tanh(), 1).exp(), (X,)),
    "words, columns": (lambda x: cumsum((x * 2.0).tanh(), 0).exp(), (X,)),
    "a scan of a scan": (lambda x: cumsum(cumsum(x, 1), 1), (X,)),
    "a product of sums": (lambda x: cumprod(cumsum(x, 0), 0), (X,)),
    "both backward": (
        lambda x: cumsum(x, 1, reverse=True) * cumprod(x, 1, reverse=True, exclusive=True), (X,)),
    "before and after each": (lambda x: cumsum(x, 1) - cumsum(x, 1, exclusive=True), (X,)),
    "before, used after": (lambda x: cumsum(x, 1, exclusive=True) * x.sum(1, True), (X,)),
    "shares of the total": (lambda x: cumsum(x, 1) / (x.square().sum(1, True) + 1.0), (X,)),
    "centred": (lambda x: cumsum(x - x.mean(axis=1, keepdims=True), 1), (X,)),
    "of a softmax": (lambda x: cumsum(tinyml.softmax(x, 1), 1), (X,)),
    "of a softmax over columns": (lambda x: cumsum(tinyml.softmax(x, 0), 1), (X,)),
    "summed up": (lambda x: cumsum(x, 1).sum(axis=1), (X,)),
    "long, summed up": (lambda x: cumsum(x, 1).sum(axis=1), (LONGER,)),
    "the greatest of all": (lambda x: cumsum(x, 1).max(), (X,)),
    "of sums of rows": (lambda x: cumsum(x.sum(axis=1), 0), (X,)),
    "of long sums of rows": (lambda x: cumsum(x.sum(axis=1), 0), (LONGER,)),
    "repeated in rows": (lambda v, w: cumsum(v, 0).reshape(1, 7) * w.reshape(5, 1), (V, W)),
    "repeated in columns": (lambda v, w: cumsum(v, 0).reshape(7, 1) * w.reshape(1, 5), (V, W)),
    "weighed by a matrix": (lambda v, x: (cumsum(v, 0).reshape(1, 7) * x).sum(axis=1), (V, X)),
    "of sums, repeated": (lambda x, v: cumsum(x.sum(axis=0), 0).reshape(1, 7) * v.reshape(5, 1),
                          (X, W)),
    "a recurrence": (lambda a, b: linear_scan(a.sigmoid(), b * b, 1), (X, X[::-1].copy())),
    "from a reduction": (
        lambda x: x.op("cumsum", x.max(axis=1, keepdims=True), axis=1), (X,)),
    "transposed": (lambda x: cumsum(x.T, 0), (X,)),
    "of a pad": (lambda x: cumsum(tinyml.pad(x, ((0, 1), (2, 1)), constant_values=0.5), 1), (X,)),
    "of a flip": (lambda x: cumsum(tinyml.flip(x, 1), 1), (X,)),
    "of a concat": (lambda x, y: cumsum(tinyml.concat([x, y]), 1), (X, Y)),
    "beside another": (lambda x, y: tinyml.concat([cumsum(x, 1), y]), (X, Y)),
    "of gathered rows": (lambda x, i: cumsum(tinyml.gather(x, i), 1), (X, np.array([3, -4, 0]))),
    "gathered rows of it": (
        lambda x, i: tinyml.gather(cumsum(x, 1), i), (X, np.array([3, -4, 0]))),
    "some rows of it": (lambda x: cumsum(x, 1)[1:4], (X,)),
    "integers": (lambda x: cumsum((x * 9.0).astype("int8"), 1), (X,)),
}
SEVERAL_LAUNCHES: dict[str, tuple[Body, tuple[Any, ...]]] = {
    "there and back": (lambda x: cumsum(x, 1) + cumsum(x, 1, reverse=True), (X,)),
    "along both axes": (lambda x: cumsum(cumsum(x, 1), 0), (X,)),
    "by its greatest": (
        lambda x: (lambda y: y - y.max(axis=1, keepdims=True))(cumsum(x, 1)), (X,)),
    "flipped": (lambda x: tinyml.flip(cumsum(x, 1), 1), (X,)),
    "sliced": (lambda x: cumsum(x, 1)[:, 2:5], (X,)),
    "its beginning": (lambda x: cumsum(x, 1, reverse=True)[:, :5], (X,)),
    "padded": (lambda x: tinyml.pad(cumsum(x, 1), ((0, 0), (1, 2)), constant_values=9.0), (X,)),
    "a part replaced": (lambda x: cumsum(x, 1).at[:, 2:4].set(5.0), (X,)),
    "at two places": (lambda v: cumsum(v, 0).reshape(7, 1) * cumsum(v, 0).reshape(1, 7), (V,)),
}


@pytest.mark.kernels(3)
@pytest.mark.parametrize("name", ONE_LAUNCH)
def test_a_scan_and_what_is_around_it_are_one_launch(name: str, device: str) -> None:
    body, arrays = ONE_LAUNCH[name]
    apart, together, how = launch(body, *[tinyml.tensor(a, device=device) for a in arrays])
    assert how == "nest"
    np.testing.assert_allclose(together, apart, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", SEVERAL_LAUNCHES)
def test_what_is_not_one_loop_is_right_all_the_same(name: str, device: str) -> None:
    body, arrays = SEVERAL_LAUNCHES[name]
    apart, together, how = launch(body, *[tinyml.tensor(a, device=device) for a in arrays])
    assert how == "body"
    np.testing.assert_allclose(together, apart, rtol=2e-5, atol=2e-6)


MOVES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "cumsum": lambda x, d: cumsum(x, d) * 0.5,
    "cumsum backward": lambda x, d: cumsum(x, d, reverse=True) * 0.5,
    "cumsum exclusive": lambda x, d: cumsum(x, d, exclusive=True) * 0.5,
    "cumprod": cumprod,
    "recurrence": lambda x, d: linear_scan(x.tanh(), x, d),
    "started": lambda x, d: x.op("cumsum", x.max(axis=d, keepdims=True), axis=d) * 0.3,
    "share": lambda x, d: x / (x.square().sum(axis=d, keepdims=True) + 1.0),
    "total": lambda x, d: x.sum(axis=d, keepdims=True) + x * 0.1,
    "all": lambda x, d: x.sum(axis=(0, 1), keepdims=True) * 0.1,
    "flip": tinyml.flip,
    "replace": lambda x, d: x.at[1:3].set(0.5) if d == 0 else x.at[:, 1:3].set(0.5),
    "transposed": lambda x, d: (x.T * 2.0).tanh().T,
    "tanh": lambda x, d: x.tanh(),
}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[str, int, int]]]:
    """A shape, and lines: what, of which earlier value, along which axis; 'add' takes two."""
    shape = draw(st.sampled_from([(3, 5), (4, 37), (33, 2), (1, 6)]))
    lines = []
    for known in range(1, 1 + draw(st.integers(1, 5))):
        what = draw(st.sampled_from((*MOVES, "add")))
        first = draw(st.integers(max(0, known - 2), known - 1))
        other = draw(st.integers(0, known - 1 if what == "add" else 1))
        lines.append((what, first, other))
    return shape, lines


@pytest.mark.kernels(55)
@settings(max_examples=40)
@given(graph=graphs())
def test_a_random_graph_with_scans_is_right(graph: Any, device: str) -> None:
    """One launch where the rule allows it, else several; the same values either way."""
    shape, lines = graph

    def body(x: Tensor) -> Tensor:
        values = [x]
        for what, first, other in lines:
            values.append(values[first] + values[other] if what == "add"
                          else MOVES[what](values[first], other))
        return values[-1]

    apart, together, how = launch(body, tinyml.tensor(uniform(*shape, seed=3), device=device))
    assert how in ("nest", "body")
    np.testing.assert_allclose(together, apart, rtol=3e-5, atol=3e-6)


# ---- the loop tree


def _loops(block: Block) -> Iterator[Loop]:
    for statement in block:
        if isinstance(statement, Loop):
            yield statement
            yield from _loops(statement.body)


def _scheduled(shape: tuple[int, ...], axis: int, reverse: bool = False) -> ScheduledNest:
    n = Nest()
    x, y = n.arg(float32, len(shape), "in"), n.arg(float32, len(shape), "out")
    index = n.axes_for(shape)
    (value,) = n.scan(SUM, index[axis], n.load(x, index), reverse=reverse)
    n.store(y, value, index)
    return schedule(n, [dense_strides(shape)] * 2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("shape", "axis", "parallel"), [
    ((6,), 0, []), ((5, 6), 1, [5]), ((5, 6), 0, [6]), ((4, 5, 6), 1, [4, 6]),
    ((4, 5, 6), 2, [20]), ((4, 5, 6), 0, [30]), ((4, 1, 6), 1, [24]),
])
def test_only_the_axis_itself_is_sequential(
    shape: tuple[int, ...], axis: int, parallel: list[int], reverse: bool
) -> None:
    scheduled = _scheduled(shape, axis, reverse)
    assert [scheduled.extents[a] for a in scheduled.parallel] == parallel
    loops = list(_loops(scheduled.body))
    assert [scheduled.extents[loop.axis] for loop in loops] == [n for n in shape[axis:axis + 1]
                                                                if n > 1]
    assert all(loop.reverse == reverse for loop in loops)


def test_maps_join_as_a_monoid() -> None:
    """(a, b) after (c, d) is (a c, a d + b), whichever way three are bracketed."""
    n = Nest()
    i = n.axis("i0", 4)
    arg = n.arg(float32, 2, "in")
    first, second, third = [tuple(n.load(arg, (n.const(k, float32), n.const(j, float32)))
                                  for j in range(2)) for k in range(3)]
    left = AFFINE.merge(n, AFFINE.merge(n, first, second), third)
    values: dict[int, float] = {}

    def evaluate(value: int) -> float:
        instr = n.code[value]
        if isinstance(instr.payload, Load):
            return values.setdefault(value, float(value % 5) + 0.5)
        x, y = map(evaluate, instr.args)
        return x * y if instr.payload == Prim("mul") else x + y

    right = AFFINE.merge(n, first, AFFINE.merge(n, second, third))
    assert [evaluate(v) for v in left] == pytest.approx([evaluate(v) for v in right])
    assert n.free[i] == {"i0"}


# ---- blocks


@pytest.mark.parametrize("size", [4096, 4099, 10_007, 65_536])
def test_a_block_is_no_divisor_or_near_a_thousand(size: int) -> None:
    length = scans.block_length(size)
    assert size % length == 0 or length == 1024
    assert 512 <= length < 2048
    assert scans.in_blocks((size,), 0) and scans.in_blocks((3, size, 2), 1)
    assert not scans.in_blocks((100, size), 1)
    assert not scans.in_blocks((0, size), 1)


@pytest.mark.kernels(10)
@pytest.mark.parametrize("shape", [(5003,), (2, 6144), (4500, 3)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_blocks_give_what_one_loop_gives(
    shape: tuple[int, ...], reverse: bool, exclusive: bool, device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In integers to the last bit; two blocks deep."""
    monkeypatch.setattr(scans, "LONG_AXIS", 65)  # more than any block, so that cutting ends
    monkeypatch.setattr(scans, "BLOCK", 32)
    for op in (scans.CUMSUM, scans.CUMPROD):
        monkeypatch.setattr(op, "memo", {})
    axis = int(np.argmax(shape))
    x = np.random.default_rng(0).integers(-3, 4, shape)
    odd = x | 1
    ways = {"reverse": reverse, "exclusive": exclusive}
    for function, accumulate, start, array in ((cumsum, np.cumsum, 0, x),
                                               (cumprod, np.cumprod, 1, odd)):
        turned = np.flip(array, axis) if reverse else array
        first = np.full_like(turned.take([0], axis), start)
        want = accumulate(np.concatenate([first, turned], axis), axis)
        want = want.take(np.arange(shape[axis]) + (not exclusive), axis)
        found = function(tinyml.tensor(array, device=device), axis, **ways)
        np.testing.assert_array_equal(found.numpy(), np.flip(want, axis) if reverse else want)


def test_products_of_blocks_may_leave_float32_where_results_do_not(device: str) -> None:
    """Up to 1e36, then down to 1e-36 within one block, then up again."""
    if not tinyml.ones(1, device=device).device.supports(tinyml.float64):
        pytest.skip(f"{device} has no float64")
    steps = np.zeros(5000)
    steps[:1000], steps[1024:2024], steps[2100:2900] = 0.036, -0.072, 0.045
    x = np.float32(10.0 ** steps)
    want = np.cumprod(x.astype(np.float64))
    assert 1e-37 < want.min() < 1e-35 and 1e35 < want.max() < 1e37
    np.testing.assert_allclose(cumprod(tinyml.tensor(x, device=device)).numpy(), want, rtol=1e-3)


@pytest.mark.kernels(15)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_bits_do_not_depend_on_the_threads(count: int) -> None:
    before = tinyml.get_num_threads()
    x, rows = tinyml.tensor(uniform(300_007)), tinyml.tensor(uniform(300, 700))
    try:
        tinyml.set_num_threads(count)
        found = [f(v, d).numpy().tobytes() for f in (cumsum, cumprod)
                 for v, d in ((x, 0), (rows, 0), (rows, 1))]
        found.append(linear_scan(x, x).numpy().tobytes())
        tinyml.set_num_threads(1)
        again = [f(v, d).numpy().tobytes() for f in (cumsum, cumprod)
                 for v, d in ((x, 0), (rows, 0), (rows, 1))]
        again.append(linear_scan(x, x).numpy().tobytes())
    finally:
        tinyml.set_num_threads(before)
    assert found == again


def test_a_long_axis_is_cut_and_is_accurate(device: str) -> None:
    x = np.random.default_rng(1).random(200_003).astype(np.float32)
    found = cumsum(tinyml.tensor(x, device=device))
    np.testing.assert_allclose(found.numpy(), np.cumsum(x, dtype=np.float64), rtol=1e-5)
    plan = next(p for p in tinyml.ir.op.OPS["cumsum"].memo.values()
                if p.out is found.spec and p.attrs["axis"] == 0)
    assert plan.how == "body"


# ---- compiled


COMPILED: dict[str, Body] = {
    "words around": lambda x: (cumsum(x.tanh(), 1) * 2.0).exp(),
    "a recurrence": lambda x: linear_scan(x.tanh(), x, 1).sum(axis=0),
    "there and back": lambda x: (cumsum(x, 1) - cumsum(x, 1, reverse=True)).tanh(),
    "its gradient": tinyml.grad(lambda x: (cumprod(x, 1) * cumsum(x, 0)).sum()),
    "its second": tinyml.grad(lambda x: tinyml.grad(
        lambda x: (cumprod(x, 1) * cumsum(x, 1)).sum())(x).square().sum()),
    "sorted": tinyml.grad(lambda x: (sort(x * 2.0) * cumsum(x, 1)).sum()),
}


@pytest.mark.kernels(6)
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("shape", [(3, 6), (2, 4500)])
def test_compiled_functions_give_the_same(name: str, shape: tuple[int, int], device: str) -> None:
    x = tinyml.tensor(uniform(*shape) * np.float32(0.1), device=device)
    want, have = COMPILED[name](x), tinyml.jit(COMPILED[name])(x)
    np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=2e-5, atol=1e-5)


def test_the_size_of_nonzero_is_open_when_compiled(device: str) -> None:
    find = tinyml.jit(lambda x: nonzero(x > 0))
    for seed in range(3):
        array = uniform(4, 5, seed=seed)
        for found, want in zip(find(tinyml.tensor(array, device=device)), np.nonzero(array > 0),
                               strict=True):
            np.testing.assert_array_equal(found.numpy(), want)


@pytest.mark.parametrize("f", [
    lambda x: cumsum(x, 1, exclusive=True), lambda x: cumprod(x, 0), sort,
    lambda x: linear_scan(x, x * x, 1, reverse=True),
], ids=["cumsum", "cumprod", "sort", "linear_scan"])
def test_the_way_forward_is_that_of_differences(f: Body) -> None:
    rng = np.random.default_rng(0)
    x, v = (tinyml.tensor(rng.normal(size=(3, 5))) for _ in range(2))
    _, found = jvp(f, (x,), (v,))
    want = (f(x + v * 1e-6) - f(x - v * 1e-6)).numpy() / 2e-6
    np.testing.assert_allclose(found.numpy(), want, atol=1e-7)


# ---- stores


@pytest.mark.parametrize(("mode", "parallel"), [("set", 0), ("add", 0), ("once", 1)])
def test_only_stores_to_places_of_their_own_run_in_parallel(mode: str, parallel: int) -> None:
    n = Nest()
    at, x, y = n.arg(int64, 1, "in"), n.arg(float32, 1, "in"), n.arg(float32, 1, "out")
    i = n.axis("i0", 9)
    n.store(y, n.load(x, (i,)), (n.load(at, (i,)),), mode)
    assert len(schedule(n, [(1,)] * 3).parallel) == parallel
