"""Graphs: computations on tensors, as equations that can be run, differentiated and compiled.

A graph is flat and in SSA form: each equation applies an op to earlier values. A replay applies the
same ops in the usual way, so it is differentiable and can be traced again. Composites stay whole;
the compiler inlines them. `tinyml.trace` makes graphs of users' functions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import ExitStack
from copy import copy
from functools import partial
from itertools import compress
from typing import Any, TypeVar

from tinyml.concurrency import kept_property
from tinyml.core.apply import as_tuple, full, run, watched
from tinyml.core.backward import backward
from tinyml.core.builder import Builder, Capture, building, refuse_leaked, symbolic
from tinyml.core.make import make
from tinyml.core.node import Leaf, one_deeper
from tinyml.core.plan import CompiledOp, make_plan
from tinyml.core.state import STATE
from tinyml.core.upload import upload_all
from tinyml.errors import TinyMLError, line_text, user_frame
from tinyml.extend import Op, Spec, apply, apply_many, define, expect
from tinyml.ir.dims import Dim
from tinyml.ir.op import Equation, Var

T = TypeVar("T")


class Graph:
    """Equations over variables.

    inputs    variables passed by the caller
    captures  tensors from outside that it reads, state last; see Capture
    equations what it computes, in order
    outputs   variables that it returns
    reads     everything it reads: inputs, then captures
    gives     everything it gives: outputs, then the new content of the `states` among its captures
    plans     how it runs as one op, by the specs of its inputs
    pullbacks and residuals   what `pullback` and `with_residuals` have made so far
    """

    def __init__(self, inputs: Sequence[Var], equations: Sequence[Equation], outputs: Sequence[Var],
                 captures: Sequence[Capture] = ()) -> None:
        self.inputs = tuple(inputs)
        self.equations = tuple(equations)
        self.outputs = tuple(outputs)
        self.captures = tuple(captures)
        self.states = tuple([c for c in captures if c.is_state])
        self.reads = (*self.inputs, *[c.var for c in captures])
        self.gives = (*self.outputs, *[c.result for c in self.states])
        self.plans: dict[Any, CompiledOp] = {}
        self.pullbacks: dict[Any, Graph] = {}
        self.residuals: dict[tuple[bool, ...], tuple[Graph, list[Any]]] = {}
        self._derived: dict[Any, Any] = {}

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The specs of the results."""
        return tuple([var.spec for var in self.outputs])

    @property
    def unknown(self) -> bool:
        """Whether a size depends on values, here or in a nested graph: planning is impossible."""
        return any(
            any(var.spec.unknown for var in equation.outs)
            or any(isinstance(v, Graph) and v.unknown for v in equation.attrs.values())
            for equation in self.equations
        )

    @property
    def closed_over_as_inputs(self) -> Graph:
        """The graph whose inputs are all that this one reads, and its outputs all that it gives."""
        return self._closed if self.captures else self

    @kept_property
    def _closed(self) -> Graph:
        return Graph(self.reads, self.equations, self.gives)

    @kept_property
    def last_uses(self) -> list[list[Var]]:
        """For each equation, the variables that are not used after it."""
        return find_last_uses([(*e.outs, *e.operands) for e in self.equations], self.gives)

    def derive(self, function: Callable[..., T], *args: Any) -> T:
        """Return `function(self, *args)`, computed on first use and kept with this graph."""
        key = function, args
        if key not in self._derived:
            self._derived[key] = function(self, *args)
        found: T = self._derived[key]
        return found

    # ---- running

    def run(self, xs: Sequence[Any]) -> list[Any]:
        """Return the outputs for these inputs, running one equation at a time."""
        return self.run_by(partial(replay, self), xs)

    def run_by(self, function: Callable[[list[Any]], list[Any]], xs: Sequence[Any]) -> list[Any]:
        """Return the outputs, using a function from all that it reads to all that it gives.

        State stays locked until it has its new content.
        """
        count = len(self.outputs)
        with ExitStack() as locks:
            # Always in the same order, or two threads might deadlock.
            for state in sorted(self.states, key=lambda capture: id(capture.tensor)):
                locks.enter_context(state.tensor.lock)
            results = function([*xs, *[c.tensor for c in self.captures]])
            for state, value in zip(self.states, results[count:]):
                state.tensor._replace(value)
        return results[:count]

    def call(self, xs: Sequence[Any]) -> list[Any]:
        """Run it as one op: compiled if the compiler is loaded, and recorded as a whole."""
        if not (self.captures or self.pullbacks):
            return apply_graph(self, xs)
        return self.run_by(self._run_as_one_op, xs)

    def _run_as_one_op(self, operands: list[Any]) -> list[Any]:
        graph = self.closed_over_as_inputs
        if graph.pullbacks and STATE.recording:  # a gradient was asked for before
            wanted = tuple([x.node is not None and x.spec.dtype.is_inexact for x in operands])
            if any(wanted):
                graph, constants = graph.with_residuals(wanted)
                operands += constants
        return apply_graph(graph, operands)

    # ---- the pullback

    def pullback(self, wanted: tuple[bool, ...], present: tuple[bool, ...],
                 outputs: bool = True) -> Graph:
        """Return the graph of the cotangents of the inputs `wanted`.

        It takes inputs, outputs, and the cotangents of the outputs that have one (`present`). It
        recomputes what else it needs of the forward pass; without `outputs`, the outputs too.
        """
        key = wanted, present, outputs
        if key not in self.pullbacks:
            self.pullbacks[key] = self._differentiate(wanted, present, outputs)[0]
        return self.pullbacks[key]

    def with_residuals(self, wanted: tuple[bool, ...]) -> tuple[Graph, list[Any]]:
        """Return this graph with more outputs, the residuals that the pullback to `wanted` reads.

        Its last inputs are constants, whose values are returned too.
        """
        if wanted not in self.residuals:
            self.residuals[wanted] = self._add_residuals(wanted)
        return self.residuals[wanted]

    def _add_residuals(self, wanted: tuple[bool, ...]) -> tuple[Graph, list[Any]]:
        present = are_floats(self.outputs)
        whole, forward = self._differentiate(wanted, present)
        early = {var for equation in forward for var in equation.outs}
        late = [e for e in whole.equations if not early.intersection(e.outs)]
        constants = [c.var for c in whole.captures]
        count = len(self.inputs) + len(self.outputs)
        xs = (*whole.inputs[: len(self.inputs)], *constants)
        ys = whole.inputs[len(self.inputs) : count]
        read = (*[v for equation in late for v in equation.operands], *whole.outputs)
        extra = tuple(dict.fromkeys(v for v in read if v in early and v not in ys))
        graph = Graph(xs, prune(forward, (*ys, *extra), xs), (*ys, *extra))
        key = (*wanted, *[False] * len(constants)), (*present, *[False] * len(extra)), True
        graph.pullbacks[key] = Graph((*xs, *ys, *extra, *whole.inputs[count:]), late,
                                     whole.outputs)
        return graph, [c.tensor for c in whole.captures]

    def _differentiate(self, wanted: tuple[bool, ...], present: tuple[bool, ...],
                       outputs: bool = True) -> tuple[Graph, list[Equation]]:
        """Return the pullback, and the equations of its forward part."""
        builder = Builder()
        with building(builder), one_deeper() as depth:
            xs = [builder.input(var.spec) for var in self.inputs]
            leaves = [Leaf(x.spec, depth) if want else None for x, want in zip(xs, wanted)]
            ys = replay(self, [x if leaf is None else make(x.buf, x.spec, leaf)
                               for x, leaf in zip(xs, leaves)])
            forward = list(builder.equations)
            gs = [builder.input(var.spec) for var in compress(self.outputs, present)]
            found = backward([y.node for y in compress(ys, present)], gs, leaves, False)
            results = [
                builder.enter(full(x.shape, 0, x.dtype, x.device) if g is None else g)
                for x, g in compress(zip(xs, found), wanted)]
        ends = [g.buf for g in results]
        inputs = [x.buf for x in (*xs, *(ys if outputs else ()), *gs)]
        graph = Graph(inputs, prune(builder.equations, ends, inputs), ends, builder.captured())
        return graph, forward


