"""GradientTape, and hooks on gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml.autodiff.jvp import jvp
from tinyml.autodiff.tape import GradientTape
from tinyml.core.backward import register_hook
from tinyml.errors import ArgumentError, ArgumentTypeError, GradientError, ShapeError

Tensor = Any


def double(g: Tensor) -> Tensor:
    """A hook that changes the gradient."""
    return g * 2.0


# ---- tapes


def test_a_tape_gives_gradients(device: str) -> None:
    x, w = (tinyml.tensor(v, device=device) for v in ([1.0, 2.0], [3.0, 4.0]))
    with GradientTape() as tape:
        tape.watch((x, w))
        y = (x * w).sum() + x.sum()
    found = tape.gradient(y, {"x": x, "w": [w]})
    assert found["x"].tolist() == [4.0, 5.0] and found["w"][0].tolist() == [1.0, 2.0]
    assert str(found["x"].device) == device and not found["x"].requires_grad


def test_watching_is_undone() -> None:
    x, w = tinyml.ones(2), tinyml.ones(2, requires_grad=True)
    shared, mark = x, w.node
    with GradientTape() as tape:
        tape.watch([x, w, x])
        assert shared.requires_grad
        y = (x * w).sum()
    assert not x.requires_grad and w.node is mark and not (x * x).requires_grad
    y.backward()  # what required a gradient before still gets one
    assert w.grad.tolist() == [1.0, 1.0]
    assert tape.gradient(y, x).tolist() == [1.0, 1.0]
    with pytest.raises(ZeroDivisionError), GradientTape() as tape:
        tape.watch(x)
        _ = 1 / 0
    assert not x.requires_grad


def test_values_made_in_the_block_are_sources_too() -> None:
    x = tinyml.tensor(3.0)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = y * y
        parts, _ = tinyml.max_pool2d(y.reshape(1, 1, 1, 1), 1)
        total = parts.sum() * z
    assert tape.gradient(z, y).item() == 18.0
    both = tape.gradient(z, [x, y])
    assert [g.item() for g in both] == [108.0, 18.0]
    assert tape.gradient(total, [parts, x])[0].item() == 81.0
    assert tape.gradient(total, [parts, x])[1].item() == 6 * 3.0**5
    assert tape.gradient([y, z], x).item() == 6.0 + 108.0
    weighted = tape.gradient([y, z], x, [tinyml.tensor(2.0), tinyml.tensor(0.0)])
    assert weighted.item() == 12.0


def test_unconnected_sources() -> None:
    x, other = tinyml.ones(2), tinyml.ones(3)
    with GradientTape(persistent=True) as tape:
        tape.watch([x, other])
        y = x.sum()
    assert tape.gradient(y, [x, other])[1] is None
    assert tape.gradient(y, other, unconnected_gradients="zero").tolist() == [0.0] * 3
    assert tape.gradient(tinyml.ones(()), x) is None
    with pytest.raises(ArgumentError, match='"none" or "zero"'):
        tape.gradient(y, x, unconnected_gradients="nothing")


def test_nested_tapes_give_higher_orders() -> None:
    x = tinyml.tensor(3.0)
    with GradientTape() as third:
        third.watch(x)
        with GradientTape() as second:
            second.watch(x)
            with GradientTape() as first:
                first.watch(x)
                y = x * x * x * x
            slope = first.gradient(y, x)
        curve = second.gradient(slope, x)
    assert (slope.item(), curve.item()) == (108.0, 108.0)
    assert third.gradient(curve, x).item() == 72.0
    assert tinyml.grad(lambda x: _by_tape(x) * x)(x).item() == 4.5 * 9.0  # 1.5 x^3
    with GradientTape() as tape:
        tape.watch(x)
        slope = tinyml.grad(lambda x: x * x * x)(x)
    assert tape.gradient(slope, x).item() == 18.0


def _by_tape(x: Tensor) -> Tensor:
    """The derivative of x^3 / 2."""
    with GradientTape() as tape:
        tape.watch(x)
        y = x * x * x * 0.5
    return tape.gradient(y, x)


def test_a_gradient_inside_of_the_block_is_recorded() -> None:
    x = tinyml.tensor(2.0)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        slope = tape.gradient(x * x * x, x)
    assert tape.gradient(slope, x).item() == 12.0


def test_a_tape_refuses() -> None:
    x = tinyml.ones(2)
    with pytest.raises(GradientError, match="outside of the tape's block"):
        GradientTape().watch(x)
    with pytest.raises(GradientError, match="recorded nothing"):
        GradientTape().gradient(x, x)
    with GradientTape() as tape:
        with pytest.raises(GradientError, match="float type"):
            tape.watch(tinyml.tensor([1]))
        with pytest.raises(ArgumentTypeError, match="watches tensors"):
            tape.watch(np.ones(2))
        tape.watch(x)
        y = (x * x).sum()
    with pytest.raises(GradientError, match="entered before"), tape:
        pass
    with pytest.raises(GradientError, match="a target is int64"):
        tape.gradient(x.argmax(), x)
    with pytest.raises(ArgumentTypeError, match="a source"):
        tape.gradient(y, 2.0)
    with pytest.raises(ShapeError, match="output gradient"):
        tape.gradient(y, x, tinyml.ones(3))
    assert tape.gradient(y, x).tolist() == [2.0, 2.0]
    with pytest.raises(GradientError, match="persistent=True") as caught:
        tape.gradient(y, x)
    assert "test_tape.py" in str(caught.value)


def test_a_tape_inside_of_no_grad_records() -> None:
    x = tinyml.tensor(3.0)
    with tinyml.no_grad():
        with GradientTape() as tape:
            tape.watch(x)
            y = x * x
        assert not (x * x).requires_grad
        assert tape.gradient(y, x).item() == 6.0


# ---- hooks


def test_hooks_see_and_change_whole_gradients(device: str) -> None:
    x = tinyml.tensor([3.0], device=device, requires_grad=True)
    y = x * x
    early = y * 2.0  # made before the hook
    seen: list[Any] = []
    register_hook(y, lambda g: seen.append(g.tolist()))
    handle = register_hook(y, double)
    leaf = register_hook(x, lambda g: g + 1.0)
    (early + y).sum().backward()
    assert seen == [[3.0]] and x.grad.tolist() == [37.0]
    handle.remove()
    handle.remove()
    leaf.remove()
    x.grad = None
    (early + y).sum().backward()
    assert seen == [[3.0], [3.0]] and x.grad.tolist() == [18.0]


def test_a_hook_on_one_output_of_several(device: str) -> None:
    x = tinyml.ones((1, 1, 2, 2), device=device, requires_grad=True)
    values, _ = tinyml.max_pool2d(x * 2.0, 2)
    early = values * 3.0
    register_hook(values, double)
    (early + values).sum().backward()
    assert x.grad.sum().item() == 16.0


def test_hooks_in_functions_and_tapes() -> None:
    x = tinyml.tensor(3.0)

    def hooked(x: Tensor) -> Tensor:
        y = x * x
        register_hook(y, double)
        register_hook(x, lambda g: g + 1.0)
        return y * 5.0

    assert tinyml.grad(hooked)(x).item() == 61.0
    assert tinyml.grad(tinyml.grad(hooked))(x).item() == 20.0 + 1.0
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        register_hook(y, double)
        z = y * 5.0
    assert tape.gradient(z, y).item() == 10.0 and tape.gradient(z, x).item() == 60.0


def test_jvp_passes_hooks_by() -> None:
    def hooked(x: Tensor) -> Tensor:
        y = x * x
        register_hook(y, lambda g: tinyml.minimum(g, 0.0))
        return y * 5.0

    x, one = tinyml.tensor(3.0), tinyml.tensor(1.0)
    assert jvp(hooked, (x,), (one,))[1].item() == 30.0
    assert tinyml.grad(hooked)(x).item() == 0.0


def test_the_same_function_twice_is_removed_once() -> None:
    x = tinyml.tensor(1.0, requires_grad=True)
    first, second = register_hook(x, double), register_hook(x, double)
    first.remove()
    (x * 1.0).backward()
    assert x.grad.item() == 2.0
    second.remove()


def test_hooks_refuse() -> None:
    with pytest.raises(GradientError, match="no gradient flows"):
        register_hook(tinyml.ones(2), double)
    x: Tensor = tinyml.ones(2, requires_grad=True)
    with pytest.raises(ArgumentTypeError, match="a hook is a function"):
        register_hook(x, 3)  # type: ignore[arg-type]
    handle = register_hook(x, lambda g: g.sum())
    with pytest.raises(ShapeError, match="a hook returns a gradient like"):
        (x * 2.0).sum().backward()
    handle.remove()
    register_hook(x, lambda g: 2.0)
    with pytest.raises(ArgumentTypeError, match="a hook returned a float"):
        (x * 2.0).sum().backward()
