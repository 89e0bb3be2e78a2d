"""Lowering: turns a graph of ops into one loop nest, by asking each value for one element.

A value is a function of an index. An elementwise op asks its operands at the same index, a view at
another one, a reduction over new axes. One rule, which names no op, decides which ops share a nest:
each of them can be written as instructions of a nest, and no reduction is asked for at two indices,
since it would be computed in each loop anew. Where the rule does not hold, the ops run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyml.dtypes import DType, int64, uint8
from tinyml.ir.nest import Ids, Nest, Scan
from tinyml.ir.op import Equation, Var, attribute_key
from tinyml.ir.spec import stored


class NotOneNest(Exception):
    """This graph is not one nest, so its ops run one by one; users never see this."""


class Source:
    """A value as an op's nest sees it: shape, dtype, and an element when called with an index."""

    __slots__ = ("_lowering", "_var", "shape", "dtype", "ndim")

    def __init__(self, lowering: Lowering, var: Var) -> None:
        self._lowering = lowering
        self._var = var
        self.shape = var.spec.shape
        self.dtype = var.spec.dtype
        self.ndim = var.spec.ndim

    def __call__(self, index: Ids, guard: int | None = None, other: int | None = None) -> int:
        """Return the element at an index; where `guard` is false, `other`."""
        return self._lowering.at(self._var, index, guard, other)


class Scalar:
    """A Python number of an op's call: its kind, and its place among the scalars of the kernel.

    `var` stands for it in a body, as a tensor without axes.
    """

    __slots__ = ("kind", "number", "var")

    def __init__(self, kind: type, number: int, var: Var | None = None) -> None:
        self.kind = kind
        self.number = number
        self.var = var

    def at(self, n: Nest, dtype: DType) -> int:
        """Return its id in a nest, in the type of the surrounding arithmetic."""
        return n.scalar(self.number, dtype)


class Numbers:
    """The Python numbers of a graph, which are no part of a kernel's code but handed over to it."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}
        self.scalars: list[Scalar] = []
        self.values: list[Any] = []

    def scalar(self, value: Any) -> Scalar:
        """Return what an op's nest receives for a number."""
        return _Number(value, self)


class _Number(Scalar):
    """A number of a graph; it gets its position when it is first used with a type."""

    __slots__ = ("_value", "_numbers")

    def __init__(self, value: Any, numbers: Numbers) -> None:
        super().__init__(type(value), -1)
        self._value = value
        self._numbers = numbers

    def at(self, n: Nest, dtype: DType) -> int:
        """Return its id in a nest; equal numbers of one type share an id."""
        known = self._numbers
        key = (attribute_key(self._value), dtype)
        if key not in known.places:
            known.places[key] = len(known.values)
            known.scalars.append(Scalar(self.kind, len(known.values)))
            known.values.append(self._value)
        return n.scalar(known.places[key], dtype)


