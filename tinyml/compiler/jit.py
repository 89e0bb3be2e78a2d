"""jit: a Python function traced once per combination of shapes, and run as a compiled graph."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

import tinyml.compiler  # noqa: F401  # registers the kernel by which graphs run compiled
from tinyml.compiler.tracing import Trace, trace
from tinyml.concurrency import new_lock
from tinyml.core.error_context import error_context
from tinyml.core.node import Leaf
from tinyml.errors import ArgumentTypeError
from tinyml.graph.trace import Traced
from tinyml.ops.arguments import as_items, as_sizes
from tinyml.state.arguments import Arguments, is_parameter

P = ParamSpec("P")
R = TypeVar("R")

MOST_TRACES = 256  # per function; beyond this, the oldest is dropped
WARN_AFTER = 8


class RetraceWarning(UserWarning):
    """Warns that a jitted function is traced again and again."""


class Jitted(Generic[P, R]):
    """A compiled function, made by `jit`."""

    def __init__(self, f: Callable[P, R], static_argnums: tuple[int, ...],
                 static_argnames: tuple[str, ...]) -> None:
        functools.update_wrapper(self, f)
        self._f = f
        self._static = static_argnums
        self._static_names = static_argnames
        self._traces: dict[Any, list[Trace]] = {}
        self._plain: dict[Any, Traced] = {}  # from tensors alone to one tensor
        self._count = 0
        self._last: Any = None
        self._lock = new_lock()

    def __repr__(self) -> str:
        return f"<jit {self._name()}>"

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Jitted[P, R]: ...

    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., R]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        """Pickle by name what a decorator made; otherwise the function, to be traced anew."""
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        name: str = getattr(self, "__qualname__", "")
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            return name
        return type(self), (self._f, self._static, self._static_names)

    def _name(self) -> str:
        return getattr(self._f, "__name__", type(self._f).__name__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the function's result; trace and compile on the first call with these shapes."""
        if not kwargs:
            try:
                given: Any = args
                graph = self._plain[tuple([
                    x.spec if type(x.node) is not Leaf or x.node.min_level
                    else (x.spec, x.node.grad)
                    for x in given])]
            except (KeyError, AttributeError):
                pass
            else:
                return graph.call(given)[0]  # type: ignore[no-any-return]
        arguments = Arguments(args, kwargs, (self._static, self._static_names))
        known = self._traces.get(arguments.key)
        if known is not None and known[0].pure:
            pure: R = known[0].run_pure(arguments.tensors)
            return pure
        trace, numbers = self._find(arguments)
        result: R = trace.run(arguments, numbers)
        return result

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Traced:
        """Return the graph that a call with these arguments would run."""
        return self._find(Arguments(args, kwargs, (self._static, self._static_names)))[0].graph

    def _find(self, arguments: Arguments) -> tuple[Trace, Sequence[Any]]:
        """Return a trace that fits, a new one if there is none, and the numbers for it."""
        found = self._look_up(arguments)
        if found is None:
            with self._lock:
                found = self._look_up(arguments)
                if found is None:
                    self._trace(arguments)
                    found = self._look_up(arguments)
        assert found is not None  # the numbers of the call that was traced
        return found

    def _look_up(self, arguments: Arguments) -> tuple[Trace, Sequence[Any]] | None:
        for known in self._traces.get(arguments.key, ()):
            numbers = known.fits(arguments)
            if numbers is not None:
                return known, numbers
        return None

    def _trace(self, arguments: Arguments) -> None:
        self._warn(arguments)
        with error_context(f"jit({self._name()})", ()):
            made = trace(self._f, arguments)
        if sum(map(len, self._traces.values())) >= MOST_TRACES:
            del self._traces[next(iter(self._traces))]
            self._plain.clear()
        self._traces[arguments.key] = [*self._traces.get(arguments.key, ()), made]
        if arguments.plain and made.plain:
            self._plain[tuple([(x.spec, None) if is_parameter(x) else x.spec
                               for x in arguments.tensors])] = made.graph

    def _warn(self, arguments: Arguments) -> None:
        """Warn after eight traces, naming what keeps changing."""
        self._count += 1
        if self._count > WARN_AFTER:
            what = (arguments.describe_change(self._last) if self._last is not None
                    else "its arguments")
            warnings.warn(
                f"jit({self._name()}) is traced for the {self._count}th time; what changed: "
                f"{what}. Pad to equal shapes, or pass changing numbers as tensors",
                RetraceWarning, stacklevel=5,
            )
        self._last = arguments.key


@overload
def jit(f: Callable[P, R], *, static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = ()) -> Jitted[P, R]: ...


@overload
def jit(f: None = None, *, static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        ) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...


def jit(f: Any = None, *, static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = ()) -> Any:
    """Return a compiled version of f.

    f is traced once for each combination of shapes, dtypes and structure of its arguments.
    Arguments and results may be pytrees. What f changes in a Module, an optimizer, a generator or a
    dataclass is written back to the caller's object, as are the gradients of parameters. Numbers,
    strings and other immutable arguments are constants of the trace; a new value causes a new
    trace. Tensors that f closes over are read anew at each call. Gradients flow through the
    compiled function, and f may itself compute gradients.

    Raises ConcretizationError if f asks for a value (`if x > 0`), ReadOnlyError if it changes what
    it does not own, ArgumentTypeError for an argument that is neither a pytree nor immutable and
    hashable.
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
    numbers = as_sizes(static_argnums, "static_argnums")
    names = ((static_argnames,) if isinstance(static_argnames, str)
             else tuple(as_items(static_argnames, "static_argnames")))
    return Jitted(f, numbers, names)