# ---- equations


def are_floats(vars_: Sequence[Var]) -> tuple[bool, ...]:
    """Return for each variable whether it is of a float type."""
    return tuple([var.spec.dtype.is_inexact for var in vars_])


def spread(values: Iterable[T], places: Sequence[bool]) -> list[T | None]:
    """Return the values at the marked places, and None at the others.

    >>> spread("ab", (True, False, True))
    ['a', None, 'b']
    """
    rest = iter(values)
    return [next(rest) if marked else None for marked in places]


def prune(equations: Sequence[Equation], ends: Sequence[Var],
          given: Sequence[Var]) -> list[Equation]:
    """Return the equations that `ends` depend on, given that `given` are known."""
    have = set(given)
    live = set(ends) - have
    kept = []
    for equation in reversed(equations):
        if not live.isdisjoint(equation.outs):
            kept.append(equation)
            live.update(v for v in equation.operands if v not in have)
    kept.reverse()
    return kept


def find_last_uses(steps: Sequence[Sequence[Var]], ends: Sequence[Var]) -> list[list[Var]]:
    """Return for each step, given as the variables it uses, those that no later step uses."""
    seen = set(ends)
    found = []
    for touched in reversed(steps):
        found.append([v for v in dict.fromkeys(touched) if v not in seen])
        seen.update(touched)
    found.reverse()
    return found


