"""checkpoint and custom_gradient: what they compute, what they keep, and what they refuse."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.autodiff.checkpoint import checkpoint
from tinyml.autodiff.custom_gradient import custom_gradient
from tinyml.autodiff.jacobian import hvp
from tinyml.autodiff.jvp import jvp
from tinyml.autodiff.tape import GradientTape
from tinyml.errors import ArgumentTypeError, DTypeError, GradientError, ShapeError
from tinyml.graph.trace import trace

pytestmark = pytest.mark.kernels(4)

Tensor = Any
grad, vjp = tinyml.grad, tinyml.vjp


def wide(*values: float) -> Tensor:
    """A float64 vector on the CPU."""
    return tinyml.tensor(np.array(values), dtype="float64")


W, V = wide(0.5, 1.0, 2.0), wide(1.0, -1.0, 0.5)


def close(a: Tensor, b: Tensor) -> None:
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


# ---- checkpoint


def test_checkpoint_changes_no_value_and_no_gradient(device: str) -> None:
    x = tinyml.tensor([0.5, 2.0], device=device)

    def f(x: Tensor) -> Tensor:
        return (x * x).sin() * x

    assert checkpoint(f)(x).tolist() == f(x).tolist()
    assert not checkpoint(f)(x).requires_grad
    mine, theirs = (grad(lambda x, f=g: f(x).sum())(x) for g in (checkpoint(f), f))
    assert mine.tolist() == theirs.tolist() and str(mine.device) == device


def test_checkpoint_of_closures_to_any_order() -> None:
    """Arguments, differentiated values that are closed over, leaves and values made of them."""

    def loss(w: Tensor, kept: Callable[[Any], Any]) -> Tensor:
        h = w * w
        f = kept(lambda x: (x * h).sin() * w)
        y = f(w * h)
        return (y * h + f(y)).sum()

    for order in range(1, 4):
        found = []
        for kept in (checkpoint, lambda f: f):
            g: Callable[[Tensor], Tensor] = lambda w, kept=kept: loss(w, kept)  # noqa: E731
            for _ in range(order):
                g = lambda w, g=g: (grad(g)(w) * V).sum()  # noqa: E731
            found.append(g(W))
        np.testing.assert_allclose(found[0].item(), found[1].item(), rtol=1e-10)
    both = [hvp(lambda w, kept=kept: loss(w, kept), (W,), (V,))[0]
            for kept in (checkpoint, lambda f: f)]
    close(*both)
    both = [jvp(lambda w, kept=kept: loss(w, kept), (W,), (V,))[1]
            for kept in (checkpoint, lambda f: f)]
    close(*both)


def test_checkpoint_adds_to_the_leaves_that_it_closes_over(device: str) -> None:
    w = tinyml.tensor([3.0], device=device, requires_grad=True)
    checkpoint(lambda: (w * w).sum())().backward()
    assert w.grad.tolist() == [6.0]
    x = tinyml.tensor([2.0], device=device)
    w.grad = None
    checkpoint(lambda x: x * w)(x).sum().backward()
    assert w.grad.tolist() == [2.0]
    with GradientTape() as tape:
        tape.watch(x)
        y = checkpoint(lambda x: x * w * x)(x)
    assert tape.gradient(y, x).tolist() == [12.0]


def test_checkpoint_in_checkpoint() -> None:
    def f(w: Tensor, kept: Any) -> Tensor:
        h = w.sin()

        def inner(x: Tensor) -> Tensor:
            return (x * h).cos() * w

        return kept(lambda x: kept(inner)(x * h) + kept(inner)(x))(w).sum()

    for order in (grad, lambda f: grad(lambda w: (grad(f)(w) * V).sum())):
        mine, theirs = (order(lambda w, kept=kept: f(w, kept))(W)
                        for kept in (checkpoint, lambda f: f))
        close(mine, theirs)


def test_checkpoint_of_residuals_is_linear_in_depth() -> None:
    """Each block closes over the value before it, which is also used besides."""
    runs = [0]

    def deep(x: Tensor) -> Tensor:
        for _ in range(12):
            x = x + _residual(x, runs)
        return x.sum()

    want = grad(_plain_residuals)(W)
    close(grad(deep)(W), want)
    assert runs[0] == 24


def _residual(x: Tensor, runs: list[int]) -> Tensor:
    def block() -> Tensor:
        runs[0] += 1
        return (x * 0.5).sin()

    return checkpoint(block)()


def _plain_residuals(x: Tensor) -> Tensor:
    for _ in range(12):
        x = x + (x * 0.5).sin()
    return x.sum()


def test_checkpoint_of_pytrees_names_and_integers() -> None:
    @checkpoint
    def f(pair: Any, *, at: Tensor, scale: float) -> Any:
        """Its docstring."""
        x, y = pair["x"], pair["y"]
        return {"product": x * y * scale, "index": at + 1, "x": x, "n": 3}

    assert f.__doc__ == "Its docstring."
    k = tinyml.tensor([1, 2])

    def loss(x: Tensor) -> Tensor:
        out = f({"x": x, "y": x * 2.0}, at=k, scale=3.0)
        assert out["index"].tolist() == [2, 3] and out["n"] == 3
        assert not out["index"].requires_grad
        return (out["product"] + out["x"]).sum()

    assert grad(loss)(wide(1.0, 2.0)).tolist() == [13.0, 25.0]
    assert grad(lambda x: checkpoint(lambda x: (x, x * 2.0))(x)[0].sum())(W).tolist() == [1.0] * 3
    assert grad(lambda x: checkpoint(lambda x: x)(x).sum())(W).tolist() == [1.0] * 3
    assert grad(lambda x: checkpoint(lambda x: x.argmax() * 2.0)(x) * x.sum())(W).shape == (3,)


def test_checkpoint_keeps_no_intermediate_value() -> None:
    x = tinyml.tensor(np.ones(100_000, np.float32), requires_grad=True)

    def block(x: Tensor) -> Tensor:
        for _ in range(10):
            x = x.sin()
        return x

    before = x.device.in_use()
    y = checkpoint(block)(x)
    assert x.device.in_use() - before <= 1.3 * x.nbytes  # the pool rounds up
    z = block(x)
    assert x.device.in_use() - before > 9 * x.nbytes
    y.sum().backward()
    mine, x.grad = x.grad, None
    z.sum().backward()
    assert mine.tolist() == x.grad.tolist()


def test_checkpoint_draws_the_same_numbers() -> None:
    tinyml.random.seed(7)

    def noisy(x: Tensor) -> Tensor:
        return x * tinyml.random.uniform(None, x.shape, "float64")

    x = tinyml.ones(4, dtype="float64", requires_grad=True)
    y = checkpoint(noisy)(x)
    after = tinyml.random.uniform(None, (4,)).tolist()
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()
    later = tinyml.random.uniform(None, (4,)).tolist()
    tinyml.random.seed(7)
    noisy(x)
    assert tinyml.random.uniform(None, (4,)).tolist() == after
    assert tinyml.random.uniform(None, (4,)).tolist() == later != after


def test_checkpoint_refuses_what_changes() -> None:
    factors = [tinyml.ones(3, dtype="float64")]

    def changing(x: Tensor) -> Tensor:
        return x * factors[-1]

    y, pullback = vjp(checkpoint(changing), W)
    factors.append(tinyml.ones((2, 3), dtype="float64"))
    with pytest.raises(GradientError, match="something else when it ran again") as caught:
        pullback(y)
    assert "test_custom_gradient.py" in str(caught.value)
    factors[:] = [tinyml.ones(3, dtype="float64")]
    y, pullback = vjp(checkpoint(changing), W)
    factors[:] = [tinyml.ones(3, dtype="float64", requires_grad=True) * 2.0]
    with pytest.raises(GradientError, match="something else"):
        pullback(y)


def test_checkpoint_makes_no_cycles() -> None:
    def step() -> list[Any]:
        w = tinyml.ones(3, requires_grad=True)
        h = w * w
        y = checkpoint(lambda x: (x * h).sin())(h * 2.0)
        y.sum().backward()
        return [weakref.ref(t) for t in (w, h, y, w.grad)]

    step()
    gc.collect()
    gc.disable()
    try:
        assert [ref() for ref in step()] == [None] * 4
    finally:
        gc.enable()


def test_checkpoint_in_a_graph() -> None:
    f = checkpoint(lambda x: (x * x * W).sin())
    graph = trace(grad(lambda x: f(x).sum()))(V)
    close(graph(V), grad(lambda x: (x * x * W).sin().sum())(V))
    close(grad(lambda x: (trace(f)(V)(x)).sum())(V), graph(V))


# ---- custom_gradient


@custom_gradient
def clipped(x: Tensor) -> Any:
    """The identity, whose gradient is at most 1."""
    return x, lambda g: tinyml.minimum(g, 1.0)


@custom_gradient(linear=True)
def exponential(x: Tensor) -> Any:
    """exp with a rule of its own."""
    y = x.exp()
    return y, lambda g: g * y


@custom_gradient(jvp=lambda primals, tangents: tangents[0] * primals[0].exp())
def forward_exponential(x: Tensor) -> Any:
    """exp with two rules of its own."""
    y = x.exp()
    return y, lambda g: g * y


@custom_gradient(linear=True)
def product(pair: Any, scale: float) -> Any:
    """x y scale with a wrong factor, to see that the rule is asked; and an index."""
    x, y = pair["x"], pair["y"]
    value = {"product": x * y * scale, "at": x.argmax()}

    def pullback(g: Any) -> Any:
        assert g["at"] is None
        return {"x": g["product"] * y * 100.0, "y": None}, None

    return value, pullback


def test_the_rule_is_asked(device: str) -> None:
    x = tinyml.tensor([3.0, 4.0], device=device)
    g = grad(lambda x: (clipped(x) * tinyml.tensor([5.0, 0.5], device=device)).sum())(x)
    assert g.tolist() == [1.0, 0.5] and str(g.device) == device
    assert clipped(x).tolist() == [3.0, 4.0] and not clipped(x).requires_grad
    assert clipped.__doc__ and clipped.__name__ == "clipped"

    def loss(x: Tensor) -> Tensor:
        return product({"x": x, "y": x + 1.0}, 2.0)["product"].sum()

    with pytest.raises(ShapeError, match="cotangent like the argument"):
        grad(loss)(x)  # {"x": g, "y": None} lacks y


def test_pytrees_of_cotangents() -> None:
    @custom_gradient
    def f(pair: Any, scale: float) -> Any:
        value = {"product": pair["x"] * scale, "at": pair["x"].argmax()}
        return value, lambda g: ({"x": g["product"] * 100.0, "k": None}, None)

    k = tinyml.tensor([1])
    assert grad(lambda x: f({"x": x, "k": k}, 2.0)["product"].sum())(W).tolist() == [100.0] * 3

    @custom_gradient
    def two(x: Tensor, y: Tensor) -> Any:
        return (x * y, x + y), lambda g: (g[0] * y + g[1], None)

    dx, dy = grad(lambda x, y: two(x, y)[0].sum(), (0, 1))(W, V)
    assert dx.tolist() == V.tolist() and dy.tolist() == [0.0] * 3
    assert grad(lambda y: two(W, y)[0].sum())(V).tolist() == [0.0] * 3


def test_undeclared_rules_refuse_more() -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: jvp(clipped, (W,), (V,)),
        lambda: grad(lambda x: grad(lambda y: (clipped(y * y) * 0.5).sum())(x).sum())(W),
        lambda: hvp(lambda x: clipped(x * x).sum(), (W,), (V,)),
    ]
    for attempt in attempts:
        with pytest.raises(GradientError, match="not declared linear") as caught:
            attempt()
        text = str(caught.value)
        assert text.startswith("clipped:") and "linear=True" in text
        assert "test_custom_gradient.py" in text
    # A second derivative that does not pass through the rule is none of its business.
    second = grad(lambda x: grad(lambda y: (clipped(y.detach()) * y * y).sum())(x).sum())(W)
    assert second.tolist() == (W * 2.0).tolist()


def test_linear_rules_allow_everything() -> None:
    f = exponential
    close(jvp(f, (W,), (V,))[1], V * W.exp())
    close(grad(lambda x: grad(lambda y: f(y * y).sum())(x).sum())(W),
          grad(lambda x: grad(lambda y: (y * y).exp().sum())(x).sum())(W))
    close(hvp(lambda x: f(x).sum(), (W,), (V,))[0], V * W.exp())
    third = grad(lambda x: grad(lambda x: grad(lambda y: f(y).sum())(x).sum())(x).sum())(W)
    close(third, W.exp())


def test_a_forward_rule_allows_jvp_of_any_order() -> None:
    f = forward_exponential
    close(jvp(f, (W,), (V,))[1], V * W.exp())
    close(jvp(lambda x: jvp(f, (x,), (V,))[1], (W,), (V,))[1], V * V * W.exp())
    close(grad(lambda x: jvp(f, (x,), (V,))[1].sum())(W), V * W.exp())
    with pytest.raises(GradientError, match="no second order in reverse"):
        grad(lambda x: grad(lambda y: f(y).sum())(x).sum())(W)
    straight = custom_gradient(jvp=lambda primals, tangents: tangents[0])(
        lambda x: (x, lambda g: tinyml.minimum(g, 1.0)))
    assert jvp(straight, (W,), (V * 10.0,))[1].tolist() == (V * 10.0).tolist()


def test_bad_custom_gradients() -> None:
    w = tinyml.ones(3, dtype="float64", requires_grad=True)

    def refused(error: type[Exception], match: str, f: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            grad(lambda x: custom_gradient(f)(x).sum())(W)
        assert "test_custom_gradient.py" in str(caught.value) and "remedy" in str(caught.value)

    refused(ArgumentTypeError, "returned a Tensor", lambda x: x)
    refused(GradientError, "closes over a differentiated value", lambda x: (x * w, lambda g: g))
    refused(ShapeError, "cotangent like the argument", lambda x: (x, lambda g: g.sum()))
    refused(DTypeError, "float64", lambda x: (x, lambda g: g.astype("float32")))
    refused(ArgumentTypeError, "a tensor", lambda x: (x, lambda g: 1.0))
    refused(ShapeError, "cotangent like the argument", lambda x: (x, lambda g: (g, g)))
    with pytest.raises(GradientError, match="closes over"):
        custom_gradient(lambda x: (x * w, lambda g: g))(W)
    with pytest.raises(GradientError, match="given by name"):
        custom_gradient(lambda x, *, y: (x * y, lambda g: g))(W, y=w)
    with pytest.raises(ArgumentTypeError, match="at once"):
        custom_gradient(lambda x: x, linear=True, jvp=lambda p, t: t)


def test_a_rule_keeps_what_it_closes_over_only() -> None:
    x = tinyml.tensor(np.ones(100_000, np.float32), requires_grad=True)
    before = x.device.in_use()
    y = custom_gradient(lambda x: (x.exp().sum(), lambda g: g.broadcast_to((100_000,))))(x * 2.0)
    assert x.device.in_use() - before < 0.1 * x.nbytes
    y.backward()


def test_rules_in_graphs_draw_what_the_value_drew() -> None:
    @custom_gradient
    def noisy(x: Any) -> Any:
        noise = tinyml.random.uniform(None, (3,), "float64")
        return x * noise, lambda g: g * noise

    def draws(f: Any) -> list[list[float]]:
        tinyml.random.seed(1)
        return [f(tinyml.ones(3, dtype="float64")).tolist() for _ in range(3)]

    want = draws(noisy)
    assert want[0] != want[1] and draws(trace(noisy)(V)) == want
    np.testing.assert_allclose(draws(tinyml.jit(noisy)), want, rtol=1e-12)
    np.testing.assert_allclose(draws(tinyml.jit(grad(lambda x: noisy(x).sum()))), want, rtol=1e-12)


def test_rules_in_graphs() -> None:
    """A traced function keeps the rule, for whoever differentiates the graph."""
    graph = trace(lambda x: clipped(x * W) * 5.0)(V)
    assert any(equation.op.name == "clipped" for equation in graph.equations)
    close(graph(V), V * W * 5.0)
    close(grad(lambda x: graph(x).sum())(V), W)
    with pytest.raises(GradientError, match="not declared linear"):
        jvp(graph, (V,), (V,))
    with pytest.raises(GradientError, match="not declared linear"):
        hvp(lambda x: graph(x).sum(), (V,), (V,))
    for f in (exponential, forward_exponential):
        graph = trace(f)(V)
        close(jvp(graph, (V,), (W,))[1], W * V.exp())
        close(grad(lambda x, g=graph: g(x).sum())(V), V.exp())
    close(hvp(lambda x: trace(exponential)(V)(x).sum(), (V,), (W,))[0], W * V.exp())
    back = trace(grad(lambda x: exponential(x).sum()))(V)
    close(jvp(back, (V,), (W,))[1], W * V.exp())
    shift = wide(1.0, 2.0, 3.0)
    shifted = custom_gradient(lambda x: (x + shift, lambda g: g * shift))
    close(grad(lambda x: trace(shifted)(V)(x).sum())(V), shift)
    w = tinyml.ones(3, dtype="float64", requires_grad=True)
    with pytest.raises(GradientError, match="closes over a differentiated value"):
        trace(custom_gradient(lambda x: (x * w, lambda g: g)))(V)
    outside = custom_gradient(lambda x: (x, lambda g: g))
    with pytest.raises(GradientError, match="closes over a differentiated value"):
        grad(lambda s: trace(lambda s, x: custom_gradient(
            lambda x: (x * s, lambda g: g))(x))(V, V)(s, V).sum())(V)
    close(grad(lambda x: trace(outside)(V)(x).sum())(V), tinyml.ones_like(V))


def test_rules_under_jit() -> None:
    def f(w: Tensor) -> Tensor:
        return (exponential(w * w) + checkpoint(lambda x: (x * w).sin())(w)).sum()

    for order in (lambda f: f, grad, lambda f: lambda w: hvp(f, (w,), (V,))[0]):
        close(tinyml.jit(order(f))(W), order(f)(W))
        close(order(tinyml.jit(f))(W), order(f)(W))
    with pytest.raises(GradientError, match="not declared linear"):
        hvp(tinyml.jit(lambda w: clipped(w * w).sum()), (W,), (V,))


def test_checkpoint_draws_the_same_numbers_under_jit() -> None:
    noisy = checkpoint(lambda x: x * tinyml.random.uniform(None, x.shape))
    slope = tinyml.jit(grad(lambda x: noisy(x).sum()))
    tinyml.random.seed(1)
    found = [slope(tinyml.ones(2)).tolist() for _ in range(2)]
    tinyml.random.seed(1)
    assert found == [tinyml.random.uniform(None, (2,)).tolist() for _ in range(2)]
