"""jit: a Python function traced once per combination of shapes, and run as a compiled graph."""

from __future__ import annotations

import functools
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import tinyml.compiler  # noqa: F401  # registers the kernel by which graphs run compiled
import tinyml.tree as tree
from tinyml.core.error_context import error_context
from tinyml.core.node import Data
from tinyml.core.upload import as_tensor
from tinyml.errors import ArgumentTypeError, ReadOnlyError
from tinyml.graph.graph import build
from tinyml.graph.trace import Traced
from tinyml.ir.op import attribute_key
from tinyml.ir.spec import Spec

MOST_TRACES = 256  # per function; beyond this, the oldest is dropped
WARN_AFTER = 8


class RetraceWarning(UserWarning):
    """Warns that a jitted function is traced again and again."""


class Trace(NamedTuple):
    """One trace of a function: its graph, and how to rebuild results and state from its outputs.

    result   the structure of the result
    fixed    for each leaf of the result: (value,) for a constant, None for a tensor
    states   positions of the argument leaves that the function replaces, in the order of the
             outputs that follow the results
    """

    graph: Traced
    result: tree.TreeDef
    fixed: tuple[Any, ...]
    states: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether the only output is one tensor."""
        return self.result.nodes == (tree.LEAF,) and self.fixed == (None,) and not self.states


class Jitted:
    """A compiled function, made by `jit`."""

    def __init__(self, f: Callable[..., Any], static_argnums: tuple[int, ...],
                 static_argnames: tuple[str, ...]) -> None:
        functools.update_wrapper(self, f)
        self._f = f
        self._static = static_argnums
        self._static_names = static_argnames
        self._traces: dict[Any, Trace] = {}
        self._plain: dict[Any, Traced] = {}  # from tensors alone to one tensor
        self._count = 0
        self._last: Any = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<jit {self._name()}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _name(self) -> str:
        return getattr(self._f, "__name__", type(self._f).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the function's result; trace and compile on the first call with these shapes."""
        if not kwargs:
            try:
                graph = self._plain[tuple([x.spec for x in args])]
            except (KeyError, AttributeError):
                pass
            else:
                return graph.call(args)[0]
        arguments = _Arguments(self, args, kwargs)
        key = arguments.key
        trace = self._traces.get(key)
        if trace is None:
            with self._lock:
                trace = self._traces.get(key)
                if trace is None:
                    trace = self._trace(arguments)
        results = iter(trace.graph.call(arguments.tensors))
        leaves = [next(results) if fixed is None else fixed[0] for fixed in trace.fixed]
        for place in trace.states:
            arguments.leaves[place]._replace(next(results))
        return tree.unflatten(trace.result, leaves)

    def graph(self, *args: Any, **kwargs: Any) -> Traced:
        """Return the graph that a call with these arguments would run."""
        arguments = _Arguments(self, args, kwargs)
        with self._lock:
            return (self._traces.get(arguments.key) or self._trace(arguments)).graph

    def _trace(self, arguments: _Arguments) -> Trace:
        self._warn(arguments)
        with error_context(f"jit({self._name()})", ()):
            trace = _trace(self._f, arguments)
        if len(self._traces) >= MOST_TRACES:
            del self._traces[next(iter(self._traces))]
            self._plain.clear()
        self._traces[arguments.key] = trace
        if arguments.plain and trace.plain:
            self._plain[tuple([x.spec for x in arguments.tensors])] = trace.graph
        return trace

    def _warn(self, arguments: _Arguments) -> None:
        """Warn after eight traces, naming what keeps changing."""
        self._count += 1
        if self._count > WARN_AFTER:
            what = (arguments.describe_change(self._last) if self._last is not None
                    else "its arguments")
            warnings.warn(
                f"jit({self._name()}) is traced for the {self._count}th time; what changed: "
                f"{what}. Pad to equal shapes, or pass changing numbers as tensors",
                RetraceWarning, stacklevel=4,
            )
        self._last = arguments.key


