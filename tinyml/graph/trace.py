"""Graphs of Python functions: what they do to tensors, as equations to read and to call.

`trace(f)(*specs)` runs f once on symbolic values and records every op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinyml.graph.pretty as pretty
import tinyml.tree as tree
from tinyml.core.builder import symbolic
from tinyml.core.node import Data
from tinyml.core.upload import as_tensor
from tinyml.dtypes import as_dtype, float32
from tinyml.errors import ArgumentTypeError, GraphError, ShapeError, as_function, expect
from tinyml.graph.graph import Graph, build, prune
from tinyml.ir.devices import find_device
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import as_shape


class Traced(Graph):
    """A graph that can be called like the function from which it was traced.

    structure  how arguments flatten to its inputs, if known
    result     the structure of the result

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

    def __init__(self, graph: Graph, structure: tree.TreeDef | None = None,
                 result: tree.TreeDef | None = None) -> None:
        super().__init__(graph.inputs, graph.equations, graph.outputs, graph.captures)
        self.structure = structure
        self.result = result

    def __repr__(self) -> str:
        return "\n".join(pretty.format_lines(self))

    def __call__(self, *args: Any) -> Any:
        """Apply the equations to arguments with the structure, shapes and dtypes that were traced.

        Raises GraphError for a different structure, ShapeError for a different shape or dtype.
        """
        leaves, structure = tree.flatten(args)
        if self.structure is not None and structure != self.structure:
            raise GraphError(f"arguments unlike those traced: "
                             f"{tree.difference(self.structure, structure)}")
        results = self.run([as_tensor(x) for x in leaves])
        return tree.unflatten(self.result, results) if self.result is not None else tuple(results)

    def run(self, xs: Sequence[Any]) -> list[Any]:
        """Return the outputs for these inputs, running one equation at a time.

        Raises ShapeError if an input differs from the traced one in shape, dtype or device.
        """
        expect(len(xs) == len(self.inputs), f"{len(self.inputs)} tensors", len(xs),
               ArgumentTypeError)
        for k, (x, var) in enumerate(zip(xs, self.inputs)):
            expect(symbolic(x.spec) is var.spec, f"input {k} of {var.spec}", x.spec, ShapeError,
                   remedy="trace the function again for it")
        return super().run(xs)

    # ---- splitting and composing

    def split(self, known: Sequence[bool]) -> tuple[Traced, Traced]:
        """Split in two: first what depends only on the inputs marked `known`, then the rest.

        The first returns what the second needs from it; the second takes that, then the other
        inputs. So `first.then(second)` computes the same, with the other inputs at the end.
        """
        expect(len(known) == len(self.inputs), f"{len(self.inputs)} marks", len(known),
               ArgumentTypeError)
        constants = [c for c in self.captures if not c.is_state]
        start = [v for v, k in zip(self.inputs, known) if k]
        rest = [v for v, k in zip(self.inputs, known) if not k]
        early = {*start, *[c.var for c in constants]}
        first, second = [], []
        for equation in self.equations:
            if early.issuperset(equation.operands):
                first.append(equation)
                early.update(equation.outs)
            else:
                second.append(equation)
        read = (*[v for equation in second for v in equation.operands], *self.gives)
        vars_ = tuple(dict.fromkeys(v for v in read if v in early))
        return (Traced(Graph(start, prune(first, vars_, self.reads), vars_, constants)),
                Traced(Graph((*vars_, *rest), second, self.outputs, self.states),
                       result=self.result))

    def then(self, other: Traced) -> Traced:
        """Compose with `other`, whose first inputs are this graph's results.

        Raises ShapeError if they do not match.
        """
        mine, taken = len(self.outputs), len(self.inputs)
        expect(mine <= len(other.inputs), f"at most {len(other.inputs)} results", mine)
        for k, (var, into) in enumerate(zip(self.outputs, other.inputs)):
            expect(symbolic(var.spec) is symbolic(into.spec), f"result {k} of {into.spec}",
                   var.spec)
        graph = build(lambda *xs: other.run([*self.run(xs[:taken]), *xs[taken:]]),
                      [v.spec for v in (*self.inputs, *other.inputs[mine:])])
        return Traced(graph, result=other.result)


def tensor_spec(shape: Any, dtype: Any = None, device: Any = None) -> Spec:
    """Return the spec of a tensor, for `trace`; float32 unless `dtype` is given.

    >>> tensor_spec((2, 3))
    float32[2, 3] cpu
    """
    kind = float32 if dtype is None else as_dtype(dtype)
    return make_spec(as_shape(shape), kind, find_device(device))


def trace(f: Callable[..., Any]) -> Callable[..., Traced]:
    """Return a function that maps arguments, or their specs, to the graph of f.

    f runs once, on symbolic values. Arguments and result may be pytrees; the leaves of the
    arguments are tensors, arrays or specs (`tensor_spec`), those of the result tensors or numbers.
    Tensors that f closes over are captures of the graph. Raises ArgumentTypeError for other leaves,
    ConcretizationError if f asks for a value.

    >>> import tinyml
    >>> tinyml.trace(lambda x: x + x)(tinyml.tensor_spec((2,))).outputs[0].spec
    float32[2] cpu
    """

    as_function(f)

    def traced(*args: Any) -> Traced:
        leaves, structure = tree.flatten(args)
        specs = [_spec_of(leaf) for leaf in leaves]
        result: list[tree.TreeDef] = []

        def call_flat(*xs: Any) -> list[Any]:
            values, definition = tree.flatten(f(*tree.unflatten(structure, xs)))
            result.append(definition)
            return values

        graph = build(call_flat, specs)
        return Traced(graph, structure, result[0])

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
