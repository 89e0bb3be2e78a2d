"""Forward mode and whole derivatives: jvp, hvp, jacobian, hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyml
from tinyml.autodiff.jacobian import hessian, hvp, jacobian
from tinyml.autodiff.jvp import jvp
from tinyml.conformance.suite.backends import TinyML, open_backend
from tinyml.conformance.suite.forward import forward_cases
from tinyml.conformance.suite.gradients import differentiable
from tinyml.conformance.suite.run import Report, all_ops, run_op
from tinyml.errors import ArgumentTypeError, DTypeError, GradientError, ShapeError
from tinyml.graph.graph import prune
from tinyml.graph.trace import trace

pytestmark = pytest.mark.kernels(2)

Tensor = Any
grad, vjp = tinyml.grad, tinyml.vjp


def wide(values: Any) -> Tensor:
    """A float64 tensor on the CPU."""
    return tinyml.tensor(np.asarray(values), dtype="float64")


def difference(f: Callable[..., Any], xs: Any, vs: Any, h: float = 1e-5) -> Any:
    """The derivative of f in a direction by central differences."""
    up, down = (
        f(*[x if v is None else wide(x.numpy() + sign * h * v.numpy()) for x, v in zip(xs, vs)])
        for sign in (1.0, -1.0))
    return (up.numpy() - down.numpy()) / (2 * h)


OPS = all_ops()
DIFFERENTIABLE = sorted(n for n, op in OPS.items() if differentiable(op) and op.samples is not None)
X, V = wide([0.3, -0.7, 1.1, 0.6]), wide([1.0, -2.0, 0.5, 3.0])

SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "product": lambda x: x.sin() * x,
    "softmax": lambda x: tinyml.softmax(x) * x,
    "gelu": tinyml.gelu,
    "layer norm": lambda x: tinyml.layer_norm(x, x * 2.0, x.cos()) * x.sin(),
    "extremes": lambda x: x.max() * x.min() * x,
    "powers": lambda x: (x * x + 1.0) ** (x * 0.5),
    "indexing": lambda x: x[1:] * x[:-1] * x[tinyml.tensor([0, 0, 1])],
    "contraction": lambda x: x.reshape(2, 2) @ x.reshape(2, 2).T @ x[:2],
    "movement": lambda x: tinyml.concat([x, x * x]) * tinyml.pad(x, (1, 3), constant_values=2.0),
    "choice": lambda x: tinyml.where(x > 0.5, x * x, x * x * x),
    "update": lambda x: x.at[1].set(x[0] * x[2]) * x,
}


# ---- jvp


def test_value_and_tangent(device: str) -> None:
    x, v = (tinyml.tensor(a, device=device) for a in ([3.0, 1.0], [10.0, 1.0]))
    y, t = jvp(lambda x: x * x, (x,), (v,))
    assert (y.tolist(), t.tolist()) == ([9.0, 1.0], [60.0, 2.0])
    assert str(t.device) == device and not y.requires_grad and not t.requires_grad
    y, t = jvp(lambda x, w: (x * w).sum(), [x, v], [v, x])
    assert (y.item(), t.item()) == (31.0, 100.0 + 1.0 + 9.0 + 1.0)


@pytest.mark.parametrize("name", SMOOTH)
def test_jvp_and_jvp_of_grad_against_differences(name: str) -> None:
    f = SMOOTH[name]
    np.testing.assert_allclose(jvp(f, (X,), (V,))[1].numpy(), difference(f, (X,), (V,)),
                               rtol=1e-7, atol=1e-8)

    def square(x: Tensor) -> Tensor:
        return f(x).square().sum()

    want = difference(grad(square), (X,), (V,))
    np.testing.assert_allclose(hvp(square, (X,), (V,))[0].numpy(), want, rtol=1e-6, atol=1e-6)
    reverse = grad(lambda x: jvp(square, (x,), (V,))[1])(X)
    np.testing.assert_allclose(reverse.numpy(), want, rtol=1e-6, atol=1e-6)
    twice = grad(lambda x: (grad(square)(x) * V).sum())(X)
    np.testing.assert_allclose(twice.numpy(), want, rtol=1e-6, atol=1e-6)


def test_pytrees_and_integers() -> None:
    x, k = wide([1.0, 2.0]), tinyml.tensor([0, 1, 1])

    def f(tree: Any, scale: float) -> Any:
        y = tree["x"][tree["at"]] * scale
        return {"y": y, "at": tree["at"], "n": 3, "fixed": wide([1.0])}

    value, tangent = jvp(f, ({"x": x, "at": k}, 2.0), ({"x": x, "at": None}, None))
    assert value["y"].tolist() == [2.0, 4.0, 4.0] and value["n"] == 3
    assert tangent["y"].tolist() == [2.0, 4.0, 4.0]
    assert tangent["at"] is None and tangent["n"] is None and tangent["fixed"].tolist() == [0.0]
    assert jvp(lambda k: k + 1, (k,), (None,))[1] is None


def test_what_does_not_conform_is_refused() -> None:
    x = tinyml.ones(2)

    def refused(error: type[Exception], match: str, *args: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            jvp(lambda *xs: xs[0], *args)
        assert "test_jvp.py" in str(caught.value) and "remedy" in str(caught.value)

    refused(ShapeError, "tangent like the primals of shape", (x,), (tinyml.ones(3),))
    refused(DTypeError, "float32", (x,), (tinyml.ones(2, dtype="float64"),))
    refused(ArgumentTypeError, "tangent like the primals, a tensor", (x,), (1.0,))
    refused(ArgumentTypeError, "a tuple", x, x)
    refused(ShapeError, "like the primals", (x,), (x, x))
    refused(ShapeError, "like the primals", (x,), ([x],))
    refused(ArgumentTypeError, "no float tensor", (x, tinyml.tensor([1])), (x, tinyml.tensor([1])))
    refused(ArgumentTypeError, "no float tensor", (x, 2.0), (x, 1.0))
    with pytest.raises(GradientError, match="not a float scalar"):
        hvp(lambda x: x, (x,), (x,))
    with pytest.raises(GradientError, match="arguments"):
        hvp(lambda: x, (), ())
    y, pullback = vjp(lambda x: (x, x.argmax()), x)
    with pytest.raises(DTypeError, match="cotangent like the value of float32"):
        pullback((tinyml.ones(2, dtype="float64"), None))
    assert pullback((x, None))[0].tolist() == [1.0, 1.0]


def test_perturbations_are_not_confused() -> None:
    x, one = tinyml.tensor(3.0), tinyml.tensor(1.0)

    def tangent(f: Any, x: Tensor) -> Tensor:
        return jvp(f, (x,), (one,))[1]

    assert tangent(lambda x: x * tangent(lambda y: x + y, one), x).item() == 1.0
    assert tangent(lambda x: x * tangent(lambda y: x * y, one), x).item() == 6.0
    assert grad(lambda x: x * tangent(lambda y: x * y, one))(x).item() == 6.0
    assert tangent(lambda x: x * grad(lambda y: x * y)(one), x).item() == 6.0
    assert tangent(lambda x: jvp(lambda y: y * y, (one,), (x,))[1], x).item() == 2.0


def test_orders_beyond_the_second() -> None:
    def tangent(f: Any) -> Any:
        return lambda x: jvp(f, (x,), (tinyml.ones((), dtype="float64"),))[1]

    f: Callable[..., Any] = lambda x: x * x * x * x  # noqa: E731
    for orders in ("fff", "rrr", "frf", "rfr", "ffr", "rff"):
        g = f
        for order in orders:
            g = tangent(g) if order == "f" else grad(g)
        assert g(wide(2.0)).item() == 48.0, orders


def test_no_grad_and_recorded_values() -> None:
    x = tinyml.tensor(2.0, requires_grad=True)
    with tinyml.no_grad():
        y, t = jvp(lambda x: x * x, (x.detach(),), (tinyml.tensor(1.0),))
    assert t.item() == 4.0 and not t.requires_grad
    y, t = jvp(lambda y: y * y * x, (x,), (x,))  # y^2 x, in the direction x: 2 x^3
    assert t.requires_grad and y.requires_grad
    t.backward()
    assert x.grad is not None and x.grad.item() == 24.0


def test_a_traced_jvp_runs_again() -> None:
    graph = trace(lambda x, v: jvp(SMOOTH["softmax"], (x,), (v,))[1])(X, V)
    want = difference(SMOOTH["softmax"], (X,), (V,))
    np.testing.assert_allclose(graph(X, V).numpy(), want, rtol=1e-6)
    assert len(prune(graph.equations, graph.gives, graph.reads)) < len(graph.equations)


# ---- jacobian and hessian


def test_jacobian_shapes_and_values(device: str) -> None:
    x = tinyml.tensor([[1.0, 2.0, 3.0]], device=device)
    j = jacobian(lambda x: x.sum(axis=0) * 2.0)(x)
    assert j.shape == (3, 1, 3) and str(j.device) == device
    assert j.tolist() == [[[2.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]], [[0.0, 0.0, 2.0]]]
    assert jacobian(lambda x: x.sum())(x).shape == (1, 3)
    assert jacobian(lambda x: x[:0])(x).shape == (0, 3, 1, 3)
    assert jacobian(lambda x: x)(tinyml.tensor(2.0, device=device)).item() == 1.0
    assert jacobian(lambda x: tinyml.zeros(2, device=device))(x).tolist() == [[[0.0] * 3]] * 2


def test_jacobian_of_many_rows() -> None:
    x = wide(np.linspace(-1.0, 1.0, 75))
    np.testing.assert_array_equal(jacobian(lambda x: x * x)(x).numpy(), np.diag(2.0 * x.numpy()))


def test_jacobian_of_pytrees() -> None:
    x, w = wide([1.0, 2.0]), wide([[1.0, 0.0], [3.0, 4.0], [5.0, 6.0]])
    args = {"x": x, "k": tinyml.tensor([1])}

    def f(args: Any, w: Tensor) -> Any:
        return w @ args["x"], [args["x"].sum()]

    first, (second,) = jacobian(f)(args, w)
    assert first["x"].tolist() == w.tolist() and first["k"] is None
    assert second["x"].tolist() == [1.0, 1.0]
    (dx, dw), _ = jacobian(f, (0, 1))(args, w)
    assert dx["x"].shape == (3, 2) and dw.shape == (3, 3, 2)
    assert jacobian(lambda a, *, s: a * s, -1)(x, s=2.0).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    with pytest.raises(GradientError, match="int64"):
        jacobian(lambda x: (x, x.argmax()))(x)
    with pytest.raises(GradientError, match="no float tensor"):
        jacobian(lambda x: x)(tinyml.tensor([1]))
    with pytest.raises(ArgumentTypeError, match="argnums"):
        jacobian(lambda x: x, 3)(x)


def test_hessian() -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        return (x * x * x).sum() * y

    x, y = wide([1.0, 2.0]), wide(3.0)
    assert hessian(f)(x, y).tolist() == [[18.0, 0.0], [0.0, 36.0]]
    (xx, xy), (yx, yy) = hessian(f, (0, 1))(x, y)
    assert xy.tolist() == yx.tolist() == [3.0, 12.0] and yy.item() == 0.0
    assert xx.shape == (2, 2)
    tree = hessian(lambda t: f(t["x"], t["y"]))({"x": x, "y": y})
    assert tree["x"]["y"].tolist() == [3.0, 12.0]
    want = hessian(lambda x: SMOOTH["layer norm"](x).sum())(X).numpy()
    columns = [hvp(lambda x: SMOOTH["layer norm"](x).sum(), (X,), (wide(row),))[0].numpy()
               for row in np.eye(4)]
    np.testing.assert_allclose(want, np.stack(columns, 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(want, want.T, rtol=1e-10, atol=1e-12)


def test_the_gradient_of_a_jacobian() -> None:
    g = grad(lambda x: jacobian(lambda y: y * y * x)(x).sum())(wide([1.0, 2.0]))
    # The sum of d(y_i^2 x_i)/dy_j at y = x is that of 2 x_i^2.
    assert g.tolist() == [4.0, 8.0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
def test_jvp_and_vjp_are_transposes(seed: int, rows: int, columns: int) -> None:
    """<g, J v> = <J' g, v> for any function."""
    rng = np.random.default_rng(seed)
    x, v = (wide(rng.normal(size=(rows, columns))) for _ in range(2))
    names = list(SMOOTH)[:3]

    def f(x: Tensor) -> Tensor:
        y = SMOOTH[names[seed % 3]](x)
        return (y @ y.T).sum(axis=0)

    y, t = jvp(f, (x,), (v,))
    g = wide(rng.normal(size=y.shape))
    (back,) = vjp(f, x)[1](g)
    np.testing.assert_allclose((g * t).sum().item(), (back * v).sum().item(), rtol=1e-9, atol=1e-9)


