"""Numbers that the host computes anew at each run of a graph, such as an optimizer's rates.

A graph is traced once, so a Python number in it would be a constant. A `Number` stands for one that
changes between runs. Its arithmetic is noted and repeated in Python, in double precision, before
each run; beside a tensor it is an input of the graph, of shape (). Where its value is needed
(`if n < 3`), the trace is only for that value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

from tinyml.core.builder import Builder
from tinyml.core.upload import Deferred
from tinyml.dtypes import DType, promote, promote_scalar
from tinyml.errors import LeakedTracerError
from tinyml.ir.op import attribute_key
from tinyml.ir.spec import Spec, make_spec


class Place(int):
    """A position among the numbers of a trace."""


class Operand(NamedTuple):
    """An input of the graph: the number at a place, as a tensor."""

    place: Place
    dtype: DType
    device: Any


class Numbers:
    """The numbers of one trace: first those `given`, then those computed, in order.

    steps     how each of the others is computed: a function and its arguments
    guards    the values that the trace depends on, by place
    operands  the inputs of the graph that stand for some of them
    """

    def __init__(self, builder: Builder, given: Sequence[Any]) -> None:
        self.builder = builder
        self.steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.guards: dict[int, Any] = {}
        self.operands: dict[Operand, Any] = {}
        self.given = [Number(self, k, value) for k, value in enumerate(given)]
        self._known: dict[Any, Number] = {}

    def compute(self, f: Callable[..., Any], args: Sequence[Any]) -> Number:
        """Return the number f(*args), computed once for equal arguments."""
        values = [a.item() if isinstance(a, Number) and a.numbers is not self else a for a in args]
        places = tuple([Place(a.place) if isinstance(a, Number) else a for a in values])
        key = f, tuple(map(attribute_key, places))
        if key not in self._known:
            value = f(*[a.value if isinstance(a, Number) else a for a in values])
            place = len(self.given) + len(self.steps)
            self.steps.append((f, places))
            self._known[key] = Number(self, place, value)
        return self._known[key]


class Number(Deferred):
    """A number of a trace, with its value in the call that is traced."""

    __slots__ = ("numbers", "place", "value")

    def __init__(self, numbers: Numbers, place: int, value: Any) -> None:
        self.numbers = numbers
        self.place = place
        self.value = value

    @property
    def kind(self) -> type:
        """The type of the value, int or float."""
        return self.value.kind if isinstance(self.value, Number) else type(self.value)

    def item(self) -> Any:
        """Return the value, and let the trace be only for it."""
        self._check()
        # In a trace inside another, the value is a number of the outer one.
        value = self.value.item() if isinstance(self.value, Number) else self.value
        self.numbers.guards[self.place] = value
        return value

    def operand(self, near: Sequence[Any]) -> Any:
        """Return it as a tensor beside others, on their device, in the type common to floats."""
        specs = [x.spec for x in near if isinstance(getattr(x, "spec", None), Spec)]
        dtypes = [spec.dtype for spec in specs]
        common = reduce(promote, [dtype for dtype in dtypes if dtype.is_inexact] or dtypes[:1])
        return self.as_tensor(promote_scalar(common, self.kind), specs[0].device)

    def as_tensor(self, dtype: DType, device: Any) -> Any:
        """Return it as a tensor of shape (), an input of the graph."""
        self._check()
        key = Operand(Place(self.place), dtype, device)
        operands = self.numbers.operands
        if key not in operands:
            operands[key] = self.numbers.builder.input(make_spec((), key.dtype, key.device))
        return operands[key]

    def _check(self) -> None:
        if not self.numbers.builder.scope.open:
            raise LeakedTracerError("a number that changes between runs outlived the graph that it "
                                    "belongs to")

    def __repr__(self) -> str:
        return repr(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value, form)

    def __bool__(self) -> bool:
        return bool(defer(bool, self).item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __hash__(self) -> int:
        return hash(self.item())


def defer(f: Callable[..., Any], *args: Any) -> Any:
    """Return f(*args), for a function of numbers; a Number if there is one among them."""
    for a in args:
        if isinstance(a, Number):
            a._check()
            return a.numbers.compute(f, args)
    return f(*args)


def _method(f: Callable[..., Any], turned: bool = False) -> Callable[[Any, Any], Any]:
    def method(x: Any, y: Any) -> Any:
        if not isinstance(y, (int, float, Number)):
            return NotImplemented
        return defer(f, y, x) if turned else defer(f, x, y)

    return method


def _unary(f: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: defer(f, x)


def _comparison(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: (defer(f, x, y).item() if isinstance(y, (int, float, Number))
                         else NotImplemented)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Number, f"__{_name}__", _method(getattr(operator, _name)))
    setattr(Number, f"__r{_name}__", _method(getattr(operator, _name), turned=True))
for _name in ("neg", "pos", "abs"):
    setattr(Number, f"__{_name}__", _unary(getattr(operator, _name)))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Number, f"__{_name}__", _comparison(getattr(operator, _name)))


def evaluate(given: Sequence[Any], steps: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
             guards: dict[int, Any]) -> list[Any] | None:
    """Return the numbers of a trace for a new call; None if a value differs that it depends on."""
    if not (given or steps):
        return []
    values: list[Any] = []
    for place in range(len(given) + len(steps)):
        if place < len(given):
            value = given[place]
        else:
            f, args = steps[place - len(given)]
            value = defer(f, *[values[a] if isinstance(a, Place) else a for a in args])
        if place in guards:
            now = value.item() if isinstance(value, Number) else value
            if attribute_key(now) != attribute_key(guards[place]):
                return None
        values.append(value)
    return values
