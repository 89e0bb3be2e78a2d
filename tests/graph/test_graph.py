"""Graphs: traced, printed, replayed, differentiated, split and joined; nothing of them leaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tinyml.errors import (
    ArgumentTypeError,
    ConcretizationError,
    GraphError,
    LeakedTracerError,
    ReadOnlyError,
    ShapeError,
)
from tinyml.graph.graph import Graph, build, prune

Function = Callable[..., Any]


def near(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    """Two trees of float64 tensors agree."""
    ours, theirs = tinyml.tree.flatten(a)[0], tinyml.tree.flatten(b)[0]
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=tolerance, atol=tolerance)


def numbers(*shape: int, seed: int = 0, device: str = "cpu") -> tinyml.Tensor:
    values = np.random.default_rng(seed).normal(size=shape)
    return tinyml.tensor(values, device=device)


FUNCTIONS: dict[str, Function] = {
    "elementwise": lambda x: (x * 2.0 + 1.0).tanh() / (x * x + 1.0),
    "reductions": lambda x: x.max(axis=1) - x.mean(axis=1) * x.sum(),
    "softmax": lambda x: tinyml.softmax(x * 3.0, axis=1),
    "composite without a rule": lambda x: tinyml.layer_norm(
        x, tinyml.ones((3,), dtype="float64"), tinyml.zeros((3,), dtype="float64")),
    "matmul": lambda x: tinyml.relu(x @ x.T + 1.0),
    "views": lambda x: x[::-1, 1:].T.reshape(-1) * x[0, 0],
    "indexing": lambda x: tinyml.gather(x, tinyml.tensor([1, 0, 1])).at[0].set(2.0) * x[0],
    "two outputs": lambda x: (x.sin(), {"a": x.cos(), "b": [x]}),
    "an output twice": lambda x: (x.exp(), x.exp(), x),
    "a constant": lambda x: (x * 2.0, tinyml.ones((2,))),
    "scans": lambda x: tinyml.cumsum(x, axis=0) * tinyml.cumprod(x, axis=1),
    "sorting": lambda x: tinyml.sort(x, axis=1) * x,
    "creation": lambda x: x + tinyml.arange(3) + tinyml.zeros_like(x) + tinyml.eye(2, 3),
}


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> Function:
    return FUNCTIONS[request.param]


# ---- replay


def test_a_replayed_trace_gives_what_the_function_gives(function: Function) -> None:
    x, other = numbers(2, 3), numbers(2, 3, seed=1)
    graph = tinyml.trace(function)(x)
    near(graph(x), function(x), 0)
    near(graph(other), function(other), 0)


def test_a_spec_is_enough_to_trace(device: str) -> None:
    graph = tinyml.trace(lambda x: x + 1)(tinyml.tensor_spec((2,), "int32", device))
    assert graph(tinyml.tensor([1, 2], dtype="int32", device=device)).tolist() == [2, 3]


def test_arguments_and_results_are_trees() -> None:
    x, y = numbers(2), numbers(2, seed=1)
    graph = tinyml.trace(lambda pair, named: {"sum": pair[0] + named["y"]})((x,), {"y": y})
    near(graph((y,), {"y": x})["sum"], x + y, 0)


def test_a_graph_is_read_line_by_line() -> None:
    graph = tinyml.trace(lambda x: tinyml.softmax(x, axis=0) * 2.0)(numbers(2))
    assert repr(graph).splitlines() == [
        "graph(a: float64[2] cpu):",
        "  b = softmax(a, axis=0): float64[2] cpu",
        "  c = mul(b, 2.0): float64[2] cpu",
        "  return c",
    ]


def test_a_graph_inside_a_graph_is_read_too() -> None:
    inner = tinyml.jit(lambda x: x * 2.0)
    text = repr(tinyml.trace(lambda x: inner(x) + 1.0)(numbers(2)))
    assert "b = call(a, graph=...)" in text and "      b = mul(a, 2.0)" in text


def test_what_a_function_uses_from_outside_is_read_at_each_run() -> None:
    outside = tinyml.tensor([1.0, 2.0])
    graph = tinyml.trace(lambda x: x * outside.reshape((2, 1)))(tinyml.ones((2, 1)))
    assert [capture.tensor for capture in graph.captures] == [outside]
    outside[0] = 10.0
    assert graph(tinyml.ones((2, 1))).tolist() == [[10.0], [2.0]]


def test_a_graph_draws_new_numbers_at_each_run() -> None:
    tinyml.random.seed(1)
    expected = [tinyml.random.uniform(None, (2,)).tolist() for _ in range(3)]
    tinyml.random.seed(1)
    graph = tinyml.trace(lambda: tinyml.random.uniform(None, (2,)))()
    assert [graph().tolist() for _ in range(3)] == expected


def test_a_thread_that_traces_leaves_others_alone() -> None:
    inside, done = threading.Event(), threading.Event()
    x = tinyml.ones((2,))

    def traced(v: tinyml.Tensor) -> tinyml.Tensor:
        inside.set()
        assert done.wait(60)
        return v + x

    graphs: list[Graph] = []
    thread = threading.Thread(target=lambda: graphs.append(tinyml.trace(traced)(x)))
    thread.start()
    assert inside.wait(60)
    assert (x + x).tolist() == [2.0, 2.0]
    done.set()
    thread.join()
    assert len(graphs[0].equations) == 1


# ---- derivatives


def scalar(function: Function) -> Function:
    """A function's float results, squared and summed."""

    def f(x: Any) -> Any:
        results = [y for y in tinyml.tree.flatten(function(x))[0] if y.dtype.is_float]
        return sum(((y * y).sum() for y in results), tinyml.zeros((), dtype="float64"))

    return f