# ---- every op, and the peers


@pytest.mark.kernels(4)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_jvp_of_every_op(name: str) -> None:
    """Against central differences of the reference, by the suite `forward`."""
    backend = open_backend("tinyml:cpu")
    report = Report("forward", backend.name, run_op("forward", OPS[name], backend))
    assert report.totals["failed"] == report.totals["unsupported"] == 0, report.text()


def test_the_forward_suite_sees_a_wrong_tangent() -> None:
    class Wrong(TinyML):
        def tangent(self, *args: Any) -> Any:
            return super().tangent(*args) * 1.001

    (first, *_) = run_op("forward", OPS["tanh"], Wrong("cpu"))
    assert first.status == "failed" and "off by" in first.detail
    assert run_op("forward", OPS["tanh"], open_backend("numpy"))[0].status == "unsupported"
    assert sum(bool(list(forward_cases(OPS[n], ("float64",)))) for n in DIFFERENTIABLE) > 40


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch.func asks its old jit
@pytest.mark.peers("torch")
def test_jvp_against_torch() -> None:
    import torch

    theirs: dict[str, Callable[[Any], Any]] = {
        "product": lambda x: x.sin() * x,
        "softmax": lambda x: torch.softmax(x, -1) * x,
        "gelu": torch.nn.functional.gelu,
        "powers": lambda x: (x * x + 1.0) ** (x * 0.5),
        "contraction": lambda x: x.reshape(2, 2) @ x.reshape(2, 2).T @ x[:2],
        "choice": lambda x: torch.where(x > 0.5, x * x, x * x * x),
    }
    x, v = torch.tensor(X.tolist(), dtype=torch.float64), torch.tensor(V.tolist()).double()
    for name, f in theirs.items():
        want = torch.func.jvp(f, (x,), (v,))[1].numpy()
        np.testing.assert_allclose(jvp(SMOOTH[name], (X,), (V,))[1].numpy(), want, rtol=1e-10)
        jac = torch.func.jacrev(f)(x).numpy()
        np.testing.assert_allclose(jacobian(SMOOTH[name])(X).numpy(), jac, rtol=1e-9, atol=1e-12)
        hess = torch.func.hessian(lambda x, f=f: f(x).square().sum())(x).numpy()
        mine = hessian(lambda x, name=name: SMOOTH[name](x).square().sum())(X).numpy()
        np.testing.assert_allclose(mine, hess, rtol=1e-8, atol=1e-10)