def replay(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """Apply the equations one by one to the values of `reads`; return those of `gives`."""
    env: dict[Var, Any] = dict(zip(graph.reads, values))
    builder = STATE.building
    outer = (STATE.equation, STATE.caller) if builder is None and watched() else None
    if outer is not None:
        STATE.caller = user_frame()
    sizes: dict[Any, int] = {}
    try:
        for equation, dead in zip(graph.equations, graph.last_uses):
            if builder is not None:
                builder.location = equation.location
            elif outer is not None:
                STATE.equation = equation if equation.location is not None else outer[0]
            attrs = resolve_sizes(equation.attrs, sizes) if sizes else equation.attrs
            result = apply(equation.op, *[env[v] if isinstance(v, Var) else v
                                          for v in equation.inputs], **attrs)
            for var, value in zip(equation.outs, as_tuple(result)):
                env[var] = value
                if var.spec.unknown:
                    sizes.update(zip(var.spec.shape, value.spec.shape))
            for var in dead:
                del env[var]
    except TinyMLError as error:
        if equation.location is not None:
            error.line = line_text(*equation.location)
        raise
    finally:
        if outer is not None:
            STATE.equation, STATE.caller = outer
    return [env[var] for var in graph.gives]


def resolve_sizes(attrs: Any, sizes: dict[Any, int]) -> Any:
    """Return attributes with unknown sizes replaced by their actual values."""
    if isinstance(attrs, dict):
        return {name: resolve_sizes(value, sizes) for name, value in attrs.items()}
    if isinstance(attrs, tuple):
        return tuple([resolve_sizes(value, sizes) for value in attrs])
    return sizes.get(attrs, attrs) if isinstance(attrs, Dim) else attrs


# ---- as one op


def apply_graph(graph: Graph, xs: Sequence[Any]) -> list[Any]:
    """Apply the op `call` to a graph without captures.

    Its plans are kept with the graph, and freed with it.
    """
    if not graph.outputs:
        return []
    if STATE.building is not None or watched():
        return list(apply_many(CALL, *xs, graph=graph))
    specs = tuple([x.spec for x in xs])
    plan = graph.plans.get(specs)
    if plan is None:
        for x in xs:
            refuse_leaked(x)
        bare = copy(graph)
        bare.plans = {}  # so that no plan holds itself, a cycle for the collector
        plan = graph.plans[specs] = make_plan(CALL, specs, {"graph": bare})
    return list(as_tuple(run(CALL, plan, xs)))


def _call_infer(*specs: Spec, graph: Graph) -> tuple[Spec, ...]:
    for k, (spec, var) in enumerate(zip(specs, graph.inputs, strict=True)):
        expect(symbolic(spec) is var.spec, f"input {k} of {var.spec}", spec)
    return graph.specs


def _call_grad(g: Any, y: Any, *xs: Any, wanted: tuple[bool, ...], graph: Graph) -> list[Any]:
    """Run the pullback as a separate graph, as one op; it is differentiable again."""
    gs = as_tuple(g)
    pullback = graph.pullback(wanted, tuple([x is not None for x in gs]))
    return spread(pullback.call([*xs, *as_tuple(y), *[x for x in gs if x is not None]]), wanted)


CALL: Op = define(
    "call", _call_infer, grad=_call_grad, dtypes=(), cross_device=True, inlines=True,
    accepts_none_cotangents=True, body=lambda *xs, graph: tuple(replay(graph, xs)),
    doc="A graph applied to tensors as one op; its gradient is a graph.",
)


# ---- building


def build(f: Callable[..., Sequence[Any]], specs: Sequence[Spec],
          owned: Container[int] = ()) -> Graph:
    """Return the graph of a function from tensors to a sequence of tensors and numbers.

    The function may replace the content of its arguments at the positions `owned`.
    """
    builder = Builder()
    with building(builder):
        xs = [builder.input(spec, k not in owned) for k, spec in enumerate(specs)]
        outputs = [builder.enter(y).buf for y in upload_all(f(*xs), xs)]
    return Graph(builder.inputs, builder.equations, outputs, builder.captured())
