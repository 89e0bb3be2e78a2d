"""Differentiation: every door to it, any order, deep graphs, no cycles, and where it refuses."""

from __future__ import annotations

import gc
import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinyml
import tinyml.core.backward
from tinyml.core.apply import apply
from tinyml.core.node import Node
from tinyml.errors import ArgumentTypeError, GradientError, ShapeError
from tinyml.ir.op import OPS, Op, define

pytestmark = pytest.mark.kernels(3)

Tensor = Any
grad, vjp = tinyml.grad, tinyml.vjp
DEEP = 100_000


class Weights(NamedTuple):
    """A pytree."""

    w: Any
    b: Any


def wide(*values: float) -> Tensor:
    """A float64 vector on the CPU, where differences are exact enough."""
    return tinyml.tensor(np.array(values), dtype="float64")


def leaf(values: list[float], device: str) -> Tensor:
    """A tensor whose operations are recorded."""
    return tinyml.tensor(values, device=device, requires_grad=True)


def differences(f: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-5) -> Any:
    """The gradient of a scalar function by central differences."""
    array = x.numpy()
    found = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        step = np.zeros_like(array)
        step[place] = h
        up, down = (f(tinyml.tensor(array + sign * step)).item() for sign in (1.0, -1.0))
        found[place] = (up - down) / (2 * h)
    return found


@contextmanager
def no_collector() -> Iterator[None]:
    """The garbage collector off: what is freed inside was freed by counting references."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the ops whose nodes are made inside."""
    made: list[str] = []

    def watched(op: Op, *rest: Any) -> Node:
        made.append(op.name)
        return Node(op, *rest)

    with monkeypatch.context() as patch:
        for module in (tinyml.core.apply, tinyml.ops.calls):
            patch.setattr(module, "Node", watched)
        yield made


# ---- the doors


def test_backward_adds_up_in_leaves(device: str) -> None:
    x, w = leaf([1.0, 2.0], device), leaf([3.0, 4.0], device)
    assert not hasattr(x.grad, "tolist")
    y = (x * w + x).sum()
    y.backward()
    assert x.grad.tolist() == [4.0, 5.0]
    assert w.grad.tolist() == [1.0, 2.0]
    y.backward()
    assert x.grad.tolist() == [8.0, 10.0]
    x.grad = None
    (x * x).backward(tinyml.tensor([1.0, 10.0], device=device))
    assert x.grad.tolist() == [2.0, 40.0] and str(x.grad.device) == device
    assert not x.grad.requires_grad and y.requires_grad and y.grad is None


def test_backward_refuses(device: str) -> None:
    x = tinyml.ones(2, device=device, requires_grad=True)
    with pytest.raises(GradientError, match="one element"):
        (x * x).backward()
    with pytest.raises(ShapeError, match="gradient of shape"):
        (x * x).backward(tinyml.ones(3, device=device))
    with pytest.raises(GradientError, match="nothing was recorded"):
        tinyml.ones(2, device=device).sum().backward()
    with pytest.raises(GradientError, match="float"):
        tinyml.tensor([1, 2], device=device, requires_grad=True)
    with pytest.raises(GradientError, match="requires_grad"):
        (x * 2.0).grad = x


def test_grad_value_and_grad_and_argnums(device: str) -> None:
    x, y = tinyml.tensor([2.0], device=device), tinyml.tensor([5.0], device=device)

    def f(x: Tensor, y: Tensor) -> Tensor:
        return (x * x * y).sum()

    assert grad(f)(x, y).tolist() == [20.0]
    assert grad(f, 1)(x, y).tolist() == grad(f, -1)(x, y).tolist() == [4.0]
    first, second = grad(f, (0, 1))(x, y)
    assert (first.tolist(), second.tolist()) == ([20.0], [4.0])
    (only,) = grad(f, (1,))(x, y)
    assert only.tolist() == [4.0]
    value, gradient = tinyml.value_and_grad(f)(x, y)
    assert value.item() == 20.0 and gradient.tolist() == [20.0]
    assert not value.requires_grad and not gradient.requires_grad
    assert grad(lambda x, *, k: (x * k).sum())(x, k=3.0).tolist() == [3.0]
    assert grad(lambda x: x * x)(y).tolist() == [10.0]  # one element is a scalar
    with pytest.raises(ArgumentTypeError, match="argnums"):
        grad(f, 2)(x, y)


