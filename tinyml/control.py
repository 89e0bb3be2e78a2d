"""Control flow that depends on values: cond, while_loop and scan, as ordinary records.

Their branches and steps are graphs, traced once; what these use of the outside becomes further
operands, so closures over differentiated values get their gradients. The way back of a scan is a
scan, that of a branch is a branch; so gradients have any order, in graphs and outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import tinyml.tree as tree
from tinyml.builder import symbolic
from tinyml.core import apply, describe, full, run, watched
from tinyml.dtypes import bool_
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GradientError,
    GraphError,
    TinyMLError,
    expect,
)
from tinyml.graph import Graph, apply_graph, build, replay, tensors, trace
from tinyml.op import Op, Var, define
from tinyml.ops.arguments import as_size
from tinyml.ops.creation import zeros_like
from tinyml.ops.shape import one_after_another
from tinyml.planning import make_plan
from tinyml.spec import Spec, make_spec
from tinyml.values import STATE, Cell, Data, make, read_cell, write_cell

Function = Callable[..., Any]


@contextmanager
def _saying(name: str, xs: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    except TinyMLError as error:
        raise error.during(name, describe(xs)) from error.__cause__


def _apply(op: Op, *xs: Any, **attrs: Any) -> list[Any]:
    """The results of a record as a list.

    No plan is kept: graphs that were traced for this call will not come again.
    """
    if STATE.building is not None or watched():
        result = apply(op, *xs, **attrs)
    else:
        result = run(op, make_plan(op, [x.spec for x in xs], attrs), xs)
    return list(result) if isinstance(result, tuple) else [result]


# ---- graphs that stand for each other


class _Closed(NamedTuple):
    """Graphs whose inputs are all that any of them reads: captured tensors and cells are theirs."""

    graphs: list[Graph]
    captured: list[Any]
    cells: list[Cell]

    def apply(self, op: Op, before: Sequence[Any], after: Sequence[Any], given: int,
              **attrs: Any) -> list[Any]:
        """The results of a record on operands before and after cells and captures.

        Results from `given` on are what the cells become.
        """
        results: list[Any] = []
        if self.graphs[-1].outputs:
            states = [read_cell(cell) for cell in self.cells]
            results = _apply(op, *before, *states, *self.captured, *after, **attrs)
        for cell, state in zip(self.cells, results[given:]):
            write_cell(cell, state)
        return results


def _closed(graphs: Sequence[Graph], leading: int, given: int | None = None) -> _Closed:
    """The inputs become: the first `leading`, the cells, the captures, the rest.

    The outputs become: the first `given` (None: all), the cells, the rest.
    """
    captured = {id(c.tensor): c.tensor for graph in graphs for c in graph.captures}
    cells = {id(held.cell): held for graph in graphs for held in graph.cells}
    found = []
    for graph in graphs:
        own = {id(c.tensor): c.var for c in graph.captures}
        held = {id(h.cell): h for h in graph.cells}
        states = [held[k].var if k in held else Var(None, 0, h.var.spec) for k, h in cells.items()]
        after = [held[k].result if k in held else state for k, state in zip(cells, states)]
        consts = [own.get(k) or Var(None, 0, symbolic(x.spec)) for k, x in captured.items()]
        found.append(Graph(
            [*graph.inputs[:leading], *states, *consts, *graph.inputs[leading:]], graph.lines,
            [*graph.outputs[:given], *after, *([] if given is None else graph.outputs[given:])]))
    return _Closed(found, list(captured.values()), [held.cell for held in cells.values()])


def _check_reads(name: str, graph: Any, specs: Sequence[Any]) -> None:
    """Raise where an attribute is no graph that reads just these operands."""
    expect(isinstance(graph, Graph), f"{name}: a graph", type(graph).__name__, ArgumentTypeError,
           remedy="tinyml.cond, tinyml.scan and tinyml.while_loop trace functions to graphs")
    reads = tuple([symbolic(var.spec) for var in graph.inputs])
    given = tuple(map(symbolic, specs))
    expect(reads == given, f"{name} reads {reads}", given, GraphError)


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


def _same_carry(before: tree.TreeDef, start: Sequence[Any], after: Any, graph: Graph) -> None:
    _same("the carry before and after a step",
          "give the first carry the structure, shapes and dtypes of the later ones",
          (before, [x.spec for x in start]), (after, graph.specs))


def _floats(vars_: Sequence[Var]) -> tuple[bool, ...]:
    """Which variables are of a float type."""
    return tuple([var.spec.dtype.is_inexact for var in vars_])


def _one_or_more(results: Sequence[Any]) -> Any:
    """What a record gives: a tuple, unless there is one."""
    return tuple(results) if len(results) > 1 else results[0]


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
        both = _closed([first, second], len(xs))
        results = both.apply(COND, [test, *xs], [], len(first.outputs), yes=both.graphs[0],
                             no=both.graphs[1])
        return tree.unflatten(first.result, results[: len(first.outputs)])


def _predicate(pred: Any, near: Sequence[Any]) -> Any:
    if not isinstance(pred, (Data, bool, np.bool_)):
        raise ArgumentTypeError(f"a condition is a {type(pred).__name__}",
                                remedy="a bool, or a bool tensor such as x > 0")
    (test,) = tensors([pred], near)
    _check_predicate(test.spec)
    return test


def _check_predicate(spec: Spec) -> None:
    expect(spec.dtype is bool_, "a condition of type bool", spec.dtype.name, DTypeError,
           remedy="compare: x > 0, x != 0")
    expect(spec.shape == (), "a condition of shape ()", spec.shape,
           remedy="reduce it; tinyml.where chooses elementwise")


def _cond_infer(pred: Spec, *xs: Spec, yes: Graph, no: Graph) -> Any:
    _check_predicate(pred)
    _check_reads("yes", yes, xs)
    _check_reads("no", no, xs)
    expect(bool(yes.outputs) and yes.specs == no.specs, "graphs with the same results",
           (yes.specs, no.specs), GraphError)
    return _one_or_more(yes.specs)


def _cond_run(pred: Any, *xs: Any, yes: Graph, no: Graph) -> Any:
    return _one_or_more(apply_graph(yes if pred.item() else no, xs))


def _cond_grad(g: Any, _y: Any, pred: Any, *xs: Any, wanted: tuple[bool, ...], yes: Graph,
               no: Graph) -> list[Any]:
    """The branch that was taken, backwards."""
    there = _floats(yes.outputs)
    gs = [x for x, is_there in zip(g if isinstance(g, tuple) else (g,), there) if is_there]
    ways = [graph.pullback(wanted[1:], there, outputs=False) for graph in (yes, no)]
    both = _closed(ways, len(xs) + len(gs))
    found = iter(both.apply(COND, [pred, *xs, *gs], [], 0, yes=both.graphs[0], no=both.graphs[1]))
    return [next(found) if want else None for want in (False, *wanted[1:])]


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
            both, [*[x.spec for x in carry], *[_row_spec(x.spec) for x in rows]]))
        structure = _pair(graph, start_shape, carry)
        count = len(carry)
        made = _closed([graph], count, count)
        (body,), cells = made.graphs, len(made.cells)
        results = made.apply(SCAN, carry, rows, count, body=body, carry=count + cells,
                             consts=len(made.captured), length=steps, reverse=bool(reverse))
        return (tree.unflatten(start_shape, results[:count]),
                tree.unflatten(structure, results[count + cells :]))


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


def _row_spec(spec: Spec) -> Spec:
    return make_spec(spec.shape[1:], spec.dtype, spec.device, spec.strides[1:], spec.symbolic)


def _pair(graph: Graph, carry: tree.TreeDef, start: Sequence[Any]) -> tree.TreeDef:
    """The structure of y; raises where f gives no pair or changes the carry."""
    assert graph.result is not None
    probe = tree.unflatten(graph.result, range(graph.result.leaf_count))
    if not isinstance(probe, tuple) or len(probe) != 2:
        raise ArgumentTypeError(f"f returned {graph.result}, not (carry, y)",
                                remedy="return carry, y; y may be None")
    after, ys = (tree.flatten(half)[1] for half in probe)
    _same_carry(carry, start, after, graph)
    return ys


def _scan_canon(*_: Spec, body: Graph, carry: Any, consts: Any, length: Any,
                reverse: Any) -> dict[str, Any]:
    counts = {"carry": as_size(carry, "carry"), "consts": as_size(consts, "consts"),
              "length": as_size(length, "length")}
    expect(min(counts.values()) >= 0, "counts that are not negative", counts, ArgumentError)
    return {"body": body, **counts, "reverse": bool(reverse)}


def _scan_infer(*specs: Spec, body: Graph, carry: int, consts: int, length: int,
                reverse: bool) -> Any:
    fixed, rows = specs[: carry + consts], specs[carry + consts :]
    expect(len(fixed) == carry + consts, f"at least {carry + consts} operands", len(specs),
           ArgumentError)
    for x in rows:
        expect(x.shape[:1] == (length,), f"a first axis of {length}", x.shape)
    _check_reads("body", body, [*fixed, *[_row_spec(x) for x in rows]])
    _check_carry(body, carry, specs)
    return _one_or_more([*body.specs[:carry], *[
        make_spec((length, *s.shape), s.dtype, s.device) for s in body.specs[carry:]]])


def _scan_run(*xs: Any, body: Graph, carry: int, consts: int, length: int,
              reverse: bool) -> Any:
    state, fixed, rows = list(xs[:carry]), xs[carry : carry + consts], xs[carry + consts :]
    specs = [_row_spec(x.spec) for x in rows]
    found: list[list[Any]] = [[] for _ in body.outputs[carry:]]
    for step in reversed(range(length)) if reverse else range(length):
        cut = [_row(x, step, spec) for x, spec in zip(rows, specs)]
        results = apply_graph(body, [*state, *fixed, *cut])
        state = results[:carry]
        for column, y in zip(found, results[carry:]):
            column.append(y)
    stacked = []
    for var, column in zip(body.outputs[carry:], found):
        ordered = column[::-1] if reverse else column
        shape = (length, *var.spec.shape)
        stacked.append(one_after_another(ordered, shape) if ordered else
                       full(shape, 0, var.spec.dtype, var.spec.device))
    return _one_or_more([*state, *stacked])


def _row(x: Any, step: int, spec: Spec) -> Any:
    """One slice along the first axis, a view."""
    if spec.size == 0:
        return make(x.buf, spec)
    return make(spec.device.view(x.buf, step * x.spec.strides[0], spec), spec)


def _scan_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], body: Graph, carry: int,
               consts: int, length: int, reverse: bool) -> list[Any]:
    """A scan in the other direction, over the carries, which a scan collects first."""
    gs = g if isinstance(g, tuple) else (g,)
    fixed, rows = xs[carry : carry + consts], xs[carry + consts :]
    own = body.inputs[:carry]
    keeping = body.once("carries", lambda: Graph(
        body.inputs, body.lines, [*body.outputs[:carry], *own]))
    before = _apply(SCAN, *xs, body=keeping, carry=carry, consts=consts, length=length,
                    reverse=reverse)[carry:] if carry else []
    there = _floats(body.outputs)
    asked = (*there[:carry], *wanted[carry:])  # the cotangents of all carries go on
    arrive = [x for x, is_there in zip(gs, there) if is_there]
    moving, held = sum(there[:carry]), [x for x, want in zip(fixed, wanted[carry:]) if want]
    adding = moving + len(held)

    def back() -> Graph:
        way = body.pullback(asked, there, outputs=False)
        specs = [v.spec for v in way.inputs]
        ins, g_specs = specs[: len(xs)], specs[len(xs) :]

        def step(*v: Any) -> list[Any]:
            g_carry, sums, rest = v[:moving], v[moving:adding], v[adding:]
            values, state = rest[:consts], rest[consts : consts + carry]
            row, g_ys = rest[consts + carry : len(xs)], rest[len(xs) :]
            found = way.run([*state, *values, *row, *g_carry, *g_ys])
            found[moving:adding] = [a + b for a, b in zip(sums, found[moving:adding])]
            return found

        return build(step, [
            *g_specs[:moving], *[symbolic(x.spec) for x in held], *ins[carry : carry + consts],
            *ins[:carry], *ins[carry + consts :], *g_specs[moving:]])

    made = _closed([body.once(("scan", carry, consts, asked), back)], adding, adding)
    found = iter(made.apply(
        SCAN, [*arrive[:moving], *[zeros_like(x) for x in held]],
        [*fixed, *before, *rows, *arrive[moving:]], adding, body=made.graphs[0], carry=adding,
        consts=len(made.captured) + consts, length=length, reverse=not reverse))
    return [next(found) if want else None for want in asked]


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
        _check_predicate(test.specs[0])
        expect(not test.cells, "a cond_fn without random numbers", "some", GraphError,
               remedy="draw them in body_fn, and carry them")
        _same_carry(structure, carry, step.result, step)
        count = len(carry)
        made = _closed([test, step], count)
        going, body = made.graphs
        results = made.apply(WHILE, carry, [], count, test=going, body=body,
                             carry=count + len(made.cells), max_steps=max_steps)
        return tree.unflatten(structure, results[:count])


def _check_carry(body: Graph, carry: int, specs: Sequence[Spec]) -> None:
    before, after = (tuple(map(symbolic, s[:carry])) for s in (specs, body.specs))
    expect(after == before, f"a body that gives the carry {before}", after, GraphError)


def _while_canon(*_: Spec, test: Graph, body: Graph, carry: Any,
                 max_steps: Any) -> dict[str, Any]:
    count, limit = as_size(carry, "carry"), max_steps
    if limit is not None:
        limit = as_size(limit, "max_steps")
        expect(limit >= 0, "max_steps >= 0", limit, ArgumentError)
    return {"test": test, "body": body, "carry": count, "max_steps": limit}


def _while_infer(*specs: Spec, test: Graph, body: Graph, carry: int,
                 max_steps: int | None) -> Any:
    expect(0 < carry <= len(specs), f"a carry of 1 to {len(specs)} operands", carry, ArgumentError)
    _check_reads("test", test, specs)
    _check_reads("body", body, specs)
    expect(bool(test.outputs), "a condition from test", "no result", GraphError)
    _check_predicate(test.specs[0])
    expect(len(body.outputs) == carry, f"{carry} results of body", len(body.outputs), GraphError)
    _check_carry(body, carry, specs)
    return _one_or_more(body.specs)


def _while_run(*xs: Any, test: Graph, body: Graph, carry: int,
               max_steps: int | None) -> Any:
    state, fixed = list(xs[:carry]), xs[carry:]
    steps = 0
    while max_steps is None or steps < max_steps:
        (going,) = apply_graph(test, [*state, *fixed])[:1]
        if not going.item():
            break
        state = apply_graph(body, [*state, *fixed])
        steps += 1
    return _one_or_more(state)


def _while_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], test: Graph, body: Graph,
                carry: int, max_steps: int | None) -> list[Any]:
    """That of a scan of `max_steps` steps, those after the end doing nothing."""
    if max_steps is None:
        raise GradientError("the number of steps of a while_loop is not known in reverse mode",
                            remedy="scan, where the number is known; or while_loop(..., "
                                   "max_steps=n)").during("while_loop", describe(xs))
    rest = Graph(body.inputs, [], body.inputs[:carry])

    def step(*v: Any) -> list[Any]:
        return _apply(COND, replay(test, v)[0], *v, yes=body, no=rest)

    known = body.once(("while", test), lambda: build(step, [v.spec for v in body.inputs]))
    return _scan_grad(g, None, *xs, wanted=wanted, body=known, carry=carry,
                      consts=len(xs) - carry, length=max_steps, reverse=False)


# ---- the records: they run as they stand, and the host decides what is launched

COND = define(
    "cond", _cond_infer, grad=_cond_grad, dynamic=_cond_run, dtypes=(),
    doc="One of two graphs, as a bool says; its gradient is another such choice.")
SCAN = define(
    "scan", _scan_infer, grad=_scan_grad, dynamic=_scan_run, canon=_scan_canon, dtypes=(),
    doc="A graph applied again and again to a carry and to slices; its gradient is a scan.")
WHILE = define(
    "while", _while_infer, grad=_while_grad, dynamic=_while_run, canon=_while_canon, dtypes=(),
    doc="A graph applied to a carry as long as another holds; its gradient is a scan.")
