"""The function's copies of the arguments, and what it has changed in them.

A traced function gets copies of the caller's containers and objects, whose tensors are variables of
the graph. So the caller's own are untouched until a call has succeeded; then what the function
changed in its copies is changed in them: the content and gradient of a tensor, and the attributes
of an object with state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import tinyml.tree as tree
from tinyml.core.make import make
from tinyml.core.node import Data, Leaf
from tinyml.core.state import STATE
from tinyml.core.upload import as_tensor
from tinyml.errors import GradientError, ReadOnlyError
from tinyml.ir.op import attribute_key
from tinyml.state.arguments import Arguments, is_parameter, mark_nodes
from tinyml.state.number import Number, Numbers, Place
from tinyml.state.stateful import INTERNAL


class Output(NamedTuple):
    """A leaf that is the next output of the graph; `recorded` if it depends on a gradient's leaf.

    `leaf` says whether the function made it with requires_grad=True.
    """

    recorded: bool
    leaf: bool


class Original(NamedTuple):
    """A leaf that is one of the caller's leaves or objects, at a place in the structure."""

    place: int


class Constant(NamedTuple):
    """A leaf that is the same in each call."""

    value: Any


class Form(NamedTuple):
    """How a value is made from what a call has found: its structure and the source of each leaf."""

    structure: tree.TreeDef
    sources: tuple[Any, ...]

    def fill(self, results: Any, originals: Sequence[Any], numbers: Sequence[Any],
             strip: bool = False) -> Any:
        """Return the value, taking the graph's outputs from the iterator `results`.

        With `strip`, those that depend on no leaf have no node, as in the function itself.
        """
        leaves = []
        for source in self.sources:
            if type(source) is Output:
                value = next(results)
                if source.leaf:
                    value = make(value.buf, value.spec, Leaf(value.spec, 0))
                elif strip and not source.recorded and value.node is not None:
                    value = make(value.buf, value.spec)
                leaves.append(value)
            elif type(source) is Original:
                leaves.append(originals[source.place])
            else:
                leaves.append(numbers[source] if type(source) is Place else source.value)
        return tree.unflatten(self.structure, leaves)


# ---- copies


def has_state(kind: Any) -> bool:
    """Return whether a node's type is one of objects, whose attributes are written back."""
    return not issubclass(kind, (tuple, list, dict, type(None)))


class Changes:
    """What a function changed in its copies: places, fixed parts, new values; see Trace."""

    def __init__(self) -> None:
        self.objects: list[tuple[int, Any]] = []
        self.children: list[list[Any]] = []
        self.content_places: list[int] = []
        self.contents: list[Any] = []
        self.gradient_places: list[int] = []
        self.gradients: list[Any] = []


