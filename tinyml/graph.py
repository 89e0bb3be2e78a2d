"""Graphs: what a function does to tensors, as lines to be read, run, differentiated and saved.

`trace(f)(*specs)` runs f once on values without content and writes down every op. A graph is flat
and in SSA form: each line applies an op to earlier values. Calling it applies the same ops through
the one path, so it is differentiable, and can be traced again. Composites stay whole; the compiler
takes them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

import numpy as np

import tinyml.graphtext as graphtext
import tinyml.tree as tree
from tinyml.builder import Builder, Capture, Line, building, refuse_leaked, symbolic
from tinyml.core import apply, as_tensor, full, run, watched
from tinyml.dims import Dim
from tinyml.dtypes import as_dtype, float32
from tinyml.errors import (
    ArgumentTypeError,
    GraphError,
    ShapeError,
    TinyMLError,
    expect,
    line_text,
)
from tinyml.op import Op, Var, define
from tinyml.ops.arguments import as_shape
from tinyml.planning import Planned, make_plan
from tinyml.registry import device as find_device
from tinyml.reverse import backward
from tinyml.spec import Spec, make_spec
from tinyml.values import STATE, Cell, Data, Leaf, make, one_deeper, read_cell, write_cell

T = TypeVar("T")


class Held(NamedTuple):
    """A cell that a graph reads: the input that stands for its content, and what it becomes."""

    cell: Cell
    var: Var
    result: Var


class Graph:
    """A function as lines over variables.

    inputs    variables that the caller gives; `structure` is how arguments flatten to them
    captures  tensors of the outside that the function used, and the inputs that stand for them
    cells     hidden state that it reads and replaces: the random generator's
    lines     applications in order, with the variables that they give
    outputs   variables that it gives; `result` is their structure

    >>> import tinyml
    >>> graph = tinyml.trace(lambda x: (x * 2.0).sum())(tinyml.tensor([1.0, 2.0]))
    >>> graph
    graph(a: float32[2] cpu):
      b = mul(a, 2.0): float32[2] cpu
      c = sum(b, axis=(0,), keepdims=False): float32[] cpu
      return c
    >>> graph(tinyml.tensor([3.0, 4.0])).item()
    14.0
    """

    def __init__(self, inputs: Sequence[Var], lines: Sequence[Line], outputs: Sequence[Var], *,
                 captures: Sequence[Capture] = (), cells: Sequence[Held] = (),
                 structure: tree.TreeDef | None = None,
                 result: tree.TreeDef | None = None) -> None:
        self.inputs = tuple(inputs)
        self.lines = tuple(lines)
        self.outputs = tuple(outputs)
        self.captures = tuple(captures)
        self.cells = tuple(cells)
        self.structure = structure
        self.result = result
        self.plans: dict[Any, Planned] = {}
        self.differentiated = False  # whether a way back was ever asked for
        self._derived: dict[Any, Any] = {}

    @property
    def specs(self) -> tuple[Spec, ...]:
        """What the results are: shapes, dtypes and devices."""
        return tuple([var.spec for var in self.outputs])

    @property
    def unknown(self) -> bool:
        """Whether some size depends on values, here or in a graph inside: it cannot be planned."""
        return any(
            any(var.spec.unknown for var in line.outs)
            or any(isinstance(value, Graph) and value.unknown for value in line.app.attrs.values())
            for line in self.lines
        )

    def __repr__(self) -> str:
        return "\n".join(graphtext.said(self))

    # ---- running it

    def __call__(self, *args: Any) -> Any:
        """Apply the lines to arguments of the structure, shapes and dtypes of those traced.

        Raises GraphError for another structure, ShapeError for another shape or dtype.
        """
        leaves, found = tree.flatten(args)
        if self.structure is not None and found != self.structure:
            raise GraphError(f"arguments unlike those traced: "
                             f"{tree.difference(self.structure, found)}")
        results = self.run([as_tensor(x) for x in leaves])
        return tree.unflatten(self.result, results) if self.result is not None else tuple(results)

    def run(self, xs: Sequence[Any]) -> list[Any]:
        """The outputs as a list, from a list of inputs; captures and cells are its own."""
        self.check(xs)
        return self.settle(replay(self, self.operands(xs)))

    def operands(self, xs: Sequence[Any]) -> list[Any]:
        """The values of all that it reads: inputs, captures, cells."""
        return [*xs, *[c.tensor for c in self.captures],
                *[read_cell(held.cell) for held in self.cells]]

    def settle(self, results: Sequence[Any]) -> list[Any]:
        """Give the cells what they became; the rest are the outputs."""
        count = len(self.outputs)
        for held, value in zip(self.cells, results[count:]):
            write_cell(held.cell, value)
        return list(results[:count])

    def check(self, xs: Sequence[Any]) -> None:
        """Raise where a tensor is not of the shape, dtype and device that was traced."""
        expect(len(xs) == len(self.inputs), f"{len(self.inputs)} tensors", len(xs),
               ArgumentTypeError)
        for k, (x, var) in enumerate(zip(xs, self.inputs)):
            want = var.spec
            same = x.spec.shape == want.shape and x.spec.dtype is want.dtype
            expect(same and x.spec.device == want.device, f"input {k} of {want}", x.spec,
                   ShapeError, remedy="trace the function again for it")

    # ---- making others of it

    def without_waste(self) -> Graph:
        """The same graph without lines that no output depends on."""
        return Graph(self.inputs, needed(self.lines, self._ends(), self._given()), self.outputs,
                     captures=self.captures, cells=self.cells, structure=self.structure,
                     result=self.result)

    def _given(self) -> list[Var]:
        """All that it reads."""
        return [*self.inputs, *[c.var for c in self.captures], *[held.var for held in self.cells]]

    def _ends(self) -> list[Var]:
        """All that it gives."""
        return [*self.outputs, *[held.result for held in self.cells]]

    def dying(self) -> list[list[Var]]:
        """For each line, the variables that nothing reads after it."""
        return self.once("dying", self._find_dying)

    def _find_dying(self) -> list[list[Var]]:
        seen = set(self._ends())
        found = []
        for line in reversed(self.lines):
            dead = [v for v in dict.fromkeys((*line.outs, *variables(line))) if v not in seen]
            seen.update(dead)
            found.append(dead)
        found.reverse()
        return found

    def split(self, known: Sequence[bool]) -> tuple[Graph, Graph]:
        """Two graphs in the place of one: what depends on the inputs marked `known` alone, first.

        The first gives what the second needs of it; the second takes that, then the other inputs.
        So `first.then(second)` does what the graph did, with the other inputs at the end.
        """
        expect(len(known) == len(self.inputs), f"{len(self.inputs)} marks", len(known),
               ArgumentTypeError)
        early = {v for v, k in zip(self.inputs, known) if k} | {c.var for c in self.captures}
        first, second = [], []
        for line in self.lines:
            if all(v in early for v in variables(line)):
                first.append(line)
                early.update(line.outs)
            else:
                second.append(line)
        read = (*[v for line in second for v in variables(line)], *self._ends())
        vars_ = tuple(dict.fromkeys(v for v in read if v in early))
        rest = [v for v, k in zip(self.inputs, known) if not k]
        start = [v for v, k in zip(self.inputs, known) if k]
        return (Graph(start, needed(first, vars_, self._given()), vars_, captures=self.captures),
                Graph((*vars_, *rest), second, self.outputs, cells=self.cells,
                      result=self.result))

    def then(self, other: Graph) -> Graph:
        """This graph, and `other` on its results: they become `other`'s first inputs.

        Raises ShapeError where they do not fit.
        """
        mine = len(self.outputs)
        expect(mine <= len(other.inputs), f"at most {len(other.inputs)} results", mine)
        for k, (var, into) in enumerate(zip(self.outputs, other.inputs)):
            expect(symbolic(var.spec) is symbolic(into.spec), f"result {k} of {into.spec}",
                   var.spec)
        taken = len(self.inputs)
        graph = build(lambda *xs: other.run([*self.run(xs[:taken]), *xs[taken:]]),
                      [v.spec for v in (*self.inputs, *other.inputs[mine:])])
        graph.result = other.result
        return graph

    def once(self, key: Any, make_it: Callable[[], T]) -> T:
        """What is derived from this graph: made at the first asking, and kept with it."""
        if key not in self._derived:
            self._derived[key] = make_it()
        found: T = self._derived[key]
        return found

    # ---- the way back

    def pullback(self, wanted: tuple[bool, ...], present: tuple[bool, ...],
                 outputs: bool = True) -> Graph:
        """The graph from (inputs, outputs, cotangents of the outputs `present`) to cotangents.

        Those of the inputs `wanted` come out. What it needs of the forward pass beyond inputs and
        outputs, it computes again; where it is not given the `outputs`, these too.
        """
        key = (wanted, present) if outputs else (wanted, present, "inputs alone")
        return self.once(key, lambda: self._way_back(wanted, present, outputs)[0])

    def prepared(self, wanted: tuple[bool, ...]) -> tuple[Graph, list[Any]]:
        """This graph with more outputs, those that the way back to the inputs `wanted` reads.

        Its last inputs are constants, whose values come with it.
        """
        return self.once(("prepared", wanted), lambda: self._prepare(wanted))

    def _prepare(self, wanted: tuple[bool, ...]) -> tuple[Graph, list[Any]]:
        present = tuple([var.spec.dtype.is_inexact for var in self.outputs])
        whole, forward, count = self._way_back(wanted, present)
        early = {var for line in forward for var in line.outs}
        late = [line for line in whole.lines if not early.intersection(line.outs)]
        constants = [c.var for c in whole.captures]
        xs = (*whole.inputs[: len(self.inputs)], *constants)
        ys = whole.inputs[len(self.inputs) : count]
        read = (*[v for line in late for v in variables(line)], *whole.outputs)
        extra = tuple(dict.fromkeys(v for v in read if v in early and v not in ys))
        graph = Graph(xs, needed(forward, (*ys, *extra), xs), (*ys, *extra))
        graph.differentiated = True
        asked = (*wanted, *[False] * len(constants)), (*present, *[False] * len(extra))
        graph._derived["prepared", asked[0]] = graph, []
        graph._derived[asked] = Graph((*xs, *ys, *extra, *whole.inputs[count:]), late,
                                      whole.outputs)
        return graph, [c.tensor for c in whole.captures]

    def _way_back(self, wanted: tuple[bool, ...], present: tuple[bool, ...],
                  outputs: bool = True) -> tuple[Graph, list[Line], int]:
        """The pullback, the lines of its forward part, and the number of inputs and outputs."""
        builder = Builder()
        with building(builder), one_deeper() as depth:
            xs = [builder.input(var.spec) for var in self.inputs]
            leaves = [Leaf(x.spec, depth) if want else None for x, want in zip(xs, wanted)]
            ys = replay(self, [x if leaf is None else make(x.buf, x.spec, leaf)
                               for x, leaf in zip(xs, leaves)])
            forward = list(builder.lines)
            gs = [builder.input(var.spec) for var, is_there in zip(self.outputs, present)
                  if is_there]
            chosen = [y for y, is_there in zip(ys, present) if is_there]
            asked = [leaf for leaf in leaves if leaf is not None]
            found = backward([y.node for y in chosen], gs, asked, False)
            results = [builder.lift(full(leaf.spec.shape, 0, leaf.spec.dtype, leaf.spec.device)
                                    if g is None else g) for leaf, g in zip(asked, found)]
        ends = [g.buf for g in results]
        inputs = [x.buf for x in (*xs, *(ys if outputs else ()), *gs)]
        graph = Graph(inputs, needed(builder.lines, ends, inputs), ends,
                      captures=list(builder.captures.values()))
        return graph, forward, len(xs) + len(ys)

    # ---- as one op

    def call(self, xs: Sequence[Any]) -> list[Any]:
        """Run it as one op: compiled where the compiler is loaded, recorded as a whole."""
        if not (self.captures or self.cells or self.differentiated):
            return apply_graph(self, xs)
        with ExitStack() as locks:
            for held in self.cells:
                locks.enter_context(held.cell.lock)
            graph = self.opened()
            operands = self.operands(xs)
            if graph.differentiated and STATE.recording:
                wanted = tuple([x.node is not None and x.spec.dtype.is_inexact for x in operands])
                if any(wanted):
                    graph, constants = graph.prepared(wanted)
                    operands += constants
            return self.settle(apply_graph(graph, operands))

    def opened(self) -> Graph:
        """The graph whose inputs are all that this one reads, and whose outputs all it gives."""
        if not self.captures and not self.cells:
            return self
        return self.once("opened", lambda: Graph(self._given(), self.lines, self._ends()))


def apply_graph(graph: Graph, xs: Sequence[Any]) -> list[Any]:
    """Apply the op `call` to a graph without captures and cells.

    Its plans are kept with the graph, and go when it goes.
    """
    if not graph.outputs:
        return []
    if STATE.building is not None or watched():
        result = apply(CALL, *xs, graph=graph)
    else:
        specs = tuple([x.spec for x in xs])
        plan = graph.plans.get(specs)
        if plan is None:
            for x in xs:
                refuse_leaked(x)
            plan = graph.plans[specs] = make_plan(CALL, specs, {"graph": graph})
        result = run(CALL, plan, xs)
    return list(result) if isinstance(result, tuple) else [result]


# ---- lines


def variables(line: Line) -> list[Var]:
    """The variables that a line reads."""
    return [v for v in line.app.inputs if isinstance(v, Var)]


def needed(lines: Sequence[Line], ends: Sequence[Var], given: Sequence[Var]) -> list[Line]:
    """The lines that `ends` depend on, where `given` are known."""
    have = set(given)
    live = set(ends) - have
    kept = []
    for line in reversed(lines):
        if not live.isdisjoint(line.outs):
            kept.append(line)
            live.update(v for v in variables(line) if v not in have)
    kept.reverse()
    return kept


def replay(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """Apply the lines one by one to values of all that the graph reads; all that it gives."""
    env: dict[Var, Any] = dict(zip(graph._given(), values))
    builder = STATE.building
    sizes: dict[Any, int] = {}
    for line, dead in zip(graph.lines, graph.dying()):
        app = line.app
        if builder is not None:
            builder.place = app.place
        attrs = resolved(app.attrs, sizes) if sizes else app.attrs
        try:
            result = apply(app.op, *[env[v] if isinstance(v, Var) else v for v in app.inputs],
                           **attrs)
        except TinyMLError as error:
            if app.place is not None:
                error.line = line_text(*app.place)
            raise
        results = result if isinstance(result, tuple) else (result,)
        for var, value in zip(line.outs, results):
            env[var] = value
            if var.spec.unknown:
                sizes.update(zip(var.spec.shape, value.spec.shape))
        for var in dead:
            del env[var]
    return [env[var] for var in graph._ends()]


def resolved(attrs: Any, sizes: dict[Any, int]) -> Any:
    """Attributes with the sizes that were found out in the place of those that were unknown."""
    if isinstance(attrs, dict):
        return {name: resolved(value, sizes) for name, value in attrs.items()}
    if isinstance(attrs, tuple):
        return tuple([resolved(value, sizes) for value in attrs])
    return sizes.get(attrs, attrs) if isinstance(attrs, Dim) else attrs


# ---- the op


def _call_infer(*specs: Spec, graph: Graph) -> tuple[Spec, ...]:
    for k, (spec, var) in enumerate(zip(specs, graph.inputs, strict=True)):
        expect(symbolic(spec) is var.spec, f"input {k} of {var.spec}", spec)
    return graph.specs


def _call_grad(g: Any, y: Any, *xs: Any, wanted: tuple[bool, ...], graph: Graph) -> list[Any]:
    """The way back as a graph of its own, run as one op; it is differentiable again."""
    graph.differentiated = True
    gs = g if isinstance(g, tuple) else (g,)
    ys = y if isinstance(y, tuple) else (y,)
    back = graph.pullback(wanted, tuple([x is not None for x in gs]))
    found = iter(back.call([*xs, *ys, *[x for x in gs if x is not None]]))
    return [next(found) if want else None for want in wanted]


CALL: Op = define(
    "call", _call_infer, grad=_call_grad, dtypes=(), mixes=True, absent=True,
    body=lambda *xs, graph: tuple(replay(graph, xs)),
    doc="A graph applied to tensors as one op; its gradient is a graph.",
)


# ---- tracing


def build(f: Callable[..., Sequence[Any]], specs: Sequence[Spec]) -> Graph:
    """The graph of a function from tensors to a sequence of tensors and numbers."""
    builder = Builder()
    with building(builder):
        xs = [builder.input(spec) for spec in specs]
        outputs = [builder.lift(y) for y in tensors(f(*xs), xs)]
    return finished(builder, xs, outputs)


def finished(builder: Builder, xs: Sequence[Any], ys: Sequence[Any]) -> Graph:
    """The graph that was built, from tensors of its own to tensors of its own."""
    held = [Held(cell, var, now.buf) for cell, var, now in builder.cells.values()]
    return Graph([x.buf for x in xs], builder.lines, [y.buf for y in ys], cells=held,
                 captures=list(builder.captures.values()))


def tensors(values: Sequence[Any], near: Sequence[Any] = ()) -> list[Any]:
    """Leaves as tensors; numbers and arrays go where the others are."""
    device = next((x.spec.device for x in (*values, *near) if isinstance(x, Data)), None)
    return [as_tensor(x, device) for x in values]


def tensor_spec(shape: Any, dtype: Any = None, device: Any = None) -> Spec:
    """What a tensor is without its values, for `trace`; float32 unless `dtype` says otherwise.

    >>> tensor_spec((2, 3))
    float32[2, 3] cpu
    """
    kind = float32 if dtype is None else as_dtype(dtype)
    return make_spec(as_shape(shape), kind, find_device(device))


def trace(f: Callable[..., Any]) -> Callable[..., Graph]:
    """A function from arguments, or specs in their place, to the graph of what f does to them.

    f is run once on values without content. Arguments and result may be pytrees; the leaves of the
    arguments are tensors, arrays or specs (`tensor_spec`), those of the result tensors or numbers.
    Tensors of the outside that f uses are captures of the graph. Raises ArgumentTypeError for other
    leaves, ConcretizationError where f asks for a value.

    >>> import tinyml
    >>> tinyml.trace(lambda x: x + x)(tinyml.tensor_spec((2,))).outputs[0].spec
    float32[2] cpu
    """

    def traced(*args: Any) -> Graph:
        leaves, structure = tree.flatten(args)
        specs = [_spec_of(leaf) for leaf in leaves]
        result: list[tree.TreeDef] = []

        def flat(*xs: Any) -> list[Any]:
            values, definition = tree.flatten(f(*tree.unflatten(structure, xs)))
            result.append(definition)
            return values

        graph = build(flat, specs)
        graph.structure, graph.result = structure, result[0]
        return graph

    return traced


def _spec_of(leaf: Any) -> Spec:
    if isinstance(leaf, Spec):
        return leaf
    if isinstance(leaf, Data):
        return leaf.spec
    if isinstance(leaf, np.ndarray):
        return make_spec(leaf.shape, as_dtype(leaf.dtype), find_device(None))
    raise ArgumentTypeError(f"an argument to trace is a {type(leaf).__name__}",
                            remedy="a tensor or tinyml.tensor_spec(shape, dtype); bind others with "
                                   "functools.partial")
