"""Control flow that depends on values: cond, while_loop and scan, as ordinary records.

Their branches and steps are graphs, traced once; what these use of the outside becomes further
operands, so closures over differentiated values get their gradients. The way back of a scan is a
scan, that of a branch is a branch; so gradients have any order, in graphs and outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import tinyml.tree as tree
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
from tinyml.graph import Graph, apply_graph, build, replay
from tinyml.op import Op, define, find
from tinyml.ops.creation import zeros_like
from tinyml.ops.shape import one_after_another
from tinyml.parts import (
    Function,
    Part,
    as_part,
    bare,
    check_reads,
    closed,
    cotangents,
    floats,
    same_results,
    same_specs,
    tensors,
)
from tinyml.planning import make_plan
from tinyml.registry import Call, Plan, kernel
from tinyml.spec import Spec, as_size, make_spec
from tinyml.values import STATE, Data, make, paused, read_cell, write_cell

ROOMS = ("cpu", "opencl")


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


def _run(function: Callable[..., Sequence[Any]], call: Call) -> Plan:
    """A plan that runs a function of tensors as it stands: the host decides what is launched."""

    def run(*bufs: Any) -> Any:
        with paused():
            results = function(*[make(buf, spec) for buf, spec in zip(bufs, call.ins)])
            dense = [y.buf if y.spec is spec else apply(find("copy"), y).buf
                     for y, spec in zip(results, call.outs)]
        return tuple(dense) if len(dense) > 1 else dense[0]

    return Plan(run, call.outs, "host")


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
        near = [pred, *flat]
        xs = tensors(flat, near)
        test = _predicate(pred, xs)
        specs = [x.spec for x in xs]
        first, second = (as_part(f, definition, specs) for f in (true_fn, false_fn))
        same_results(first, second, "the results of true_fn and false_fn",
                     "return one structure with the same shapes and dtypes from both")
        count = len(first.graph.outputs)
        (yes, no), captured, cells = closed([first.graph, second.graph], len(xs))
        results: list[Any] = []
        if yes.outputs:
            states = [read_cell(cell) for cell in cells]
            results = _apply(COND, test, *xs, *states, *captured, yes=yes, no=no)
        for cell, state in zip(cells, results[count:]):
            write_cell(cell, state)
        return tree.unflatten(first.structure, results[:count])


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
    check_reads("yes", yes, xs)
    check_reads("no", no, xs)
    expect(bool(yes.outputs) and yes.specs == no.specs, "graphs with the same results",
           (yes.specs, no.specs), GraphError)
    specs = yes.specs
    return specs if len(specs) > 1 else specs[0]


def _cond_run(pred: Any, *xs: Any, yes: Graph, no: Graph) -> list[Any]:
    return apply_graph(yes if pred.item() else no, xs)


def _cond_grad(g: Any, _y: Any, pred: Any, *xs: Any, wanted: tuple[bool, ...], yes: Graph,
               no: Graph) -> list[Any]:
    """The branch that was taken, backwards."""
    asked = tuple([k for k, want in enumerate(wanted[1:]) if want])
    outs = floats(yes.outputs)
    gs = g if isinstance(g, tuple) else (g,)

    def back(graph: Graph) -> Graph:
        specs = [v.spec for v in graph.inputs] + [graph.outputs[k].spec for k in outs]
        return graph.once(("cond", asked), lambda: build(
            lambda *v: cotangents(graph, v[: len(xs)], v[len(xs):], outs, asked), specs))

    graphs = [back(graph) for graph in (yes, no)]
    (on_yes, on_no), constants, _ = closed(graphs, len(graphs[0].inputs))
    found = _apply(COND, pred, *xs, *[gs[k] for k in outs], *constants, yes=on_yes, no=on_no)
    places = dict(zip(asked, found))
    return [None, *[places.get(k) for k in range(len(xs))]]


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
        slices = [_row_spec(x.spec) for x in rows]
        both = tree.flatten((init, xs))[1]
        part = as_part(f, both, [*[x.spec for x in carry], *slices])
        _, structure = _pair(part, start_shape, carry)
        count = len(carry)
        (body,), captured, cells = closed([part.graph], count, count)
        states = [read_cell(cell) for cell in cells]
        results: list[Any] = []
        if body.outputs:
            results = _apply(SCAN, *carry, *states, *captured, *rows, body=body,
                             carry=count + len(cells), consts=len(captured), length=steps,
                             reverse=bool(reverse))
        for cell, state in zip(cells, results[count:]):
            write_cell(cell, state)
        return (tree.unflatten(start_shape, results[:count]),
                tree.unflatten(structure, results[count + len(cells) :]))


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


def _pair(part: Part, carry: tree.TreeDef, start: Sequence[Any]) -> tuple[tree.TreeDef,
                                                                          tree.TreeDef]:
    """The structures of the carry and of y; raises where f gives no pair or changes the carry."""
    probe = tree.unflatten(part.structure, range(part.structure.leaf_count))
    if not isinstance(probe, tuple) or len(probe) != 2:
        raise ArgumentTypeError(f"f returned {part.structure}, not (carry, y)",
                                remedy="return carry, y; y may be None")
    after, ys = (tree.flatten(half)[1] for half in probe)
    _same_carry(carry, after, [x.spec for x in start], part.graph)
    return after, ys


def _same_carry(before: tree.TreeDef, after: tree.TreeDef, specs: Sequence[Spec],
                graph: Graph) -> None:
    what = "the carry before and after a step"
    remedy = "give the first carry the structure, shapes and dtypes of the later ones"
    apart = tree.difference(before, after)
    if apart is not None:
        raise GraphError(f"{what} differ {apart}", remedy=remedy)
    same_specs(tree.paths(before), specs, [v.spec for v in graph.outputs], what, remedy)


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
    check_reads("body", body, [*fixed, *[_row_spec(x) for x in rows]])
    _check_carry(body, carry, specs)
    outs = [*body.specs[:carry],
            *[make_spec((length, *s.shape), s.dtype, s.device) for s in body.specs[carry:]]]
    return tuple(outs) if len(outs) > 1 else outs[0]


def _scan_run(*xs: Any, body: Graph, carry: int, consts: int, length: int,
              reverse: bool) -> list[Any]:
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
    return [*state, *stacked]


def _row(x: Any, step: int, spec: Spec) -> Any:
    """One slice along the first axis, a view."""
    if spec.size == 0:
        return make(x.buf, spec)
    return make(spec.device.view(x.buf, step * x.spec.strides[0], spec), spec)


def _scan_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], body: Graph, carry: int,
               consts: int, length: int, reverse: bool) -> list[Any]:
    """A scan in the other direction, over the carries, which a scan collects first."""
    gs = list(g) if isinstance(g, tuple) else [g]
    fixed, rows = xs[carry : carry + consts], xs[carry + consts :]
    own = body.inputs[:carry]
    keeping = body.once("carries", lambda: Graph(
        body.inputs, body.lines, [*body.outputs[:carry], *own]))
    before = _apply(SCAN, *xs, body=keeping, carry=carry, consts=consts, length=length,
                    reverse=reverse)[carry:] if carry else []
    moving = floats(own)
    held = [k for k in range(consts) if wanted[carry + k]]
    cut = [k for k in range(len(rows)) if wanted[carry + consts + k]]
    outs = floats(body.outputs)
    ys = [k for k in outs if k >= carry]
    adding = len(moving) + len(held)

    def step(*v: Any) -> list[Any]:
        parts = iter(v)

        def take(count: int) -> list[Any]:
            return [next(parts) for _ in range(count)]

        g_carry, sums = take(len(moving)), take(len(held))
        values, state, row = take(consts), take(carry), take(len(rows))
        asked = [*moving, *[carry + k for k in held], *[carry + consts + k for k in cut]]
        found = cotangents(body, [*state, *values, *row], [*g_carry, *take(len(ys))], outs, asked)
        return [*found[: len(moving)],
                *[total + part for total, part in zip(sums, found[len(moving) : adding])],
                *found[adding:]]

    def back() -> Graph:
        specs = [v.spec for v in body.inputs]
        const_specs = specs[carry : carry + consts]
        return build(step, [*[specs[k] for k in moving], *[const_specs[k] for k in held],
                            *const_specs, *specs[:carry], *specs[carry + consts :],
                            *[body.outputs[k].spec for k in ys]])

    made = body.once(("scan", carry, consts, tuple(held), tuple(cut)), back)
    (other,), constants, _ = closed([made], adding, adding)
    found = _apply(
        SCAN, *[gs[k] for k in moving], *[zeros_like(fixed[k]) for k in held], *constants, *fixed,
        *before, *rows, *[gs[k] for k in ys], body=other, carry=adding,
        consts=len(constants) + consts, length=length, reverse=not reverse)
    result: list[Any] = [None] * len(xs)
    places = [*moving, *[carry + k for k in held], *[carry + consts + k for k in cut]]
    for place, value in zip(places, found):
        result[place] = value
    return result


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
        if max_steps is not None:
            max_steps = as_size(max_steps, "max_steps")
            expect(max_steps >= 0, "max_steps >= 0", max_steps, ArgumentError)
        definition = tree.flatten((init,))[1]
        specs = [x.spec for x in carry]
        test, step = (as_part(f, definition, specs) for f in (cond_fn, body_fn))
        expect(len(test.graph.outputs) == 1, "one condition from cond_fn", test.structure,
               ArgumentTypeError, remedy="return a bool tensor such as x > 0")
        _check_predicate(test.graph.outputs[0].spec)
        expect(not test.graph.cells, "a cond_fn without random numbers", "some", GraphError,
               remedy="draw them in body_fn, and carry them")
        _same_carry(structure, step.structure, specs, step.graph)
        count = len(carry)
        (going, body), captured, cells = closed([test.graph, step.graph], count)
        states = [read_cell(cell) for cell in cells]
        results = _apply(WHILE, *carry, *states, *captured, test=going, body=body,
                         carry=count + len(cells), max_steps=max_steps)
        for cell, state in zip(cells, results[count:]):
            write_cell(cell, state)
        return tree.unflatten(structure, results[:count])


def _check_carry(body: Graph, carry: int, specs: Sequence[Spec]) -> None:
    before, after = tuple(map(bare, specs[:carry])), tuple(map(bare, body.specs[:carry]))
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
    check_reads("test", test, specs)
    check_reads("body", body, specs)
    expect(bool(test.outputs), "a condition from test", "no result", GraphError)
    _check_predicate(test.specs[0])
    expect(len(body.outputs) == carry, f"{carry} results of body", len(body.outputs), GraphError)
    _check_carry(body, carry, specs)
    return body.specs if len(body.specs) > 1 else body.specs[0]


def _while_run(*xs: Any, test: Graph, body: Graph, carry: int,
               max_steps: int | None) -> list[Any]:
    state, fixed = list(xs[:carry]), xs[carry:]
    steps = 0
    while max_steps is None or steps < max_steps:
        (going,) = apply_graph(test, [*state, *fixed])[:1]
        if not going.item():
            break
        state = apply_graph(body, [*state, *fixed])
        steps += 1
    return state


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


# ---- the records


def _define(name: str, infer: Function, grad: Function, run: Function, doc: str,
            canon: Function | None = None) -> Op:
    def body(*xs: Any, **attrs: Any) -> Any:
        results = run(*xs, **attrs)
        return tuple(results) if len(results) > 1 else results[0]

    for room in ROOMS:
        kernel(name, room)(lambda call: _run(lambda *xs: run(*xs, **call.attrs), call))
    return define(name, infer, grad=grad, canon=canon, body=body, dtypes=(), doc=doc)


COND = _define("cond", _cond_infer, _cond_grad, _cond_run,
               "One of two graphs, as a bool says; its gradient is another such choice.")
SCAN = _define("scan", _scan_infer, _scan_grad, _scan_run,
               "A graph applied again and again to a carry and to slices; its gradient is a scan.",
               _scan_canon)
WHILE = _define("while", _while_infer, _while_grad, _while_run,
                "A graph applied to a carry as long as another holds; its gradient is a scan.",
                _while_canon)
