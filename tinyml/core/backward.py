"""The pullback: from cotangents of results to cotangents of leaves, along the nodes.

The walk is iterative, so a chain of 100,000 ops does not overflow the stack. Rules are ordinary
operations on tensors, so the walk can itself be recorded and differentiated again.

A node without an op just passes its cotangent on: it is a leaf of an inner differentiation, or one
of several outputs of the op before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinyml.core.apply import full, watched
from tinyml.core.make import make
from tinyml.core.node import Item, Node
from tinyml.core.state import STATE
from tinyml.errors import ArgumentTypeError, GradientError, expect
from tinyml.ir.spec import Spec

Hook = Callable[[Any], Any]
_hooks_exist = False  # to check every node costs more than the walk: only if hooks exist


def backward(outputs: Sequence[Node | None], cotangents: Sequence[Any],
             wanted: Sequence[Node | None], record: bool, hooks: bool = True,
             through: bool = False) -> list[Any]:
    """Return the cotangents of the wanted nodes, given those of the outputs.

    The result is None where no cotangent arrives or no node is wanted. Visits only nodes on a path
    to a wanted one, and computes only the cotangents that lead there. `record` says whether the
    rules' own operations are recorded, `hooks` whether hooks are called, `through` whether a wanted
    node passes its cotangent on to those before it.
    """
    ends = {id(node) for node in wanted if node is not None}
    horizon = min((node.epoch for node in wanted if node is not None), default=0)
    order, leads = _towards(outputs, ends, horizon, through)
    pending: dict[Any, Any] = {}
    arrived: dict[int, Any] = {}
    before = STATE.recording
    STATE.recording = record
    try:
        for node, g in zip(outputs, cotangents):
            if node is not None and leads[id(node)]:
                _add(pending, id(node), g)
        while order:
            node = order.pop()
            g = pending.pop(id(node), None)
            if g is None:
                continue
            if hooks and _hooks_exist:
                for function in tuple(getattr(node, "hooks", ())):
                    g = _hooked(function, g)
            if id(node) in ends:
                arrived[id(node)] = g
                if not through:
                    continue
            wanted_of = tuple([p is not None and leads[id(p)] for p in node.parents])
            if isinstance(node, Item):
                if wanted_of[0]:
                    _add(pending.setdefault(id(node.parents[0]), {}), node.place, g)
                continue
            found = [g] if node.op is None else _step_back(node, g, wanted_of)
            for parent, want, gx in zip(node.parents, wanted_of, found):
                if want and gx is not None:
                    _add(pending, id(parent), gx)
        return [arrived.get(id(node)) for node in wanted]
    finally:
        STATE.recording = before


def _add(pending: dict[Any, Any], key: Any, g: Any) -> None:
    """Add a cotangent to those pending at a node."""
    known = pending.get(key)
    pending[key] = g if known is None else known + g


def _towards(outputs: Sequence[Node | None], ends: set[int], horizon: int,
             through: bool) -> tuple[list[Node], dict[int, bool]]:
    """Return the nodes on a path to an end, inputs before results, and which nodes lead there.

    A node older than every end cannot depend on one, so the walk stops there.
    """
    order: list[Node] = []
    leads: dict[int, bool] = {}
    stack: list[tuple[Node, bool]] = [(n, False) for n in outputs if n is not None]
    while stack:
        node, done = stack.pop()
        key = id(node)
        if done:
            leads[key] = leads[key] or any(p is not None and leads[id(p)] for p in node.parents)
            if leads[key]:
                order.append(node)
        elif key not in leads:
            leads[key] = key in ends
            if leads[key] and not through:
                order.append(node)
            elif node.epoch >= horizon:
                stack.append((node, True))
                stack.extend((p, False) for p in node.parents if p is not None)
    return order, leads


def _step_back(node: Node, g: Any, wanted: tuple[bool, ...]) -> Sequence[Any]:
    """Return the cotangents of a node's inputs, by its rules."""
    op, plan = node.op, node.plan
    assert op is not None
    xs = [make(buf, spec, parent) if isinstance(spec, Spec) else buf
          for buf, spec, parent in zip(node.bufs, plan.kept, node.parents)]
    if plan.single:
        y: Any = make(node.y, plan.out, node)
    else:
        bufs = node.y if node.y is not None else (None,) * len(plan.outs)
        y = tuple([make(buf, spec, Item(node, k) if spec.dtype.is_inexact else None)
                   for k, (buf, spec) in enumerate(zip(bufs, plan.outs))])
        g = tuple([g[k] if k in g else None
                   if op.accepts_none_cotangents or not spec.dtype.is_inexact
                   else _zeros(spec) for k, spec in enumerate(plan.outs)])
    observed = watched()
    outer = STATE.pullback_of if observed else None
    if observed:
        STATE.pullback_of = op
    try:
        if callable(op.grad):
            found: Sequence[Any] = op.grad(g, y, *xs, wanted=wanted, **plan.attrs)
            return found
        return [rule(g, y, *xs, **plan.attrs) if want and (rule := op.rule(k)) else None
                for k, want in enumerate(wanted)]
    finally:
        if observed:
            STATE.pullback_of = outer


def _zeros(spec: Spec) -> Any:
    return full(spec.shape, 0, spec.dtype, spec.device)


# ---- hooks


def _hooked(function: Hook, g: Any) -> Any:
    """Return the cotangent after one hook."""
    new = function(g)
    if new is None:
        return g
    if getattr(new, "spec", None) is None:
        raise ArgumentTypeError(f"a hook returned a {type(new).__name__}",
                                remedy="return a new gradient, or None to leave it")
    expect(new.spec.shape == g.spec.shape and new.spec.dtype is g.spec.dtype,
           f"a hook returns a gradient like {g.spec}", new.spec)
    return new


class Handle:
    """The result of `register_hook`: `remove()` removes the hook."""

    __slots__ = ("_hooks", "_function")

    def __init__(self, hooks: list[Hook], function: Hook) -> None:
        self._hooks = hooks
        self._function = function

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        places = [k for k, f in enumerate(self._hooks) if f is self._function]
        if places:
            del self._hooks[places[0]]
        self._hooks = []


def register_hook(tensor: Any, function: Hook) -> Handle:
    """Call `function(g)` with the total gradient of a tensor in each later backward pass.

    Its result, of g's shape and dtype, replaces g; None leaves g unchanged. A tensor may have many
    hooks, called in order. They see gradients only: `jvp` does not call them. Raises GradientError
    if nothing is recorded for the tensor.

    >>> import tinyml
    >>> x = tinyml.tensor([3.0], requires_grad=True)
    >>> handle = register_hook(x, lambda g: g * 10.0)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [60.0]
    >>> handle.remove()
    """
    node = tensor.node
    if node is None:
        raise GradientError("a hook on a tensor that no gradient flows to",
                            remedy="requires_grad=True, or register it inside of grad or a tape")
    if not callable(function):
        raise ArgumentTypeError(f"a hook is a function, not a {type(function).__name__}")
    global _hooks_exist
    _hooks_exist = True
    if not hasattr(node, "hooks"):
        node.hooks = []
    node.hooks.append(function)
    return Handle(node.hooks, function)