def test_auxiliary_values_pass_by() -> None:
    def f(x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        y = x * x
        return y.sum(), {"y": y, "note": "as it is"}

    x = tinyml.tensor([1.0, 3.0])
    (value, aux), gradient = tinyml.value_and_grad(f, has_aux=True)(x)
    assert (value.item(), gradient.tolist(), aux["y"].tolist()) == (10.0, [2.0, 6.0], [1.0, 9.0])
    gradient, aux = grad(f, has_aux=True)(x)
    assert gradient.tolist() == [2.0, 6.0] and aux["note"] == "as it is"


def test_pytrees_of_arguments_and_values(device: str) -> None:
    x = tinyml.tensor([[1.0, 2.0]], device=device)
    weights = {"one": Weights(tinyml.ones((2, 3), device=device), tinyml.zeros(3, device=device)),
               "rest": [2.0, None, tinyml.tensor([1, 2], device=device)]}

    def loss(weights: Any) -> Tensor:
        w, b = weights["one"]
        return ((x @ w + b) * weights["rest"][0]).sum()

    gradient = grad(loss)(weights)
    assert gradient["one"].w.tolist() == [[2.0] * 3, [4.0] * 3]
    assert gradient["one"].b.tolist() == [2.0, 2.0, 2.0]
    assert gradient["rest"] == [None, None, None]
    value, pullback = vjp(lambda x, y: {"sum": x + y, "product": (x * y, 7)}, x, x * 3.0)
    assert value["sum"].tolist() == [[4.0, 8.0]] and value["product"][1] == 7
    g = tinyml.ones((1, 2), device=device)
    dx, dy = pullback({"sum": g, "product": (g * 10.0, 0)})
    assert dx.tolist() == [[31.0, 61.0]] and dy.tolist() == [[11.0, 21.0]]
    assert pullback({"sum": g, "product": (g, 0)})[0].tolist() == [[4.0, 7.0]]  # again
    with pytest.raises(ShapeError):
        pullback({"sum": tinyml.ones((2, 2), device=device), "product": (g, 0)})
    with pytest.raises(ShapeError, match="cotangent like the value"):
        pullback(g)


def test_no_grad_records_nothing_in_this_thread() -> None:
    x: Tensor = tinyml.ones(2, requires_grad=True)
    with tinyml.no_grad():
        assert not (x * x).requires_grad
        with tinyml.no_grad():
            pass
        assert not (x * x).requires_grad
        assert grad(lambda y: (y * y).sum())(tinyml.ones(2)).tolist() == [2.0, 2.0]
        assert not (x * x).requires_grad
    assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), tinyml.no_grad():
        _ = 1 / 0
    assert (x * x).requires_grad
    assert grad(lambda y: (y * y.detach()).sum())(x).tolist() == [1.0, 1.0]


def test_an_error_inside_leaves_no_trace() -> None:
    def fails(x: Tensor) -> Tensor:
        return x.reshape(5)

    x = tinyml.ones(2)
    with pytest.raises(ShapeError):
        grad(fails)(x)
    assert not (x * x).requires_grad
    assert grad(lambda x: grad(lambda y: (y**3.0).sum())(x).sum())(x).tolist() == [6.0, 6.0]


# ---- higher orders


def test_orders_of_a_power(device: str) -> None:
    f: Callable[..., Any] = lambda x: x * x * x * x  # noqa: E731
    for want in (32.0, 48.0, 48.0, 24.0, 0.0):
        f = grad(f)
        assert f(tinyml.tensor(2.0, device=device)).item() == want


def test_the_third_derivative_of_tanh() -> None:
    def f(x: Tensor) -> Tensor:
        return x.tanh().sum()

    x = wide(0.3, -0.7, 1.1)
    third = grad(lambda x: grad(lambda y: grad(f)(y).sum())(x).sum())(x)
    t = np.tanh(x.numpy())
    np.testing.assert_allclose(third.numpy(), (6 * t * t - 2) * (1 - t * t), rtol=1e-12)


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: (tinyml.softmax(x) * x).sum(),
    "log_softmax": lambda x: (tinyml.log_softmax(x).square()).sum(),
    "gelu": lambda x: tinyml.gelu(x).square().sum(),
    "variance": lambda x: (x.var() * x.sum()),
    "layer norm": lambda x: (tinyml.layer_norm(x, x * 2.0, x.cos()) * x.sin()).sum(),
    "extremes": lambda x: x.max() * x.min() * x.sum(),
    "division": lambda x: (x / (x * x + 1.0)).sum(),
    "powers": lambda x: ((x * x + 1.0) ** (x * 0.5)).sum(),
    "indexing": lambda x: (x[1:] * x[:-1] * x[tinyml.tensor([0, 0, 1])]).sum(),
    "contraction": lambda x: (x.reshape(2, 2) @ x.reshape(2, 2).T @ x[:2]).square().sum(),
    "movement": lambda x: (
        tinyml.concat([x, x * x]) * tinyml.pad(x, (1, 3), constant_values=2.0)).sum(),
    "erf": lambda x: (x.erf() * x.exp()).sum(),
    "choice": lambda x: tinyml.where(x > 0.5, x * x, x * x * x).sum(),
}


