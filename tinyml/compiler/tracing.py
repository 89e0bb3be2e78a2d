"""Traces: the graph of a function, and what each call does besides running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import tinyml.tree as tree
from tinyml.core.node import Data
from tinyml.core.upload import upload
from tinyml.graph.graph import build
from tinyml.graph.trace import Traced
from tinyml.state.arguments import Arguments, is_parameter, mark_leaves, unwrap
from tinyml.state.copies import Constant, Copies, Form, Output, assign, has_state
from tinyml.state.number import Number, Operand, evaluate


class Trace(NamedTuple):
    """One trace of a function: its graph, how its result is made, and what it changes.

    objects    the places and fixed parts of the caller's objects that it changes
    contents   the places, among the tensors, of those that it gives new content
    gradients  the places of those whose gradient it sets
    changed    the new children, contents and gradients
    locked     the places of generators' states
    pure       whether nothing happens but that outputs and constants are returned
    plain      whether that is just one output
    steps, guards, operands   see tinyml.state.number
    """

    graph: Traced
    result: Form
    objects: tuple[tuple[int, Any], ...]
    contents: tuple[int, ...]
    gradients: tuple[int, ...]
    changed: Form
    locked: tuple[int, ...]
    pure: bool
    plain: bool
    steps: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]
    guards: dict[int, Any]
    operands: tuple[Operand, ...]

    def fits(self, arguments: Arguments) -> list[Any] | None:
        """Return the numbers of a call; None if the trace is for other values of them."""
        return evaluate(arguments.numbers, self.steps, self.guards)

    def run_pure(self, tensors: Sequence[Any]) -> Any:
        """Return the function's result, if nothing else happens."""
        results = self.graph.call(tensors)
        if self.plain:
            return results[0]
        return self.result.fill(iter(results), (), ())

    def run(self, arguments: Arguments, numbers: Sequence[Any]) -> Any:
        """Return the function's result, and change what it changes."""
        tensors = arguments.tensors
        operands = [_as_operand(numbers[o.place], o) for o in self.operands]
        with ExitStack() as locks:
            states = [*[tensors[k] for k in self.locked],
                      *[c.tensor for c in self.graph.states if self.locked]]
            for state in sorted(states, key=id):
                locks.enter_context(state.lock)
            results = iter(self.graph.call([*tensors, *operands]))
            originals = arguments.originals()
            result = self.result.fill(results, originals, numbers)
            if self.changed.structure.leaf_count:
                strip = all(x.node is None or is_parameter(x) for x in tensors)
                self._change(tensors, originals,
                             self.changed.fill(results, originals, numbers, strip))
        return result

    def _change(self, tensors: Sequence[Any], originals: Sequence[Any], new: Any) -> None:
        children, contents, gradients = new
        for place, value in zip(self.contents, contents):
            tensors[place]._replace(value)
        for place, value in zip(self.gradients, gradients):
            tensors[place].grad = value
        for (place, fixed), parts in zip(self.objects, children):
            assign(originals[place], fixed, parts)


def _as_operand(value: Any, operand: Operand) -> Any:
    if isinstance(value, Number):  # inside another trace
        return value.as_tensor(operand.dtype, operand.device)
    return upload(value, operand.device, operand.dtype)


# ---- tracing


def trace(f: Callable[..., Any], arguments: Arguments) -> Trace:
    """Run f once on symbolic values. Raises ReadOnlyError if it changes what it does not own."""
    arguments.check_static()
    found: list[Any] = []

    def call_flat(*xs: Any) -> list[Any]:
        copies = Copies(arguments, xs)
        args, named = copies.places[-1]
        result = f(*map(unwrap, args), **{k: unwrap(v) for k, v in named.items()})
        form, outputs = copies.describe(result)
        changes = copies.find_changes()
        changed, more = copies.describe(
            tuple([[*part] for part in (changes.children, changes.contents, changes.gradients)]),
            own=True)
        numbers = copies.numbers
        pure = not (more or changes.objects or changes.gradients or numbers.guards
                    or numbers.operands or any(x.is_state for x in arguments.tensors)
                    or any(type(s) not in (Output, Constant) for s in form.sources))
        locked = tuple([k for k, x in enumerate(arguments.tensors) if x.is_state])
        plain = pure and form.structure.nodes == (tree.LEAF,) and bool(outputs)
        found[:] = (form, tuple(changes.objects), tuple(changes.content_places),
                    tuple(changes.gradient_places), changed, locked, pure, plain,
                    numbers.steps, numbers.guards, tuple(numbers.operands))
        return [*outputs, *more]

    owned = mark_leaves(arguments.structure, has_state)
    leaves = [leaf for leaf, own in zip(arguments.leaves, owned) if own and isinstance(leaf, Data)]
    free = {id(x) for x in (*leaves, *[x.grad for x in arguments.tensors])}
    graph = build(call_flat, [x.spec for x in arguments.tensors],
                  {k for k, x in enumerate(arguments.tensors) if id(x) in free})
    return Trace(Traced(graph), *found)
