"""The arguments of a jitted call: what is an input of the trace, what is a constant of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyml.tree as tree
from tinyml.core.node import Data, Leaf
from tinyml.core.upload import as_tensor
from tinyml.errors import ArgumentTypeError
from tinyml.ir.op import attribute_key
from tinyml.ir.spec import Spec
from tinyml.state.constants import find_mutable
from tinyml.state.number import Number
from tinyml.tree import format_path, walk


class Static:
    """A leaf that wraps a static argument: a constant of the trace, whatever its type."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def unwrap(value: Any) -> Any:
    """Return an argument without its mark."""
    return value.value if isinstance(value, Static) else value


class Arguments:
    """The flattened arguments of a call, and the key of the trace for them.

    leaves    all leaves, arrays as tensors
    objects   the nodes: containers and objects with state
    tensors   the distinct tensors among the leaves, each parameter followed by its gradient, if any
    numbers   the numbers among the leaves that may change without a new trace

    The key has a tensor's spec, or its place among `tensors` if it occurs again; for a parameter,
    that of its gradient, too.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any],
                 static: tuple[tuple[int, ...], tuple[str, ...]]) -> None:
        numbers = [k % len(args) for k in static[0] if -len(args) <= k < len(args)]
        self.objects: list[Any] = []
        self.leaves, self.structure = tree.flatten((
            tuple([Static(x) if k in numbers else x for k, x in enumerate(args)]),
            {k: Static(x) if k in static[1] else x for k, x in kwargs.items()}), self.objects)
        self.tensors: list[Any] = []
        self.numbers: list[Any] = []
        self._first: dict[int, int] = {}
        self._varying: list[bool] | None = None
        keys: list[Any] = []
        for k, leaf in enumerate(self.leaves):
            if isinstance(leaf, Data):
                keys.append(self._key_of_tensor(leaf))
            elif isinstance(leaf, (np.ndarray, np.generic)):
                leaf = self.leaves[k] = as_tensor(leaf, self._device())
                keys.append(self._key_of_tensor(leaf))
            else:
                keys.append(self._key_of_constant(leaf, k))
        self.key: tuple[Any, ...] = (self.structure, tuple(keys))
        count = len(self.objects)
        if count > 2 and len(set(map(id, self.objects))) < count:  # an object in two places
            places: dict[int, int] = {}
            self.key += (tuple([places.setdefault(id(x), j) for j, x in enumerate(self.objects)
                                if x is not None and type(x) is not tuple]),)

    def _device(self) -> Any:
        """Return the device for arrays: that of the first tensor, or None."""
        return next((x.spec.device for x in self.leaves if isinstance(x, Data)), None)

    @property
    def plain(self) -> bool:
        """Whether the arguments are only distinct tensors without gradients, all positional."""
        positions = tree.flatten(((0,) * len(self.tensors), {}))[1]
        return self.structure == positions and len(self.leaves) == len(self.tensors)

    # ---- the key

    def _key_of_tensor(self, x: Any) -> Any:
        place = self._first.setdefault(id(x), len(self.tensors))
        if place < len(self.tensors):
            return place
        self.tensors.append(x)
        node = x.node
        if type(node) is not Leaf or node.min_level:  # no parameter
            return x.spec
        gradient = node.grad
        return x.spec, None if gradient is None else self._key_of_tensor(gradient)

    def _key_of_constant(self, leaf: Any, k: int) -> Any:
        kind = type(leaf)
        if (kind is float or kind is int or kind is Number) and self.varying and self.varying[k]:
            self.numbers.append(leaf)
            return leaf.kind if kind is Number else kind
        value = unwrap(leaf)
        if find_mutable(value) is not None:
            raise _refuse(f"{'static ' if leaf is not value else ''}{self.name_leaf(k)}", value)
        return attribute_key(value)

    @property
    def varying(self) -> list[bool]:
        """For each leaf, whether it may change without a new trace if it is a number."""
        if self._varying is None:
            self._varying = []
            for x in self.objects:
                if type(x) not in _CONTAINERS and _varies(type(x)):
                    self._varying = mark_leaves(self.structure, _varies)
                    break
        return self._varying

    def check_static(self) -> None:
        """Raise ArgumentTypeError for a static attribute that may change unseen."""
        for entry, trail in walk(self.structure):
            found = None if entry is tree.LEAF else find_mutable(entry.fixed)
            if found is not None:
                path, value = found
                at = f"{format_path(trail)}.{path}" if path else format_path(trail)
                raise _refuse(name_path(at), value)

    # ---- names

    def name_leaf(self, leaf: int) -> str:
        """Return a description of a leaf: argument 0 at ['a']."""
        return name_path(tree.paths(self.structure)[leaf])

    def describe_change(self, last: Any) -> str:
        """Return a description of how these arguments differ from those of another key."""
        structure, keys = last[:2]
        if structure != self.structure:
            return f"the structure {tree.difference(structure, self.structure)}"
        for path, old, new in zip(tree.paths(self.structure), keys, self.key[1]):
            if old != new:
                return f"{name_path(path)}: {_format_key(old, new)}, now {_format_key(new, old)}"
        return "nothing"

    # ---- a call

    def originals(self) -> list[Any]:
        """Return leaves and nodes in the structure's order."""
        leaves, nodes = iter(self.leaves), iter(self.objects)
        return [next(leaves if entry is tree.LEAF else nodes) for entry in self.structure.nodes]


