"""jit: what it gives is what the function gives, in fewer launches; state, threads, bad input."""

from __future__ import annotations

import gc
import threading
import time
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tests.graph.test_graph import FUNCTIONS, Function, near, numbers, scalar
from tinyml.compiler.jit import Jitted, RetraceWarning
from tinyml.compiler.program import Executable, compile_graph
from tinyml.conformance import reference
from tinyml.conformance.suite.backends import elsewhere
from tinyml.conformance.suite.cases import asked
from tinyml.core.apply import apply
from tinyml.dtypes import DTYPES
from tinyml.errors import (
    ArgumentTypeError,
    ConcretizationError,
    DTypeError,
    KernelNotFound,
    LeakedTracerError,
    OutOfRangeError,
    ReadOnlyError,
    ShapeError,
)
from tinyml.graph.graph import Graph
from tinyml.ir.devices import find_device
from tinyml.ir.op import OPS

pytestmark = pytest.mark.kernels(2)


def program(f: Jitted, *args: Any) -> Executable:
    """What a jitted function runs for arguments that are tensors."""
    graph = f.graph(*args)
    captured = [capture.tensor for capture in graph.captures]
    return compile_graph(graph.closed_over_as_inputs, [x.spec for x in (*args, *captured)])


def names(f: Jitted, *args: Any) -> list[str]:
    """The calls of a jitted function by the ops in them."""
    return [step.name for step in program(f, *args).launches]


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> Function:
    return FUNCTIONS[request.param]


# ---- the same results