class Copies:
    """The function's copies of the arguments.

    places    copies of leaves and nodes, in the structure's order
    known     the place of each copied object and tensor, by identity
    """

    def __init__(self, arguments: Arguments, xs: Sequence[Any]) -> None:
        self.arguments = arguments
        self.tensors = [_like(x, symbol) for x, symbol in zip(arguments.tensors, xs)]
        self.numbers = Numbers(STATE.building, arguments.numbers)
        symbols = {id(x): symbol for x, symbol in zip(arguments.tensors, self.tensors)}
        for x, symbol in zip(arguments.tensors, self.tensors):
            if is_parameter(x):
                symbol.node = Leaf(symbol.spec, 0)
                symbol.node.grad = symbols.get(id(x.grad))
        self.before = [(x.buf, x.grad) for x in self.tensors]
        self._copy(symbols)

    def _copy(self, symbols: dict[int, Any]) -> None:
        self.places: list[Any] = []
        self.known: dict[int, int] = {}
        self.children: dict[int, list[Any]] = {}
        numbers = iter(self.numbers.given)
        varying = iter(self.arguments.varying if self.arguments.numbers else ())
        copies: dict[int, Any] = {}
        built: list[Any] = []
        originals = self.arguments.originals()
        for place, (entry, x) in enumerate(zip(self.arguments.structure.nodes, originals)):
            if entry is tree.LEAF:
                new = symbols.get(id(x), x)
                if next(varying, False) and type(x) in (int, float, Number):
                    new = next(numbers)
            else:
                start = len(built) - entry.arity
                children = built[start:]
                del built[start:]
                new = copies.get(id(x))
                if new is None:
                    new = copies[id(x)] = tree.join(entry.kind, entry.fixed, children[:])
                    self.children[place] = children
            if isinstance(new, (Data, Number)) or place in self.children and not isinstance(
                    new, (tuple, type(None))):
                self.known.setdefault(id(new), place)
            built.append(new)
            self.places.append(new)

    # ---- after the call

    def describe(self, value: Any, own: bool = False) -> tuple[Form, list[Any]]:
        """Return how a value is made, and the tensors that the graph must give for it.

        With `own`, an argument's tensor stands for the caller's tensor, else for its content.
        """
        leaves, structure = tree.flatten(value, stop={k for k, place in self.known.items()
                                                      if place in self.children})
        sources, outputs = [], []
        for leaf in leaves:
            if isinstance(leaf, Number):
                sources.append(_place_of(leaf, self.numbers))
            elif id(leaf) in self.known and (own or not isinstance(leaf, Data)):
                sources.append(Original(self.known[id(leaf)]))
            elif isinstance(leaf, (Data, np.ndarray)):
                tensor = as_tensor(leaf)
                outputs.append(tensor)
                is_new = isinstance(tensor.node, Leaf) and id(leaf) not in self.known and own
                recorded = tensor.node is not None and not is_new
                sources.append(Output(recorded or not own, is_new))
            else:
                sources.append(Constant(leaf))
        return Form(structure, tuple(sources)), outputs

    def find_changes(self) -> Changes:
        """Return what the function changed. Raises ReadOnlyError if the caller would not see it."""
        found = Changes()
        structure = self.arguments.structure
        owned = mark_nodes(structure, has_state)
        for place, before in self.children.items():
            copy, entry = self.places[place], structure.nodes[place]
            children, fixed = tree.split(copy)
            if (len(children) == len(before) and all(map(_same, children, before))
                    and attribute_key(fixed) == attribute_key(entry.fixed)):
                continue
            if not owned[place]:
                self._refuse()
            if attribute_key(_names_of(fixed)) == attribute_key(_names_of(entry.fixed)):
                for old, new in zip(before, children):
                    self._check_like(old, new)
            found.objects.append((place, tree.map(_settled, fixed)))
            found.children.append(list(children))
        for k, (x, (buf, gradient)) in enumerate(zip(self.tensors, self.before)):
            if x.buf is not buf:
                self._check_like(make(buf, buf.spec), x, self.arguments.tensors[k])
                found.content_places.append(k)
                found.contents.append(make(x.buf, x.spec, _inner(x)))
            if x.grad is not gradient:
                self._check_leaf(k)
                found.gradient_places.append(k)
                found.gradients.append(x.grad)
        return found

    def _refuse(self) -> None:
        leaves, structure = tree.flatten(self.places[-1])
        arguments = self.arguments
        if structure != arguments.structure:
            raise ReadOnlyError(
                "the function changed the structure of an argument "
                f"{tree.difference(arguments.structure, structure)}",
                remedy="return the new value; keep what changes between calls in tensors")
        before = [x for x, e in zip(self.places, structure.nodes) if e is tree.LEAF]
        k = next(k for k, (old, new) in enumerate(zip(before, leaves)) if old is not new)
        raise ReadOnlyError(
            f"the function replaced {arguments.name_leaf(k)}, which its caller would not see",
            remedy="return the new value")

    def _check_like(self, old: Any, new: Any, original: Any = None) -> None:
        if not (isinstance(old, Data) and isinstance(new, Data)):
            return
        one, two = old.spec, new.spec
        if one.shape != two.shape or one.dtype is not two.dtype or one.device is not two.device:
            leaves = [x for x, e in zip(self.places, self.arguments.structure.nodes)
                      if e is tree.LEAF]
            k = next((k for k, x in enumerate(leaves) if x is old or x is new), None)
            name = "of a gradient" if k is None else self.arguments.name_leaf(k)
            raise ReadOnlyError(f"the state {name} was {one} and became {two}",
                                remedy="keep shape and dtype")

    def _check_leaf(self, k: int) -> None:
        x = self.arguments.tensors[k]
        if not is_parameter(x) or x.node.parents:
            raise GradientError(
                f"the function sets the gradient of {x.spec}, an argument that was computed",
                remedy="pass a tensor made with requires_grad=True, or use tinyml.grad inside")


def _like(x: Any, symbol: Any) -> Any:
    """Return the tensor that stands for x: a state, if x is one."""
    return type(x)(symbol) if x.is_state else symbol


def _same(one: Any, two: Any) -> bool:
    return one is two


def _inner(x: Any) -> Any:
    return None if isinstance(x.node, Leaf) else x.node


def _names_of(fixed: Any) -> Any:
    """Return the part of a node's fixed data that names its children."""
    return fixed[0] if isinstance(fixed, tuple) and fixed else fixed


def _settled(value: Any) -> Any:
    return value.item() if isinstance(value, Number) else value


def _place_of(number: Number, numbers: Numbers) -> Any:
    """Return the source of a number: its place, or, from another trace, its value."""
    return Place(number.place) if number.numbers is numbers else Constant(number.item())


# ---- writing back


def assign(x: Any, fixed: Any, children: list[Any]) -> None:
    """Give an object the attributes, or a container the items, of a new one."""
    new = tree.join(type(x), fixed, children)
    if isinstance(x, list):
        x[:] = new
    elif isinstance(x, dict):
        x.clear()
        x.update(new)
    else:
        for name in _names(new):
            if name not in INTERNAL and hasattr(new, name):
                object.__setattr__(x, name, getattr(new, name))


def _names(x: Any) -> list[str]:
    slots = [getattr(cls, "__slots__", ()) for cls in type(x).__mro__]
    return [*getattr(x, "__dict__", ()), *[
        name for names in slots for name in ((names,) if isinstance(names, str) else names)
        if not name.startswith("__")]]
