"""The way back: from cotangents of results to those of leaves, along the nodes.

The walk is iterative, so a graph of 100,000 ops is no deeper than one of ten. Rules are ordinary
operations on tensors, so the walk can itself be recorded, and differentiated again.

A node without an op passes its cotangent on: it is a leaf of an inner differentiation, or a place
where hooks stand, which are then its `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinyml.core import full
from tinyml.errors import ArgumentTypeError, GradientError, expect
from tinyml.spec import Spec
from tinyml.values import STATE, Item, Leaf, Node, make

Hook = Callable[[Any], Any]


def backward(outputs: Sequence[Node | None], cotangents: Sequence[Any], wanted: Sequence[Node],
             record: bool, hooks: bool = True, through: bool = False) -> list[Any]:
    """Cotangents of the wanted nodes, from those of the outputs; None where nothing arrives.

    Walks iteratively, visits only nodes on a path to a wanted one, and asks only for the cotangents
    that lead there. `record` says whether the rules' own operations are recorded, `hooks` whether
    hooks are asked, `through` whether a wanted node hands its cotangent on to those before it.
    """
    ends = {id(node) for node in wanted}
    horizon = min((node.era for node in wanted), default=0)
    order, leads = _towards(outputs, ends, horizon, through)
    walk = _Walk(ends, leads, hooks)
    before = STATE.recording
    STATE.recording = record
    try:
        for node, g in zip(outputs, cotangents):
            if node is not None and leads[id(node)]:
                walk.accumulate(node, g)
        pending = walk.pending
        while order:
            node = order.pop()
            key = id(node)
            g = pending.get(key) if key in ends else pending.pop(key, None)
            if g is not None:
                walk.step_back(node, g)
        return [walk.arrived(node) for node in wanted]
    finally:
        STATE.recording = before


def _towards(outputs: Sequence[Node | None], ends: set[int], horizon: int,
             through: bool) -> tuple[list[Node], dict[int, bool]]:
    """Nodes on a path to an end, inputs before results; and which nodes lead there.

    What is older than every end cannot depend on one, so the walk does not look behind it.
    """
    order: list[Node] = []
    leads: dict[int, bool] = {}
    stack: list[tuple[Node, bool]] = [(n, False) for n in outputs if n is not None]
    while stack:
        node, done = stack.pop()
        key = id(node)
        if done:
            if any(p is not None and leads[id(p)] for p in node.parents):
                leads[key] = True
                order.append(node)
        elif key not in leads:
            leads[key] = key in ends
            if node.era < horizon or (leads[key] and not through):
                continue
            stack.append((node, True))
            stack.extend((p, False) for p in node.parents if p is not None)
    return order, leads


class _Walk:
    """One walk: the cotangents that have arrived at nodes and not gone further."""

    __slots__ = ("ends", "leads", "hooks", "pending")

    def __init__(self, ends: set[int], leads: dict[int, bool], hooks: bool) -> None:
        self.ends = ends
        self.leads = leads
        self.hooks = hooks
        self.pending: dict[int, Any] = {}

    def accumulate(self, node: Node, g: Any) -> None:
        """Add a cotangent to a node's; that of one output of several goes into its place."""
        if isinstance(node, Item) and id(node) not in self.ends:
            self._slot(node, g)
            return
        known = self.pending.get(id(node))
        self.pending[id(node)] = g if known is None else known + g

    def _slot(self, item: Item, g: Any) -> None:
        slots = self.pending.setdefault(id(item.parents[0]), {})
        slots[item.place] = g if item.place not in slots else slots[item.place] + g

    def arrived(self, node: Node) -> Any:
        """The cotangent of an end, after its hooks."""
        g = self.pending.get(id(node))
        if g is None or not self.hooks:
            return g
        place = node if node.op is None and node.plan is not None else _stand(node)
        return g if place is None else place.plan(g)

    def step_back(self, node: Node, g: Any) -> None:
        """Run the rules of one node for the inputs that lead to an end."""
        if node.op is None:
            if isinstance(g, dict):  # an output of several ends here: see register_hook
                (g,) = g.values()
            if node.plan is not None and self.hooks:
                g = node.plan(g)
            for parent in node.parents:
                if parent is None or not self.leads[id(parent)]:
                    continue
                if isinstance(node, Item):
                    self._slot(node, g)
                else:
                    self.accumulate(parent, g)
            return
        wanted = tuple([p is not None and self.leads[id(p)] for p in node.parents])
        for parent, want, gx in zip(node.parents, wanted, _step_back(node, g, wanted)):
            if want and gx is not None:
                self.accumulate(parent, gx)  # type: ignore[arg-type]