@pytest.mark.kernels(4)
@pytest.mark.parametrize("name", SMOOTH)
def test_first_and_second_order_against_differences(name: str) -> None:
    f, x = SMOOTH[name], wide(0.3, -0.7, 1.1, 0.6)
    np.testing.assert_allclose(grad(f)(x).numpy(), differences(f, x), rtol=1e-6, atol=1e-8)

    def slope(x: Tensor) -> Tensor:
        return (grad(f)(x) * wide(1.0, -2.0, 0.5, 3.0)).sum()

    np.testing.assert_allclose(grad(slope)(x).numpy(), differences(slope, x), rtol=1e-5, atol=1e-7)


def test_perturbations_are_not_confused() -> None:
    """Siskind and Pearlmutter 2008: the inner derivative must not see the outer one's mark."""
    one = tinyml.tensor(1.0)
    assert grad(lambda x: x * grad(lambda y: x + y)(one))(one).item() == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(one))(tinyml.tensor(3.0)).item() == 6.0
    assert grad(lambda x: grad(lambda y: x * y * y)(x))(tinyml.tensor(3.0)).item() == 12.0
    assert grad(lambda x: grad(lambda y: x * x * y)(x) * x)(tinyml.tensor(2.0)).item() == 12.0


def test_closures_over_differentiated_values() -> None:
    x, seen = tinyml.tensor(2.0), []

    def outer(x: Tensor) -> Tensor:
        squared = x * x

        def inner(y: Tensor) -> Tensor:
            seen.append(squared)
            return squared * y * y

        return grad(inner)(x)  # 2 x^3

    assert grad(outer)(x).item() == 24.0
    assert grad(grad(outer))(x).item() == 24.0

    def keeps(x: Tensor) -> Tensor:
        y, pullback = vjp(lambda z: z * z * x, x)
        return y + pullback(x)[0]  # x^3 + 2 x^3

    assert grad(keeps)(x).item() == 36.0


def test_the_pullback_is_differentiable_in_its_cotangent() -> None:
    _, pullback = vjp(lambda x: x * x, tinyml.tensor(3.0))
    assert grad(lambda g: pullback(g)[0] * g)(tinyml.tensor(5.0)).item() == 60.0


def test_grad_inside_a_recorded_computation() -> None:
    x = tinyml.tensor(3.0, requires_grad=True)
    slope = grad(lambda y: y * y * y)(x)
    (slope * 2.0).backward()
    assert x.grad is not None and x.grad.item() == 36.0
    assert slope.requires_grad


def test_a_first_gradient_records_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Tensor) -> Tensor:
        return (x.tanh() * x).sum()

    x = wide(0.5, 0.25)
    grad(f)(x)
    with counted(monkeypatch) as made:
        grad(f)(x)
    assert sorted(made) == ["mul", "sum", "tanh"]
    with counted(monkeypatch) as made:
        f(leaf([1.0, 2.0], "cpu")).backward()
    assert sorted(made) == ["mul", "sum", "tanh"]
    with counted(monkeypatch) as made:
        grad(lambda y: grad(f)(y).sum())(x)
    assert len(made) > 6


# ---- what flows where


