"""Pytrees: nested containers as a flat list of leaves and a structure.

A list, tuple, named tuple, dict, dataclass or instance of a registered type is a node; None is a
node without children; everything else is a leaf. An instance of a subclass of list, tuple or dict
is a leaf unless it is a named tuple or its class is registered. A dict's children are in the order
of its sorted keys. A dataclass field with metadata {"static": True} is part of the structure, not a
child.

Nothing here is recursive, so a tree may be as deep as memory allows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyml.concurrency import kept_property
from tinyml.errors import ArgumentError, ArgumentTypeError, as_function, shown
from tinyml.errors.hints import front
from tinyml.ir.op import attribute_key

__all__ = ["LEAF", "TreeDef", "difference", "flatten", "map", "paths", "register", "unflatten"]

SHOWN_NODES = 200  # a larger TreeDef prints only its size
SHOWN_STEPS = 16  # a longer path prints without its middle


class Kind(NamedTuple):
    """How one type of node is split, rejoined, and named in a path."""

    split: Callable[[Any], tuple[Sequence[Any], Any]]
    join: Callable[[Any, list[Any]], Any]
    steps: Callable[[Any, int], Sequence[str]]


class Entry(NamedTuple):
    """One node of a structure: its type, its fixed data, its number of children."""

    kind: Any
    fixed: Any
    arity: int


class _Leaf:
    """The type that marks a leaf."""


LEAF = Entry(_Leaf, None, 0)


class TreeDef:
    """The structure of a tree: its nodes in postorder. Equal structures are equal and hash alike.

    >>> a, b = flatten({"w": 1, "b": (2, 3)})[1], flatten({"b": (0, 0), "w": 0})[1]
    >>> a == b, a.leaf_count, a
    (True, 3, TreeDef({'b': (*, *), 'w': *}))
    """

    def __init__(self, nodes: Sequence[Entry]) -> None:
        self.nodes = tuple(nodes)
        self.leaf_count = sum(entry is LEAF for entry in nodes)

    @kept_property
    def key(self) -> tuple[Any, ...]:
        """The key by which structures compare; fixed values count with their type and bits.

        Raises ArgumentTypeError if a fixed value cannot be hashed.
        """
        try:
            return tuple([entry if entry is LEAF else (entry[0], attribute_key(entry[1]), entry[2])
                          for entry in self.nodes])
        except TypeError as error:
            raise ArgumentTypeError(
                f"a structure holds a value that cannot be compared: {error}",
                remedy="numbers, strings, tuples and tensors in what becomes a tree",
            ) from error

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, TreeDef) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        if len(self.nodes) > SHOWN_NODES:
            return f"TreeDef({len(self.nodes)} nodes, {self.leaf_count} leaves)"
        shown: list[_Shown] = []
        for entry in self.nodes:
            start = len(shown) - entry.arity
            children = shown[start:]
            del shown[start:]
            shown.append(_show(entry, children))
        return f"TreeDef({shown[0]})"


def flatten(tree: Any, objects: list[Any] | None = None,
            stop: Container[int] = ()) -> tuple[list[Any], TreeDef]:
    """Return the leaves of a tree, left to right, and its structure.

    The nodes themselves are appended to `objects`, in the structure's order; an object whose id is
    in `stop` is a leaf. Raises ArgumentTypeError if the keys of a dict cannot be sorted,
    ArgumentError if a container contains itself.

    >>> flatten({"b": [1, None], "a": (2,)})
    ([2, 1], TreeDef({'a': (*,), 'b': [*, None]}))
    """
    if not hasattr(stop, "__contains__") or objects is not None and type(objects) is not list:
        raise ArgumentTypeError(f"objects {shown(objects)}, stop {shown(stop)}",
                                remedy="a list of objects, a set of ids")
    if type(tree) in _LEAF_TYPES or id(tree) in stop:
        return [tree], _ONE_LEAF
    leaves: list[Any] = []
    nodes: list[Entry] = []
    open_ids: set[int] = set()
    stack: list[Any] = [tree]
    seen: list[Any] = []
    # Popping the last child first visits the nodes in reversed postorder.
    while stack:
        value = stack.pop()
        if type(value) is _Close:
            open_ids.discard(value.id)
            continue
        cls = type(value)
        kind = _KINDS.get(cls)
        if kind is None and cls not in _LEAF_TYPES:
            kind = _find_kind(value)
        if kind is None or stop and id(value) in stop:
            leaves.append(value)
            nodes.append(LEAF)
            continue
        if objects is not None:
            seen.append(value)
        children, fixed = kind.split(value)
        nodes.append(Entry(cls, fixed, len(children)))
        if children:
            if id(value) in open_ids:
                raise ArgumentError(
                    f"a {cls.__name__} contains itself", remedy="a tree without cycles"
                )
            open_ids.add(id(value))
            stack.append(_Close(id(value)))
            stack.extend(children)
    leaves.reverse()
    nodes.reverse()
    if objects is not None:
        objects.extend(reversed(seen))
    return leaves, TreeDef(nodes)


def split(node: Any) -> tuple[Sequence[Any], Any]:
    """Return the children of a node and its fixed part."""
    return _KINDS[type(node)].split(node)


def join(kind: type, fixed: Any, children: list[Any]) -> Any:
    """Return a node of this type, fixed part and children."""
    return _KINDS[kind].join(fixed, children)


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """Return the tree with this structure and these leaves, which may be of any type.

    Raises ArgumentError if the number of leaves does not match the structure.

    >>> unflatten(flatten((1, [2, 3]))[1], "abc")
    ('a', ['b', 'c'])
    """
    treedef = _checked(treedef)
    if not isinstance(leaves, Iterable):
        raise ArgumentTypeError(f"leaves are a {type(leaves).__name__}", remedy="a list of leaves")
    given = list(leaves)
    if len(given) != treedef.leaf_count:
        raise ArgumentError(f"the structure has {treedef.leaf_count} leaves, {len(given)} given")
    rest = iter(given)
    built: list[Any] = []
    for kind, fixed, arity in treedef.nodes:
        if kind is _Leaf:
            built.append(next(rest))
            continue
        start = len(built) - arity
        children = built[start:]
        del built[start:]
        built.append(_KINDS[kind].join(fixed, children))
    return built[0]


def map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Return a tree of f(leaf, *others): leaves of `tree` and those at the same place in `rest`.

    Raises ArgumentError if the structures differ, naming the path of the first difference.

    >>> map(lambda a, b: a + b, {"x": 1, "y": (2,)}, {"x": 10, "y": (20,)})
    {'x': 11, 'y': (22,)}
    """
    as_function(f)
    leaves, treedef = flatten(tree)
    columns = [leaves]
    for number, other in enumerate(rest, 2):
        others, structure = flatten(other)
        if structure != treedef:
            raise ArgumentError(
                f"tree {number} differs from tree 1 {difference(treedef, structure)}")
        columns.append(others)
    return unflatten(treedef, [f(*row) for row in zip(*columns, strict=True)])


