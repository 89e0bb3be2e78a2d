"""A graph under construction: while one is built, every op of the thread becomes an equation.

A tensor from outside becomes a capture, an input that nobody named; a variable that outlives its
graph is refused, with the line that made it.
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
    """A tensor from outside, the input that stands for it, and what it becomes.

    That is the input again, unless it is state (see Data) and the graph replaces it.
    """

    var: Var
    tensor: Any
    result: Var

    @property
    def is_state(self) -> bool:
        """Whether a graph may replace it."""
        return bool(self.tensor.is_state)


class Builder:
    """The equations of one graph while they are written.

    inline   composites become what they are composed of, and, unless it is closed, equal
             equations are one
    closed   nothing from outside may enter: NotOneNest where something would
    """

    def __init__(self, inline: bool = False, closed: bool = False) -> None:
        self.inline = inline
        self.closed = closed
        self.scope = Scope()
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.captures: dict[int, Capture] = {}
        self.fixed: set[Var] = set()  # arguments whose content is not to be replaced
        self.location: SourceLocation | None = None  # of the equation that is being inlined
        self._known: dict[Any, tuple[Var, ...]] = {}

    # ---- what comes in

    def input(self, spec: Spec, fixed: bool = True) -> Any:
        """Return a tensor that stands for an argument; one that is not `fixed` may be replaced."""
        var = Var(symbolic(spec), self.scope)
        self.inputs.append(var)
        if fixed:
            self.fixed.add(var)
        return make(var, var.spec)

    def enter(self, x: Data) -> Data:
        """Return a tensor as this graph sees it: its own, or a capture.

        Raises LeakedTracerError where it is a value of a graph that is finished.
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
        """Return all that came in from outside, state last."""
        return sorted(self.captures.values(), key=lambda capture: capture.is_state)

    def replace(self, x: Data, value: Data) -> Data:
        """Give x another content from here on; state gets it when the graph has run.

        Returns what x is to hold now. Raises ReadOnlyError unless x is state or made in this graph.
        """
        value, var = self.enter(value), x.buf
        if x.is_state:
            self.enter(x)
            self.captures[id(x)] = self.captures[id(x)]._replace(result=value.buf)
            return x
        if not isinstance(var, Var):
            raise ReadOnlyError(
                f"{x.spec} of the outside would be changed while a graph is built, once and not at "
                "each run",
                remedy="pass the object that holds it as an argument, and replace it there",
            )
        if var in self.fixed:
            raise ReadOnlyError(
                f"{x.spec} is an argument: to change it here would not change the caller's",
                remedy="x = x.at[i].set(v), and return it",
            )
        return value

    # ---- what is written

    def inlines(self, op: Op, specs: Sequence[Any], device: Any) -> bool:
        """Return whether a composite is written as what it is composed of."""
        return (self.inline and not op.lowers_directly(specs)
                and op.composition(specs) is not None
                and (op.inlines or not find_kernels(op.name, device.name)))

    def append(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any],
               specs: tuple[Spec, ...]) -> tuple[Var, ...]:
        """Write an equation; an equal one that is known is not written again."""
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
    """Return the spec of a graph's variable of this shape, dtype and device."""
    return make_spec(spec.shape, spec.dtype, spec.device, None, True)


def refuse_leaked(x: Data) -> None:
    """Raise LeakedTracerError where a value belongs to a graph that is finished."""
    var = x.buf
    if isinstance(var, Var) and (var.scope is None or not var.scope.open):
        made = f", made at {line_text(*var.location)}," if var.location else ", an argument,"
        raise LeakedTracerError(f"{x.spec}{made} outlived the graph that it belongs to")


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Return every op of this thread inside becomes a line of the builder's graph."""
    before = STATE.building
    STATE.building = builder
    try:
        yield builder
    finally:
        STATE.building = before
        builder.scope.open = False


def entered(x: Any) -> Any:
    """Return a tensor as the graph under construction sees it; itself where there is none.

    To be asked before another tensor is made of its parts: so a capture is known by the object
    that the user holds.
    """
    builder = STATE.building
    return x if builder is None or not isinstance(x, Data) else builder.enter(x)