@pytest.mark.peers("jax")
def test_jvp_against_jax() -> None:
    import jax
    import jax.numpy as jnp

    theirs: dict[str, Callable[[Any], Any]] = {
        "product": lambda x: jnp.sin(x) * x,
        "softmax": lambda x: jax.nn.softmax(x) * x,
        "movement": lambda x: jnp.concatenate([x, x * x]) * jnp.pad(x, (1, 3), constant_values=2.0),
        "indexing": lambda x: x[1:] * x[:-1] * x[jnp.array([0, 0, 1])],
        "update": lambda x: x.at[1].set(x[0] * x[2]) * x,
        "extremes": lambda x: x.max() * x.min() * x,
    }
    x, v = jnp.array(X.tolist()), jnp.array(V.tolist())
    for name, f in theirs.items():
        want = jax.jvp(f, (x,), (v,))[1]
        np.testing.assert_allclose(jvp(SMOOTH[name], (X,), (V,))[1].numpy(), want, rtol=2e-5)
        third = jax.jvp(jax.grad(lambda x, f=f: (f(x) ** 2).sum()), (x,), (v,))[1]
        mine = hvp(lambda x, name=name: SMOOTH[name](x).square().sum(), (X,), (V,))[0]
        np.testing.assert_allclose(mine.numpy(), third, rtol=1e-4, atol=1e-4)
