"""What control flow is made of: functions as graphs, with all that they close over, and back.

A function of the user's is traced to a graph of flat operands. Graphs that stand for each other, as
two branches do, get the same inputs: their own, hidden state, and what any of them closes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tinyml.tree as tree
from tinyml.errors import ArgumentTypeError, GraphError, expect
from tinyml.graph import Graph, as_tensor, build, replay
from tinyml.op import Var
from tinyml.spec import Spec, make_spec
from tinyml.values import Cell, Data

Function = Callable[..., Any]


# ---- functions become graphs


class Part(NamedTuple):
    """A function of the user's as a graph of flat operands, and the structure of its result."""

    graph: Graph
    structure: tree.TreeDef


def tensors(values: Sequence[Any], near: Sequence[Any] = ()) -> list[Any]:
    """Leaves as tensors; numbers and arrays go where the others are."""
    device = next((x.spec.device for x in (*values, *near) if isinstance(x, Data)), None)
    return [as_tensor(x, device) for x in values]


def as_part(f: Function, definition: tree.TreeDef, specs: Sequence[Spec]) -> Part:
    """What f does to arguments of this structure."""
    structures: list[tree.TreeDef] = []

    def flat(*xs: Any) -> list[Any]:
        leaves, structure = tree.flatten(f(*tree.unflatten(definition, xs)))
        structures.append(structure)
        return tensors(leaves, xs)

    return Part(build(flat, specs), structures[0])


def closed(graphs: Sequence[Graph], leading: int, given: int | None = None) -> tuple[
        list[Graph], list[Any], list[Cell]]:
    """Graphs whose inputs are all that they read: what they close over, and the cells.

    The inputs become: the first `leading`, the cells, the captures, the rest. The outputs become:
    the first `given` (None: all), the cells, the rest. Also the captured tensors, and the cells.
    """
    captured = {id(c.tensor): c.tensor for graph in graphs for c in graph.captures}
    cells = {id(held.cell): held for graph in graphs for held in graph.cells}
    found = []
    for graph in graphs:
        own = {id(c.tensor): c.var for c in graph.captures}
        held = {id(h.cell): h for h in graph.cells}
        states = [held[k].var if k in held else Var(None, 0, h.var.spec) for k, h in cells.items()]
        after = [held[k].result if k in held else state for k, state in zip(cells, states)]
        consts = [own.get(k) or Var(None, 0, bare(x.spec)) for k, x in captured.items()]
        found.append(Graph(
            [*graph.inputs[:leading], *states, *consts, *graph.inputs[leading:]], graph.lines,
            [*graph.outputs[:given], *after, *([] if given is None else graph.outputs[given:])]))
    return found, list(captured.values()), [held.cell for held in cells.values()]


def bare(spec: Spec) -> Spec:
    """What a spec says besides strides."""
    return make_spec(spec.shape, spec.dtype, spec.device, None, True)


def check_reads(name: str, graph: Any, specs: Sequence[Any]) -> None:
    """Raise where an attribute is no graph that reads just these operands."""
    expect(isinstance(graph, Graph), f"{name}: a graph", type(graph).__name__, ArgumentTypeError,
           remedy="tinyml.cond, tinyml.scan and tinyml.while_loop trace functions to graphs")
    reads = tuple([bare(var.spec) for var in graph.inputs])
    given = tuple(map(bare, specs))
    expect(reads == given, f"{name} reads {reads}", given, GraphError)


def same_results(first: Part, second: Part, what: str, remedy: str) -> None:
    """Raise where two results differ in structure, shapes or dtypes."""
    apart = tree.difference(first.structure, second.structure)
    if apart is not None:
        raise GraphError(f"{what} differ {apart}", remedy=remedy)
    same_specs(tree.paths(first.structure), [v.spec for v in first.graph.outputs],
               [v.spec for v in second.graph.outputs], what, remedy)


def same_specs(paths: Sequence[str], first: Sequence[Spec], second: Sequence[Spec], what: str,
               remedy: str) -> None:
    """Raise where shapes or dtypes differ, naming the path of the first difference."""
    for path, one, two in zip(paths, first, second):
        if bare(one) is not bare(two):
            place = f" at {path}" if path else ""
            raise GraphError(f"{what} differ{place}: {one} against {two}", remedy=remedy)


# ---- the way back of a graph


def floats(vars_: Sequence[Var]) -> list[int]:
    """The places of the variables of a float type."""
    return [k for k, var in enumerate(vars_) if var.spec.dtype.is_float]


def cotangents(graph: Graph, ins: Sequence[Any], gs: Sequence[Any], outs: Sequence[int],
               wanted: Sequence[int]) -> list[Any]:
    """Cotangents of some inputs of a graph from those of some of its outputs."""
    from tinyml.autodiff import vjp  # here, so that graphs with control flow run without it

    def some(*values: Any) -> tuple[Any, ...]:
        given = list(ins)
        for place, value in zip(wanted, values):
            given[place] = value
        results = replay(graph, given)
        return tuple([results[k] for k in outs])

    _, pullback = vjp(some, *[ins[k] for k in wanted])
    return list(pullback(tuple(gs)))