def is_parameter(x: Any) -> bool:
    """Return whether a tensor was made with requires_grad=True."""
    return type(x.node) is Leaf and x.node.min_level == 0


_CONTAINERS = {tuple, list, dict}


def _varies(kind: Any) -> bool:
    return bool(getattr(kind, "run_time", ()))


def _refuse(name: str, value: Any) -> ArgumentTypeError:
    try:
        hash(value)
    except TypeError:
        return ArgumentTypeError(
            f"{name} is a {type(value).__name__}, neither a tensor nor hashable",
            remedy="a tensor, a tuple instead of a list, or a class with __hash__ and __eq__")
    return ArgumentTypeError(
        f"{name} is a {type(value).__name__}, neither a pytree nor immutable and hashable: a "
        "change to it would not be seen",
        remedy="pass the tensors in it, or close over it; to pass it, make its class a pytree (a "
               "dataclass, a Module, tinyml.tree.register), or give an immutable class __eq__ and "
               "__hash__")


def mark_leaves(structure: tree.TreeDef, marks: Callable[[Any], bool]) -> list[bool]:
    """Return for each leaf whether a node around it is marked, by its type."""
    return [mark for mark, entry in zip(mark_nodes(structure, marks), structure.nodes)
            if entry is tree.LEAF]


def mark_nodes(structure: tree.TreeDef, marks: Callable[[Any], bool]) -> list[bool]:
    """Return for each leaf and node whether it or a node around it is marked, by its type."""
    found: list[bool] = []
    around = [False]  # for the nodes still to come: reversed postorder visits the last child first
    for entry in reversed(structure.nodes):
        mark = around.pop() or entry is not tree.LEAF and marks(entry.kind)
        found.append(mark)
        around += [mark] * entry.arity
    found.reverse()
    return found


# ---- text


def _format_key(key: Any, other: Any) -> str:
    if isinstance(key, Spec):
        return f"{key} of strides {key.strides}" if str(key) == str(other) else str(key)
    if isinstance(key, tuple) and isinstance(key[0], Spec):
        return f"{key[0]} that requires a gradient and has {'one' if key[1] else 'none'}"
    return f"{key[1]!r}" if isinstance(key, tuple) and len(key) == 2 else str(key)


def name_path(path: str) -> str:
    """Return a description of a path into (args, kwargs): argument 0 at ['a'], argument 'name'."""
    found = re.match(r"\[[01]\]\[([^]]*)\]", path)
    if found is None:
        return f"the argument at {path}"
    rest = path[found.end():]
    return f"argument {found.group(1)}" + (f" at {rest}" if rest else "")