def _step_back(node: Node, g: Any, wanted: tuple[bool, ...]) -> Sequence[Any]:
    """What the rules of a node give for its inputs."""
    op, plan = node.op, node.plan
    assert op is not None
    xs = [make(buf, spec, parent) if isinstance(spec, Spec) else buf
          for buf, spec, parent in zip(node.bufs, plan.kept, node.parents)]
    if plan.single:
        y: Any = make(node.y, plan.out, node)
    else:
        bufs = node.y if node.y is not None else (None,) * len(plan.outs)
        y = tuple([make(buf, spec, Item(node, k) if spec.dtype.is_float else None)
                   for k, (buf, spec) in enumerate(zip(bufs, plan.outs))])
        g = tuple([g[k] if k in g else None if op.absent or not spec.dtype.is_float
                   else _zeros(spec) for k, spec in enumerate(plan.outs)])
    if callable(op.grad):
        found: Sequence[Any] = op.grad(g, y, *xs, wanted=wanted, **plan.attrs)
        return found
    return [rule(g, y, *xs, **plan.attrs) if want and (rule := op.rule(k)) else None
            for k, want in enumerate(wanted)]


def _zeros(spec: Spec) -> Any:
    return full(spec.shape, 0, spec.dtype, spec.device)


# ---- hooks


class Hooks:
    """The hooks of one value, called in the order of their registration."""

    __slots__ = ("functions",)

    def __init__(self) -> None:
        self.functions: list[Hook] = []

    def __call__(self, g: Any) -> Any:
        """The cotangent that goes on."""
        for function in tuple(self.functions):
            new = function(g)
            if new is None:
                continue
            if getattr(new, "spec", None) is None:
                raise ArgumentTypeError(f"a hook returned a {type(new).__name__}",
                                        remedy="return a new gradient, or None to leave it")
            expect(new.spec.shape == g.spec.shape and new.spec.dtype is g.spec.dtype,
                   f"a hook returns a gradient like {g.spec}", new.spec)
            g = new
        return g


class Handle:
    """What `register_hook` returns: `remove()` takes the hook out again."""

    __slots__ = ("_hooks", "_function")

    def __init__(self, hooks: Hooks, function: Hook) -> None:
        self._hooks: Hooks | None = hooks
        self._function = function

    def remove(self) -> None:
        """Take the hook out; a second time does nothing."""
        if self._hooks is not None:
            places = [f is self._function for f in self._hooks.functions]
            if True in places:
                del self._hooks.functions[places.index(True)]
            self._hooks = None


def register_hook(tensor: Any, function: Hook) -> Handle:
    """Have `function(g)` called with the whole gradient of a tensor in each later backward pass.

    What it returns, of g's shape and dtype, goes on in the place of g; None leaves g as it is. A
    tensor may have many hooks, called in order. They see gradients only: `jvp` passes them by.
    Raises GradientError where nothing is recorded for the tensor.

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
    if isinstance(node, Leaf):
        place: Node = node
    else:
        place = _stand(node) or _make_stand(node)
    if place.plan is None:
        place.plan = Hooks()
    place.plan.functions.append(function)
    return Handle(place.plan, function)


def _stand(node: Node) -> Node | None:
    """The place of hooks that was put below a node, if there is one."""
    if isinstance(node, Leaf) or not node.parents:
        return None
    below = node.parents[0]
    stands = (node.op is None and below is not None and below.op is None
              and isinstance(below.plan, Hooks) and not isinstance(below, Leaf))
    return below if stands else None


def _make_stand(node: Node) -> Node:
    """Put a place for hooks below a node; those who know the node already pass there too."""
    if isinstance(node, Item):
        inner: Node = Item(node.parents[0], node.place)  # type: ignore[arg-type]
    else:
        inner = Node(node.op, node.plan, node.bufs, node.parents, node.y, node.low)
    place = Node(None, Hooks(), (), (inner,), None, node.low)
    node.op, node.plan, node.bufs, node.parents, node.y = None, None, (), (place,), None
    return place
