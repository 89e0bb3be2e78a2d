"""Control flow: cond, scan and while_loop, their gradients, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyml
from tinyml.autodiff.jacobian import hvp
from tinyml.autodiff.jvp import jvp
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GradientError,
    GraphError,
    ShapeError,
)
from tinyml.graph.control_flow import cond, scan, while_loop
from tinyml.graph.graph import Graph
from tinyml.graph.trace import trace

pytestmark = pytest.mark.kernels(4)

Tensor = Any
grad, vjp = tinyml.grad, tinyml.vjp


def wide(*values: float) -> Tensor:
    """A float64 vector on the CPU."""
    return tinyml.tensor(np.array(values), dtype="float64")


W, V, X = wide(0.5, 1.0, 2.0), wide(1.0, -1.0, 0.5), wide(1.0, 2.0, 3.0)


def close(a: Tensor, b: Tensor) -> None:
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-11)


def same_derivatives(f: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor],
                     w: Tensor = W) -> None:
    """Two scalar functions agree up to the third order, in both modes, eager and traced."""
    v = wide(*np.linspace(-1.0, 1.0, w.size)).reshape(w.shape)
    close(f(w), plain(w))
    close(grad(f)(w), grad(plain)(w))
    close(jvp(f, (w,), (v,))[1], jvp(plain, (w,), (v,))[1])
    close(hvp(f, (w,), (v,))[0], hvp(plain, (w,), (v,))[0])
    third = [grad(lambda w, g=g: (grad(lambda w: (grad(g)(w) * v).sum())(w) * v).sum())(w)
             for g in (f, plain)]
    close(*third)
    close(trace(f)(w)(w), plain(w))
    close(trace(grad(f))(w)(w), grad(plain)(w))
    close(grad(trace(f)(w))(w), grad(plain)(w))


# ---- cond


def test_cond_runs_one_branch(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device)
    for sign in (1.0, -1.0):
        y = x * sign
        got = cond(y.sum() > 0.0, lambda y: y * 2.0, lambda y: y + 10.0, y)
        assert got.tolist() == ([2.0, 4.0] if sign > 0 else [9.0, 8.0])
        assert str(got.device) == device
    assert cond(True, lambda: 1.0, lambda: 2.0).item() == 1.0
    assert cond(np.bool_(False), lambda x: {"a": (x, 3)}, lambda x: {"a": (x, 4)}, x)["a"][
        1].item() == 4
    assert cond(x.sum() > 0.0, lambda: None, lambda: None) is None
    assert cond(x.sum() > 0.0, lambda y: y, lambda y: y * 2.0, 3.0).item() == 3.0
    empty = tinyml.zeros((0, 2), device=device)
    assert cond(False, lambda x: x, lambda x: x * 2.0, empty).shape == (0, 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond_has_derivatives_of_any_order(sign: float) -> None:
    def f(w: Tensor) -> Tensor:
        h = w * w * sign
        return cond(h.sum() > 0.0, lambda x: (x * h).sin().sum(), lambda x: (w * x * x).sum(), w)

    def plain(w: Tensor) -> Tensor:
        h = w * w * sign
        return (w * h).sin().sum() if h.sum().item() > 0.0 else (w * w * w).sum()

    same_derivatives(f, plain)


def test_a_traced_cond_chooses_when_it_runs(device: str) -> None:
    def f(x: Tensor) -> Tensor:
        return cond(x.sum() > 0.0, lambda x: (x * x).sum(), lambda x: x.sum(), x)

    x = tinyml.tensor([1.0, 2.0], device=device)
    graph = trace(f)(x)
    back = trace(grad(f))(x)
    assert [equation.op.name for equation in graph.equations].count("cond") == 1
    assert (graph(x).item(), graph(-x).item()) == (5.0, -3.0)
    assert (back(x).tolist(), back(-x).tolist()) == ([2.0, 4.0], [1.0, 1.0])


def test_cond_with_integers_and_unused_branches() -> None:
    x, k = wide(3.0), tinyml.tensor([5])

    def f(x: Tensor) -> Tensor:
        y, n = cond(True, lambda x, k: (x * x, k + 1), lambda x, k: (x * 0.0 + 1.0, k), x, k)
        assert n.tolist() == [6] and not n.requires_grad
        return y.sum()

    assert grad(f)(x).tolist() == [6.0]
    assert grad(lambda x: cond(False, lambda x: x, lambda x: wide(1.0), x).sum())(x).tolist() == [0]


def test_cond_refuses() -> None:
    x = tinyml.ones(3)

    def refused(error: type[Exception], match: str, *args: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            cond(*args)
        text = str(caught.value)
        assert "test_control_flow.py" in text and "remedy" in text

    def f(x: Tensor) -> Tensor:
        return x

    refused(DTypeError, "type bool", x.sum(), f, f, x)
    refused(ArgumentTypeError, "a condition is a float", 1.0, f, f, x)
    refused(ArgumentTypeError, "a condition is a NoneType", None, f, f, x)
    refused(ShapeError, r"shape \(\)", x > 0.0, f, f, x)
    refused(GraphError, "differ: float32\\[3\\] cpu against float32\\[\\]", True, f,
            lambda x: x.sum(), x)
    refused(GraphError, "differ: float32.* against float64", True, f,
            lambda x: x.astype("float64"), x)
    refused(GraphError, "true_fn and false_fn differ at the root", True, f, lambda x: (x, x), x)
    refused(GraphError, "only the first has the keys", True, lambda x: {"a": x},
            lambda x: {"b": x}, x)


# ---- scan


def step(c: Tensor, x: Tensor) -> Any:
    """A step without closures."""
    return c * x + 1.0, c.sin() * x


@pytest.mark.kernels(4)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 9, 20])
def test_scan_is_a_loop(device: str, length: int, reverse: bool) -> None:
    array = np.linspace(-1.0, 1.0, length * 2, dtype=np.float32).reshape(length, 2)
    xs, c = tinyml.tensor(array, device=device), tinyml.tensor([0.5, 2.0], device=device)
    carry, ys = scan(step, c, xs, reverse=reverse)
    rows = [None] * length
    for k in reversed(range(length)) if reverse else range(length):
        c, rows[k] = step(c, xs[k])
    np.testing.assert_allclose(carry.numpy(), c.numpy(), rtol=1e-6)
    assert ys.shape == (length, 2) and str(ys.device) == device
    for row, y in zip(rows, ys, strict=True):
        np.testing.assert_allclose(y.numpy(), row.numpy(), rtol=1e-6)


@pytest.mark.kernels(75)
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_has_derivatives_of_any_order(reverse: bool) -> None:
    """In the carry, the slices and what the step closes over."""

    def run(w: Tensor, loop: Any) -> Tensor:
        h = w * w
        (c, n), ys = loop(lambda s, x: (((s[0] * h + x).sin(), s[1] + 1), s[0].sum() * x * w),
                          (w, tinyml.tensor(0)), w * X)
        return c.sum() * n.astype("float64") + (ys * ys).sum()

    def plain(f: Any, c: Any, xs: Tensor) -> Any:
        rows: list[Any] = [None] * 3
        for k in (2, 1, 0) if reverse else (0, 1, 2):
            c, rows[k] = f(c, xs[k])
        return c, tinyml.stack(rows)

    same_derivatives(lambda w: run(w, lambda *a: scan(*a, reverse=reverse)),
                     lambda w: run(w, plain))


def test_scan_over_pytrees_and_views(device: str) -> None:
    table = tinyml.tensor(np.arange(12.0, dtype=np.float32).reshape(3, 4), device=device)
    xs = {"column": table.T, "back": table.T[::-1], "wide": tinyml.ones((1, 3), device=device)
          .broadcast_to((4, 3)), "k": tinyml.arange(4, device=device)}

    def f(c: Any, x: Any) -> Any:
        total = c["total"] + (x["column"] * x["back"] * x["wide"]).sum()
        return {"total": total, "n": c["n"] + x["k"]}, None

    carry, ys = scan(f, {"total": 0.0, "n": 0}, xs)
    want = float((np.arange(12.0).reshape(3, 4).T * np.arange(12.0).reshape(3, 4).T[::-1]).sum())
    assert carry["total"].item() == want and carry["n"].item() == 6 and ys is None
    carry, ys = scan(lambda c, x: (c * 2.0, (c, {"k": 1})), 1.0, length=3)
    assert carry.item() == 8.0 and ys[0].tolist() == [1.0, 2.0, 4.0]
    assert ys[1]["k"].tolist() == [1, 1, 1]
    assert scan(lambda c, x: (None, x + 1), None, tinyml.arange(3))[1].tolist() == [1, 2, 3]


def test_scan_draws_other_numbers_each_step() -> None:
    tinyml.random.seed(3)
    _, ys = scan(lambda c, x: (c, tinyml.random.uniform(None, (2,))), 0.0, length=3)
    after = tinyml.random.uniform(None, (2,)).tolist()
    tinyml.random.seed(3)
    want = [tinyml.random.uniform(None, (2,)).tolist() for _ in range(4)]
    assert [*ys.tolist(), after] == want


def test_scan_in_scan() -> None:
    def outer(loop: Any) -> Callable[[Tensor], Tensor]:
        def inner(c: Tensor, x: Tensor) -> Any:
            return loop(lambda d, y: (d * y.sin() + x, d), c, W * x)

        return lambda w: loop(inner, w.sum(), w)[1].square().sum()

    def plain(f: Any, c: Any, xs: Tensor) -> Any:
        rows = []
        for x in xs:
            c, y = f(c, x)
            rows.append(y)
        return c, tinyml.stack(rows)

    same_derivatives(outer(scan), outer(plain))


def test_a_recurrent_net_learns_by_scan(device: str) -> None:
    """The sum of a sequence, by gradient descent through the scan."""
    xs = tinyml.tensor(np.random.default_rng(0).uniform(-1, 1, (5, 8)).astype(np.float32),
                       device=device)
    want = xs.sum(axis=0)

    def loss(p: Any) -> Tensor:
        h, _ = scan(lambda h, x: (h * p["keep"] + x * p["take"], None),
                    tinyml.zeros(8, device=device), xs)
        return (h - want).square().mean()

    p = {"keep": tinyml.tensor(0.5, device=device), "take": tinyml.tensor(0.5, device=device)}
    for _ in range(60):
        g = grad(loss)(p)
        p = {k: p[k] - g[k] * 0.05 for k in p}
    assert loss(p).item() < 0.01


def test_scan_refuses() -> None:
    xs = tinyml.ones((3, 2))

    def refused(error: type[Exception], match: str, *args: Any, **more: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            scan(*args, **more)
        text = str(caught.value)
        assert "test_control_flow.py" in text and "remedy" in text

    refused(GraphError, "carry before and after a step differ: float32", lambda c, x: (x, x), 0.0,
            xs)
    refused(GraphError, "float32.* against float64", lambda c, x: (c.astype("float64"), x), 0.0, xs)
    refused(GraphError, "int64.* against float32", lambda c, x: (c + 1.0, x), 0, xs)
    refused(GraphError, "differ at the root", lambda c, x: ((c, c), x), 0.0, xs)
    refused(GraphError, "differ at \\['a'\\]", lambda c, x: ({"a": x, "b": c["b"]}, x),
            {"a": 0.0, "b": 1.0}, xs)
    refused(ArgumentTypeError, "not \\(carry, y\\)", lambda c, x: c, 0.0, xs)
    refused(ShapeError, "an axis to cut", lambda c, x: (c, x), 0.0, 1.0)
    refused(ShapeError, "one length", lambda c, x: (c, x), 0.0, (xs, tinyml.ones(2)))
    refused(ArgumentError, "the number of steps", lambda c, x: (c, x), 0.0)
    refused(ArgumentError, "xs of length 4", lambda c, x: (c, x), 0.0, xs, length=4)
    refused(ArgumentError, "length >= 0", lambda c, x: (c, x), 0.0, length=-1)


# ---- while_loop


def test_while_loop(device: str) -> None:
    x = tinyml.tensor([1.0, 2.0], device=device)
    y, n = while_loop(lambda s: s[0].sum() < 100.0, lambda s: (s[0] * 2.0, s[1] + 1), (x, 0))
    assert y.tolist() == [64.0, 128.0] and n.item() == 6 and str(y.device) == device
    assert while_loop(lambda x: x.sum() > 100.0, lambda x: x * 2.0, x).tolist() == x.tolist()
    y = while_loop(lambda x: x.sum() < 100.0, lambda x: x * 2.0, x, max_steps=2)
    assert y.tolist() == [4.0, 8.0]
    graph = trace(lambda x: while_loop(lambda y: y.sum() < 100.0, lambda y: y * 2.0, x))(x)
    assert graph(x).tolist() == [64.0, 128.0] and graph(x * 10.0).tolist() == [40.0, 80.0]


def test_while_loop_has_derivatives_where_the_steps_are_bounded() -> None:
    def f(w: Tensor) -> Tensor:
        return while_loop(lambda c: c.sum() < 50.0, lambda c: c * (w + 1.5), w, max_steps=7).sum()

    def plain(w: Tensor) -> Tensor:
        c = w
        while c.sum().item() < 50.0:
            c = c * (w + 1.5)
        return c.sum()

    same_derivatives(f, plain)


def test_a_gradient_of_an_unbounded_while_loop_is_refused() -> None:
    def f(w: Tensor) -> Tensor:
        return while_loop(lambda c: c.sum() < 50.0, lambda c: c * 2.0, w).sum()

    assert f(W).item() == 56.0
    for attempt in (lambda: grad(f)(W), lambda: jvp(f, (W,), (V,)), lambda: grad(trace(f)(W))(W)):
        with pytest.raises(GradientError, match="not known in reverse mode") as caught:
            attempt()
        text = str(caught.value)
        assert "scan" in text and "max_steps" in text and "test_control_flow.py" in text
    assert grad(lambda w: f(w.detach()) * w.sum())(W).tolist() == [56.0] * 3


def test_while_loop_refuses() -> None:
    x = tinyml.ones(3)

    def refused(error: type[Exception], match: str, *args: Any, **more: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            while_loop(*args, **more)
        text = str(caught.value)
        assert "test_control_flow.py" in text and "remedy" in text

    def body(x: Tensor) -> Tensor:
        return x + 1.0

    refused(DTypeError, "type bool", lambda x: x.sum(), body, x)
    refused(ShapeError, r"shape \(\)", lambda x: x < 3.0, body, x)
    refused(ArgumentTypeError, "one condition", lambda x: (x.sum() < 3.0, 1), body, x)
    refused(GraphError, "carry before and after", lambda x: x.sum() < 3.0, lambda x: x.sum(), x)
    refused(GraphError, "at the root", lambda x: x.sum() < 3.0, lambda x: (x, x), x)
    refused(GraphError, "without random numbers",
            lambda x: tinyml.random.uniform(None, ()) < 0.5, body, x)
    refused(ArgumentError, "at least one value", lambda x: True, lambda x: x, None)
    refused(ArgumentError, "max_steps >= 0", lambda x: x.sum() < 3.0, body, x, max_steps=-1)


# ---- any nesting


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["cond", "scan", "while"]), min_size=1, max_size=3),
       st.floats(-1.0, 1.0))
def test_any_nesting_has_the_gradient_of_the_plain_loops(kinds: list[str], start: float) -> None:
    def build(kinds: list[str], control: bool) -> Callable[[Tensor, Tensor], Tensor]:
        if not kinds:
            return lambda x, w: (x * w).sin() + w
        inner = build(kinds[1:], control)
        if kinds[0] == "cond":
            if control:
                return lambda x, w: cond(x > 0.2, lambda x: inner(x, w), lambda x: x * w * w, x)
            return lambda x, w: inner(x, w) if x.item() > 0.2 else x * w * w
        if kinds[0] == "scan":
            if control:
                return lambda x, w: scan(lambda c, k: (inner(c, w) * k, None), x, wide(0.5, 1.5))[0]
            return lambda x, w: inner(inner(x, w) * 0.5, w) * 1.5
        if control:
            return lambda x, w: while_loop(lambda s: s[1] < 2, lambda s: (inner(s[0], w), s[1] + 1),
                                           (x, 0), max_steps=3)[0]
        return lambda x, w: inner(inner(x, w), w)

    x, w = wide(start).sum(), wide(0.7).sum()
    mine, theirs = (grad(build(kinds, control), (0, 1))(x, w) for control in (True, False))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.item(), b.item(), rtol=1e-9, atol=1e-12)


@pytest.mark.kernels(65)
def test_all_of_it_under_jit(device: str) -> None:
    w, xs = (tinyml.tensor(v, device=device) for v in ([0.5, 1.0, 2.0], [1.0, 2.0, 3.0]))

    def f(w: Tensor) -> Tensor:
        (c, n), ys = scan(lambda s, x: (((s[0] * w * w + x).sin(), s[1] + 1), s[0].sum() * x * w),
                          (w, 0), w * xs)
        d = cond(c.sum() > 0.3, lambda c: (c * w).sum(), lambda c: c.sum() * 2.0, c)
        e = while_loop(lambda c: c.sum() < 20.0, lambda c: c * (w + 1.5), w, max_steps=5).sum()
        return d * e + (ys * ys).sum() + n

    for order in (lambda f: f, grad, lambda f: lambda w: hvp(f, (w,), (xs,))[0]):
        for jitted in (tinyml.jit(order(f)), order(tinyml.jit(f))):
            np.testing.assert_allclose(jitted(w).numpy(), order(f)(w).numpy(), rtol=2e-4)


def test_control_flow_holds_no_graph_for_ever() -> None:
    """Each eager call traces anew; nothing of it stays behind."""
    import gc

    def call() -> None:
        grad(lambda w: scan(lambda c, x: (c * x * w, None), w, X)[0].sum())(W)

    def count() -> int:
        gc.collect()
        return sum(issubclass(type(x), Graph) for x in gc.get_objects())

    call()
    before = count()
    for _ in range(5):
        call()
    assert count() <= before


@pytest.mark.peers("jax")
def test_scan_against_jax() -> None:
    import jax
    import jax.numpy as jnp

    def f(xs: Any, c: Any, sin: Any, loop: Any) -> Any:
        carry, ys = loop(lambda c, x: (sin(c * x), c * c), c, xs)
        return carry.sum() + (ys * ys).sum()

    want = jax.grad(lambda x, c: f(x, c, jnp.sin, jax.lax.scan), (0, 1))(
        jnp.array(X.tolist()), jnp.array(2.0))
    mine = grad(lambda x, c: f(x, c, tinyml.sin, scan), (0, 1))(X, wide(2.0).sum())
    for a, b in zip(mine, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=2e-5)


# ---- random numbers


def _like(x: Any) -> Any:
    """Numbers of the global generator, in x's shape and on its device."""
    return tinyml.random.uniform(tinyml.random.next_key().to(x.device), x.shape)