def paths(treedef: TreeDef) -> list[str]:
    """Return the path to each leaf as text.

    >>> paths(flatten({"layers": [1, 2], "scale": 3})[1])
    ["['layers'][0]", "['layers'][1]", "['scale']"]
    """
    return [format_path(trail) for entry, trail in walk(treedef) if entry is LEAF]


def difference(first: TreeDef, second: TreeDef) -> str | None:
    """Return where and how two structures first differ, as text; None if they are equal.

    >>> difference(flatten({"a": [1, 2]})[1], flatten({"a": [1]})[1])
    "at ['a']: list of 2 against list of 1"
    """
    for (one, trail), (two, _) in zip(walk(first), walk(second), strict=False):
        if TreeDef((one,)) != TreeDef((two,)):
            return f"at {format_path(trail) or 'the root'}: {_contrast(one, two)}"
    return None


def register(
    cls: type,
    flatten: Callable[[Any], tuple[Iterable[Any], Any]],
    unflatten: Callable[[Any, list[Any]], Any],
    names: Callable[[Any], Iterable[str]] | None = None,
) -> None:
    """Make instances of `cls` nodes; each subclass must be registered separately.

    `flatten(x)` returns the children and the fixed part (plain, hashable data).
    `unflatten(fixed, children)` rebuilds the object; the children may be anything, so it should
    not check them. `names(fixed)` returns the attribute names of the children, for paths.

    Raises ArgumentError if the type is already a node.

    >>> class Pair:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> register(Pair, lambda p: ((p.x, p.y), None), lambda fixed, xs: Pair(*xs))
    >>> map(lambda v: v + 1, Pair(1, 2)).y
    3
    """
    if not isinstance(cls, type):
        raise ArgumentTypeError(f"{shown(cls)} is no class", remedy="the class of the nodes")
    as_function(flatten, "flatten")
    as_function(unflatten, "unflatten")
    if names is not None:
        as_function(names, "names")
    if cls in _KINDS:
        raise ArgumentError(f"{cls.__name__} is a node of trees already")

    def split(value: Any) -> tuple[Sequence[Any], Any]:
        children, fixed = flatten(value)
        return tuple(children), fixed

    def steps(fixed: Any, arity: int) -> Sequence[str]:
        if names is None:
            return _number_steps(fixed, arity)
        return [f".{name}" for name in names(fixed)]

    _KINDS[cls] = Kind(split, unflatten, steps)
    _LEAF_TYPES.discard(cls)


# ---- built-in node types


class _Close(NamedTuple):
    """A marker on the stack of `flatten`: all children of a node are done."""

    id: int


def _number_steps(fixed: Any, arity: int) -> Sequence[str]:
    return [f"[{i}]" for i in range(arity)]


def _split_dict(value: dict[Any, Any]) -> tuple[Sequence[Any], Any]:
    try:
        keys = sorted(value)
    except TypeError:
        types = sorted({type(key).__name__ for key in value})
        raise ArgumentTypeError(
            f"the keys of a dict have no order: they are of the types {', '.join(types)}",
            remedy="keys of one type, such as str",
        ) from None
    return [value[key] for key in keys], tuple(keys)


