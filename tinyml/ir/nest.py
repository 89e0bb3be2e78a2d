"""The loop nest: SSA over a named index space, from which every device's source is emitted.

A nest says what is computed at each point of an index space, not in what order. Every value has a
set of free axes: `prim` joins those of its operands, `reduce` removes some, `scan` keeps the one it
runs along. Values are hash-consed, so the same expression is one value. Passes are not stored: the
schedule (schedule.py) derives them.

Sizes, strides and offsets are run-time arguments of the kernel; only structure is in the code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tinyml.ir.complex_words as complexes
from tinyml.dtypes import DTYPES, DType, bool_, int64, part
from tinyml.errors import KernelNotFound

Ids = tuple[int, ...]
ZERO = 0  # the id of the constant 0 that every nest begins with


class Monoid(NamedTuple):
    """An associative combination with tuple state, written in the vocabulary's own words.

    `init(n, dtypes)` gives the empty state, `combine(n, state, items)` takes one more element in,
    `merge(n, state, other)` joins two states. `lanes` is how many partial states a sequential loop
    keeps; with the order of merging it fixes the order of a sum by shape alone.
    """

    name: str
    init: Callable[[Nest, Sequence[DType]], Ids]
    combine: Callable[[Nest, Ids, Ids], Ids]
    merge: Callable[[Nest, Ids, Ids], Ids]
    lanes: int = 1


class Instr(NamedTuple):
    """One statement. `args` are ids of values; `data` is what is not a value."""

    kind: str
    args: Ids
    data: Any
    dtype: DType


class Arg(NamedTuple):
    """One tensor that the nest reads or writes."""

    dtype: DType
    rank: int
    role: str


class Nest:
    """A nest under construction, and the finished record.

    >>> from tinyml.dtypes import float32
    >>> n = Nest()
    >>> x, y = n.arg(float32, 1, "in"), n.arg(float32, 1, "out")
    >>> i = n.axis("i0", 8)
    >>> v = n.load(x, (i,))
    >>> n.store(y, n.prim("mul", v, v), (i,))
    >>> sorted(n.free[v]), len(n.code)
    (['i0'], 5)
    """

    def __init__(self) -> None:
        self.axes: dict[str, int] = {}
        self.args: list[Arg] = []
        self.scalars: list[DType] = []
        self.params: list[int] = []
        self.code: list[Instr] = []
        self.free: list[frozenset[str]] = []
        self.guard: int | None = None  # what is written now is needed only where this holds
        self._known: dict[Any, int] = {}
        self.const(0, int64)

    def put(self, kind: str, args: Ids, data: Any, dtype: DType, free: frozenset[str]) -> int:
        """The id of this statement; an equal one is not written twice."""
        key = (kind, args, data, dtype)
        known = self._known.get(key)
        if known is not None and kind != "store":
            return known
        self.code.append(Instr(kind, args, data, dtype))
        self.free.append(free)
        self._known[key] = len(self.code) - 1
        return len(self.code) - 1

    def arg(self, dtype: DType, rank: int, role: str) -> int:
        """Declare a tensor, 'in' or 'out'; returns its number."""
        self.args.append(Arg(dtype, rank, role))
        return len(self.args) - 1

    # ---- indices

    def axis(self, name: str, size: int) -> int:
        """The index along an axis; a constant 0 where its size is 1."""
        if size == 1:
            return ZERO
        self.axes.setdefault(name, size)
        return self.put("axis", (), name, int64, frozenset((name,)))

    def axes_for(self, shape: Sequence[int]) -> Ids:
        """One index per dimension of an output."""
        return tuple([self.axis(f"i{d}_{size}", size) for d, size in enumerate(shape)])

    def over(self, index: Ids, sizes: Sequence[int]) -> Ids:
        """Fresh indices to reduce over at `index`.

        Two reductions of equal sizes at one place share their axes, so that they share a loop; a
        reduction inside another's loop gets axes of its own.
        """
        around = index if self.guard is None else (*index, self.guard)
        level = len({a for i in around for a in self.free[i] if a[0] == "k"})
        return tuple([self.axis(f"k{level + j}_{n}", n) for j, n in enumerate(sizes)])

    def param(self, value: int) -> int:
        """An integer handed over at run time: a pad width, a stride, a size."""
        if value in (0, 1):
            return self.const(value, int64)
        if value not in self.params:
            self.params.append(value)
        return self.put("param", (), self.params.index(value), int64, frozenset())

    def add(self, x: int, y: int) -> int:
        """The sum of two indices."""
        return y if x == ZERO else x if y == ZERO else self.prim("add", x, y)

    def mul(self, x: int, y: int) -> int:
        """The product of two indices."""
        one = self.const(1, int64)
        if ZERO in (x, y):
            return ZERO
        return y if x == one else x if y == one else self.prim("mul", x, y)

    def sub(self, x: int, y: int) -> int:
        """The difference of two indices."""
        return x if y == ZERO else self.prim("sub", x, y)

    def both(self, guard: int | None, more: int | None) -> int | None:
        """The conjunction of two guards, None standing for true."""
        if guard is None or more is None:
            return more if guard is None else guard
        return self.prim("logical_and", guard, more, dtype=bool_)

    def inside(self, index: int, size: int) -> int:
        """Whether 0 <= index < size."""
        low = self.prim("greater_equal", index, ZERO, dtype=bool_)
        high = self.prim("less", index, self.param(size), dtype=bool_)
        return self.prim("logical_and", low, high, dtype=bool_)

    def check(self, index: int, size: int, axis: int = -1) -> int:
        """A data-dependent index into `size` elements, negative ones counted from the end.

        Outside -size <= index < size the kernel reports it, with the axis where it is one, and goes
        on at 0; not so where the value is not needed.
        """
        index = index if self.guard is None else self.select(self.guard, index, ZERO)
        extent = self.param(size)
        below = self.prim("less", index, ZERO, dtype=bool_)
        index = self.prim("where", below, self.prim("add", index, extent), index)
        return self.put("check", (index, extent), axis, int64, self.free[index])

    # ---- values

    def const(self, value: Any, dtype: DType) -> int:
        """A constant; the key carries its bits, so 0.0 is not -0.0."""
        if dtype.kind == "complex":
            return self.complex(self.const(value.real, part(dtype)),
                                self.const(value.imag, part(dtype)))
        if dtype.is_small_float:
            return self.cast(self.const(value, DTYPES[dtype.compute]), dtype)
        if dtype.kind == "float":
            data: Any = struct.pack("<d", float(value))
        else:
            data = bool(value) if dtype is bool_ else int(value)
        return self.put("const", (), data, dtype, frozenset())

    def scalar(self, number: int, dtype: DType) -> int:
        """A Python number handed over at run time, in the type of the arithmetic around it."""
        while len(self.scalars) <= number:
            self.scalars.append(dtype)
        self.scalars[number] = dtype
        computed = DTYPES[dtype.compute]
        value = self.put("scalar", (), number, computed, frozenset())
        if dtype.kind == "complex":
            return self.complex(value, self.put("imaginary", (), number, computed, frozenset()))
        return self.cast(value, dtype) if dtype.is_small_float else value

    def load(self, arg: int, index: Ids, guard: int | None = None, other: int | None = None) -> int:
        """The element of an argument; where `guard` is false, `other` and no read."""
        args = index if guard is None or other is None else (*index, guard, other)
        data = (arg, len(index))
        return self.put("load", args, data, self.args[arg].dtype, self.join(args))

    def prim(self, word: str, *values: int, dtype: DType | None = None) -> int:
        """One word of the vocabulary over values of one type.

        Over a complex type it is several words over the parts; over narrow floats it is computed in
        the wider type, and the result rounded at once. Beside a value that is wide already (a state
        of a reduction) it stays so.
        """
        own = self.code[values[-1]].dtype
        if word == "where" and self.code[values[1]].dtype is own:
            return self.put("prim", values, word, own, self.join(values))
        if own.kind == "complex":
            return self._on_parts(word, values, own)
        if any(self.code[v].dtype.is_small_float for v in values):
            result = self.prim(word, *map(self.widened, values),
                               dtype=bool_ if dtype is bool_ else None)
            return self.cast(result, dtype or own) if own.is_small_float else result
        return self.put("prim", values, word, dtype or own, self.join(values))

    def _on_parts(self, word: str, values: Ids, dtype: DType) -> int:
        if word in ("real", "imag"):
            return self.put("prim", values, word, part(dtype), self.join(values))
        pairs = [(self.prim("real", v), self.prim("imag", v)) for v in values]
        if word in complexes.TESTS:
            return complexes.TESTS[word](self, *pairs)
        if word not in complexes.WORDS:
            raise KernelNotFound(f"no word {word!r} for {dtype.name}")
        return self.complex(*complexes.WORDS[word](self, *pairs))

    def complex(self, real: int, imag: int) -> int:
        """The complex value with these parts, of one type."""
        dtype = next(d for d in DTYPES.values() if d.kind == "complex"
                     and d.compute == self.code[real].dtype.name)
        return self.put("prim", (real, imag), "complex", dtype, self.join((real, imag)))

    def widened(self, value: int) -> int:
        """A value of a narrow float in the type of its arithmetic; others as they are."""
        dtype = self.code[value].dtype
        return self.cast(value, DTYPES[dtype.compute]) if dtype.is_small_float else value

    def cast(self, value: int, dtype: DType) -> int:
        """The value in another type; narrow floats come and go by float32."""
        own = self.code[value].dtype
        if own is dtype:
            return value
        if own.kind == "complex":
            if dtype is bool_:
                return self.prim("not_equal", value, self.const(0, own), dtype=bool_)
            real = self.cast(self.prim("real", value), part(dtype))
            if dtype.kind != "complex":
                return real
            return self.complex(real, self.cast(self.prim("imag", value), part(dtype)))
        if dtype.kind == "complex":
            real = self.cast(value, part(dtype))
            return self.complex(real, self.const(0, part(dtype)))
        middle = DTYPES[own.compute if own.is_small_float else dtype.compute]
        if dtype not in (middle, own) and own is not middle and (
                own.is_small_float or dtype.is_small_float and own.name != "float64"):
            return self.cast(self.cast(value, middle), dtype)
        return self.put("prim", (value,), "cast", dtype, self.free[value])

    def select(self, condition: int, yes: int, no: int) -> int:
        """`yes` where the condition holds, else `no`."""
        return yes if yes == no else self.prim("where", condition, yes, no)

    def reduce(self, monoid: Monoid, over: Ids, *items: int) -> Ids:
        """The monoid over all points of the axes `over`; one id per component of its state.

        The state over narrow floats is kept, and given, in the type of their arithmetic.
        """
        if any(self.code[i].dtype.is_small_float for i in items):
            return self.reduce(monoid, over, *map(self.widened, items))
        axes = tuple([self.code[i].data for i in over if self.code[i].kind == "axis"])
        inner = self.join(items) | frozenset(axes)
        dtypes = [self.code[i].dtype for i in items]
        init = monoid.init(self, dtypes)
        if not axes:
            return monoid.combine(self, init, items)
        reduction = self.put("reduce", items, (monoid, axes, init), dtypes[0], inner - set(axes))
        state, other, merged = (
            tuple([self.put("state", (), (reduction, j, role), self.code[v].dtype, free)
                   for j, v in enumerate(init)])
            for role, free in enumerate((inner, inner - set(axes), inner - set(axes))))
        step = monoid.combine(self, state, items)
        merge = monoid.merge(self, merged, other) if monoid.lanes > 1 else ()
        self.put("step", step, (reduction, merge), dtypes[0], inner)
        return tuple([
            self.put("item", (reduction,), j, self.code[v].dtype, inner - set(axes))
            for j, v in enumerate(init)
        ])

    def scan(self, monoid: Monoid, along: int, *items: int, start: Ids | None = None,
             reverse: bool = False, exclusive: bool = False) -> Ids:
        """The monoid's running state at each point of the axis `along`, the items there taken in.

        With `exclusive` it is the state before them. The state begins as `start`, else empty; with
        `reverse` it runs from the end. The loop over the axis is sequential.
        """
        if any(self.code[i].dtype.is_small_float for i in items):
            begin = None if start is None else tuple(map(self.widened, start))
            return self.scan(monoid, along, *map(self.widened, items), start=begin,
                             reverse=reverse, exclusive=exclusive)
        dtypes = [self.code[i].dtype for i in items]
        init = monoid.init(self, dtypes) if start is None else start
        if self.code[along].kind != "axis":
            return init if exclusive else monoid.combine(self, init, items)
        axis = self.code[along].data
        inner = self.join((*items, *init)) | {axis}
        data = (monoid, (axis,), init, reverse)
        loop = self.put("running", (*items, *init), data, dtypes[0], inner - {axis})
        state = tuple([
            self.put("state", (), (loop, j, 0), self.code[v].dtype, inner)
            for j, v in enumerate(init)
        ])
        step = monoid.combine(self, state, items)
        self.put("step", step, (loop, ()), dtypes[0], inner)
        if not exclusive:
            return step
        # A state is overwritten by the step; what was before it needs a name of its own.
        return tuple([self.put("prim", (v,), "cast", self.code[v].dtype, inner) for v in state])

    def store(self, arg: int, value: int, index: Ids, mode: str = "set") -> None:
        """Write a value into an output ('set'), point after point.

        With 'once' no two points write to the same place, so they may run in parallel. Any other
        mode is a word that joins the value with what is there: 'add', 'mul', 'minimum', ...
        """
        value = self.cast(value, self.args[arg].dtype)
        if mode not in ("set", "once"):
            there = self.load(arg, index)
            value, mode = self.cast(self.prim(mode, there, value), self.args[arg].dtype), "set"
        self.put("store", (value, *index), (arg, mode), self.args[arg].dtype,
                 self.join((value, *index)))

    def join(self, values: Sequence[int]) -> frozenset[str]:
        """The free axes of several values together."""
        return frozenset().union(*[self.free[v] for v in values])
