"""checkpoint: keep no intermediate value, run the function again on the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import tinyml.tree as tree
from tinyml.autodiff.custom_gradient import P, R, _floats, _with, joined, like, plain
from tinyml.autodiff.grad import marked
from tinyml.core.backward import backward
from tinyml.core.builder import entered
from tinyml.core.make import make
from tinyml.core.node import Node, new_epoch, one_deeper
from tinyml.core.state import GLOBAL_STATE, STATE
from tinyml.errors import GradientError
from tinyml.tensor import Tensor

# ---- hidden state: what a second run must find as the first one did


def _states() -> dict[int, tuple[Tensor, Tensor]]:
    """The global state; in a graph under construction, all state that it has read."""
    read = list(GLOBAL_STATE)
    if STATE.building is not None:
        read = [c.tensor for c in STATE.building.captures.values() if c.is_state]
    return {id(x): (x, _held(x)) for x in read}


def _held(x: Tensor) -> Tensor:
    """What state holds now, which it will not always."""
    now: Tensor = entered(x)
    return make(now.buf, now.spec)


def _first_read(states: dict[int, tuple[Tensor, Tensor]]) -> None:
    """Add the state that a graph under construction has read since, as it was then."""
    if STATE.building is not None:
        for var, x, _ in STATE.building.captures.values():
            if x.is_state:
                states.setdefault(id(x), (x, make(var, var.spec)))


@contextmanager
def _as_then(states: dict[int, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """State as it was then, and afterwards as it is now."""
    now = [(x, _held(x)) for x, _ in states.values()]
    for x, then in states.values():
        x._replace(then)
    try:
        yield
    finally:
        for x, before in now:
            x._replace(before)


# ---- checkpoint


def checkpoint(f: Callable[P, R]) -> Callable[P, R]:
    """f, of which no intermediate value is kept for the backward pass: that runs f again.

    Memory for time (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Arguments
    and value may be pytrees, f may close over differentiated values, gradients have any order, and
    the second run draws the random numbers of the first. What f does besides its value, it does
    twice. Raises GradientError in the backward pass where the second run is another than the first.

    >>> import tinyml
    >>> f = tinyml.checkpoint(lambda x: (x * x).sin())
    >>> tinyml.grad(lambda x: f(x).sum())(tinyml.tensor([0.0])).tolist()
    [0.0]
    """
    name = getattr(f, "__qualname__", type(f).__name__)

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not STATE.recording:
            return f(*args, **kwargs)
        flat, definition = tree.flatten((args, kwargs))
        values = [plain(x) for x in flat]
        states, epoch = _states(), new_epoch()
        given, named = tree.unflatten(definition, values)
        value = f(*given, **named)
        _first_read(states)
        outputs, shape = tree.flatten(value)
        captured = _captured(outputs, epoch)
        places = [k for k in _floats(flat) if flat[k].node is not None]
        if not places and not captured:
            return value
        first = _Run(f, name, values, definition, places, states, captured,
                     [like(y) for y in outputs], shape)

        def rule(g: Any, _y: Any, *_xs: Any, wanted: tuple[bool, ...]) -> list[Any]:
            return first.pull(list(g) if isinstance(g, tuple) else [g], _xs, wanted)

        at = _floats(outputs)
        ys = joined(f"checkpoint of {name}", [flat[k] for k in places], captured,
                    [outputs[k] for k in at], rule)
        result: R = tree.unflatten(shape, _with(outputs, at, ys))
        return result

    return call


class _Run(NamedTuple):
    """A run of a checkpointed function: what it takes to do it again.

    `places` are the arguments that are differentiated, `captured` the nodes that it closes over.
    """

    f: Callable[..., Any]
    name: str
    values: list[Any]
    definition: tree.TreeDef
    places: list[int]
    states: dict[int, tuple[Tensor, Tensor]]
    captured: list[Node]
    outputs: list[Any]
    shape: tree.TreeDef

    def pull(self, gs: list[Any], xs: Sequence[Any], wanted: tuple[bool, ...]) -> list[Any]:
        """Cotangents of the arguments at `places` and of `captured`, from a second run."""
        epoch = new_epoch()
        with one_deeper() as depth, _as_then(self.states):
            pairs = [marked(make(self.values[k].buf, x.spec, x.node), depth)
                     for k, x in zip(self.places, xs)]
            entered = _with(self.values, self.places, [x for x, _ in pairs])
            given, named = tree.unflatten(self.definition, entered)
            outputs, shape = tree.flatten(self.f(*given, **named))
        leaves: list[Node] = [leaf for _, leaf in pairs if leaf is not None]
        self.check(outputs, shape, _captured(outputs, epoch, leaves))
        arrive = [(outputs[k].node, g) for k, g in zip(_floats(outputs), gs)
                  if outputs[k].node is not None]
        ends = [n for n, want in zip([*leaves, *self.captured], wanted) if want]
        found = iter(backward([n for n, _ in arrive], [g for _, g in arrive], ends,
                              STATE.recording))
        return [next(found) if want else None for want in wanted]

    def check(self, outputs: list[Any], shape: tree.TreeDef, captured: list[Node]) -> None:
        """GradientError where the second run was not like the first."""
        same = shape == self.shape and all(
            getattr(a, "spec", None) is getattr(b, "spec", None)
            for a, b in zip(outputs, self.outputs))
        known = {id(node) for node in self.captured}
        if not same or any(id(node) not in known for node in captured):
            raise GradientError(
                f"{self.name} under checkpoint did something else when it ran again",
                remedy="let it depend on its arguments and on what does not change")


def _captured(outputs: Sequence[Any], epoch: int, leaves: Sequence[Node] = ()) -> list[Node]:
    """The nodes older than `epoch` that outputs were made of, but by way of the leaves."""
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