class _Static:
    """A leaf that wraps a static argument: a constant of the trace, whatever its type."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _unwrap(value: Any) -> Any:
    return value.value if isinstance(value, _Static) else value


class _Arguments:
    """The flattened arguments of a call: `leaves`, the `tensors` among them, and the trace's key.

    In the key, a tensor that occurs again is represented by its first position.
    """

    def __init__(self, jitted: Jitted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        numbers = [k % len(args) for k in jitted._static if -len(args) <= k < len(args)]
        self.leaves, self.structure = tree.flatten((
            tuple([_Static(x) if k in numbers else x for k, x in enumerate(args)]),
            {k: _Static(x) if k in jitted._static_names else x for k, x in kwargs.items()}))
        self.tensors: list[Any] = []
        first: dict[int, int] = {}
        keys: list[Any] = []
        for k, leaf in enumerate(self.leaves):
            if isinstance(leaf, (np.ndarray, np.generic)):
                leaf = self.leaves[k] = as_tensor(leaf, self._device())
            if not isinstance(leaf, Data):
                keys.append(self._key_of_constant(leaf, k))
            elif first.setdefault(id(leaf), k) == k:
                keys.append(leaf.spec)
                self.tensors.append(leaf)
            else:
                keys.append(first[id(leaf)])
        self.key = self.structure, tuple(keys)

    def _device(self) -> Any:
        """Return the device for arrays: that of the first tensor, or None."""
        return next((x.spec.device for x in self.leaves if isinstance(x, Data)), None)

    @property
    def plain(self) -> bool:
        """Whether the arguments are only distinct tensors, all positional."""
        positions = tree.flatten(((0,) * len(self.tensors), {}))[1]
        return self.structure == positions and len(self.leaves) == len(self.tensors)

    def _key_of_constant(self, leaf: Any, k: int) -> Any:
        value = _unwrap(leaf)
        try:
            return attribute_key(value)
        except TypeError:
            raise ArgumentTypeError(
                f"{'static ' if leaf is not value else ''}{self.name_leaf(k)} is a "
                f"{type(value).__name__}, neither a tensor nor hashable",
                remedy="a tensor, a tuple instead of a list, or a class with __hash__ and __eq__",
            ) from None

    def name_leaf(self, leaf: int) -> str:
        """Return a description of a leaf: argument 0 at ['a']."""
        return _name_path(tree.paths(self.structure)[leaf])

    def describe_change(self, last: Any) -> str:
        """Return a description of how these arguments differ from those of another key."""
        structure, keys = last
        if structure != self.structure:
            return f"the structure {tree.difference(structure, self.structure)}"
        for path, old, new in zip(tree.paths(self.structure), keys, self.key[1]):
            if old != new:
                return f"{_name_path(path)}: {_format_key(old, new)}, now {_format_key(new, old)}"
        return "nothing"

    def call(self, f: Callable[..., Any], leaves: Sequence[Any]) -> tuple[Any, Any]:
        """Return f's result for these leaves, and the argument objects that f received."""
        args, named = tree.unflatten(self.structure, leaves)
        return f(*map(_unwrap, args), **{k: _unwrap(v) for k, v in named.items()}), (args, named)


def _format_key(key: Any, other: Any) -> str:
    if isinstance(key, Spec):
        return f"{key} of strides {key.strides}" if str(key) == str(other) else str(key)
    return f"{key[1]!r}" if isinstance(key, tuple) and len(key) == 2 else str(key)


def _name_path(path: str) -> str:
    """Return a description of a path into (args, kwargs): argument 0 at ['a'], argument 'name'."""
    found = re.match(r"\[[01]\]\[([^]]*)\]", path)
    if found is None:
        return f"the argument at {path}"
    rest = path[found.end():]
    return f"argument {found.group(1)}" + (f" at {rest}" if rest else "")


