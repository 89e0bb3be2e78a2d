"""Control flow that depends on values, of functions over pytrees: cond, scan and while_loop.

Their branches and steps are traced once, at each call, and become the graphs of one record of
control_ops.py. What they use of the outside becomes further operands, so closures over
differentiated values get their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import tinyml.tree as tree
from tinyml.core.apply import describe
from tinyml.core.builder import symbolic
from tinyml.core.node import Data
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    GraphError,
    TinyMLError,
    expect,
)
from tinyml.graph.control_ops import COND, SCAN, WHILE, apply_over, check_predicate, row_spec
from tinyml.graph.graph import tensors
from tinyml.graph.trace import Traced, trace
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_size

Function = Callable[..., Any]


@contextmanager
def _saying(name: str, xs: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    except TinyMLError as error:
        raise error.during(name, describe(xs)) from error.__cause__


def _same(what: str, remedy: str, first: tuple[Any, Sequence[Spec]],
          second: tuple[Any, Sequence[Spec]]) -> None:
    """Raise where structures, shapes or dtypes differ, naming the path of the first difference."""
    apart = tree.difference(first[0], second[0])
    if apart is not None:
        raise GraphError(f"{what} differ {apart}", remedy=remedy)
    for path, one, two in zip(tree.paths(first[0]), first[1], second[1]):
        if symbolic(one) is not symbolic(two):
            place = f" at {path}" if path else ""
            raise GraphError(f"{what} differ{place}: {one} against {two}", remedy=remedy)


def _same_carry(before: tree.TreeDef, start: Sequence[Any], after: Any, graph: Traced) -> None:
    _same("the carry before and after a step",
          "give the first carry the structure, shapes and dtypes of the later ones",
          (before, [x.spec for x in start]), (after, graph.specs))


# ---- cond


def cond(pred: Any, true_fn: Function, false_fn: Function, *operands: Any) -> Any:
    """true_fn(*operands) where `pred` holds, else false_fn(*operands); only that one is run.

    `pred` is a bool or a bool tensor of shape (). Operands and results are pytrees of tensors and
    numbers; both results have one structure, and the same shapes and dtypes. Both functions are
    traced, so neither may ask for values. Differentiable in the operands and in what the functions
    close over. Raises DTypeError and ShapeError for another `pred`, GraphError where the results
    differ.

    >>> import tinyml
    >>> x = tinyml.tensor(-3.0)
    >>> tinyml.cond(x > 0, lambda x: x, lambda x: x * x, x).item()
    9.0
    """
    flat, definition = tree.flatten(operands)
    with _saying("cond", [pred, *flat]):
        xs = tensors(flat, [pred])
        test = _predicate(pred, xs)
        given = tree.unflatten(definition, [x.spec for x in xs])
        first, second = trace(true_fn)(*given), trace(false_fn)(*given)
        _same("the results of true_fn and false_fn",
              "return one structure with the same shapes and dtypes from both",
              (first.result, first.specs), (second.result, second.specs))
        assert first.result is not None
        return tree.unflatten(first.result, apply_over(COND, {"yes": first, "no": second},
                                                       [test, *xs]))


def _predicate(pred: Any, near: Sequence[Any]) -> Any:
    if not isinstance(pred, (Data, bool, np.bool_)):
        raise ArgumentTypeError(f"a condition is a {type(pred).__name__}",
                                remedy="a bool, or a bool tensor such as x > 0")
    (test,) = tensors([pred], near)
    check_predicate(test.spec)
    return test


# ---- scan


def scan(f: Function, init: Any, xs: Any = None, length: int | None = None,
         reverse: bool = False) -> tuple[Any, Any]:
    """A loop of a known number of steps: carry, y = f(carry, x) for each x of xs: (carry, ys).

    xs is a pytree of tensors that are cut along their first axis, x one slice of each; None means
    that f(carry, None) is called `length` times. The ys are stacked, each at the place of its x;
    `reverse` begins at the last x. The carry keeps its structure, shapes and dtypes. Differentiable
    in init, xs and what f closes over. Raises GraphError where the carry changes, ShapeError and
    ArgumentError for axes of different lengths.

    >>> import tinyml
    >>> total, sums = tinyml.scan(lambda c, x: (c + x, c + x), 0.0, tinyml.tensor([1.0, 2.0, 3.0]))
    >>> total.item(), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])
    """
    start, start_shape = tree.flatten(init)
    rows, rows_shape = tree.flatten(xs)
    with _saying("scan", [*start, *rows]):
        carry, rows = tensors(start, rows), tensors(rows, start)
        steps = _steps(rows, length)
        both = tree.flatten((init, xs))[1]
        graph = trace(f)(*tree.unflatten(
            both, [*[x.spec for x in carry], *[row_spec(x.spec) for x in rows]]))
        structure = _pair(graph, start_shape, carry)
        count = len(carry)
        results = apply_over(SCAN, {"body": graph}, carry, rows, carry=count, consts=0,
                             length=steps, reverse=bool(reverse))
        return (tree.unflatten(start_shape, results[:count]),
                tree.unflatten(structure, results[count:]))


def _steps(rows: Sequence[Any], length: int | None) -> int:
    for x in rows:
        expect(x.spec.ndim > 0, "xs with an axis to cut", x.spec)
    sizes = sorted({x.spec.shape[0] for x in rows})
    expect(len(sizes) < 2, "first axes of xs of one length", sizes)
    if length is None:
        expect(bool(sizes), "xs, or the number of steps", "neither", ArgumentError,
               remedy="length=")
        return int(sizes[0])
    steps = as_size(length, "length")
    expect(steps >= 0, "length >= 0", steps, ArgumentError)
    expect(not sizes or sizes[0] == steps, f"xs of length {steps}", sizes, ArgumentError,
           remedy="leave length out, or cut xs")
    return steps


def _pair(graph: Traced, carry: tree.TreeDef, start: Sequence[Any]) -> tree.TreeDef:
    """The structure of y; raises where f gives no pair or changes the carry."""
    assert graph.result is not None
    probe = tree.unflatten(graph.result, range(graph.result.leaf_count))
    if not isinstance(probe, tuple) or len(probe) != 2:
        raise ArgumentTypeError(f"f returned {graph.result}, not (carry, y)",
                                remedy="return carry, y; y may be None")
    after, ys = (tree.flatten(half)[1] for half in probe)
    _same_carry(carry, start, after, graph)
    return ys


# ---- while_loop


def while_loop(cond_fn: Function, body_fn: Function, init: Any,
               max_steps: int | None = None) -> Any:
    """carry = body_fn(carry) from `init` on, while cond_fn(carry) holds: the last carry.

    The carry is a pytree of tensors and numbers; it keeps its structure, shapes and dtypes.
    cond_fn gives a bool tensor of shape (). With `max_steps` the loop ends after so many steps at
    the latest. Reverse mode must know how often, so a gradient needs `max_steps`, and takes time
    and memory of that many steps. Raises GraphError where the carry changes, and GradientError
    where a gradient is asked for without `max_steps`.

    >>> import tinyml
    >>> tinyml.while_loop(lambda x: x < 100.0, lambda x: x * 3.0, 1.0).item()
    243.0
    """
    flat, structure = tree.flatten(init)
    with _saying("while_loop", flat):
        carry = tensors(flat)
        expect(bool(carry), "a carry with at least one value", "none", ArgumentError)
        given = tree.unflatten(structure, [x.spec for x in carry])
        test, step = trace(cond_fn)(given), trace(body_fn)(given)
        expect(len(test.outputs) == 1, "one condition from cond_fn", test.result,
               ArgumentTypeError, remedy="return a bool tensor such as x > 0")
        check_predicate(test.specs[0])
        expect(not test.states, "a cond_fn without random numbers", "some", GraphError,
               remedy="draw them in body_fn, and carry them")
        _same_carry(structure, carry, step.result, step)
        return tree.unflatten(structure, apply_over(
            WHILE, {"test": test, "body": step}, carry, carry=len(carry), max_steps=max_steps))
