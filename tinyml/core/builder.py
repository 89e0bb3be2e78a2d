"""A graph under construction: while it is built, every op of the thread becomes an equation.

A tensor from outside becomes a capture, an implicit input. A variable that outlives its graph is
refused, with an error that names the line that made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tinyml.core.make import make
from tinyml.core.node import Data
from tinyml.core.state import STATE
from tinyml.errors import LeakedTracerError, ReadOnlyError, SourceLocation, line_text, user_location
from tinyml.ir.devices import find_kernels
from tinyml.ir.lower import NotOneNest
from tinyml.ir.op import Equation, Op, Scope, Var, attribute_key
from tinyml.ir.spec import Spec, make_spec


class Capture(NamedTuple):
    """A tensor from outside, the input that stands for it, and its new value.

    The new value is the input itself, except for state (see Data) that the graph replaces.
    """

    var: Var
    tensor: Any
    result: Var

    @property
    def is_state(self) -> bool:
        """Whether the graph may replace it."""
        return bool(self.tensor.is_state)


class Builder:
    """Collects the equations of one graph.

    inline   composites are replaced by their parts, and, unless closed, equal equations are merged
    closed   nothing from outside may enter: raises NotOneNest if something would
    """

    def __init__(self, inline: bool = False, closed: bool = False) -> None:
        self.inline = inline
        self.closed = closed
        self.scope = Scope()
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.captures: dict[int, Capture] = {}
        self.fixed: set[Var] = set()  # arguments whose content must not be replaced
        self.location: SourceLocation | None = None  # of the equation being inlined
        self._known: dict[Any, tuple[Var, ...]] = {}

    # ---- inputs

    def input(self, spec: Spec, fixed: bool = True) -> Any:
        """Return a tensor that stands for an argument; it may be replaced unless it is `fixed`."""
        var = Var(symbolic(spec), self.scope)
        self.inputs.append(var)
        if fixed:
            self.fixed.add(var)
        return make(var, var.spec)

    def enter(self, x: Data) -> Data:
        """Return a tensor as this graph sees it: a variable of its own, or a capture.

        Raises LeakedTracerError if it is a value of a finished graph.
        """
        if isinstance(x.buf, Var):
            if x.buf.scope is self.scope:
                return x
            refuse_leaked(x)
        if self.closed:
            raise NotOneNest
        known = self.captures.get(id(x))
        if known is None:
            var = Var(symbolic(x.spec), self.scope)
            known = self.captures[id(x)] = Capture(var, x, var)
        return make(known.result, known.result.spec, x.node)

    def captured(self) -> list[Capture]:
        """Return all captures, state last."""
        return sorted(self.captures.values(), key=lambda capture: capture.is_state)

    def replace(self, x: Data, value: Data) -> Data:
        """Give x new content from here on; for state, it takes effect when the graph has run.

        Returns the new content of x. Raises ReadOnlyError unless x is state or made in this graph.
        """
        value, var = self.enter(value), x.buf
        own = isinstance(var, Var) and var.scope is self.scope
        if x.is_state and not own:
            self.enter(x)
            self.captures[id(x)] = self.captures[id(x)]._replace(result=value.buf)
            return x
        if not isinstance(var, Var):
            raise ReadOnlyError(
                f"{x.spec} from outside would be changed while a graph is built, once and not at "
                "each run",
                remedy="pass the object that holds it as an argument, and replace it there",
            )
        if var in self.fixed:
            raise ReadOnlyError(
                f"{x.spec} is an argument: to change it here would not change the caller's",
                remedy="x = x.at[i].set(v), and return it",
            )
        return value

    # ---- equations

    def inlines(self, op: Op, specs: Sequence[Any], device: Any) -> bool:
        """Return whether to replace a composite by its parts."""
        return (self.inline and not op.lowers_directly(specs)
                and op.composition(specs) is not None
                and (op.inlines or not find_kernels(op.name, device.name)))

    def append(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any],
               specs: tuple[Spec, ...]) -> tuple[Var, ...]:
        """Append an equation, unless an equal one exists already; return its results."""
        key: Any = None
        if self.inline and not self.closed:
            key = (op, tuple([v if isinstance(v, Var) else attribute_key(v) for v in inputs]),
                   attribute_key(attrs))
            known = self._known.get(key)
            if known is not None:
                return known
        location = self.location if self.inline else user_location()
        outs = tuple([Var(spec, self.scope, location) for spec in specs])
        self.equations.append(Equation(op, tuple(inputs), attrs, outs, location))
        if key is not None:
            self._known[key] = outs
        return outs


def symbolic(spec: Spec) -> Spec:
    """Return the symbolic spec, for a variable of a graph, with this shape, dtype and device."""
    return make_spec(spec.shape, spec.dtype, spec.device, None, True)


def refuse_leaked(x: Data) -> None:
    """Raise LeakedTracerError if a value belongs to a finished graph."""
    var = x.buf
    if isinstance(var, Var) and (var.scope is None or not var.scope.open):
        made = f", made at {line_text(*var.location)}," if var.location else ", an argument,"
        raise LeakedTracerError(f"{x.spec}{made} outlived the graph that it belongs to")


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Append every op of this thread inside the block to the builder's graph."""
    before = STATE.building
    STATE.building = builder
    try:
        yield builder
    finally:
        STATE.building = before
        builder.scope.open = False


def entered(x: Any) -> Any:
    """Return a tensor as the graph under construction sees it, or unchanged if there is none.

    Call this before making another tensor of its parts, so that a capture is identified by the
    object that the user holds.
    """
    builder = STATE.building
    return x if builder is None or not isinstance(x, Data) else builder.enter(x)