class Lowering:
    """The state of one lowering: a graph whose values become instructions of a nest."""

    def __init__(self, equations: Sequence[Equation], inputs: Sequence[Any],
                 numbers: Numbers | None = None) -> None:
        self.nest = Nest()
        self._made_by = {var: (equation, k) for equation in equations
                         for k, var in enumerate(equation.outs)}
        self._numbers = numbers
        self._memo: dict[Any, Any] = {}
        self._reduced: dict[Equation, Any] = {}
        self._args: dict[Var, int] = {}
        self._scalars: dict[Var, int] = {}
        for value in inputs:
            if isinstance(value, Scalar) and value.var is not None:
                self._scalars[value.var] = value.number
            elif isinstance(value, Var):
                self._args[value] = self.nest.arg(value.spec.dtype, value.spec.ndim, "in")

    def source(self, value: Any) -> Any:
        """Return what an op's nest receives for an operand."""
        if isinstance(value, Var):
            return Source(self, value)
        if self._numbers is None or isinstance(value, Scalar):
            return value
        return self._numbers.scalar(value)

    def at(self, var: Var, index: Ids, guard: int | None = None, other: int | None = None) -> int:
        """Return the id of one element of a graph value, or `other` if `guard` is false."""
        n = self.nest
        outer = n.guard
        inner = n.both(outer, guard)
        if inner is not None and n.free[inner].isdisjoint(n.join(index)):
            inner = None  # this element exists, and is the same, whether the guard holds or not
        if var in self._scalars:
            return n.scalar(self._scalars[var], var.spec.dtype)
        if var in self._args:
            rest = n.const(0, var.spec.dtype) if other is None else other
            if inner is None and guard is not None:
                return n.select(guard, n.load(self._args[var], index), rest)
            return n.load(self._args[var], index, inner, rest)
        n.guard = inner
        try:
            value = self._element(var, index)
        finally:
            n.guard = outer
        return value if guard is None or other is None else n.select(guard, value, other)

    def _element(self, var: Var, index: Ids) -> int:
        equation, number = self._made_by.get(var, (None, 0))
        if equation is None or equation.op.nest is None:
            raise NotOneNest
        key = (equation, index, self.nest.guard)
        result = self._memo.get(key)
        if result is None:
            before = len(self.nest.loops)
            sources = [self.source(value) for value in equation.inputs]
            result = equation.op.nest(self.nest, index, *sources, **equation.attrs)
            values = result if isinstance(result, tuple) else (result,)
            result = tuple([self.nest.cast(v, out.spec.dtype)
                            for v, out in zip(values, equation.outs)])
            self._refuse_again(equation, index, before)
            self._memo[key] = result
        value: int = result[number]
        return value

    def scatter_of(self, outputs: Sequence[Var]) -> Equation | None:
        """Return the one equation that stores all these outputs by itself, if there is one."""
        found = {self._made_by.get(var, (None, 0))[0] for var in outputs}
        equation = found.pop()
        if found or equation is None or equation.op.scatter_nest is None:
            return None
        return equation

    def _refuse_again(self, equation: Equation, index: Ids, before: int) -> None:
        """Raise NotOneNest where the loops of an equation are asked for at a second index."""
        new = list(self.nest.loops.values())[before:]
        along = {loop.axis for loop in new if isinstance(loop, Scan)}
        if self.nest.guard is not None and along & self.nest.free[self.nest.guard]:
            raise NotOneNest  # points that the guard excludes would be missing from the state
        if new and self._reduced.setdefault(equation, index) != index:
            raise NotOneNest


def lower(equations: Sequence[Equation], outputs: Sequence[Var], inputs: Sequence[Any],
          numbers: Numbers | None = None) -> Nest:
    """Return one nest that computes `outputs` from `inputs`; raise NotOneNest if none can.

    With `numbers`, the Python numbers of the graph are passed at run time.
    """
    lowering = Lowering(equations, inputs, numbers)
    n = lowering.nest
    equation = lowering.scatter_of(outputs)
    if equation is not None:
        outs = [n.arg(var.spec.dtype, var.spec.ndim, "out") for var in outputs]
        sources = [lowering.source(v) for v in equation.inputs]
        equation.op.scatter_nest(n, outs, *sources, **equation.attrs)  # type: ignore[misc]
        return n
    stores = []
    for var in outputs:
        spec = stored(var.spec)
        index = n.axes_for(spec.shape)
        value = lowering.at(var, index) if spec is var.spec else _byte(lowering, var, index)
        stores.append((n.arg(spec.dtype, spec.ndim, "out"), value, index))
    for number, value, index in stores:
        n.store(number, value, index)
    return n


def _byte(lowering: Lowering, var: Var, place: Ids) -> int:
    """Return a byte of a packed result, made of its elements, the first in the low bits."""
    n = lowering.nest
    shape, bits = var.spec.shape, var.spec.dtype.bits
    byte = n.const(0, uint8)
    for k in range(8 // bits):
        rest = n.add(n.mul(place[0], n.const(8 // bits, int64)), n.const(k, int64))
        there = n.inside(rest, var.spec.size)
        index: list[int] = []
        for size in reversed(shape):
            index.insert(0, n.prim("mod", rest, n.param(size)))
            rest = n.prim("floordiv", rest, n.param(size))
        value = n.cast(lowering.at(var, tuple(index), there), uint8)
        value = n.prim("bitwise_and", value, n.const((1 << bits) - 1, uint8))
        value = n.prim("bitwise_left_shift", value, n.const(k * bits, uint8))
        byte = n.prim("bitwise_or", byte, n.select(there, value, n.const(0, uint8)))
    return byte