@pytest.mark.kernels(4)
def test_jit_agrees_with_the_function(function: Function, device: str,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYML_DEVICE", device)  # where the functions' own constants go
    x, other = numbers(2, 3, device=device), numbers(2, 3, seed=1, device=device)
    f = tinyml.jit(function)
    near(f(x), function(x))
    near(f(other), function(other))


@pytest.mark.kernels(9)
def test_jit_of_grad(function: Function) -> None:
    x = numbers(2, 3)
    near(tinyml.jit(tinyml.grad(scalar(function)))(x), tinyml.grad(scalar(function))(x))


@pytest.mark.kernels(9)
def test_grad_of_jit_of_any_order(function: Function) -> None:
    x = numbers(2, 3)
    f, plain = tinyml.jit(scalar(function)), scalar(function)

    def second(g: Function) -> Function:
        return tinyml.grad(lambda v: (tinyml.grad(g)(v) ** 2).sum())

    for _ in range(3):  # what it computes again at first, it keeps from then on
        near(tinyml.grad(f)(x), tinyml.grad(plain)(x))
    near(second(f)(x), second(plain)(x), 1e-9)
    near(second(tinyml.jit(f))(x), second(plain)(x), 1e-9)


def test_after_the_first_pullback_nothing_is_computed_again() -> None:
    f = tinyml.jit(lambda x: (x.exp().sin(), x.cos()))
    x = numbers(3)

    def loss(v: Any) -> Any:
        a, b = f(v)
        return (a * b).sum()

    for _ in range(3):
        tinyml.grad(loss)(x)
    kept, constants = f.graph(x).with_residuals((True,))
    assert not constants and len(kept.outputs) > 2
    (pullback,) = kept.pullbacks.values()
    assert [equation.op.name for equation in pullback.equations].count("exp") == 0
    assert len(pullback.plans) == 1  # and that is what ran


@pytest.mark.kernels(10)
def test_jvp_of_jit(function: Function) -> None:
    x, v = numbers(2, 3), numbers(2, 3, seed=2)
    f, plain = tinyml.jit(scalar(function)), scalar(function)
    near(tinyml.jvp(f, (x,), (v,)), tinyml.jvp(plain, (x,), (v,)), 1e-9)
    near(tinyml.jit(lambda a, b: tinyml.jvp(plain, (a,), (b,)))(x, v),
         tinyml.jvp(plain, (x,), (v,)), 1e-9)


def test_third_derivatives_through_nested_jits() -> None:
    f = tinyml.jit(lambda x: tinyml.jit(lambda y: y.sin() * y)(x) * x)
    third = tinyml.grad(tinyml.jit(tinyml.grad(tinyml.jit(tinyml.grad(f)))))
    x = 0.7
    exact = 6 * np.cos(x) - 6 * x * np.sin(x) - x * x * np.cos(x)
    near(third(tinyml.tensor(np.float64(x))), tinyml.tensor(np.float64(exact)))


def test_perturbations_are_not_confused_by_jit() -> None:
    inner = tinyml.jit(lambda x: tinyml.grad(lambda y: x + y)(tinyml.tensor(1.0)))
    assert tinyml.grad(tinyml.jit(lambda x: x * inner(x)))(tinyml.tensor(3.0)).item() == 1.0


def test_a_recorded_call_is_one_node_and_backward_goes_through(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device, requires_grad=True)
    y = tinyml.jit(lambda v: (v * v).sum())(x)
    y.backward()
    assert x.grad is not None and x.grad.tolist() == [2.0, 4.0]


def test_closed_over_values_get_gradients() -> None:
    def f(w: Any) -> Any:
        return tinyml.jit(lambda x: (x * w).sum())(tinyml.ones((2,)) * w)

    assert tinyml.grad(f)(tinyml.tensor([1.0, 3.0])).tolist() == [2.0, 6.0]


def test_a_gradient_is_not_recorded_under_no_grad() -> None:
    w = tinyml.tensor([1.0], requires_grad=True)
    f = tinyml.jit(lambda x: x * 2.0)
    with tinyml.no_grad():
        assert f(w).node is None
    assert f(w).node is not None


WITH_SAMPLES = sorted(name for name, op in OPS.items() if op.samples and op.dtypes)


@pytest.mark.samples
@pytest.mark.kernels(1)
@pytest.mark.parametrize("name", WITH_SAMPLES)
def test_every_op_under_jit(name: str, device: str) -> None:
    """A sample of each op, the first three in a nightly run: jitted as eager, within the bound."""
    op = OPS[name]
    dtype = "float32" if "float32" in op.dtypes else op.dtypes[0]
    first = next(iter(op.samples(dtype)))  # type: ignore[misc]
    if elsewhere(name, f"tinyml:{device}"):
        with pytest.raises(KernelNotFound):
            apply(op, *[tinyml.asarray(x, device=device) for x in first.args], **first.attrs)
        return
    made = [result.name for result in reference.dtypes(name, *first.args, **first.attrs)]
    for needed in (dtype, *made):
        if not find_device(device).supports(DTYPES[needed]):
            with pytest.raises(DTypeError, match=needed):
                tinyml.zeros(3, dtype=needed, device=device)
            return
    count = 3 if asked({}) is None else 1
    for sample in list(op.samples(dtype))[:count]:  # type: ignore[misc]
        places = [k for k, x in enumerate(sample.args) if isinstance(x, np.ndarray)]

        def f(*tensors: Any, sample: Any = sample, places: Any = places) -> Any:
            args = list(sample.args)
            for place, x in zip(places, tensors):
                args[place] = x
            return apply(op, *args, **sample.attrs)

        xs = [tinyml.asarray(sample.args[k], device=device) for k in places]
        for ours, theirs in zip(tinyml.tree.flatten(tinyml.jit(f)(*xs))[0],
                                tinyml.tree.flatten(f(*xs))[0], strict=True):
            assert ours.spec.shape == theirs.spec.shape and ours.dtype is theirs.dtype
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.kernels(50)
@given(st.integers(0, 4), st.integers(1, 5), st.integers(0, 3))
def test_jit_agrees_on_odd_sizes_and_layouts(n: int, m: int, kind: int) -> None:
    values = np.random.default_rng(n * 7 + m).normal(size=(n, m))
    layouts = [values, values[::-1], values.T.copy().T, np.broadcast_to(values[:1], (n, m))
               if n else values]
    x = tinyml.tensor(values) if kind == 0 else tinyml.asarray(layouts[kind])

    def f(v: Any) -> Any:
        return (v * 2.0 + v.sum(axis=0)).T.reshape(-1), v[::-1], v.mean(axis=1)

    near(tinyml.jit(f)(x), f(x))


# ---- how many launches


def test_a_chain_and_a_softmax_are_one_kernel(device: str) -> None:
    def chain(x: Any) -> Any:
        for _ in range(4):
            x = (x * 0.5 + 1.0).tanh()
        return x

    x = tinyml.ones((4, 8), device=device)
    assert len(names(tinyml.jit(chain), x)) == 1
    assert len(names(tinyml.jit(lambda v: tinyml.softmax(chain(v), axis=1)), x)) == 1


def test_an_epilogue_joins_a_contraction_and_a_prologue_does_not(device: str) -> None:
    x, w, b = (tinyml.ones(s, device=device) for s in ((8, 8), (8, 8), (8,)))
    assert names(tinyml.jit(lambda x, w, b: tinyml.relu(x @ w + b)), x, w, b) == [
        "matmul+add+maximum"]
    assert names(tinyml.jit(lambda x, w: x.exp() @ w), x, w) == ["exp", "matmul"]


def test_a_large_reduction_keeps_others_parallel() -> None:
    big = tinyml.ones((1 << 17,))
    assert names(tinyml.jit(lambda x: x / x.sum()), big) == ["sum", "div"]


def test_a_view_is_no_launch() -> None:
    x = tinyml.ones((4, 6))
    f = tinyml.jit(lambda v: (v @ v.T).reshape((2, 8)).exp().reshape(-1) @ tinyml.ones((16,)))
    assert names(f, x) == ["matmul", "exp", "expand+reshape+matmul"]  # ones are read, not made
    assert names(tinyml.jit(lambda v: v.T[1:, ::2].exp().reshape(-1)), x) == ["exp"]


def test_equal_lines_are_one_and_useless_ones_are_none() -> None:
    def f(x: Any) -> Any:
        x.sum()
        return x.exp() * x.exp()

    assert names(tinyml.jit(f), tinyml.ones((4,))) == ["exp+mul"]


def test_buffers_are_reused() -> None:
    def f(x: Any) -> Any:
        for _ in range(20):
            x = x @ x
        return x

    found = program(tinyml.jit(f), tinyml.ones((8, 8)))
    assert len(found.launches) == 20 and len(found.slots) == 2


def test_numbers_are_no_part_of_a_kernel() -> None:
    a, b = (program(tinyml.jit(lambda x, c=c: x * c + 1.0), tinyml.ones((4,))) for c in (2.0, 3.0))
    assert a.launches[0].ins[1:] == (2.0, 1.0) and b.launches[0].ins[1:] == (3.0, 1.0)


# ---- state


class Counter(tinyml.nn.Module):
    """Counts its calls in a tensor."""

    def __init__(self) -> None:
        self.weight = tinyml.tensor([2.0], requires_grad=True)
        self.count = tinyml.zeros((1,))

    def forward(self, x: Any) -> Any:
        self.count = self.count + 1.0
        return x * self.weight + self.count


def test_what_changes_in_a_module_is_written_back(device: str) -> None:
    module = Counter().to(device)
    f = tinyml.jit(lambda m, x: m(x))
    x = tinyml.ones((1,), device=device)
    assert [f(module, x).item() for _ in range(3)] == [3.0, 4.0, 5.0]
    assert module.count.item() == 3.0
    assert module.weight.requires_grad
    f(module, x).backward()
    assert module.weight.grad is not None and module.weight.grad.item() == 1.0


def test_a_tensor_in_two_places_is_one() -> None:
    pair = {"a": tinyml.ones((1,))}
    pair["b"] = pair["a"]
    f = tinyml.jit(lambda p: p["a"] + p["b"])
    assert f(pair).item() == 2.0
    assert f({"a": tinyml.ones((1,)), "b": tinyml.zeros((1,))}).item() == 1.0


def test_the_generator_goes_on() -> None:
    tinyml.random.seed(5)
    expected = [tinyml.random.normal(None, (2,)).tolist() for _ in range(3)]
    tinyml.random.seed(5)
    f = tinyml.jit(lambda: tinyml.random.normal(None, (2,)))
    drawn = [f().tolist(), tinyml.random.normal(None, (2,)).tolist(), f().tolist()]
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_sizes_that_depend_on_values_may_stand_inside() -> None:
    f = tinyml.jit(lambda x: (tinyml.nonzero(x)[0] * 2).sum() + 1)
    nested = tinyml.jit(lambda x: f(x) * 2)
    for values, expected in (([1.0, 0.0, 2.0, 3.0], 11), ([0.0, 0.0, 0.0, 5.0], 7)):
        x = tinyml.tensor(values)
        assert (f(x).item(), nested(x).item()) == (expected, 2 * expected)


def test_a_permutation_is_drawn_in_a_graph() -> None:
    tinyml.random.seed(2)
    expected = tinyml.random.permutation(None, 9).tolist()
    tinyml.random.seed(2)
    assert tinyml.jit(lambda: tinyml.random.permutation(None, 9))().tolist() == expected


def test_constants_in_results_stay_what_they_are() -> None:
    result = tinyml.jit(lambda x: {"name": "net", "n": 3, "none": None, "y": x})(tinyml.ones((1,)))
    assert (result["name"], result["n"], result["none"]) == ("net", 3, None)


def test_methods_can_be_jitted() -> None:
    class Model:
        @tinyml.jit
        def double(self, x: Any) -> Any:
            return x * 2.0

    assert Model().double(tinyml.ones((1,))).item() == 2.0


# ---- retracing


def test_new_shapes_and_static_values_are_traced_anew() -> None:
    seen: list[Any] = []

    @tinyml.jit
    def f(x: Any, power: Any = 1) -> Any:
        seen.append((x.shape, power))
        return x ** power

    for x, p in ((2, 1), (2, 1), (3, 1), (2, 2), (2, 2.0), (2, True)):
        f(tinyml.ones((x,)), power=p)
    assert seen == [((2,), 1), ((3,), 1), ((2,), 2), ((2,), 2.0), ((2,), True)]


def test_after_eight_traces_it_says_what_changes() -> None:
    f = tinyml.jit(lambda x: x + 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(1, 9):
            f(tinyml.ones((n,)))
    with pytest.warns(RetraceWarning, match=r"argument 0: float32\[8\] cpu, now float32\[9\]"):
        f(tinyml.ones((9,)))


def test_static_arguments_by_number_and_name() -> None:
    f = tinyml.jit(lambda x, how, *, scale: getattr(x, how)() * scale, static_argnums=1,
                   static_argnames="scale")
    assert f(tinyml.ones((2,)), "sum", scale=3.0).item() == 6.0
    assert f(tinyml.ones((2,)), "max", scale=3.0).item() == 3.0


def test_arrays_are_tensors() -> None:
    assert tinyml.jit(lambda x: x * 2.0)(np.ones(2, np.float32)).tolist() == [2.0, 2.0]


def test_numpy_operands_go_where_the_tensors_are(device: str) -> None:
    x = tinyml.tensor([1.0, -2.0], device=device)
    f = tinyml.jit(lambda k, x, row: x * k + row["r"])
    row = {"r": np.array([0.5, 0.25], np.float32)}
    assert f(np.float32(3), x, row).tolist() == [3.5, -5.75]
    assert f(np.float32(-1), x, row).tolist() == [-0.5, 2.25]


def test_a_jitted_function_frees_what_it_held() -> None:
    def use() -> Any:
        big = tinyml.ones((10,)).copy()
        tinyml.jit(lambda x: x + big)(tinyml.ones((10,)))
        return weakref.ref(big)

    alive = use()
    gc.collect()
    assert alive() is None


# ---- threads


def test_threads_call_one_jitted_function() -> None:
    f = tinyml.jit(lambda x, m: (x @ m).tanh() @ m)
    m = numbers(16, 16)
    inputs = [numbers(16, 16, seed=k) for k in range(8)]
    expected = [((x @ m).tanh() @ m).numpy() for x in inputs]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(50):
            if not np.allclose(f(inputs[k], m).numpy(), expected[k], rtol=1e-12):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class SlowLock:
    """A lock whose taker pauses, so that others come in between."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __enter__(self) -> None:
        self.lock.acquire()
        time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_graphs_that_draw_from_two_generators_in_two_orders_do_not_stop() -> None:
    one, two = tinyml.random.Generator(1), tinyml.random.Generator(2)
    functions = [tinyml.jit(lambda a=a, b=b: (a.next_key(), b.next_key()))
                 for a, b in ((one, two), (two, one))]
    drawn = [key.tolist() for f in functions for key in f()]
    one.state.lock, two.state.lock = SlowLock(), SlowLock()
    threads = [threading.Thread(target=lambda f=f: drawn.extend(key.tolist() for key in f()),
                                daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(drawn) == 8 and len({tuple(key) for key in drawn}) == 8


# ---- bad input


def test_control_flow_by_value_is_refused() -> None:
    with pytest.raises(ConcretizationError) as caught:
        tinyml.jit(lambda x: x if x.sum() > 0 else -x)(tinyml.ones((2,)))
    assert "tinyml.cond" in str(caught.value) and "test_jit.py" in str(caught.value)


def test_a_module_of_the_outside_is_not_changed() -> None:
    module = Counter()
    with pytest.raises(ReadOnlyError, match="Counter.count from outside"):
        tinyml.jit(lambda x: module(x))(tinyml.ones((1,)))
    assert module.count.item() == 0.0


def test_side_effects_do_not_lose_data_silently() -> None:
    log: list[Any] = []
    tinyml.jit(lambda x: log.append(x + 1.0) or x)(tinyml.ones((2,)))
    with pytest.raises(LeakedTracerError, match="log.append"):
        log[0].sum()


def test_containers_of_the_caller_are_not_changed() -> None:
    def entry(d: Any) -> Any:
        d["x"] = d["x"] * 2.0
        return d["x"]

    def structure(d: Any) -> Any:
        d["new"] = d["x"]
        return d["x"]

    for f, match in ((entry, r"argument 0 at \['x'\]"), (structure, "structure of an argument")):
        with pytest.raises(ReadOnlyError, match=match):
            tinyml.jit(f)({"x": tinyml.ones((1,))})


def test_state_keeps_its_shape() -> None:
    class Grows(tinyml.nn.Module):
        def __init__(self) -> None:
            self.log = tinyml.zeros((1,))

    def f(m: Any) -> Any:
        m.log = tinyml.concat([m.log, m.log], axis=0)
        return m.log

    with pytest.raises(ReadOnlyError, match="keep shape and dtype"):
        tinyml.jit(f)(Grows())


def test_an_argument_that_cannot_be_a_key_is_refused() -> None:
    class Config:
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(ArgumentTypeError, match="argument 1 is a Config, neither"):
        tinyml.jit(lambda x, c: x)(tinyml.ones((1,)), Config())
    with pytest.raises(ArgumentTypeError, match="static argument 1 is a list"):
        tinyml.jit(lambda x, c: x, static_argnums=1)(tinyml.ones((1,)), [set()])
    with pytest.raises(ArgumentTypeError, match="jit of a int"):
        tinyml.jit(3)


def test_errors_inside_keep_their_kind_and_line(device: str) -> None:
    with pytest.raises(ShapeError, match="do not broadcast") as caught:
        tinyml.jit(lambda x: x + tinyml.ones((3,)))(tinyml.ones((2,)))
    assert "test_jit.py" in str(caught.value)
    f = tinyml.jit(lambda x, i: tinyml.gather(x, i) * 2.0)
    x = tinyml.ones((3,), device=device)
    with pytest.raises(OutOfRangeError, match="index 5"):
        f(x, tinyml.tensor([5], device=device)).numpy()
    assert f(x, tinyml.tensor([2], device=device)).tolist() == [2.0]


def test_nothing_of_a_failed_trace_remains() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("first")
        return x * 2.0

    g = tinyml.jit(f)
    with pytest.raises(ValueError, match="first"):
        g(tinyml.ones((1,)))
    assert g(tinyml.ones((1,))).item() == 2.0


# ---- size


@pytest.mark.slow
def test_graphs_of_a_hundred_thousand_ops() -> None:
    def f(x: Any) -> Any:
        for _ in range(50_000):
            x = x * 0.9999 + 0.0001
        return x

    g = tinyml.jit(f)
    np.testing.assert_allclose(g(tinyml.ones((4,)) * 2.0).numpy(), 1 + 0.9999**50_000, rtol=1e-2)
    assert len(program(g, tinyml.ones((4,))).slots) <= 2


@pytest.mark.slow
def test_long_graphs_need_no_recursion() -> None:
    def f(x: Any) -> Any:
        for _ in range(10_000):
            x = x * 0.999 + 0.001
        return x

    x = tinyml.ones((4,))
    g = tinyml.jit(tinyml.value_and_grad(lambda v: f(v).sum()))
    value, gradient = g(x)
    np.testing.assert_allclose(value.item(), 4.0, rtol=1e-4)
    np.testing.assert_allclose(gradient.numpy(), 0.999**10_000, rtol=1e-2)
    h = tinyml.jit(f)
    np.testing.assert_allclose(tinyml.grad(lambda v: h(v).sum())(x).numpy(), gradient.numpy(),
                               rtol=1e-5)


def test_the_way_back_of_a_loop_leaves_no_graphs() -> None:
    def slope() -> Any:
        return tinyml.grad(lambda x: tinyml.while_loop(
            lambda v: v < 100.0, lambda v: v * 2.0, x, max_steps=4))(tinyml.tensor(1.0))

    def graphs() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Graph) for thing in gc.get_objects())

    slope()
    before = graphs()
    for _ in range(3):
        slope()
    assert graphs() == before