def _drawing_scan(x: Any) -> Any:
    return tinyml.scan(lambda c, r: (c + _like(c), c * r), x, tinyml.stack([x, x + 1.0]))


def _drawing_cond(x: Any) -> Any:
    return tinyml.cond(x.sum() > 2.0, lambda v: v - _like(v) * _like(v), lambda v: v + _like(v), x)


def _drawing_loop(x: Any) -> Any:
    return tinyml.while_loop(lambda v: v.sum() < 20.0, lambda v: v * 1.5 + _like(v), x)


def _by_hand(name: str, x: Any) -> Any:
    """The same by Python's own control flow."""
    if name == "cond":
        return x - _like(x) * _like(x) if x.sum().item() > 2.0 else x + _like(x)
    if name == "while":
        while x.sum().item() < 20.0:
            x = x * 1.5 + _like(x)
        return x
    c, ys = x, []
    for r in (x, x + 1.0):
        ys.append(c * r)
        c = c + _like(c)
    return c, tinyml.stack(ys)


@pytest.mark.kernels(20)
@pytest.mark.parametrize(("name", "f"), [("scan", _drawing_scan), ("cond", _drawing_cond),
                                         ("while", _drawing_loop)])
def test_bodies_draw_from_the_global_generator_on_every_device(name: str, f: Any,
                                                               device: str) -> None:
    x = tinyml.tensor([0.25, 3.0], device=device)
    jitted = tinyml.jit(f)
    results = []
    for run in (lambda v: _by_hand(name, v), f, jitted, jitted):
        tinyml.random.seed(41)
        found = [y.tolist() for y in tinyml.tree.flatten(run(x))[0]]
        results.append((found, tinyml.random.next_key().tolist()))
    for found, key in results[1:]:
        assert key == results[0][1]
        for got, expected in zip(found, results[0][0], strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert results[2] == results[3]