_KINDS: dict[Any, Kind] = {
    type(None): Kind(lambda x: ((), None), lambda fixed, xs: None, _number_steps),
    list: Kind(lambda x: (x, None), lambda fixed, xs: xs, _number_steps),
    tuple: Kind(lambda x: (x, None), lambda fixed, xs: tuple(xs), _number_steps),
    dict: Kind(
        _split_dict,
        lambda keys, xs: dict(zip(keys, xs, strict=True)),
        lambda keys, arity: [f"[{key!r}]" for key in keys],
    ),
}
_LEAF_TYPES: set[type] = set()


def _find_kind(value: Any) -> Kind | None:
    """Return the kind of a value of a type not seen before; None for a leaf."""
    cls = type(value)
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        names = [f".{name}" for name in cls._fields]
        _KINDS[cls] = Kind(lambda x: (x, None), lambda fixed, xs: cls._make(xs),
                           lambda fixed, n: names)
    elif "__dataclass_fields__" in cls.__dict__:
        _KINDS[cls] = _make_dataclass_kind(cls)
    else:
        _LEAF_TYPES.add(cls)
    return _KINDS.get(cls)


def _make_dataclass_kind(cls: Any) -> Kind:
    fields = sys.modules["dataclasses"].fields(cls)  # loaded by whoever made the dataclass
    static = [field.name for field in fields if field.metadata.get("static")]
    names = [field.name for field in fields if not field.metadata.get("static")]

    def split(value: Any) -> tuple[Sequence[Any], Any]:
        fixed = tuple([(name, getattr(value, name)) for name in static])
        return [getattr(value, name) for name in names], fixed

    def join(fixed: Any, children: list[Any]) -> Any:
        value = object.__new__(cls)  # __init__ might check or convert what stands for a leaf
        for name, child in (*fixed, *zip(names, children, strict=True)):
            object.__setattr__(value, name, child)
        return value

    return Kind(split, join, lambda fixed, n: [f".{name}" for name in names])


# ---- paths and text

def _checked(treedef: Any) -> TreeDef:
    if not isinstance(treedef, TreeDef):
        raise ArgumentTypeError(f"a structure is a {type(treedef).__name__}",
                                remedy="what flatten(tree) returns beside the leaves")
    return treedef


# A trail is the way to a node: its parent's trail and one more step.
Trail = tuple[Any, str] | None


def walk(treedef: TreeDef) -> Iterator[tuple[Entry, Trail]]:
    """Yield the nodes in preorder, each with its trail."""
    treedef = _checked(treedef)
    children: list[list[int]] = []
    roots: list[int] = []
    for place, entry in enumerate(treedef.nodes):
        start = len(roots) - entry.arity
        children.append(roots[start:])
        del roots[start:]
        roots.append(place)
    stack: list[tuple[int, Trail]] = [(len(treedef.nodes) - 1, None)]
    while stack:
        place, trail = stack.pop()
        entry = treedef.nodes[place]
        yield entry, trail
        if entry.arity:
            steps = _KINDS[entry.kind].steps(entry.fixed, entry.arity)
            below = zip(children[place], steps, strict=True)
            stack.extend(reversed([(child, (trail, step)) for child, step in below]))


def format_path(trail: Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        steps.append(step)
    steps.reverse()
    if len(steps) > SHOWN_STEPS:
        half = SHOWN_STEPS // 2
        steps[half:-half] = [f"... {len(steps) - SHOWN_STEPS} more ..."]
    return "".join(steps)


def _contrast(one: Entry, two: Entry) -> str:
    if one.kind is two.kind is dict:
        missing = sorted(set(one.fixed) - set(two.fixed), key=repr)
        extra = sorted(set(two.fixed) - set(one.fixed), key=repr)
        return f"only the first has the keys {missing}, only the second {extra}"
    if one.kind is two.kind and one.arity == two.arity:
        return f"{one.kind.__name__} with {one.fixed!r} against {two.fixed!r}"
    return f"{_describe(one)} against {_describe(two)}"


def _describe(entry: Entry) -> str:
    plain = {LEAF.kind: "a leaf", type(None): "None"}
    return plain.get(entry.kind) or f"{entry.kind.__name__} of {entry.arity}"


class _Shown(str):
    """The text of a subtree; its repr is the text."""

    __repr__ = str.__str__


def _show(entry: Entry, children: list[_Shown]) -> _Shown:
    if entry is LEAF:
        return _Shown("*")
    kind = _KINDS[entry.kind]
    if entry.kind in (type(None), list, tuple, dict):
        return _Shown(repr(kind.join(entry.fixed, children)))
    named = [f"{step.lstrip('.')}={child}"
             for step, child in zip(kind.steps(entry.fixed, entry.arity), children, strict=True)]
    return _Shown(f"{entry.kind.__name__}({', '.join(named)})")


_ONE_LEAF = TreeDef((LEAF,))

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
