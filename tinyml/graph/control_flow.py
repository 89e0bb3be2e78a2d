"""Control flow that depends on values, for functions over pytrees: cond, scan, while_loop.

Each call traces the branches or steps once; they become the graphs of one record of control_ops.
What they close over becomes further operands, so differentiated values among them get their
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinyml.tree as tree
from tinyml.core.builder import symbolic
from tinyml.core.error_context import error_context
from tinyml.core.node import Data
from tinyml.core.upload import upload_all
from tinyml.errors import ArgumentError, ArgumentTypeError, GraphError, expect
from tinyml.graph.control_ops import COND, SCAN, WHILE, apply_over, check_predicate, row_spec
from tinyml.graph.trace import Traced, trace
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import as_size

Function = Callable[..., Any]


def _check_same(what: str, remedy: str, first: tuple[Any, Sequence[Spec]],
                second: tuple[Any, Sequence[Spec]]) -> None:
    """Raise if structures, shapes or dtypes differ, naming the path of the first difference."""
    difference = tree.difference(first[0], second[0])
    if difference is not None:
        raise GraphError(f"{what} differ {difference}", remedy=remedy)
    for path, one, two in zip(tree.paths(first[0]), first[1], second[1]):
        if symbolic(one) is not symbolic(two):
            place = f" at {path}" if path else ""
            raise GraphError(f"{what} differ{place}: {one} against {two}", remedy=remedy)


def _check_carry(before: tree.TreeDef, start: Sequence[Any], after: Any, graph: Traced) -> None:
    _check_same("the carry before and after a step",
                "give the first carry the structure, shapes and dtypes of the later ones",
                (before, [x.spec for x in start]), (after, graph.specs))


# ---- cond


def cond(pred: Any, true_fn: Function, false_fn: Function, *operands: Any) -> Any:
    """Return true_fn(*operands) if `pred` is true, else false_fn(*operands); only that one runs.

    `pred` is a bool or a bool tensor of shape (). Operands and results are pytrees of tensors and
    numbers; both results must have the same structure, shapes and dtypes. Both functions are
    traced, so neither may ask for values. Differentiable in the operands and in what the functions
    close over. Raises DTypeError or ShapeError for any other `pred`, GraphError if the results
    differ.

    >>> import tinyml
    >>> x = tinyml.tensor(-3.0)
    >>> tinyml.cond(x > 0, lambda x: x, lambda x: x * x, x).item()
    9.0
    """
    flat, definition = tree.flatten(operands)
    with error_context("cond", [pred, *flat]):
        xs = upload_all(flat, [pred])
        test = _as_predicate(pred, xs)
        given = tree.unflatten(definition, [x.spec for x in xs])
        first, second = trace(true_fn)(*given), trace(false_fn)(*given)
        _check_same("the results of true_fn and false_fn",
                    "return one structure with the same shapes and dtypes from both",
                    (first.result, first.specs), (second.result, second.specs))
        assert first.result is not None
        return tree.unflatten(first.result, apply_over(COND, {"yes": first, "no": second},
                                                       [test, *xs]))


def _as_predicate(pred: Any, near: Sequence[Any]) -> Any:
    if not isinstance(pred, (Data, bool, np.bool_)):
        raise ArgumentTypeError(f"a condition is a {type(pred).__name__}",
                                remedy="a bool, or a bool tensor such as x > 0")
    (test,) = upload_all([pred], near)
    check_predicate(test.spec)
    return test


# ---- scan


def scan(f: Function, init: Any, xs: Any = None, length: int | None = None,
         reverse: bool = False) -> tuple[Any, Any]:
    """Loop over xs with a carry: carry, y = f(carry, x) for each x; return (carry, ys).

    xs is a pytree of tensors, sliced along their first axis; x holds one slice of each. If xs is
    None, f(carry, None) is called `length` times. The ys are stacked in the order of their xs;
    `reverse` starts at the last x. The carry keeps its structure, shapes and dtypes. Differentiable
    in init, xs and what f closes over. Raises GraphError if those of the carry change, ShapeError
    or ArgumentError for axes of different lengths.

    >>> import tinyml
    >>> total, sums = tinyml.scan(lambda c, x: (c + x, c + x), 0.0, tinyml.tensor([1.0, 2.0, 3.0]))
    >>> total.item(), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])
    """
    start, start_shape = tree.flatten(init)
    rows, rows_shape = tree.flatten(xs)
    with error_context("scan", [*start, *rows]):
        carry, rows = upload_all(start, rows), upload_all(rows, start)
        steps = _count_steps(rows, length)
        both = tree.flatten((init, xs))[1]
        graph = trace(f)(*tree.unflatten(
            both, [*[x.spec for x in carry], *[row_spec(x.spec) for x in rows]]))
        structure = _check_pair(graph, start_shape, carry)
        count = len(carry)
        results = apply_over(SCAN, {"body": graph}, carry, rows, carry=count, consts=0,
                             length=steps, reverse=bool(reverse))
        return (tree.unflatten(start_shape, results[:count]),
                tree.unflatten(structure, results[count:]))


def _count_steps(rows: Sequence[Any], length: int | None) -> int:
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


def _check_pair(graph: Traced, carry: tree.TreeDef, start: Sequence[Any]) -> tree.TreeDef:
    """Return the structure of y; raise if f does not return a pair or changes the carry."""
    assert graph.result is not None
    probe = tree.unflatten(graph.result, range(graph.result.leaf_count))
    if not isinstance(probe, tuple) or len(probe) != 2:
        raise ArgumentTypeError(f"f returned {graph.result}, not (carry, y)",
                                remedy="return carry, y; y may be None")
    after, ys = (tree.flatten(half)[1] for half in probe)
    _check_carry(carry, start, after, graph)
    return ys


# ---- while_loop


def while_loop(cond_fn: Function, body_fn: Function, init: Any,
               max_steps: int | None = None) -> Any:
    """Repeat carry = body_fn(carry), from `init`, while cond_fn(carry) holds; return the carry.

    The carry is a pytree of tensors and numbers; it keeps its structure, shapes and dtypes.
    cond_fn returns a bool tensor of shape (). With `max_steps` the loop ends after at most that
    many steps. Reverse mode must know the number of steps, so a gradient needs `max_steps`, and
    takes the time and memory of that many. Raises GraphError if the carry changes in structure,
    shapes or dtypes, and GradientError for a gradient without `max_steps`.

    >>> import tinyml
    >>> tinyml.while_loop(lambda x: x < 100.0, lambda x: x * 3.0, 1.0).item()
    243.0
    """
    flat, structure = tree.flatten(init)
    with error_context("while_loop", flat):
        carry = upload_all(flat)
        expect(bool(carry), "a carry with at least one value", "none", ArgumentError)
        given = tree.unflatten(structure, [x.spec for x in carry])
        test, step = trace(cond_fn)(given), trace(body_fn)(given)
        expect(len(test.outputs) == 1, "one condition from cond_fn", test.result,
               ArgumentTypeError, remedy="return a bool tensor such as x > 0")
        check_predicate(test.specs[0])
        expect(not test.states, "a cond_fn without random numbers", "some", GraphError,
               remedy="draw them in body_fn, and carry them")
        _check_carry(structure, carry, step.result, step)
        return tree.unflatten(structure, apply_over(
            WHILE, {"test": test, "body": step}, carry, carry=len(carry), max_steps=max_steps))