def test_broadcast_operands_get_sums(device: str) -> None:
    x = tinyml.tensor(np.ones((3, 4), np.float32), device=device)
    row = tinyml.tensor([1.0, 2.0, 3.0, 4.0], device=device)
    column = tinyml.tensor([[1.0], [2.0], [3.0]], device=device)
    one = tinyml.tensor(2.0, device=device)
    gradients = grad(lambda *v: (v[0] * v[1] * v[2] * v[3]).sum(), (0, 1, 2, 3))(
        x, row, column, one)
    assert [g.shape for g in gradients] == [(3, 4), (4,), (3, 1), ()]
    assert gradients[1].tolist() == [12.0] * 4 and gradients[2].tolist() == [[20.0]] * 3
    assert gradients[3].item() == 60.0
    g = grad(lambda r: tinyml.where(x > 0.0, r, 0.0).sum())(row)
    assert g.tolist() == [3.0] * 4
    a, b = tinyml.ones((2, 3), device=device), tinyml.ones((5, 3, 2), device=device)
    da, db = grad(lambda a, b: (a @ b).sum(), (0, 1))(a, b)
    assert da.shape == (2, 3) and db.shape == (5, 3, 2) and da.tolist() == [[10.0] * 3] * 2


def test_gradients_have_the_types_of_their_inputs() -> None:
    x, y, k = tinyml.tensor([2.0]), wide(3.0), tinyml.tensor([4])
    dx, dy = grad(lambda x, y: (x * y * k).sum(), (0, 1))(x, y)
    assert (dx.dtype, dy.dtype) == (tinyml.float32, tinyml.float64)
    assert (dx.tolist(), dy.tolist()) == ([12.0], [8.0])
    assert grad(lambda x: (x.astype("float64") * y).sum())(x).dtype is tinyml.float32
    assert grad(lambda x: (k / x).sum())(x).tolist() == [-1.0]
    assert grad(lambda x: tinyml.concat([x, y]).square().sum())(x).dtype is tinyml.float32
    mixed = grad(lambda x: (tinyml.ones((2, 1), "float64") @ x.reshape(1, 1)).sum())(x)
    assert mixed.dtype is tinyml.float32 and mixed.tolist() == [2.0]


def test_paths_through_integers_carry_nothing(device: str) -> None:
    x = tinyml.tensor([1.5, 2.5], device=device)
    assert grad(lambda x: (x * x.astype("int32").astype("float32")).sum())(x).tolist() == [1.0, 2.0]
    assert grad(lambda x: (x * (x > 2.0)).sum())(x).tolist() == [0.0, 1.0]
    assert grad(lambda x: (x + x.floor() if hasattr(x, "floor") else x + tinyml.floor(x)).sum())(
        x).tolist() == [1.0, 1.0]
    index = grad(lambda x: x[x.argmax(axis=0)] * 2.0)(x)
    assert index.tolist() == [0.0, 2.0]
    assert not (tinyml.ones(1, requires_grad=True) > 0).requires_grad


def test_unused_inputs_get_zeros(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device)
    y = tinyml.ones((2, 2), device=device)
    dx, dy = grad(lambda x, y: x.sum(), (0, 1))(x, y)
    assert dx.tolist() == [1.0, 1.0] and dy.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert str(dy.device) == device and dy.dtype is y.dtype
    assert grad(lambda x: tinyml.zeros((), device=device))(x).tolist() == [0.0, 0.0]
    value, pullback = vjp(lambda x, k: x * 2.0, x, tinyml.tensor([1], device=device))
    assert pullback(value)[1] is None


def test_one_value_used_many_times(device: str) -> None:
    x = tinyml.tensor(3.0, device=device)
    assert grad(lambda x: x + x + x * x)(x).item() == 8.0
    assert grad(lambda x: (lambda y: y * y + y)(x * 2.0))(x).item() == 26.0
    assert grad(lambda x, y: x * y, (0, 1))(x, x)[1].item() == 3.0


