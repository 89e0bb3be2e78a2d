"""The way back: from cotangents of results to those of leaves, along the nodes.

The walk is iterative, so a graph of 100,000 ops is no deeper than one of ten. Rules are ordinary
operations on tensors, so the walk can itself be recorded, and differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyml.core import STATE, Item, Node, full, make
from tinyml.spec import Spec


def backward(outputs: Sequence[Node | None], cotangents: Sequence[Any], leaves: Sequence[Node],
             record: bool) -> list[Any]:
    """Cotangents of the leaves, from those of the outputs; None where nothing arrives.

    Walks iteratively, visits only nodes on a path to a leaf, and asks only for the cotangents that
    lead there. `record` says whether the rules' own operations are recorded.
    """
    wanted = {id(leaf) for leaf in leaves}
    order, leads = _towards(outputs, wanted)
    pending: dict[int, Any] = {}
    before = STATE.recording
    STATE.recording = record
    try:
        for node, g in zip(outputs, cotangents):
            if node is not None and leads[id(node)]:
                _accumulate(pending, node, g)
        while order:
            node = order.pop()
            if id(node) in wanted:
                continue
            g = pending.pop(id(node), None)
            if g is not None:
                _step_back(node, g, leads, pending)
    finally:
        STATE.recording = before
    return [pending.get(id(leaf)) for leaf in leaves]


def _towards(outputs: Sequence[Node | None],
             wanted: set[int]) -> tuple[list[Node], dict[int, bool]]:
    """Nodes on a path to a wanted leaf, inputs before results; and which nodes lead there."""
    order: list[Node] = []
    leads: dict[int, bool] = {}
    stack: list[tuple[Node, bool]] = [(n, False) for n in outputs if n is not None]
    while stack:
        node, done = stack.pop()
        key = id(node)
        if done:
            leads[key] = any(p is not None and leads[id(p)] for p in node.parents)
            if leads[key]:
                order.append(node)
        elif key not in leads:
            if key in wanted:
                leads[key] = True
                continue
            leads[key] = False
            stack.append((node, True))
            stack.extend((p, False) for p in node.parents if p is not None)
    return order, leads


def _accumulate(pending: dict[int, Any], node: Node, g: Any) -> None:
    """Add a cotangent to a node's; that of one output of several goes into its place."""
    if isinstance(node, Item):
        slots = pending.setdefault(id(node.parents[0]), {})
        slots[node.place] = g if node.place not in slots else slots[node.place] + g
        return
    known = pending.get(id(node))
    pending[id(node)] = g if known is None else known + g


def _step_back(node: Node, g: Any, leads: dict[int, bool], pending: dict[int, Any]) -> None:
    """Run the rules of one node for the inputs that lead to a leaf."""
    op = node.op
    if op is None:  # a leaf of an inner differentiation: its value came from outside
        for parent in node.parents:
            if parent is not None and leads[id(parent)]:
                _accumulate(pending, parent, g)
        return
    plan = node.plan
    xs = [make(buf, spec, parent) if isinstance(spec, Spec) else buf
          for buf, spec, parent in zip(node.bufs, plan.kept, node.parents)]
    if plan.single:
        y: Any = make(node.y, plan.out, node)
    else:
        bufs = node.y if node.y is not None else (None,) * len(plan.outs)
        y = tuple([make(buf, spec, Item(node, k) if spec.dtype.is_float else None)
                   for k, (buf, spec) in enumerate(zip(bufs, plan.outs))])
        g = tuple([g[k] if k in g else _zeros(spec) if spec.dtype.is_float else None
                   for k, spec in enumerate(plan.outs)])
    wanted = tuple([p is not None and leads[id(p)] for p in node.parents])
    if callable(op.grad):
        found = op.grad(g, y, *xs, wanted=wanted, **plan.attrs)
    else:
        found = [rule(g, y, *xs, **plan.attrs) if want and (rule := op.rule(k)) else None
                 for k, want in enumerate(wanted)]
    for parent, want, gx in zip(node.parents, wanted, found):
        if want and gx is not None:
            _accumulate(pending, parent, gx)  # type: ignore[arg-type]


def _zeros(spec: Spec) -> Any:
    return full(spec.shape, 0, spec.dtype, spec.device)
