"""Control flow that depends on values: cond, while and scan, as ordinary records.

Their branches and steps are graphs, passed as attributes; control_flow makes them from functions.
The pullback of a scan is a scan and that of a cond is a cond, over the pullbacks of their graphs;
so gradients of any order work, inside graphs and outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

from tinyml.core.apply import as_tuple, run, watched
from tinyml.core.builder import Capture, symbolic
from tinyml.core.error_context import describe
from tinyml.core.make import make
from tinyml.core.plan import make_plan
from tinyml.core.state import STATE
from tinyml.dtypes import bool_
from tinyml.errors import ArgumentError, ArgumentTypeError, DTypeError, GradientError, GraphError
from tinyml.extend import Op, Spec, apply_many, define, expect
from tinyml.graph.graph import Graph, apply_graph, are_floats, build, replay, spread
from tinyml.ir.op import Var
from tinyml.ir.spec import make_spec
from tinyml.ops.arguments import as_size
from tinyml.ops.concat import concat_rows
from tinyml.ops.creation import zeros_like


def _apply_once(op: Op, *xs: Any, **attrs: Any) -> list[Any]:
    """Return the results of a record as a list, without keeping a plan.

    Graphs that were traced for this call will not be used again.
    """
    if STATE.building is not None or watched():
        return list(apply_many(op, *xs, **attrs))
    return list(as_tuple(run(op, make_plan(op, [x.spec for x in xs], attrs), xs)))


# ---- graphs that share captures


def apply_over(op: Op, graphs: dict[str, Graph], before: Sequence[Any],
               after: Sequence[Any] = (), **attrs: Any) -> list[Any]:
    """Return the results of a record on graphs whose inputs stand for `before` and `after`.

    The captures of any of them become operands of all, in between: first hidden state, whose new
    content follows the results of the carry, or all results; then the constants.
    """
    known = {id(c.tensor): c for graph in graphs.values() for c in graph.captures}
    captures = sorted(known.values(), key=lambda capture: not capture.is_state)
    states = sum(capture.is_state for capture in captures)
    carried = attrs.get("carry", max(len(graph.outputs) for graph in graphs.values()))
    closed = {name: _close(graph, captures, len(graph.inputs) - len(after), carried)
              for name, graph in graphs.items()}
    if not all(graph.outputs for graph in closed.values()):
        return []
    for name, more in (("carry", states), ("consts", len(captures) - states)):
        if name in attrs:
            attrs[name] += more
    results = _apply_once(op, *before, *[c.tensor for c in captures], *after, **closed, **attrs)
    for state, value in zip(captures[:states], results[carried:]):
        state.tensor._replace(value)
    return results[:carried] + results[carried + states :]


def _close(graph: Graph, captures: Sequence[Capture], inputs: int, outputs: int) -> Graph:
    """Return a graph that takes `captures` after its inputs, and gives state after its outputs.

    Captures that it does not read pass through it.
    """
    own = {id(c.tensor): c for c in graph.captures}
    taken = [own.get(id(c.tensor)) or Capture(var := Var(c.var.spec), c.tensor, var)
             for c in captures]
    return Graph(
        [*graph.inputs[:inputs], *[c.var for c in taken], *graph.inputs[inputs:]], graph.equations,
        [*graph.outputs[:outputs], *[c.result for c in taken if c.is_state],
         *graph.outputs[outputs:]])


def _check_reads(name: str, graph: Any, specs: Sequence[Any]) -> None:
    """Raise unless an attribute is a graph that reads exactly these operands."""
    expect(isinstance(graph, Graph), f"{name}: a graph", type(graph).__name__, ArgumentTypeError,
           remedy="tinyml.cond, tinyml.scan and tinyml.while_loop trace functions to graphs")
    reads = tuple([symbolic(var.spec) for var in graph.inputs])
    given = tuple(map(symbolic, specs))
    expect(reads == given, f"{name} reads {reads}", given, GraphError)


# ---- cond


def check_predicate(spec: Spec) -> None:
    """Raise unless a condition is a bool of shape ()."""
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
    """Choose between the pullbacks by the same condition."""
    present = are_floats(yes.outputs)
    gs = compress(as_tuple(g), present)
    pullbacks = {name: graph.pullback(wanted[1:], present, outputs=False)
                 for name, graph in (("yes", yes), ("no", no))}
    return [None, *spread(apply_over(COND, pullbacks, [pred, *xs, *gs]), wanted[1:])]


# ---- scan


def row_spec(spec: Spec) -> Spec:
    """Return the spec of one slice along the first axis."""
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
    columns: list[list[Any]] = [[] for _ in body.outputs[carry:]]
    for step in reversed(range(length)) if reverse else range(length):
        cut = [_row(x, step, spec) for x, spec in zip(rows, specs)]
        results = apply_graph(body, [*state, *fixed, *cut])
        state = results[:carry]
        for column, y in zip(columns, results[carry:]):
            column.append(y)
    return (*state, *[
        concat_rows(column[::-1] if reverse else column, (length, *spec.shape), spec.dtype,
                    spec.device)
        for spec, column in zip(body.specs[carry:], columns)])


def _row(x: Any, step: int, spec: Spec) -> Any:
    """Return one slice along the first axis, as a view."""
    if spec.size == 0:
        return make(x.buf, spec)
    return make(spec.device.view(x.buf, step * x.spec.strides[0], spec), spec)


def _scan_grad(g: Any, _y: Any, *xs: Any, wanted: tuple[bool, ...], body: Graph, carry: int,
               consts: int, length: int, reverse: bool) -> list[Any]:
    """Scan in the other direction over the carries, which a first scan collects."""
    fixed, rows = xs[carry : carry + consts], xs[carry + consts :]
    carries = _apply_once(SCAN, *xs, body=body.derive(_give_carries, carry), carry=carry,
                          consts=consts, length=length, reverse=reverse)[carry:] if carry else []
    present = are_floats(body.outputs)
    gs = list(compress(as_tuple(g), present))
    moving = sum(present[:carry])  # cotangents of the carry pass from step to step,
    sums = [zeros_like(x) for x in compress(fixed, wanted[carry:])]  # those of constants add up
    wanted = (*present[:carry], *wanted[carry:])
    step = body.derive(_pull_step, carry, consts, wanted)
    found = apply_over(SCAN, {"body": step}, [*gs[:moving], *sums],
                       [*fixed, *carries, *rows, *gs[moving:]], carry=moving + len(sums),
                       consts=consts, length=length, reverse=not reverse)
    return spread(found, wanted)


def _give_carries(body: Graph, carry: int) -> Graph:
    """Return a body that gives the carry before each step instead of its rows."""
    return Graph(body.inputs, body.equations, [*body.outputs[:carry], *body.inputs[:carry]])


def _pull_step(body: Graph, carry: int, consts: int, wanted: tuple[bool, ...]) -> Graph:
    """Return the body of the scan over cotangents, the pullback of one step.

    Inputs: cotangents of the carry, sums of those of the constants; the constants; then carry, rows
    and the cotangents of the step's output rows.
    """
    present = are_floats(body.outputs)
    pullback = body.pullback(wanted, present, outputs=False)
    specs = [v.spec for v in pullback.inputs]
    ins, gs = specs[: len(body.inputs)], specs[len(body.inputs) :]
    moving = sum(present[:carry])
    held = list(compress(ins[carry : carry + consts], wanted[carry:]))
    adding = moving + len(held)

    def step(*v: Any) -> list[Any]:
        g_carry, sums, rest = v[:moving], v[moving:adding], v[adding:]
        values, state = rest[:consts], rest[consts : consts + carry]
        row, g_rows = rest[consts + carry : len(ins)], rest[len(ins) :]
        found = pullback.run([*state, *values, *row, *g_carry, *g_rows])
        found[moving:adding] = [a + b for a, b in zip(sums, found[moving:adding])]
        return found

    return build(step, [*gs[:moving], *held, *ins[carry : carry + consts], *ins[:carry],
                        *ins[carry + consts :], *gs[moving:]])


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
    """Pull back along a scan of `max_steps` steps, where steps after the end do nothing."""
    if max_steps is None:
        raise GradientError("the number of steps of a while_loop is not known in reverse mode",
                            remedy="scan, where the number is known; or while_loop(..., "
                                   "max_steps=n)").during("while_loop", describe(xs))
    step = body.derive(_step_while, test, carry)
    return _scan_grad(g, None, *xs, wanted=wanted, body=step, carry=carry,
                      consts=len(xs) - carry, length=max_steps, reverse=False)


def _step_while(body: Graph, test: Graph, carry: int) -> Graph:
    """Return the body of a scan that does a step while the test holds, and nothing after that."""
    rest = Graph(body.inputs, [], body.inputs[:carry])
    more = Graph(body.inputs, body.equations, body.outputs)  # a copy: body will hold the result

    def step(*v: Any) -> list[Any]:
        return _apply_once(COND, replay(test, v)[0], *v, yes=more, no=rest)

    return build(step, [v.spec for v in body.inputs])


# ---- the records: they run on tensors, and the host decides what to launch

COND = define(
    "cond", _cond_infer, grad=_cond_grad, host_impl=_cond_run, dtypes=(),
    cross_device=True,
    doc="One of two graphs, as a bool says; its gradient is another such choice.")
SCAN = define(
    "scan", _scan_infer, grad=_scan_grad, host_impl=_scan_run, normalize=_scan_normalize, dtypes=(),
    cross_device=True,
    doc="A graph applied again and again to a carry and to slices; its gradient is a scan.")
WHILE = define(
    "while", _while_infer, grad=_while_grad, host_impl=_while_run, normalize=_while_normalize,
    dtypes=(), cross_device=True,
    doc="A graph applied to a carry as long as another holds; its gradient is a scan.")