def test_ops_of_several_outputs(device: str) -> None:
    array = np.random.default_rng(3).permutation(32).reshape(1, 2, 4, 4).astype(np.float32)
    x = tinyml.tensor(array, device=device)
    weights = tinyml.arange(8, dtype="float32", device=device).reshape(1, 2, 2, 2)

    def f(x: Tensor) -> Tensor:
        values, indices = tinyml.max_pool2d(x, 2)
        assert not indices.requires_grad
        return (values * weights + indices).sum()

    want = np.zeros_like(array)
    for c, i, j in np.ndindex(2, 2, 2):
        window = array[0, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        a, b = np.unravel_index(window.argmax(), (2, 2))
        want[0, c, 2 * i + a, 2 * j + b] = c * 4 + i * 2 + j
    np.testing.assert_array_equal(grad(f)(x).numpy(), want)
    square = grad(lambda x: grad(lambda y: tinyml.max_pool2d(y * y, 2)[0].sum())(x).sum())(x)
    np.testing.assert_array_equal(square.numpy(), 2.0 * (grad(
        lambda x: tinyml.max_pool2d(x * x, 2)[0].sum())(x).numpy() != 0))


@pytest.mark.kernels(25)
def test_indexing_and_updates_are_differentiable(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0, 3.0], device=device)
    table = tinyml.tensor([0, 2, 0], device=device)
    assert grad(lambda x: (x[table] * x[::-1]).sum())(x).tolist() == [5.0, 3.0, 3.0]
    assert grad(lambda x: x[-1] * x[0])(x).tolist() == [3.0, 0.0, 1.0]
    assert grad(lambda x: (x.at[1].set(x[0] * 5.0) * x).sum())(x).tolist() == [12.0, 5.0, 6.0]
    assert grad(lambda x: x.at[table].add(x).square().sum())(x).tolist() == [20.0, 14.0, 20.0]
    assert grad(lambda x: x.at[table].set(x * 10.0).sum())(x).tolist() == [0.0, 11.0, 10.0]
    assert grad(lambda x: sum(row * row for row in x))(x).tolist() == [2.0, 4.0, 6.0]


def test_assignment_under_the_tape_is_a_rebinding(device: str) -> None:
    def f(x: Tensor) -> Tensor:
        y = x * x
        z = y * 3.0
        y[0] = y[1] * 2.0
        return (y * z).sum()  # 2 b^2 * 3 a^2 + 3 b^4

    x = tinyml.tensor([2.0, 3.0], device=device)
    assert grad(f)(x).tolist() == [12.0 * 2 * 9, 12.0 * 4 * 3 + 12.0 * 27]

    def built(x: Tensor) -> Tensor:
        y = tinyml.zeros(2, device=device)
        y[1] = x[0]
        y[:1] = x[1:] * y[1]
        return y.sum()

    assert grad(built)(x).tolist() == [4.0, 2.0]


# ---- refusals


def test_what_has_no_gradient_says_so(device: str) -> None:
    x = tinyml.ones(3, device=device)
    with pytest.raises(GradientError, match="not a float scalar"):
        grad(lambda x: x * 2.0)(x)
    with pytest.raises(GradientError, match="not a float scalar"):
        grad(lambda x: x.argmax(axis=0))(x)
    with pytest.raises(GradientError, match="not a float scalar"):
        grad(lambda x: 1.0)(x)
    with pytest.raises(GradientError, match="not a float scalar"):
        grad(lambda x: None)(x)
    with pytest.raises(GradientError, match="no float tensor"):
        grad(lambda x: x.sum())(tinyml.tensor([1, 2], device=device))
    with pytest.raises(GradientError, match="no float tensor"):
        grad(lambda x: x)(2.0)


def test_define_refuses_a_missing_gradient() -> None:
    with pytest.raises(ValueError, match="neither grad nor body"):
        define("forgotten", lambda x: x)
    assert "forgotten" not in OPS


# ---- depth, linear time, memory


def _chain(length: int) -> float:
    """CPU seconds for a chain of additions, its gradient and its destruction."""
    x = tinyml.tensor(1.0, requires_grad=True)
    start = time.process_time()
    y = x
    for _ in range(length):
        y = y + x
    y.backward()
    assert x.grad is not None and x.grad.item() == length + 1
    del y
    return time.process_time() - start


