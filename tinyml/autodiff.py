"""Differentiation of functions: grad, value_and_grad, vjp; gradients of any order.

A differentiation marks its inputs with leaves one level deeper than any around it. The way back is
recorded only when an outer differentiation can see it, so first-order gradients cost no second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tinyml.tree as tree
from tinyml.core import STATE, Leaf, make, paused
from tinyml.errors import ArgumentTypeError, GradientError, expect
from tinyml.ops.creation import ones_like, zeros_like
from tinyml.reverse import backward
from tinyml.tensor import Tensor


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are not recorded, in this thread.

    >>> import tinyml
    >>> x = tinyml.ones(1, requires_grad=True)
    >>> with tinyml.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    with paused():
        yield


@contextmanager
def _one_deeper() -> Iterator[int]:
    before = STATE.recording
    STATE.depth += 1
    STATE.recording = True
    try:
        yield STATE.depth
    finally:
        STATE.depth -= 1
        STATE.recording = before


def _marked(x: Any, depth: int) -> tuple[Any, Leaf | None]:
    """The value with a leaf of this depth, if a gradient may flow to it."""
    if not isinstance(x, Tensor) or not x.dtype.is_float:
        return x, None
    outer = x.node
    leaf = Leaf(x.spec, min(depth, outer.low) if outer is not None else depth, outer)
    return make(x.buf, x.spec, leaf), leaf


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """f's value at `primals`, and the function from a cotangent of it to those of the primals.

    Primals and value may be pytrees. A leaf that is no float tensor gets None.

    >>> import tinyml
    >>> y, pullback = tinyml.vjp(lambda x: x * x, tinyml.tensor([3.0]))
    >>> pullback(tinyml.tensor([1.0]))[0].tolist()
    [6.0]
    """
    flat, definition = tree.flatten(primals)
    with _one_deeper() as depth:
        marked = [_marked(x, depth) for x in flat]
        value = f(*tree.unflatten(definition, [x for x, _ in marked]))
    outputs, shape = tree.flatten(value)
    leaves = [leaf for _, leaf in marked if leaf is not None]

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        given, given_shape = tree.flatten(cotangent)
        expect(len(given) == len(outputs), f"a cotangent like the value: {shape}", given_shape)
        seen = [g.node for g in given if isinstance(g, Tensor)]
        seen += [y.node for y in outputs if isinstance(y, Tensor)]
        record = STATE.recording and any(n is not None and n.low <= STATE.depth for n in seen)
        nodes, gs = [], []
        for y, g in zip(outputs, given):
            if isinstance(y, Tensor) and y.node is not None and g is not None:
                expect(g.shape == y.shape, f"a cotangent of shape {y.shape}", g.shape)
                nodes.append(y.node)
                gs.append(g)
        found = iter(backward(nodes, gs, leaves, record))
        results = []
        for (x, leaf) in marked:
            g = next(found) if leaf is not None else None
            results.append(zeros_like(x) if leaf is not None and g is None else g)
        unflattened: tuple[Any, ...] = tree.unflatten(definition, results)
        return unflattened

    plain = [_outside(y, depth) for y in outputs]
    return tree.unflatten(shape, plain), pullback


def _outside(y: Any, depth: int) -> Any:
    """A value as the caller sees it: without a node that only this differentiation made."""
    if isinstance(y, Tensor) and y.node is not None and y.node.low >= depth:
        return make(y.buf, y.spec)
    return y


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0,
                   has_aux: bool = False) -> Callable[..., tuple[Any, Any]]:
    """A function that gives f's scalar value and its gradient in the arguments `argnums`.

    With `has_aux`, f gives (scalar, anything) and the result is ((scalar, anything), gradient).
    Arguments may be pytrees, Modules among them. Raises GradientError unless the value is a float
    scalar.

    >>> import tinyml
    >>> tinyml.value_and_grad(lambda x: (x * x).sum())(tinyml.tensor([3.0]))[1].tolist()
    [6.0]
    """
    places = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def with_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        for place in places:
            expect(-len(args) <= place < len(args), f"argnums below {len(args)}", place,
                   ArgumentTypeError)
        chosen = [place % len(args) for place in places]
        extra: list[Any] = []

        def inner(*values: Any) -> Any:
            full = list(args)
            for place, value in zip(chosen, values):
                full[place] = value
            result = f(*full, **kwargs)
            if has_aux:
                result, aux = result
                extra.append(aux)
            return result

        primals = [args[place] for place in chosen]
        if not any(isinstance(x, Tensor) and x.dtype.is_float for x in tree.flatten(primals)[0]):
            raise GradientError("no float tensor among the arguments to differentiate",
                                remedy="cast integers to float, or choose other argnums")
        value, pullback = vjp(inner, *primals)
        if not isinstance(value, Tensor) or value.size != 1 or not value.dtype.is_float:
            raise GradientError(f"the function's value is {_say(value)}, not a float scalar",
                                remedy="reduce it with .sum() or .mean(), or use vjp")
        gradients = pullback(ones_like(value))
        gradient = gradients[0] if isinstance(argnums, int) else gradients
        return ((value, extra[0]) if has_aux else value), gradient

    return with_gradient


def _say(value: Any) -> str:
    return repr(value.spec) if isinstance(value, Tensor) else type(value).__name__


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0,
         has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives f's gradient in the arguments `argnums`; apply again for higher orders.

    >>> import tinyml
    >>> tinyml.grad(tinyml.grad(lambda x: x * x * x))(tinyml.tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, result = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result

    return gradient