def test_trace_of_grad(function: Function) -> None:
    x = numbers(2, 3)
    gradient = tinyml.grad(scalar(function))
    near(tinyml.trace(gradient)(x)(x), gradient(x))


@pytest.mark.kernels(6)
def test_grad_of_a_replayed_trace(function: Function) -> None:
    x = numbers(2, 3)
    graph = tinyml.trace(scalar(function))(x)
    near(tinyml.grad(graph)(x), tinyml.grad(scalar(function))(x))


def test_grad_of_a_replayed_trace_of_grad(function: Function) -> None:
    x = numbers(2, 3)
    gradient = tinyml.grad(scalar(function))
    graph = tinyml.trace(gradient)(x)
    near(tinyml.grad(lambda v: (graph(v) ** 2).sum())(x),
         tinyml.grad(lambda v: (gradient(v) ** 2).sum())(x), 1e-9)


@pytest.mark.kernels(10)
def test_the_pullback_of_a_graph_is_a_graph(function: Function) -> None:
    x = numbers(2, 3)
    closed = build(lambda v: [scalar(function)(v)], [x.spec])
    graph, others = closed.closed_over_as_inputs, [capture.tensor for capture in closed.captures]
    ys = graph.call([x, *others])
    back = graph.pullback((True, *[False] * len(others)), (True,))
    found = back.call([x, *others, *ys, tinyml.ones((), dtype="float64")])
    near(found, [tinyml.grad(scalar(function))(x)])


def test_captured_values_get_gradients() -> None:
    def f(w: Any) -> Any:
        graph = tinyml.trace(lambda x: (x * w * w).sum())(tinyml.ones((3,)))
        return graph(tinyml.ones((3,)))

    assert tinyml.grad(f)(tinyml.tensor([1.0, 2.0, 3.0])).tolist() == [2.0, 4.0, 6.0]


# ---- graphs out of graphs


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.sampled_from(range(4)))
def test_a_split_graph_joined_again_is_the_graph(known: list[bool], kind: int) -> None:
    functions: list[Function] = [
        lambda x, y, z: (x * y + z).sin(),
        lambda x, y, z: (x, y.exp() * x.exp(), z),
        lambda x, y, z: tinyml.sort(x) + y.sum() * z,
        lambda x, y, z: (y * 2.0,),
    ]
    args = [numbers(4, seed=k) for k in range(3)]
    graph = tinyml.trace(functions[kind])(*args)
    first, second = graph.split(known)
    early = [x for x, k in zip(args, known) if k]
    late = [x for x, k in zip(args, known) if not k]
    near(second.run([*first.run(early), *late]), graph.run(args), 0)
    near(first.then(second).run([*early, *late]), graph.run(args), 0)


def test_a_split_keeps_what_a_generator_becomes() -> None:
    def f(x: Any, y: Any) -> Any:
        tinyml.random.seed(4)
        return x * 2.0 + y

    first, second = tinyml.trace(f)(numbers(2), numbers(2)).split([True, False])
    tinyml.random.seed(1)
    second.run([*first.run([numbers(2)]), numbers(2)])
    drawn = tinyml.random.uniform(None, (2,)).tolist()
    tinyml.random.seed(4)
    assert drawn == tinyml.random.uniform(None, (2,)).tolist()


def test_a_split_computes_nothing_twice() -> None:
    graph = tinyml.trace(lambda x, y: x.exp().sin() * y.exp())(numbers(2), numbers(2))
    first, second = graph.split([True, False])
    assert [equation.op.name for equation in first.equations] == ["exp", "sin"]
    assert [equation.op.name for equation in second.equations] == ["exp", "mul"]


