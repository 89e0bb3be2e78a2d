"""checkpoint: keep no intermediate values; rerun the function in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import tinyml.tree as tree
from tinyml.autodiff.custom_gradient import (
    P,
    R,
    attach_rule,
    float_places,
    replace_at,
    strip_node,
    strip_values,
)
from tinyml.autodiff.grad import linearize
from tinyml.core.apply import as_tuple
from tinyml.core.backward import backward
from tinyml.core.builder import entered
from tinyml.core.make import make
from tinyml.core.node import Node, new_epoch
from tinyml.core.state import GLOBAL_STATE, STATE
from tinyml.errors import GradientError, as_function
from tinyml.tensor import Tensor

# ---- hidden state: the second run must find what the first one found


States = dict[int, tuple[Tensor, Tensor]]  # by identity: a state tensor and its content


def _note_states() -> States:
    """Return the global state and, in a graph under construction, all state that it has read."""
    read = list(GLOBAL_STATE)
    if STATE.building is not None:
        read = [c.tensor for c in STATE.building.captures.values() if c.is_state]
    return {id(x): (x, _copy_state(x)) for x in read}


def _copy_state(x: Tensor) -> Tensor:
    """Return a copy of the state's current content."""
    now: Tensor = entered(x)
    return make(now.buf, now.spec)


def _add_first_reads(states: States) -> None:
    """Add the state that a graph under construction has first read since, as it was then."""
    if STATE.building is not None:
        for var, x, _ in STATE.building.captures.values():
            if x.is_state:
                states.setdefault(id(x), (x, make(var, var.spec)))


@contextmanager
def _restored(states: States) -> Iterator[None]:
    """Restore the noted states inside the block, and their current content afterwards."""
    now = [(x, _copy_state(x)) for x, _ in states.values()]
    for x, then in states.values():
        x._replace(then)
    try:
        yield
    finally:
        for x, before in now:
            x._replace(before)


# ---- checkpoint


def checkpoint(f: Callable[P, R]) -> Callable[P, R]:
    """Return f without kept intermediate values; the backward pass runs f again.

    Trades time for memory (Chen et al. 2016, "Training deep nets with sublinear memory cost").
    Arguments and value may be pytrees, f may close over differentiated values, gradients of any
    order work, and the second run draws the same random numbers. Side effects of f happen twice.
    Raises GradientError in the backward pass if the second run differs from the first.

    >>> import tinyml
    >>> f = tinyml.checkpoint(lambda x: (x * x).sin())
    >>> tinyml.grad(lambda x: f(x).sum())(tinyml.tensor([0.0])).tolist()
    [0.0]
    """
    as_function(f)
    name = getattr(f, "__qualname__", type(f).__name__)

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not STATE.recording:
            return f(*args, **kwargs)
        flat, definition = tree.flatten((args, kwargs))
        values = [strip_node(x) for x in flat]
        states, epoch = _note_states(), new_epoch()
        given, named = tree.unflatten(definition, values)
        value = f(*given, **named)
        _add_first_reads(states)
        outputs, shape = tree.flatten(value)
        captured = _find_captured(outputs, epoch)
        places = [k for k in float_places(flat) if flat[k].node is not None]
        if not places and not captured:
            return value
        run = _Run(f, name, values, definition, places, states, captured,
                   [strip_values(y) for y in outputs], shape)

        def rule(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            return run.pull(as_tuple(g), _xs, wanted)

        at = float_places(outputs)
        ys = attach_rule(f"checkpoint of {name}", [flat[k] for k in places], captured,
                         [outputs[k] for k in at], rule)
        result: R = tree.unflatten(shape, replace_at(outputs, at, ys))
        return result

    return call


class _Run(NamedTuple):
    """A run of a checkpointed function: all that is needed to repeat it.

    `places` locates the differentiated arguments; `captured` are the nodes that f closes over.
    """

    f: Callable[..., Any]
    name: str
    values: list[Any]
    definition: tree.TreeDef
    places: list[int]
    states: States
    captured: list[Node]
    outputs: list[Any]
    shape: tree.TreeDef

    def repeat(self, *xs: Tensor) -> Any:
        """Run the function again, with these arguments at `places`."""
        given, named = tree.unflatten(self.definition, replace_at(self.values, self.places, xs))
        return self.f(*given, **named)

    def pull(self, gs: Sequence[Any], xs: Sequence[Any], wanted: tuple[bool, ...]) -> list[Any]:
        """Return cotangents of the arguments at `places` and of `captured`, from a second run."""
        epoch = new_epoch()
        primals = [make(self.values[k].buf, x.spec, x.node) for k, x in zip(self.places, xs)]
        with _restored(self.states):
            again = linearize(self.repeat, tuple(primals))
        outputs = again.outputs
        leaves = [leaf for leaf in again.leaves if leaf is not None]
        self.check(outputs, again.shape, _find_captured(outputs, epoch, leaves))
        ends = [n if want else None for n, want in zip([*leaves, *self.captured], wanted)]
        return backward([outputs[k].node for k in float_places(outputs)], gs, ends,
                        STATE.recording)

    def check(self, outputs: list[Any], shape: tree.TreeDef, captured: list[Node]) -> None:
        """Raise GradientError if the second run differs from the first."""
        same = shape == self.shape and all(
            getattr(a, "spec", None) is getattr(b, "spec", None)
            for a, b in zip(outputs, self.outputs))
        known = {id(node) for node in self.captured}
        if not same or any(id(node) not in known for node in captured):
            raise GradientError(
                f"{self.name} under checkpoint did something else when it ran again",
                remedy="let it depend on its arguments and on what does not change")


def _find_captured(outputs: Sequence[Any], epoch: int, leaves: Sequence[Node] = ()) -> list[Node]:
    """Return the nodes older than `epoch` that outputs depend on, other than through `leaves`."""
    found: list[Node] = []
    seen = {id(leaf) for leaf in leaves}
    work: list[Node] = [y.node for y in outputs if isinstance(y, Tensor) and y.node is not None
                        and id(y.node) not in seen]
    seen.update(id(node) for node in work)
    while work:
        node = work.pop()
        if node.epoch < epoch:
            found.append(node)
            continue
        for parent in node.parents:
            if parent is not None and id(parent) not in seen:
                seen.add(id(parent))
                work.append(parent)
    return found