def test_a_graph_of_100000_ops() -> None:
    _chain(100)
    with no_collector():
        quarter = min(_chain(DEEP // 4) for _ in range(2))
        whole = _chain(DEEP)
    assert whole < 10 * quarter  # linear is 4


def test_a_deep_graph_that_is_only_dropped() -> None:
    y = x = tinyml.tensor(1.0, requires_grad=True)
    for _ in range(DEEP):
        y = -y
    alive = weakref.ref(y)
    del y, x
    assert alive() is None


def test_a_deep_second_order() -> None:
    def f(x: Tensor) -> Tensor:
        y = x
        for _ in range(2000):
            y = y * 1.0
        return y * y

    assert grad(grad(f))(tinyml.tensor(3.0)).item() == 2.0


def test_a_second_order_of_100000_ops() -> None:
    """Forward, backward recorded, backward of that; and both graphs are dropped by counting."""

    def f(x: Tensor) -> Tensor:
        y = x
        for _ in range(DEEP):
            y = y * 1.0
        return y * y

    with no_collector():
        assert grad(grad(f))(tinyml.tensor(3.0)).item() == 2.0
        assert gc.collect() < 50


def test_the_second_order_makes_nodes_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    def nodes(length: int) -> int:
        def f(x: Tensor) -> Tensor:
            y = x
            for _ in range(length):
                y = y * x
            return y

        with counted(monkeypatch) as made:
            grad(grad(f))(wide(1.0).sum())
        return len(made)

    nodes(10)
    first, second, third = (nodes(n) for n in (100, 200, 400))
    assert second - first == 100 * (third - second) // 200 > 0


def test_an_inner_gradient_does_not_walk_the_outer_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes over a value with a long history, which is older than what it asks for."""
    x = y = tinyml.tensor(1.0, requires_grad=True)
    for _ in range(1000):
        y = y * 1.0
    seen: list[int] = []
    towards = tinyml.core.backward._towards

    def counting(*args: Any) -> Any:
        order, leads = towards(*args)
        seen.append(len(leads))
        return order, leads

    monkeypatch.setattr(tinyml.core.backward, "_towards", counting)
    slope = grad(lambda z: z * z * y)(tinyml.tensor(3.0))
    assert seen == [max(seen)] and seen[0] < 10
    slope.backward()
    assert x.grad is not None and x.grad.item() == 6.0 and seen[1] > 1000


def test_derivatives_in_threads() -> None:
    """Each thread has its own depth and recording; epochs are common to all."""
    from concurrent.futures import ThreadPoolExecutor

    def work(k: int) -> list[float]:
        x = tinyml.tensor(float(k))
        return [grad(grad(grad(lambda x: x * x * x * k)))(x).item() for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [[6.0 * k] * 20 for k in range(8)]


def test_no_reference_cycles(device: str) -> None:
    def step() -> list[Any]:
        x = tinyml.tensor(np.ones((4, 4), np.float32), device=device, requires_grad=True)
        y = tinyml.softmax(tinyml.gelu(x @ x + 1.0)).square()
        y[0] = y[1] * 2.0
        values = tinyml.max_pool2d(y.reshape(1, 1, 4, 4), 2)[0]
        values.sum().backward()
        second = grad(lambda z: grad(lambda w: (w * w * x.detach()).sum())(z).sum())(x.detach())
        value, pullback = vjp(lambda z: z * z, x)
        pullback(value)
        assert x.grad is not None
        return [weakref.ref(t) for t in (x, y, values, second, x.grad, value)]

    step()
    with no_collector():
        alive = [ref() for ref in step()]
        assert alive == [None] * 6
        assert gc.collect() < 50  # what the interpreter and pytest make by themselves


def test_memory_is_flat_without_the_collector(device: str) -> None:
    x = tinyml.tensor(np.ones(1000, np.float32), device=device)
    f = grad(lambda x: (x * x + x).square().mean())
    f(x)
    with no_collector():
        f(x)
        before = x.device.in_use()
        for _ in range(20):
            f(x)
        assert x.device.in_use() == before


def test_a_rule_that_reads_no_value_keeps_none() -> None:
    """A chain of additions holds no intermediate buffer."""
    x = tinyml.tensor(np.ones(100_000, np.float32), requires_grad=True)
    y = x + 1.0
    before = x.device.in_use()
    for _ in range(10):
        y = y + 1.0
    assert x.device.in_use() - before < 2 * x.nbytes


def test_a_gradient_that_nobody_asked_for_is_not_computed() -> None:
    asked: list[str] = []

    def rule(name: str) -> Callable[..., Any]:
        def back(g: Tensor, _y: Tensor, _a: Tensor, _b: Tensor) -> Tensor:
            asked.append(name)
            return g

        return back

    op = Op("watched", OPS["add"].infer, nest=OPS["add"].nest, grad=(rule("a"), rule("b")))
    x = tinyml.tensor(1.0)
    grad(lambda b: apply(op, x, b))(x)
    assert asked == ["b"]
    other = tinyml.tensor(1.0, requires_grad=True)
    grad(lambda a: apply(op, a, other))(x)
    assert asked == ["b", "a"]


def test_a_gradient_of_nan_stays_at_its_place(device: str) -> None:
    x = tinyml.tensor([0.0, 4.0], device=device)
    g = grad(lambda x: tinyml.where(x > 1.0, x.sqrt(), 0.0).sum())(x)
    assert g.tolist()[1] == 0.25
    assert math.isinf(grad(lambda x: x.sqrt().sum())(x).tolist()[0])