def test_lines_that_nothing_needs_can_be_left_out() -> None:
    def wasteful(x: Any) -> Any:
        x.exp().sum()
        return x + 1.0

    graph = tinyml.trace(wasteful)(numbers(2))
    assert (len(graph.equations), len(prune(graph.equations, graph.gives, graph.reads))) == (3, 1)


def test_graphs_that_do_not_fit_are_refused() -> None:
    one = tinyml.trace(lambda x: x + 1.0)(numbers(2))
    other = tinyml.trace(lambda x: x + 1.0)(numbers(3))
    with pytest.raises(ShapeError, match="result 0 of float64"):
        one.then(other)


# ---- bad input


def test_values_are_not_known_while_tracing() -> None:
    wrong: list[Function] = [
        lambda x: x if x.sum() > 0 else -x, lambda x: x.sum().item(), lambda x: x.tolist(),
        lambda x: np.asarray(x), lambda x: range(x[0].astype("int64")), lambda x: float(x[0]),
    ]
    for f in wrong:
        with pytest.raises(ConcretizationError, match="no content yet"):
            tinyml.trace(f)(numbers(3))


def test_a_leaked_value_says_where_it_was_made() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * 2.0)
        return x

    tinyml.trace(f)(numbers(3))
    for use in (lambda: kept[0] + 1.0, lambda: kept[0].numpy(), lambda: tinyml.jit(f)(kept[0])):
        with pytest.raises(LeakedTracerError, match=r"test_graph.py:\d+: kept.append\(x \* 2.0\)"):
            use()


def test_a_leaked_argument_is_refused_in_another_graph() -> None:
    kept: list[Any] = []
    tinyml.trace(lambda x: kept.append(x) or x)(numbers(3))
    with pytest.raises(LeakedTracerError, match="an argument, outlived"):
        tinyml.trace(lambda x: x + kept[0])(numbers(3))


def test_a_function_that_raises_leaves_nothing_open() -> None:
    def f(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tinyml.trace(f)(numbers(3))
    assert (numbers(3) + 1.0).numpy().shape == (3,)


def test_tensors_of_the_outside_are_not_changed_while_tracing() -> None:
    outside = numbers(3)

    def f(x: Any) -> Any:
        outside[0] = x[0]
        return x

    before = outside.tolist()
    with pytest.raises(ReadOnlyError, match="from outside"):
        tinyml.trace(f)(numbers(3))
    assert outside.tolist() == before


def test_arguments_are_not_changed_and_values_may_be() -> None:
    def wrong(x: Any) -> Any:
        x[0] = 1.0
        return x

    def right(x: Any) -> Any:
        y = x * 1.0
        y[0] = 1.0
        return y

    with pytest.raises(ReadOnlyError, match=r"is an argument") as caught:
        tinyml.trace(wrong)(numbers(2))
    assert "x.at[i].set(v)" in str(caught.value)
    assert tinyml.trace(right)(numbers(2))(numbers(2)).tolist()[0] == 1.0


def test_a_graph_refuses_other_arguments() -> None:
    graph = tinyml.trace(lambda x, y: x + y)(numbers(2), numbers(2))
    with pytest.raises(ShapeError, match=r"input 1 of float64\[2\] cpu"):
        graph(numbers(2), numbers(3))
    with pytest.raises(ShapeError, match="input 0"):
        graph(tinyml.ones((2,)), numbers(2))
    with pytest.raises(GraphError, match="unlike those traced"):
        graph(numbers(2))


def test_an_argument_of_another_kind_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="an argument to trace is a str"):
        tinyml.trace(lambda x: x)("two")


def test_an_error_in_a_replay_names_the_line_that_was_traced() -> None:
    def f(x: Any, i: Any) -> Any:
        return tinyml.gather(x, i)

    graph = tinyml.trace(f)(numbers(3), tinyml.tensor([0]))
    with pytest.raises(IndexError) as caught:
        graph(numbers(3), tinyml.tensor([5]))
    assert "return tinyml.gather(x, i)" in str(caught.value)


def test_sizes_that_depend_on_values_are_found_when_run() -> None:
    graph = tinyml.trace(lambda x: tinyml.nonzero(x > 0)[0] * 2)(numbers(5))
    assert graph.unknown
    x = tinyml.tensor([1.0, -1.0, 2.0, 3.0, -1.0], dtype="float64")
    assert graph(x).tolist() == [0, 4, 6]
