"""Differentiation of functions: grad, value_and_grad, vjp; gradients of any order.

A differentiation marks its inputs with leaves one level deeper than those of any enclosing one. The
backward pass is recorded only when an outer differentiation can see it, so a first-order gradient
does not pay for a second-order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, Protocol, TypeVar, overload

import tinyml.tree as tree
from tinyml.core.backward import backward
from tinyml.core.builder import entered
from tinyml.core.make import make
from tinyml.core.node import Leaf, one_deeper
from tinyml.core.state import STATE
from tinyml.errors import ArgumentTypeError, DTypeError, GradientError, as_function, expect, refuse
from tinyml.ops.arguments import as_argnums, as_flag
from tinyml.ops.creation import ones_like, zeros_like
from tinyml.tensor import Tensor

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")


class Slope(Protocol):
    """For type checkers: a gradient of a function of one tensor.

    A class of its own, not a Callable, for mypy: it takes a lambda for each overload of `grad` and
    gives up without an error only if what these return differs in kind.
    """

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the gradient."""
        ...


class ValueAndSlope(Protocol):
    """For type checkers: the value and gradient of a function of one tensor."""

    def __call__(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return both."""
        ...


def is_float(x: Any) -> bool:
    """Return whether a leaf of a pytree is differentiable: a tensor of a float type."""
    return isinstance(x, Tensor) and x.spec.dtype.is_inexact


def mark(x: Any, depth: int) -> tuple[Any, Leaf | None]:
    """Return the value with a leaf of this depth, and the leaf, if it is differentiable."""
    if not is_float(x):
        return x, None
    x = entered(x)
    outer = x.node
    leaf = Leaf(x.spec, min(depth, outer.min_level) if outer is not None else depth, outer)
    return make(x.buf, x.spec, leaf), leaf


def strip_inner_node(y: Any, depth: int) -> Any:
    """Return a value as the caller sees it: without a node made only for this differentiation."""
    if isinstance(y, Tensor) and y.node is not None and y.node.min_level >= depth:
        return make(y.buf, y.spec)
    return y


def is_seen_outside(values: Iterable[Any]) -> bool:
    """Return whether any of the values depends on something an outer differentiation sees."""
    return STATE.recording and any(
        isinstance(x, Tensor) and x.node is not None and x.node.min_level <= STATE.depth
        for x in values)


def check_conforms(given: Any, leaves: list[Any], definition: tree.TreeDef,
                   what: str) -> list[Any]:
    """Return the checked leaves of a tree of tangents or cotangents for `leaves`.

    A leaf that is not a float tensor has none: its entry is not read, and may be None.
    """
    found, shape = tree.flatten(given)
    if shape != definition:
        bare = tree.unflatten(definition, [x if is_float(x) else None for x in leaves])
        if shape != tree.flatten(bare)[1]:
            refuse(f"a {what}: {definition}", shape, remedy="None where there is no float tensor")
        rest = iter(found)
        found = [next(rest) if is_float(x) else None for x in leaves]
    for x, g in zip(leaves, found):
        if is_float(x) and not (isinstance(g, Tensor) and g.spec.shape == x.spec.shape
                                and g.spec.dtype is x.spec.dtype):
            if not isinstance(g, Tensor):
                refuse(f"a {what}, a tensor {x.spec}", type(g).__name__, ArgumentTypeError,
                       remedy="tinyml.tensor(...)")
            expect(g.shape == x.shape, f"a {what} of shape {x.shape}", g.shape)
            refuse(f"a {what} of {x.dtype.name}", g.dtype.name, DTypeError)
    return found


class Linearized(NamedTuple):
    """A function recorded at a point: flat values, structures, leaves and depth."""

    primals: list[Any]
    definition: tree.TreeDef
    leaves: list[Leaf | None]
    outputs: list[Any]
    shape: tree.TreeDef
    depth: int

    def value(self) -> Any:
        """Return the function's value, as the caller sees it."""
        return tree.unflatten(self.shape, [strip_inner_node(y, self.depth) for y in self.outputs])

    def pull(self, cotangent: Any, hooks: bool = True) -> list[Any]:
        """Return cotangents of the primals, zeros where nothing arrives, None for other leaves."""
        given = check_conforms(cotangent, self.outputs, self.shape, "cotangent like the value")
        record = is_seen_outside([*given, *self.outputs])
        nodes = [y.node if is_float(y) else None for y in self.outputs]
        found = backward(nodes, given, self.leaves, record, hooks)
        return [zeros_like(x) if leaf is not None and g is None else g
                for x, leaf, g in zip(self.primals, self.leaves, found)]


def linearize(f: Callable[..., Any], primals: tuple[Any, ...]) -> Linearized:
    """Run f on marked primals."""
    as_function(f)
    flat, definition = tree.flatten(primals)
    with one_deeper() as depth:
        pairs = [mark(x, depth) for x in flat]
        value = f(*tree.unflatten(definition, [x for x, _ in pairs]))
    outputs, shape = tree.flatten(value)
    return Linearized(flat, definition, [leaf for _, leaf in pairs], outputs, shape, depth)


@overload
def vjp(f: Callable[[A], R], primal: A, /) -> tuple[R, Callable[[R], tuple[A]]]: ...


@overload
def vjp(f: Callable[[A, B], R], primal: A, other: B, /,
        ) -> tuple[R, Callable[[R], tuple[A, B]]]: ...


@overload
def vjp(f: Callable[..., R], *primals: Any) -> tuple[R, Callable[[R], tuple[Any, ...]]]: ...


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Return f's value at `primals`, and its pullback: from a cotangent of the value to theirs.

    Primals and value may be pytrees. A leaf that is not a float tensor has None as its cotangent.
    Raises ShapeError or DTypeError if a cotangent does not match the value.

    >>> import tinyml
    >>> y, pullback = tinyml.vjp(lambda x: x * x, tinyml.tensor([3.0]))
    >>> pullback(tinyml.tensor([1.0]))[0].tolist()
    [6.0]
    """
    run = linearize(f, primals)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        result: tuple[Any, ...] = tree.unflatten(run.definition, run.pull(cotangent))
        return result

    return run.value(), pullback


# The first of these overloads is for lambdas, whose argument a checker knows from it alone.
@overload
def value_and_grad(  # type: ignore[overload-overlap]
    f: Callable[[Tensor], Tensor], argnums: Literal[0] = 0, has_aux: Literal[False] = False,
) -> ValueAndSlope: ...


@overload
def value_and_grad(f: Callable[Concatenate[A, P], R], argnums: Literal[0] = 0,
                   has_aux: bool = False) -> Callable[Concatenate[A, P], tuple[R, A]]: ...


@overload
def value_and_grad(f: Callable[P, R], argnums: int | tuple[int, ...] = 0,
                   has_aux: bool = False) -> Callable[P, tuple[R, Any]]: ...


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0,
                   has_aux: bool = False) -> Callable[..., tuple[Any, Any]]:
    """Return a function that returns f's scalar value and its gradient in arguments `argnums`.

    With `has_aux`, f returns (scalar, anything) and the result is ((scalar, anything), gradient).
    Arguments may be pytrees, including Modules. Raises GradientError unless the value is a float
    scalar.

    >>> import tinyml
    >>> tinyml.value_and_grad(lambda x: (x * x).sum())(tinyml.tensor([3.0]))[1].tolist()
    [6.0]
    """
    as_function(f)
    argnums, has_aux = as_argnums(argnums), as_flag(has_aux, "has_aux")

    def with_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        extra: list[Any] = []

        def scalar(*full_args: Any) -> Any:
            result = f(*full_args, **kwargs)
            if has_aux:
                expect(isinstance(result, (tuple, list)) and len(result) == 2, "a pair from f",
                       describe_value(result), GradientError,
                       remedy="return (scalar, anything), or leave has_aux out")
                result, aux = result
                extra.append(aux)
            return result

        inner, primals = select_arguments(scalar, args, argnums)
        value, pullback = vjp(inner, *primals)
        if not isinstance(value, Tensor) or value.size != 1 or not value.dtype.is_float:
            raise GradientError(
                f"the function's value is {describe_value(value)}, not a float scalar",
                remedy="reduce it with .sum() or .mean(), or use vjp")
        gradients = pullback(ones_like(value))
        gradient = gradients[0] if isinstance(argnums, int) else gradients
        return ((value, extra[0]) if has_aux else value), gradient

    return with_gradient


def select_arguments(f: Callable[..., Any], args: tuple[Any, ...], argnums: int | tuple[int, ...],
                     ) -> tuple[Callable[..., Any], list[Any]]:
    """Return f as a function of the arguments `argnums` only, and those arguments."""
    places = (argnums,) if isinstance(argnums, int) else argnums
    for place in places:
        expect(-len(args) <= place < len(args), f"an argument with the number {place}",
               f"{len(args)} arguments by place", ArgumentTypeError,
               remedy="argnums are counted from 0, and such arguments are not given by name")
    picked = [place % len(args) for place in places]

    def inner(*values: Any) -> Any:
        given = list(args)
        for place, value in zip(picked, values):
            given[place] = value
        return f(*given)

    primals = [args[place] for place in picked]
    if not any(is_float(x) for x in tree.flatten(primals)[0]):
        number = next((x for x in primals if type(x) in (int, float, complex)), None)
        raise GradientError(
            "no float tensor among the arguments to differentiate",
            remedy="cast integers to float, or choose other argnums" if number is None
            else f"tinyml.tensor({float(number) if isinstance(number, int) else number}) "
                 f"in the place of {number}")
    return inner, primals


def describe_value(value: Any) -> str:
    """Return a description of a value for an error message."""
    return repr(value.spec) if isinstance(value, Tensor) else type(value).__name__


@overload
def grad(f: Callable[[Tensor], Tensor], argnums: Literal[0] = 0,
         has_aux: Literal[False] = False) -> Slope: ...


@overload
def grad(f: Callable[Concatenate[A, P], tuple[Any, R]], argnums: Literal[0] = 0, *,
         has_aux: Literal[True]) -> Callable[Concatenate[A, P], tuple[A, R]]: ...


@overload
def grad(f: Callable[Concatenate[A, P], Any], argnums: Literal[0] = 0,
         has_aux: Literal[False] = False) -> Callable[Concatenate[A, P], A]: ...


@overload
def grad(f: Callable[P, Any], argnums: int | tuple[int, ...] = 0,
         has_aux: bool = False) -> Callable[P, Any]: ...


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0,
         has_aux: bool = False) -> Callable[..., Any]:
    """Return a function that returns f's gradient in the arguments `argnums`.

    Apply grad again for higher orders.

    >>> import tinyml
    >>> tinyml.grad(tinyml.grad(lambda x: x * x * x))(tinyml.tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, result = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result

    return gradient
