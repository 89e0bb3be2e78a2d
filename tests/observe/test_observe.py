"""Observers: every op is seen, NaNs are caught where they are born, memory is counted."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
import tinyml.core.apply as core
import tinyml.observe.events as observing
from tinyml.compiler.jit import jit
from tinyml.errors import ArgumentError, ArgumentTypeError, NaNError, NaNWarning
from tinyml.ir.devices import find_device
from tinyml.ir.op import OPS, Op
from tinyml.kernels.common.pool import Counted, Pool, size_class
from tinyml.observe.events import Event, observe
from tinyml.observe.memory import memory_stats, reset_peak, track_memory
from tinyml.observe.nans import debug
from tinyml.observe.profile import profile

pytestmark = pytest.mark.kernels(1)

HERE = "test_observe.py"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """After every test nobody looks, and no plan is one that was made for somebody who did."""
    yield
    assert observing._observers == () and not observing._plans and not core.watched()
    for op in OPS.values():
        for plan in op.memo.values():
            assert "observed" not in getattr(plan.run, "__qualname__", ""), op


def _names(seen: list[Event]) -> list[str]:
    return [event.op for event in seen]


# ---- the mechanism


def test_every_op_is_told_with_what_it_got_and_gave(device: str) -> None:
    x = tinyml.tensor([[1.0, 2.0, 3.0]], device=device)
    found: list[Any] = []

    def see(event: Event) -> None:
        found.append((event.op, event.how, [t.tolist() for t in event.results], event.operands,
                      event.ins, event.outs[0].shape, event.attrs, event.seconds, event.line,
                      event.nbytes))

    with observe(see):
        y = tinyml.exp(x) * 2.0
        y.sum(axis=1)
    (op, how, results, operands, ins, shape, attrs, seconds, line, nbytes), mul, total = found
    assert (op, how, shape, attrs, nbytes) == ("exp", "nest", (1, 3), {}, 24)
    assert results[0][0] == pytest.approx(np.exp([1.0, 2.0, 3.0]))
    assert operands[0].tolist() == [[1.0, 2.0, 3.0]] and ins == (x.spec,)
    assert 0 < seconds < 60 and line.startswith(HERE) and "y = tinyml.exp(x) * 2.0" in line
    assert mul[0] == "mul" and mul[3][1] == 2.0 and mul[4][1] is float
    assert total[0] == "sum" and (1,) in total[6].values()


def test_an_op_of_several_results_gives_them_all(device: str) -> None:
    seen: list[Event] = []
    x = tinyml.tensor(np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4), device=device)
    with observe(seen.append):
        tinyml.max_pool2d(x, 2)
    (event,) = [event for event in seen if event.op == "max_pool2d"]
    assert len(event.results) == len(event.outs) == 2
    assert event.results[0].tolist() == [[[[5.0, 7.0], [13.0, 15.0]]]]


def test_the_way_back_is_seen_and_named(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device, requires_grad=True)
    found: list[tuple[str, str | None]] = []
    with observe(lambda event: found.append((event.op, event.gradient_of))):
        tinyml.tanh(x).sum().backward()
    assert ("tanh", None) in found and ("sum", None) in found
    assert [op for op, origin in found if origin == "tanh"]
    assert all(origin in (None, "tanh", "sum") for _, origin in found)


def test_gradients_are_the_same_under_an_observer(device: str) -> None:
    def loss(x: Any) -> Any:
        return tinyml.gelu(x @ x).sum()

    x = tinyml.tensor([[0.5, -1.0], [2.0, 0.25]], device=device)
    plain = tinyml.grad(loss)(x)
    with observe(lambda event: None):
        seen = tinyml.grad(loss)(x)
    assert seen.tolist() == plain.tolist()


def test_a_body_and_the_ops_that_it_runs(device: str) -> None:
    op = Op(
        "twice_softmax", lambda x: x,
        body=lambda x: tinyml.softmax(tinyml.softmax(x, axis=0), axis=1))
    found: list[tuple[str, int, int, str]] = []
    x = tinyml.tensor([[1.0, 2.0], [3.0, 5.0]], device=device)
    with observe(lambda e: found.append((e.op, e.depth, e.ran, e.how))):
        core.apply(op, x)
    assert found[-1] == ("twice_softmax", 0, 2, "body")
    assert [(name, depth) for name, depth, _, _ in found[:-1]] == [("softmax", 1)] * 2


def test_results_whose_shape_depends_on_values(device: str) -> None:
    seen: list[Event] = []
    x = tinyml.tensor([0.0, 2.0, 3.0], device=device)
    with observe(seen.append), debug(infs="raise"), track_memory() as tracking:
        (places,) = tinyml.nonzero(x)
    (event,) = [event for event in seen if event.op == "nonzero"]
    assert event.how == "host" and event.outs[0].shape == (2, 1)
    assert event.results[0].tolist() == [[1], [2]] and places.tolist() == [1, 2]
    del event, seen
    assert tracking.alive() and (places := None) is None
    assert tracking.alive() == []


def test_choices_and_loops_are_seen_with_the_ops_in_them(device: str) -> None:
    x = tinyml.tensor([3.0], device=device)
    found: list[tuple[str, int]] = []
    with observe(lambda event: found.append((event.op, event.depth))):
        tinyml.cond(x.sum() > 0.0, lambda: tinyml.exp(x), lambda: tinyml.sin(x))
        tinyml.while_loop(lambda y: (y < 10.0).sum() > 0, lambda y: y * 2.0, x)
    assert {("cond", 0), ("while", 0)} <= set(found) and "sin" not in dict(found)
    inside = [op for op, depth in found if depth]
    assert inside.count("exp") == 1 and inside.count("mul") == 2


def test_observers_nest_and_end_in_any_order() -> None:
    first: list[str] = []
    second: list[str] = []
    outer = observe(lambda event: first.append(event.op))
    inner = observe(lambda event: second.append(event.op))
    x = tinyml.tensor([1.0])
    with outer:
        tinyml.exp(x)
        inner.__enter__()
        tinyml.sin(x)
    tinyml.cos(x)  # the outer one has ended before the inner one
    inner.__exit__(None, None, None)
    tinyml.tanh(x)
    assert first == ["exp", "sin"] and second == ["sin", "cos"]


def test_the_outermost_is_called_first() -> None:
    order: list[str] = []
    with observe(lambda event: order.append("outer")), observe(lambda event: order.append("inner")):
        tinyml.exp(tinyml.tensor([1.0]))
    assert order == ["outer", "inner"]


def test_ops_of_a_callback_are_not_observed() -> None:
    means: list[float] = []
    with observe(lambda event: means.append(event.results[0].mean().item())):
        tinyml.tensor([1.0, 3.0]) * 2.0
    assert means == [4.0]


def test_an_error_of_a_callback_comes_out_of_the_op_and_nothing_stays() -> None:
    def refuse(event: Event) -> None:
        raise LookupError("seen enough")

    x = tinyml.tensor([1.0])
    with pytest.raises(LookupError, match="seen enough"), observe(refuse):
        tinyml.exp(x)
    assert tinyml.exp(x * 0.0).item() == 1.0
    seen: list[Event] = []
    with observe(seen.append):  # the thread observes again
        tinyml.exp(x)
    assert _names(seen) == ["exp"]


def test_an_error_of_an_op_is_no_event(device: str) -> None:
    seen: list[Event] = []
    x, i = tinyml.ones((2,), device=device), tinyml.tensor([5], device=device)
    with observe(seen.append):
        with pytest.raises(tinyml.TinyMLError):
            x + tinyml.ones((3,), device=device)
        with pytest.raises(tinyml.TinyMLError):
            tinyml.gather(x, i).numpy()
        tinyml.exp(x)
    assert "add" not in _names(seen) and seen[-1].op == "exp" and seen[-1].depth == 0


def _in_a_thread(work: Callable[[], object]) -> None:
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()


def test_an_observer_sees_its_own_thread_or_all() -> None:
    own: list[str] = []
    every: list[str] = []
    x = tinyml.tensor([1.0])
    with observe(lambda e: own.append(e.op)), observe(lambda e: every.append(e.op),
                                                      all_threads=True):
        _in_a_thread(lambda: tinyml.exp(x))
        tinyml.sin(x)
    assert own == ["sin"] and every == ["exp", "sin"]


def test_observers_of_many_threads_at_once() -> None:
    problems: list[object] = []
    start = threading.Barrier(4)

    def work(name: str) -> None:
        op: Any = getattr(tinyml, name)
        x = tinyml.tensor([0.5])
        expected = op(x).item()
        start.wait()
        for _ in range(20):
            seen: list[Event] = []
            with observe(seen.append):
                value = op(x).item()
            if value != expected or any(event.op != name for event in seen):
                problems.append((name, value, seen))

    workers = [threading.Thread(target=work, args=(name,))
               for name in ("exp", "sin", "cos", "tanh")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not problems


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="an observer is a int"), observe(3):  # type: ignore[arg-type]
        pass


def test_off_the_plans_and_the_ways_to_them_are_the_same_objects(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device)

    def work() -> None:
        tinyml.softmax(tinyml.exp(x) + x * 2.0)

    work()
    memos = {op.name: op.memo for op in OPS.values()}
    plans = {op.name: {key: (plan, plan.run) for key, plan in op.memo.items()}
             for op in OPS.values()}
    functions = (core.apply, tinyml.exp, tinyml.add, tinyml.Tensor.__add__)
    with observe(lambda event: None), profile(), debug(infs="warn"), track_memory():
        work()
    for op in OPS.values():
        assert op.memo is memos[op.name]
        assert {key: (plan, plan.run) for key, plan in op.memo.items()} == plans[op.name]
    assert functions == (core.apply, tinyml.exp, tinyml.add, tinyml.Tensor.__add__)
    assert not isinstance(find_device(device).pool.free_list(8), Counted)  # type: ignore[attr-defined]
    work()
    assert {op.name: list(op.memo) for op in OPS.values()} == {n: list(p) for n, p in plans.items()}


def test_nothing_is_left_to_the_collector(device: str) -> None:
    x = tinyml.tensor([[1.0, 2.0], [3.0, 4.0]], device=device, requires_grad=True)

    def work() -> None:
        with observe(lambda event: None), profile(), track_memory():
            tinyml.softmax(x @ x).sum().backward()
            x.grad = None

    for _ in range(3):
        work()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            work()
        assert gc.collect() == 0
    finally:
        gc.enable()


# ---- time


def test_a_profile_has_a_row_an_op(device: str) -> None:
    x = tinyml.ones((16, 16), device=device) + 0.0
    with profile() as p:
        for _ in range(3):
            y = x @ x
        tinyml.permute_dims(y + 1.0, (1, 0))
    rows = {row.op: row for row in p.rows()}
    assert rows["matmul"].calls == 3 and rows["matmul"].nbytes == 3 * 3 * 16 * 16 * 4
    assert rows["add"].nbytes == 2 * 16 * 16 * 4
    assert sum(row.share for row in p.rows()) == pytest.approx(1.0)
    assert sum(row.seconds for row in p.rows()) <= p.elapsed
    assert [row.seconds for row in p.rows()] == sorted([row.seconds for row in p.rows()])[::-1]
    views = [record for record in p.records if record.how == "view"]
    assert views and all(record.nbytes == 0 for record in views)
    lines = str(p).splitlines()
    assert lines[0].split() == ["op", "calls", "ms", "share", "us", "each", "bytes"]
    assert len(lines) == len(rows) + 2 and lines[-1].startswith(f"{len(p.records)} ops: ")


def test_the_time_of_a_body_is_not_counted_twice() -> None:
    def slow(x: Any) -> Any:
        for k in range(5):
            x = tinyml.softmax(x, axis=k % 2)
        return x

    op = Op("slow", lambda x: x, body=slow)
    x = tinyml.ones((100, 100)) * 1.0
    with profile() as p:
        core.apply(op, x)
    rows = {row.op: row for row in p.rows()}
    assert rows["softmax"].calls == 5 and rows["slow"].nbytes == 0
    assert sum(row.seconds for row in p.rows()) <= p.elapsed


def test_an_empty_profile_can_be_printed() -> None:
    with profile() as p:
        pass
    assert "0 ops" in str(p) and p.rows() == []


# ---- NaNs


def test_the_first_nan_is_named_with_shapes_place_and_line(device: str) -> None:
    x = tinyml.tensor([[1.0, 2.0], [3.0, -1.0]], device=device)
    with pytest.raises(NaNError) as caught, debug():
        tinyml.log(x).sum()
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert error.op == "log" and error.inputs == f"float32[2, 2] {device}"
    assert "NaN in 1 of 4" in error.message and "the first at [1, 1]" in error.message
    assert error.line is not None and error.line.startswith(HERE) and "tinyml.log(x)" in error.line
    assert error.remedy


def test_what_came_in_is_not_blamed_on_the_op(device: str) -> None:
    x = tinyml.tensor([1.0, float("nan")], device=device)
    with debug(nans="raise"):
        y = (x * 2.0 + 1.0).sum()
        tinyml.ones((2,), device=device) * float("nan")
        tinyml.pad(tinyml.ones((2,), device=device), (1, 0), constant_values=float("nan"))
        x.reshape(2, 1).T.astype("int32")
    assert np.isnan(y.item())
    with pytest.raises(NaNError, match="NaN in 2 of 2"), debug():
        y = tinyml.tensor([float("inf"), float("-inf")], device=device)
        y - y


def test_infinities_when_asked_for(device: str) -> None:
    x = tinyml.tensor([0.0, 1.0], device=device)
    with debug():
        tinyml.log(x)
    with pytest.raises(NaNError, match="infinity in 1 of 2"), debug(None, infs="raise"):
        tinyml.log(x)
    with debug(infs="raise"):
        tinyml.where(x > 0.5, x, float("-inf"))


def test_a_nan_of_a_backward_pass_names_the_op_whose_gradient_it_is(device: str) -> None:
    x = tinyml.tensor([4.0, 0.0], device=device, requires_grad=True)
    with debug():
        y = (tinyml.sqrt(x) * 0.0).sum()
        with pytest.raises(NaNError) as caught:
            y.backward()
    error = caught.value
    assert "the gradient of 'sqrt'" in error.message and "where(...) before" in str(error.remedy)
    assert error.line is not None and "y.backward()" in error.line
    with debug(), pytest.raises(NaNError, match="the gradient of 'sqrt'"):
        tinyml.grad(lambda x: (tinyml.sqrt(x) * 0.0).sum())(x)


def test_a_nan_in_a_composite_is_told_once(device: str) -> None:
    x = tinyml.tensor([[-1.0, 1.0], [2.0, 3.0]], device=device)
    op = Op("entropy", lambda x: x,
            body=lambda x: tinyml.softmax(tinyml.softmax(x * tinyml.log(x), 0), 1))
    with warnings.catch_warnings(record=True) as caught, debug("warn"):
        warnings.simplefilter("always")
        core.apply(op, x)
    assert len(caught) == 1
    warning = caught[0]
    assert issubclass(warning.category, NaNWarning) and warning.filename.endswith(HERE)
    assert str(warning.message).startswith("log: NaN in 1 of 4")


def test_half_types_and_double_are_looked_at() -> None:
    for dtype in ("float64", "float32"):
        with pytest.raises(NaNError, match=dtype), debug():
            tinyml.log(tinyml.tensor([-1.0], dtype=dtype))


def test_another_threads_nan_is_its_own() -> None:
    x = tinyml.tensor([-1.0])
    found: list[float] = []
    with debug():
        _in_a_thread(lambda: found.append(tinyml.log(x).item()))
    assert np.isnan(found[0])


@pytest.mark.parametrize("wrong", ["stop", True, 1])
def test_an_action_that_does_not_exist(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="debug cannot"), debug(nans=wrong):
        pass
    with pytest.raises(ArgumentError, match="debug cannot"), debug(infs=wrong):
        pass


def test_empty_and_integer_results_have_no_nan(device: str) -> None:
    with debug(infs="raise"):
        tinyml.exp(tinyml.zeros((0, 3), device=device))
        tinyml.tensor([1, 2], device=device) * 3
        tinyml.log(tinyml.tensor(1.0, device=device))


# ---- what is jitted


def test_of_a_jitted_function_the_ops_inside_are_seen(device: str) -> None:
    @jit
    def f(x: Any) -> Any:
        y = tinyml.exp(x)
        return y * 2.0 + 1.0

    x = tinyml.tensor([0.0, 1.0], device=device)
    plain = f(x).tolist()
    found: list[tuple[str, int, str]] = []
    with observe(lambda e: found.append((e.op, e.depth, str(e.line)))):
        assert f(x).tolist() == pytest.approx(plain)
    ops = [op for op, depth, _ in found if depth]
    assert ops == ["exp", "mul", "add"]
    assert "y = tinyml.exp(x)" in found[0][2] and "return y * 2.0 + 1.0" in found[1][2]
    before = len(found)
    assert f(x).tolist() == plain and len(found) == before


def test_code_of_the_users_own_in_a_replay_is_told_by_its_own_line() -> None:
    def body(x: Any) -> Any:
        return tinyml.softmax(tinyml.softmax(x, axis=0), axis=1)  # in the body

    op = Op("twice_softmax", lambda x: x, body=body)
    inner = jit(lambda x: tinyml.exp(x))  # in the inner graph
    f = jit(lambda x: inner(core.apply(op, x)) + 1.0)  # in the outer graph
    found: list[tuple[str, str]] = []
    with observe(lambda e: found.append((e.op, str(e.line)))):
        f(tinyml.ones((2, 2)))
    ours = {"softmax": "in the body", "exp": "in the inner graph", "add": "in the outer graph",
            "twice_softmax": "in the outer graph"}
    assert ours.items() <= {op: line.partition("# ")[2] for op, line in found}.items()


def test_a_nan_inside_of_a_jitted_function_is_named_with_its_line(device: str) -> None:
    @jit
    def f(x: Any) -> Any:
        scaled = x * 2.0
        return tinyml.log(scaled).sum()

    x = tinyml.tensor([1.0, -1.0], device=device)
    assert np.isnan(f(x).item())
    with pytest.raises(NaNError) as caught, debug():
        f(x)
    assert caught.value.op == "log" and "tinyml.log(scaled)" in str(caught.value.line)
    with warnings.catch_warnings(record=True) as told, debug("warn"):
        warnings.simplefilter("always")
        f(x)
    assert [w.filename.endswith(HERE) for w in told] == [True]
    with pytest.raises(NaNError, match="^log: NaN"), debug():  # traced while somebody looks
        jit(lambda x: tinyml.log(x))(x)
    with pytest.raises(NaNError), debug():
        jit(tinyml.grad(lambda x: (tinyml.sqrt(x) * 0.0).sum()))(x * 0.0)
    with pytest.raises(NaNError, match="gradient of a jitted function"), debug():
        tinyml.grad(jit(lambda x: (tinyml.sqrt(x) * 0.0).sum()))(x * 0.0)


def test_a_profile_and_memory_of_a_jitted_function(device: str) -> None:
    f = jit(lambda x: (x @ x).sum())
    x = tinyml.ones((8, 8), device=device) + 0.0
    f(x)
    with profile() as p, track_memory() as tracking:
        y = f(x)
    assert {"matmul", "sum"} <= {row.op for row in p.rows()}
    assert [made.op for made in tracking.alive()] == ["sum"]
    assert "f = jit(lambda x: (x @ x).sum())" in tracking.alive()[0].line and y.item() == 512.0


# ---- memory


def test_statistics_say_what_is_in_use(device: str) -> None:
    before = memory_stats(device)
    x = tinyml.ones((1000,), device=device) + 1.0
    now = memory_stats(device)
    assert now.device == device and now.in_use == find_device(device).in_use()
    assert size_class(4000) <= now.in_use - before.in_use <= size_class(4000) + 1000
    assert now.in_use <= now.reserved <= now.peak <= now.budget
    assert now.allocations >= before.allocations
    assert now.peak_in_use is None and now.by_op == {}
    del x
    assert memory_stats(device).peak >= now.in_use


def test_steady_work_takes_no_memory_from_the_device(device: str) -> None:
    x = tinyml.ones((500,), device=device) + 1.0
    for _ in range(3):
        x = x * 1.5
    before = memory_stats(device).allocations
    for _ in range(20):
        x = x * 1.5
    assert memory_stats(device).allocations == before


def test_the_peak_is_what_was_reserved_at_most_and_can_begin_anew(device: str) -> None:
    reset_peak(device)
    start = memory_stats(device)
    assert start.peak == start.reserved == start.in_use
    many = [tinyml.zeros((10_000,), device=device) + float(k) for k in range(5)]
    high = memory_stats(device)
    assert high.peak - start.peak >= 5 * 40_000
    many.clear()
    assert memory_stats(device).peak == high.peak
    reset_peak(device)
    assert memory_stats(device).peak < high.peak - 4 * 40_000


def test_the_peak_in_use_counts_what_lives_at_once(device: str) -> None:
    size = size_class(400_000)
    x = tinyml.zeros((100_000,), device=device) + 1.0
    with track_memory() as tracking:
        base = memory_stats(device).in_use
        for _ in range(4):
            y = x * 2.0  # the old y lives until the new one is there
        assert y.shape == (100_000,)
        del y
        peak = memory_stats(device).peak_in_use
        assert peak == tracking.peak[device]
        assert base + 2 * size <= peak <= base + 2 * size + 10_000
        reset_peak(device)
        after = memory_stats(device).peak_in_use
        assert after is not None and after < peak
    assert memory_stats(device).peak_in_use is None


@given(st.lists(st.tuples(st.integers(1, 5000), st.booleans()), max_size=30))
def test_a_pools_peak_is_exact(steps: list[tuple[int, bool]]) -> None:
    pool = Pool("test", lambda nbytes: (object(), nbytes), 1 << 40)
    held: list[Any] = []
    most: dict[int, int] = {}
    for nbytes, release in steps:
        held.append(pool.empty(nbytes))
        for size in {size_class(n) for n, _ in steps}:
            alive = sum(buffer.block[1] == size for buffer in held)
            most[size] = max(most.get(size, 0), alive)
        if release:
            held.pop(0)
    usage = pool.usage()
    assert usage.peak == usage.reserved == sum(size * count for size, count in most.items())
    assert usage.in_use == sum(buffer.block[1] for buffer in held)
    assert usage.allocations == sum(most.values())
    pool.reset_peak()
    assert pool.usage().peak == pool.usage().in_use == usage.in_use


def test_what_is_not_given_back_is_listed_by_line(device: str) -> None:
    kept: list[Any] = []
    with track_memory() as tracking:
        for _ in range(3):
            kept.append(tinyml.zeros((1000,), device=device) + 1.0)  # the leak
        kept.append(tinyml.tensor([1.0, 2.0], device=device))
        tinyml.exp(kept[0]).sum()
    made = tracking.alive()
    assert [m.op for m in made] == ["add"] * 3 + ["upload"]
    assert made[0].spec is kept[0].spec and made[0].nbytes == size_class(4000)
    assert made[0].device == device and "# the leak" in made[0].line
    assert tracking.by_op() == {"add": 3 * size_class(4000), "upload": 64}
    assert tracking.by_op("nowhere") == {}
    text = str(tracking).splitlines()
    assert text[0] == f"4 made inside and still held: {3 * size_class(4000) + 64:,} bytes"
    assert text[2].split()[:3] == [f"{3 * size_class(4000):,}", "3", "add"]
    assert HERE in text[2] and len(text) == 4
    assert "and 1 more lines" in tracking.report(limit=1)
    del kept[:2]  # what goes after the end is seen too
    assert [m.op for m in tracking.alive()] == ["add", "upload"]
    kept.clear()
    assert tracking.alive() == [] and "0 made" in str(tracking)


def test_memory_that_nodes_hold_is_alive(device: str) -> None:
    x = tinyml.ones((1000,), device=device, requires_grad=True)
    with track_memory() as tracking:
        y = tinyml.exp(tinyml.tanh(x)).sum()
        assert {"tanh", "exp"} <= set(tracking.by_op(device))
        assert memory_stats(device).by_op == tracking.by_op(device)
        del y
        assert not {"tanh", "exp"} & set(tracking.by_op())


def test_a_view_keeps_what_it_shows_and_is_no_memory_of_its_own(device: str) -> None:
    x = tinyml.ones((10,), device=device) + 1.0
    with track_memory() as tracking:
        y = (x * 2.0)[3:]
        z = x[2:]
    assert [m.op for m in tracking.alive()] == ["mul"] and z.shape == (8,)
    del y
    assert tracking.alive() == []


def test_what_was_there_before_is_not_listed(device: str) -> None:
    x = tinyml.ones((1000,), device=device) + 1.0
    with track_memory() as tracking:
        y = x.reshape(10, 100)
        assert tracking.alive() == [] and y.buf is x.buf
        assert memory_stats(device).in_use >= size_class(4000)


def test_trackings_nest(device: str) -> None:
    with track_memory() as outer:
        a = tinyml.zeros((10,), device=device) + 1.0
        with track_memory() as inner:
            b = tinyml.zeros((10,), device=device) + 2.0
        c = tinyml.zeros((10,), device=device) + 3.0
        assert len(outer.alive()) == 3 and len(inner.alive()) == 1
    del b, c
    assert len(outer.alive()) == 1 and inner.alive() == [] and a.shape == (10,)


def test_debug_gives_the_report_when_asked(device: str) -> None:
    with debug(leaks=True) as tracking:
        kept = tinyml.zeros((10,), device=device) + 1.0
        with pytest.raises(NaNError):
            tinyml.log(kept - 5.0)
    assert tracking is not None
    gc.collect()
    assert "add" in tracking.by_op() and kept.shape == (10,)
    with debug() as nothing:
        pass
    assert nothing is None


def test_training_leaks_nothing(device: str) -> None:
    x = tinyml.tensor(np.ones((4, 3), np.float32), device=device)
    w = tinyml.tensor(np.ones((3, 2), np.float32), device=device, requires_grad=True)
    labels = tinyml.tensor([0, 1, 1, 0], device=device)
    with track_memory() as tracking:
        for _ in range(3):
            tinyml.cross_entropy(tinyml.gelu(x @ w), labels).backward()
            w.grad = None
    assert tracking.alive() == []