def _trace(f: Callable[..., Any], arguments: _Arguments) -> Trace:
    """Run f once on symbolic values."""
    owned = _find_owned(arguments.structure)
    places = [k for k, key in enumerate(arguments.key[1]) if isinstance(key, Spec)]
    numbers = {id(x): k for k, x in enumerate(arguments.tensors)}
    rest: list[Any] = []

    def call_flat(*xs: Any) -> list[Any]:
        leaves = [xs[numbers[id(leaf)]] if isinstance(leaf, Data) else leaf
                  for leaf in arguments.leaves]
        before = [leaf.buf if isinstance(leaf, Data) else None for leaf in leaves]
        result, held = arguments.call(f, leaves)
        values, structure = tree.flatten(result)
        changed = _find_changes(arguments, held, before, owned)
        fixed = tuple([None if isinstance(v, (Data, np.ndarray)) else (v,) for v in values])
        rest[:] = structure, fixed, tuple([place for place, _ in changed])
        return [*[as_tensor(v) for v, constant in zip(values, fixed) if constant is None],
                *[value for _, value in changed]]

    graph = build(call_flat, [x.spec for x in arguments.tensors],
                  {number for number, place in enumerate(places) if owned[place]})
    return Trace(Traced(graph), *rest)


def _find_owned(structure: tree.TreeDef) -> list[bool]:
    """Return for each leaf whether it belongs to an object with state, such as a Module."""
    owned: list[bool] = []
    around = [False]  # for the nodes still to come: reversed postorder visits the last child first
    for kind, _, arity in reversed(structure.nodes):
        own = around.pop()
        if kind is tree.LEAF.kind:
            owned.append(own)
        around += [own or not issubclass(kind, (tuple, list, dict))] * arity
    owned.reverse()
    return owned


def _find_changes(arguments: _Arguments, held: Any, before: Sequence[Any],
                  owned: Sequence[bool]) -> list[tuple[int, Any]]:
    """Return the positions of the argument leaves that f replaced, with their new values.

    Raises ReadOnlyError if f changed what cannot be written back: the structure of a container,
    or an entry of a plain list or dict.
    """
    leaves, structure = tree.flatten(held)
    if structure != arguments.structure:
        raise ReadOnlyError(
            "the function changed the structure of an argument "
            f"{tree.difference(arguments.structure, structure)}",
            remedy="return the new value; keep what changes between calls in tensors",
        )
    changed = []
    for k, (leaf, old, own) in enumerate(zip(leaves, before, owned)):
        if isinstance(leaf, Data) and leaf.buf is old or old is None and not isinstance(leaf, Data):
            continue
        if not own or old is None:
            raise ReadOnlyError(
                f"the function replaced {arguments.name_leaf(k)}, which its caller would not see",
                remedy="return the new value",
            )
        like = arguments.leaves[k].spec
        if leaf.spec.shape != like.shape or leaf.spec.dtype is not like.dtype:
            raise ReadOnlyError(f"the state {arguments.name_leaf(k)} was {like} and became "
                                f"{leaf.spec}", remedy="keep shape and dtype")
        changed.append((k, leaf))
    return changed


def jit(f: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = ()) -> Any:
    """Return a compiled version of f.

    f is traced once for each combination of shapes, dtypes and structure of its arguments.
    Arguments and results may be pytrees, including Modules: what f replaces in a Module is written
    back to the caller's Module. Numbers, strings and other hashable arguments are constants of the
    trace; a new value causes a new trace. Tensors that f closes over are read anew at each call.
    Gradients flow through the compiled function, and f may itself compute gradients.

    Raises ConcretizationError if f asks for a value (`if x > 0`), ReadOnlyError if it changes what
    it does not own, ArgumentTypeError for an argument that is neither a tensor nor hashable.
    Warns after eight traces, naming what keeps changing.

    >>> import tinyml
    >>> double = tinyml.jit(lambda x: x + x)
    >>> double(tinyml.tensor([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    if f is None:
        return functools.partial(jit, static_argnums=static_argnums,
                                 static_argnames=static_argnames)
    if not callable(f):
        raise ArgumentTypeError(f"jit of a {type(f).__name__}", remedy="a function")
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    return Jitted(f, numbers, names)
