"""Control flow that depends on values: cond, while and scan, as ordinary records.

Their branches and steps are graphs, given as attributes; control_flow.py makes them of functions. The
way back of a scan is a scan, that of a branch is a branch; so gradients have any order, in graphs
and outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

from tinyml.core.apply import apply_many, as_tuple, describe, full, run, watched
from tinyml.core.builder import Capture, symbolic
from tinyml.core.node import make
from tinyml.core.plan import make_plan
from tinyml.core.state import STATE
from tinyml.dtypes import bool_
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GradientError,
    GraphError,
    expect,
)
from tinyml.graph.graph import Graph, apply_graph, build, floats, replay
from tinyml.ir.op import Op, Var, define
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import as_size
from tinyml.ops.concat import one_after_another
from tinyml.ops.creation import zeros_like


def _apply_once(op: Op, *xs: Any, **attrs: Any) -> list[Any]:
    """Return the results of a record as a list, and keep no plan.

    Graphs that were traced for this call will not come again.
    """
    if STATE.building is not None or watched():
        return list(apply_many(op, *xs, **attrs))
    return list(as_tuple(run(op, make_plan(op, [x.spec for x in xs], attrs), xs)))


# ---- graphs that stand for each other


def apply_over(op: Op, graphs: dict[str, Graph], before: Sequence[Any],
               after: Sequence[Any] = (), **attrs: Any) -> list[Any]:
    """The results of a record on graphs whose inputs stand for operands, the last ones for `after`.

    What any of them captures becomes operands of all, between `before` and `after`: first hidden
    state, which is carried on from the results of the carry, or from all, then the constants.
    """
    known = {id(c.tensor): c for graph in graphs.values() for c in graph.captures}
    captures = sorted(known.values(), key=lambda capture: not capture.is_state)
    states = sum(capture.is_state for capture in captures)
    given = attrs.get("carry", max(len(graph.outputs) for graph in graphs.values()))
    opened = {}
    for name, graph in graphs.items():
        own = {id(c.tensor): c for c in graph.captures}
        mine = [own.get(id(c.tensor)) or Capture(new := Var(c.var.spec), c.tensor, new)
                for c in captures]
        cut = len(graph.inputs) - len(after)
        opened[name] = Graph(
            [*graph.inputs[:cut], *[c.var for c in mine], *graph.inputs[cut:]], graph.equations,
            [*graph.outputs[:given], *[c.result for c in mine[:states]], *graph.outputs[given:]])
    if not all(graph.outputs for graph in opened.values()):
        return []
    for name, more in (("carry", states), ("consts", len(captures) - states)):
        if name in attrs:
            attrs[name] += more
    results = _apply_once(op, *before, *[c.tensor for c in captures], *after, **opened, **attrs)
    for state, value in zip(captures[:states], results[given:]):
        state.tensor._replace(value)
    return results[:given] + results[given + states :]


def _check_reads(name: str, graph: Any, specs: Sequence[Any]) -> None:
    """Raise where an attribute is no graph that reads just these operands."""
    expect(isinstance(graph, Graph), f"{name}: a graph", type(graph).__name__, ArgumentTypeError,
           remedy="tinyml.cond, tinyml.scan and tinyml.while_loop trace functions to graphs")
    reads = tuple([symbolic(var.spec) for var in graph.inputs])
    given = tuple(map(symbolic, specs))
    expect(reads == given, f"{name} reads {reads}", given, GraphError)


# ---- cond


def check_predicate(spec: Spec) -> None:
    """Raise where a condition is no bool of shape ()."""
    expect(spec.dtype is bool_, "a condition of type bool", spec.dtype.name, DTypeError,
           remedy="compare: x > 0, x != 0")
    expect(spec.shape == (), "a condition of shape ()", spec.shape,
           remedy="reduce it; tinyml.where chooses elementwise")


def _cond_infer(pred: Spec, *xs: Spec, yes: Graph, no: Graph) -> tuple[Spec, ...]:
    check_predicate(pred)
    _check_reads("yes", yes, xs)
    _check_reads("no", no, xs)
    expect(bool(yes.outputs) and yes.specs == no.specs, "graphs with the same results",
           (yes.specs, no.specs), GraphError)
    return yes.specs


def _cond_run(pred: Any, *xs: Any, yes: Graph, no: Graph) -> tuple[Any, ...]:
    return tuple(apply_graph(yes if pred.item() else no, xs))


def _cond_grad(g: Any, _y: Any, pred: Any, *xs: Any, wanted: tuple[bool, ...], yes: Graph,
               no: Graph) -> list[Any]:
    """The branch that was taken, backwards."""
    there = floats(yes.outputs)
    gs = list(compress(as_tuple(g), there))
    ways = [graph.pullback(wanted[1:], there, outputs=False) for graph in (yes, no)]
    found = iter(apply_over(COND, dict(zip(("yes", "no"), ways)), [pred, *xs, *gs]))
    return [next(found) if want else None for want in (False, *wanted[1:])]


# ---- scan


def row_spec(spec: Spec) -> Spec:
    """That of one slice along the first axis."""
    return make_spec(spec.shape[1:], spec.dtype, spec.device, spec.strides[1:], spec.symbolic)


def _scan_normalize(*_: Spec, body: Graph, carry: Any, consts: Any, length: Any,
                reverse: Any) -> dict[str, Any]:
    counts = {"carry": as_size(carry, "carry"), "consts": as_size(consts, "consts"),
              "length": as_size(length, "length")}
    expect(min(counts.values()) >= 0, "counts that are not negative", counts, ArgumentError)
    return {"body": body, **counts, "reverse": bool(reverse)}


def _scan_infer(*specs: Spec, body: Graph, carry: int, consts: int, length: int,
                reverse: bool) -> tuple[Spec, ...]:
    fixed, rows = specs[: carry + consts], specs[carry + consts :]
    expect(len(fixed) == carry + consts, f"at least {carry + consts} operands", len(specs),
           ArgumentError)
    for x in rows:
        expect(x.shape[:1] == (length,), f"a first axis of {length}", x.shape)
    _check_reads("body", body, [*fixed, *[row_spec(x) for x in rows]])
    _check_carry(specs[:carry], body.specs[:carry])
    return (*body.specs[:carry], *[
        make_spec((length, *s.shape), s.dtype, s.device) for s in body.specs[carry:]])


def _scan_run(*xs: Any, body: Graph, carry: int, consts: int, length: int,
              reverse: bool) -> tuple[Any, ...]:
    state, fixed, rows = list(xs[:carry]), xs[carry : carry + consts], xs[carry + consts :]
    specs = [row_spec(x.spec) for x in rows]
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
    return (*state, *stacked)


def _row(x: Any, step: int, spec: Spec) -> Any:
    """One slice along the first axis, a view."""
    if spec.size == 0:
        return make(x.buf, spec)
    return make(spec.device.view(x.buf, step * x.spec.strides[0], spec), spec)


def _scan_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], body: Graph, carry: int,
               consts: int, length: int, reverse: bool) -> list[Any]:
    """A scan in the other direction, over the carries, which a scan collects first."""
    fixed, rows = xs[carry : carry + consts], xs[carry + consts :]
    keeping = body.once("carries", lambda: Graph(
        body.inputs, body.equations, [*body.outputs[:carry], *body.inputs[:carry]]))
    before = _apply_once(SCAN, *xs, body=keeping, carry=carry, consts=consts, length=length,
                    reverse=reverse)[carry:] if carry else []
    there = floats(body.outputs)
    asked = (*there[:carry], *wanted[carry:])  # the cotangents of all carries go on
    arrive = list(compress(as_tuple(g), there))
    moving, held = sum(there[:carry]), list(compress(fixed, wanted[carry:]))
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

    found = iter(apply_over(
        SCAN, {"body": body.once(("scan", carry, consts, asked), back)},
        [*arrive[:moving], *[zeros_like(x) for x in held]],
        [*fixed, *before, *rows, *arrive[moving:]], carry=adding, consts=consts, length=length,
        reverse=not reverse))
    return [next(found) if want else None for want in asked]


# ---- while_loop


def _check_carry(specs: Sequence[Spec], given: Sequence[Spec]) -> None:
    before, after = tuple(map(symbolic, specs)), tuple(map(symbolic, given))
    expect(after == before, f"a body that gives the carry {before}", after, GraphError)


def _while_normalize(*_: Spec, test: Graph, body: Graph, carry: Any,
                 max_steps: Any) -> dict[str, Any]:
    count, limit = as_size(carry, "carry"), max_steps
    if limit is not None:
        limit = as_size(limit, "max_steps")
        expect(limit >= 0, "max_steps >= 0", limit, ArgumentError)
    return {"test": test, "body": body, "carry": count, "max_steps": limit}


def _while_infer(*specs: Spec, test: Graph, body: Graph, carry: int,
                 max_steps: int | None) -> tuple[Spec, ...]:
    expect(0 < carry <= len(specs), f"a carry of 1 to {len(specs)} operands", carry, ArgumentError)
    _check_reads("test", test, specs)
    _check_reads("body", body, specs)
    expect(bool(test.outputs), "a condition from test", "no result", GraphError)
    check_predicate(test.specs[0])
    _check_carry(specs[:carry], body.specs)
    return body.specs


def _while_run(*xs: Any, test: Graph, body: Graph, carry: int,
               max_steps: int | None) -> tuple[Any, ...]:
    state, fixed = list(xs[:carry]), xs[carry:]
    steps = 0
    while max_steps is None or steps < max_steps:
        if not apply_graph(test, [*state, *fixed])[0].item():
            break
        state = apply_graph(body, [*state, *fixed])
        steps += 1
    return tuple(state)


def _while_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], test: Graph, body: Graph,
                carry: int, max_steps: int | None) -> list[Any]:
    """That of a scan of `max_steps` steps, those after the end doing nothing."""
    if max_steps is None:
        raise GradientError("the number of steps of a while_loop is not known in reverse mode",
                            remedy="scan, where the number is known; or while_loop(..., "
                                   "max_steps=n)").during("while_loop", describe(xs))
    rest = Graph(body.inputs, [], body.inputs[:carry])
    more = Graph(body.inputs, body.equations, body.outputs)  # body itself will hold what holds this

    def step(*v: Any) -> list[Any]:
        return _apply_once(COND, replay(test, v)[0], *v, yes=more, no=rest)

    known = body.once(("while", test), lambda: build(step, [v.spec for v in body.inputs]))
    return _scan_grad(g, None, *xs, wanted=wanted, body=known, carry=carry,
                      consts=len(xs) - carry, length=max_steps, reverse=False)


# ---- the records: they run as they stand, and the host decides what is launched

COND = define(
    "cond", _cond_infer, grad=_cond_grad, host_impl=_cond_run, dtypes=(),
    doc="One of two graphs, as a bool says; its gradient is another such choice.")
SCAN = define(
    "scan", _scan_infer, grad=_scan_grad, host_impl=_scan_run, normalize=_scan_normalize, dtypes=(),
    doc="A graph applied again and again to a carry and to slices; its gradient is a scan.")
WHILE = define(
    "while", _while_infer, grad=_while_grad, host_impl=_while_run, normalize=_while_normalize, dtypes=(),
    doc="A graph applied to a carry as long as another holds; its gradient is a scan.")
