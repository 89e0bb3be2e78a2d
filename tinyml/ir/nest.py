"""The loop nest: SSA over a named index space, from which every device's source is emitted.

A nest says what is computed at each point of an index space, not in what order. Every value has a
set of free axes: a `Prim` has those of all its operands, a `Reduce` removes some, a `Scan` keeps
the one along which it runs. Values are hash-consed, so equal expressions are one value. Loops are
not stored: the schedule (schedule.py) derives them.

Sizes, strides and offsets are run-time arguments of the kernel; only structure is in the code.

An instruction is a payload, read by name, and the ids of the values in `args`:

| payload | args | value, or effect |
|---|---|---|
| `Axis(name)` | | the index along an axis |
| `Const(bits)` | | a constant |
| `Param(number)` | | an integer passed at run time, one of the nest's `params` |
| `ScalarArg(number)` | | a number of the call; the real part of a complex one |
| `Imaginary(number)` | | the imaginary part of a complex number of the call |
| `Check(axis)` | index, extent | the index; one out of range is reported, and is 0 |
| `Load(arg, rank)` | `rank` indices [, guard, other] | an element of an argument, or `other` |
| `Prim(word)` | operands | a word of the vocabulary, or "cast" |
| `Reduce(monoid, axes, init, ...)` | items | the loop of a reduction; its state begins as `init` |
| `Scan(monoid, axis, init, ...)` | items, the first state | the loop of a scan |
| `State(loop, component, role)` | | a component of the state of a loop, inside it |
| `Step(loop, merge)` | the next state | the end of a loop's body |
| `Item(component)` | the reduction | a component of its last state |
| `Store(arg, disjoint)` | value, indices | writes an element of an argument |
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import tinyml.ir.complex_words as complexes
from tinyml.dtypes import DTYPES, DType, bool_, int64, part
from tinyml.errors import KernelNotFound
from tinyml.ir.accumulation import Accumulation, accumulation

Ids = tuple[int, ...]
Number = complex  # includes bool, int and float
ZERO = 0  # the id of the constant 0, the first value of every nest


class Monoid(NamedTuple):
    """An associative combination with tuple state, written in the words of the vocabulary.

    `init(n, dtypes)` returns the empty state, `combine(n, state, items)` adds one element, and
    `merge(n, state, other)` merges two states. `lanes` is the number of partial states in a
    sequential loop; with 1, states never merge. `block` is the number of elements that one lane of
    floats adds in a row before blocks merge as a tree; 0 if every order gives the same bits.
    """

    name: str
    init: Callable[[Nest, Sequence[DType]], Ids]
    combine: Callable[[Nest, Ids, Ids], Ids]
    merge: Callable[[Nest, Ids, Ids], Ids]
    lanes: int = 1
    block: int = 64


class Axis(NamedTuple):
    """The index along an axis."""

    name: str


class Const(NamedTuple):
    """A constant; a float is kept as its eight bytes, so 0.0 is not -0.0, and NaN equals NaN."""

    bits: bytes | int

    @property
    def value(self) -> float:
        """The constant as a Python number."""
        if isinstance(self.bits, bytes):
            number: float = struct.unpack("<d", self.bits)[0]
            return number
        return self.bits


class Param(NamedTuple):
    """An integer passed at run time, by its position in the nest's `params`."""

    number: int


class ScalarArg(NamedTuple):
    """A number of the call, by its position in the nest's `scalars`."""

    number: int


class Imaginary(NamedTuple):
    """The imaginary part of a complex number of the call."""

    number: int


class Check(NamedTuple):
    """A data-dependent index along an axis of the user's tensor; -1 means no axis."""

    axis: int


class Load(NamedTuple):
    """An element of an argument at `rank` indices, with an optional guard and alternative."""

    arg: int
    rank: int


class Prim(NamedTuple):
    """A word of the vocabulary."""

    word: str


class Reduce(NamedTuple):
    """A loop over axes that returns the final state."""

    monoid: Monoid
    axes: tuple[str, ...]
    init: Ids
    order: Accumulation


class Scan(NamedTuple):
    """A loop along one axis that returns its state at each point."""

    monoid: Monoid
    axis: str
    init: Ids
    reverse: bool
    order: Accumulation = Accumulation()
    start: Ids = ()  # what comes before the first of several blocks, each of which begins as `init`

    @property
    def axes(self) -> tuple[str, ...]:
        """The axis in a tuple, for the interface of `Reduce`."""
        return (self.axis,)


class Role(enum.Enum):
    """Which state of a loop is meant."""

    CURRENT = "state"  # at a point of the loop, before its step
    BEFORE = "before"  # at a point of a scan of several blocks, that of all earlier blocks
    MERGED = "merged"  # in a merge, the partial state to merge into
    OTHER = "part"  # in a merge, the partial state to be merged


class State(NamedTuple):
    """A component of a loop's state."""

    loop: int
    component: int
    role: Role


class Step(NamedTuple):
    """The next state of a loop at each point, and the merge of two partial states."""

    loop: int
    merge: Ids


class Item(NamedTuple):
    """A component of the final state of a reduction."""

    component: int


class Store(NamedTuple):
    """A write; `disjoint` if no two points write to the same place."""

    arg: int
    disjoint: bool


Payload = (Axis | Const | Param | ScalarArg | Imaginary | Check | Load | Prim | Reduce | Scan
           | State | Step | Item | Store)


class Instr(NamedTuple):
    """One instruction: its payload, and the ids of its operands."""

    payload: Payload
    args: Ids
    dtype: DType


class Arg(NamedTuple):
    """One tensor that the nest reads or writes."""

    dtype: DType
    rank: int
    role: str


class Nest:
    """A nest, under construction or finished.

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
        self.loops: dict[int, Reduce | Scan] = {}  # by id
        self.free: list[frozenset[str]] = []
        self.guard: int | None = None  # what is added now is needed only if this holds
        self._known: dict[tuple[type[Payload], Payload, Ids, DType], int] = {}
        self.const(0, int64)

    def put(self, payload: Payload, args: Ids, dtype: DType,
            free: frozenset[str] | None = None) -> int:
        """Return the id of an instruction, added unless an equal one exists.

        Its free axes are those of its arguments unless given.
        """
        key = (type(payload), payload, args, dtype)  # named tuples of two classes may be equal
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = len(self.code)
            self.code.append(Instr(payload, args, dtype))
            self.free.append(self.join(args) if free is None else free)
        return known

    def arg(self, dtype: DType, rank: int, role: str) -> int:
        """Declare a tensor, 'in' or 'out', and return its number."""
        self.args.append(Arg(dtype, rank, role))
        return len(self.args) - 1

    # ---- indices

    def axis(self, name: str, size: int) -> int:
        """Return the index along an axis: the constant 0 if its size is 1."""
        if size == 1:
            return ZERO
        self.axes.setdefault(name, size)
        return self.put(Axis(name), (), int64, frozenset((name,)))

    def axes_for(self, shape: Sequence[int]) -> Ids:
        """Return one index per dimension of an output."""
        return tuple([self.axis(f"i{d}_{size}", size) for d, size in enumerate(shape)])

    def over(self, index: Ids, sizes: Sequence[int]) -> Ids:
        """Return new indices to reduce over at `index`.

        Two reductions of equal sizes at the same index share their axes, and so a loop; a reduction
        inside another's loop gets separate axes.
        """
        around = index if self.guard is None else (*index, self.guard)
        level = len({a for i in around for a in self.free[i] if a[0] == "k"})
        return tuple([self.axis(f"k{level + j}_{n}", n) for j, n in enumerate(sizes)])

    def param(self, value: int) -> int:
        """Return an integer that is passed at run time: a pad width, a stride, a size."""
        if value in (0, 1):
            return self.const(value, int64)
        if value not in self.params:
            self.params.append(value)
        return self.put(Param(self.params.index(value)), (), int64)

    def add(self, x: int, y: int) -> int:
        """Return the sum of two indices."""
        return y if x == ZERO else x if y == ZERO else self.prim("add", x, y)

    def mul(self, x: int, y: int) -> int:
        """Return the product of two indices."""
        one = self.const(1, int64)
        if ZERO in (x, y):
            return ZERO
        return y if x == one else x if y == one else self.prim("mul", x, y)

    def sub(self, x: int, y: int) -> int:
        """Return the difference of two indices."""
        return x if y == ZERO else self.prim("sub", x, y)

    def both(self, guard: int | None, more: int | None) -> int | None:
        """Return the conjunction of two guards; None means true."""
        if guard is None or more is None:
            return more if guard is None else guard
        return self.prim("logical_and", guard, more, dtype=bool_)

    def inside(self, index: int, size: int) -> int:
        """Return whether 0 <= index < size."""
        low = self.prim("greater_equal", index, ZERO, dtype=bool_)
        high = self.prim("less", index, self.param(size), dtype=bool_)
        return self.prim("logical_and", low, high, dtype=bool_)

    def check(self, index: int, size: int, axis: int = -1) -> int:
        """Return a data-dependent index into `size` elements; negative ones count from the end.

        The kernel reports an index outside -size <= index < size, with its axis if it has one, and
        replaces it by 0. Nothing is reported while the nest's guard is false.
        """
        index = index if self.guard is None else self.select(self.guard, index, ZERO)
        extent = self.param(size)
        below = self.prim("less", index, ZERO, dtype=bool_)
        index = self.prim("where", below, self.prim("add", index, extent), index)
        return self.put(Check(axis), (index, extent), int64)

    # ---- values

    def const(self, value: Number, dtype: DType) -> int:
        """Return a constant of a type."""
        if dtype.kind == "complex":
            return self.complex(self.const(value.real, part(dtype)),
                                self.const(value.imag, part(dtype)))
        if dtype.is_small_float:
            return self.cast(self.const(value, DTYPES[dtype.compute]), dtype)
        if dtype.kind == "float":
            return self.put(Const(struct.pack("<d", value)), (), dtype)
        return self.put(Const(bool(value) if dtype is bool_ else int(value.real)), (), dtype)

    def scalar(self, number: int, dtype: DType) -> int:
        """Return a number of the call in a type, that of the surrounding arithmetic."""
        while len(self.scalars) <= number:
            self.scalars.append(dtype)
        self.scalars[number] = dtype
        computed = DTYPES[dtype.compute]
        value = self.put(ScalarArg(number), (), computed)
        if dtype.kind == "complex":
            return self.complex(value, self.put(Imaginary(number), (), computed))
        return self.cast(value, dtype) if dtype.is_small_float else value

    def load(self, arg: int, index: Ids, guard: int | None = None, other: int | None = None) -> int:
        """Return an element of an argument; if `guard` is false, `other`, without reading."""
        args = index if guard is None or other is None else (*index, guard, other)
        return self.put(Load(arg, len(index)), args, self.args[arg].dtype)

    def prim(self, word: str, *values: int, dtype: DType | None = None) -> int:
        """Apply a word of the vocabulary to values of one type.

        On a complex type it becomes several words on the parts. Small floats are widened, and the
        result is rounded at once, unless an operand is wide already (the state of a reduction).
        """
        own = self.code[values[-1]].dtype
        if word == "where" and self.code[values[1]].dtype is own:
            return self.put(Prim(word), values, own)
        if own.kind == "complex":
            return self._on_parts(word, values, own)
        if any(self.code[v].dtype.is_small_float for v in values):
            result = self.prim(word, *map(self.widen, values),
                               dtype=bool_ if dtype is bool_ else None)
            return self.cast(result, dtype or own) if own.is_small_float else result
        return self.put(Prim(word), values, dtype or own)

    def _on_parts(self, word: str, values: Ids, dtype: DType) -> int:
        if word in ("real", "imag"):
            return self.put(Prim(word), values, part(dtype))
        pairs = [(self.prim("real", v), self.prim("imag", v)) for v in values]
        if word in complexes.TESTS:
            return complexes.TESTS[word](self, *pairs)
        if word not in complexes.WORDS:
            raise KernelNotFound(f"no word {word!r} for {dtype.name}")
        return self.complex(*complexes.WORDS[word](self, *pairs))

    def complex(self, real: int, imag: int) -> int:
        """Return the complex value with these parts, which have the same type."""
        dtype = next(d for d in DTYPES.values() if d.kind == "complex"
                     and d.compute == self.code[real].dtype.name)
        return self.put(Prim("complex"), (real, imag), dtype)

    def widen(self, value: int) -> int:
        """Return a small float in the type of its arithmetic, and any other value as it is."""
        dtype = self.code[value].dtype
        return self.cast(value, DTYPES[dtype.compute]) if dtype.is_small_float else value

    def cast(self, value: int, dtype: DType) -> int:
        """Return the value in another type; small floats are converted through float32."""
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
        return self.put(Prim("cast"), (value,), dtype)

    def select(self, condition: int, yes: int, no: int) -> int:
        """Return `yes` if the condition holds, else `no`."""
        return yes if yes == no else self.prim("where", condition, yes, no)

    def reduce(self, monoid: Monoid, over: Ids, *items: int, in_lanes: bool = True) -> Ids:
        """Reduce items over all points of the axes `over`; return one id per state component.

        The state of small floats is kept, and returned, in the type of their arithmetic. Without
        `in_lanes`, each sum runs in one lane: for reductions whose results outnumber vectors.
        """
        if any(self.code[i].dtype.is_small_float for i in items):
            return self.reduce(monoid, over, *map(self.widen, items), in_lanes=in_lanes)
        axes = tuple([p.name for i in over if isinstance(p := self.code[i].payload, Axis)])
        dtypes = [self.code[i].dtype for i in items]
        init = monoid.init(self, dtypes)
        if not axes:
            return monoid.combine(self, init, items)
        inner = self.join(items).union(axes)
        outer = inner.difference(axes)
        reduction = Reduce(monoid, axes, init, self._order(monoid, axes, init, in_lanes))
        loop = self.put(reduction, items, dtypes[0], outer)
        self.loops[loop] = reduction
        state = self._states(loop, init, Role.CURRENT, inner)
        other = self._states(loop, init, Role.OTHER, outer)
        merged = self._states(loop, init, Role.MERGED, outer)
        step = monoid.combine(self, state, items)
        merge = monoid.merge(self, merged, other) if monoid.lanes > 1 else ()
        self.put(Step(loop, merge), step, dtypes[0], inner)
        return tuple([self.put(Item(j), (loop,), self.code[v].dtype) for j, v in enumerate(init)])

    def _order(self, monoid: Monoid, axes: Sequence[str], init: Ids,
               in_lanes: bool) -> Accumulation:
        if monoid.lanes == 1 or not any(self.code[v].dtype.is_inexact for v in init):
            return Accumulation()
        return accumulation(monoid.block, prod([self.axes[axis] for axis in axes]), in_lanes)

    def _states(self, loop: int, init: Ids, role: Role, free: frozenset[str]) -> Ids:
        return tuple([self.put(State(loop, j, role), (), self.code[v].dtype, free)
                      for j, v in enumerate(init)])

    def scan(self, monoid: Monoid, along: int, *items: int, start: Ids | None = None,
             reverse: bool = False, exclusive: bool = False) -> Ids:
        """Return the state at each point of the axis `along`, including the items there.

        With `exclusive` they are excluded. The state starts as `start`, or empty; with `reverse`
        the scan runs from the end. The loop over the axis is sequential.
        """
        if any(self.code[i].dtype.is_small_float for i in items):
            begin = None if start is None else tuple(map(self.widen, start))
            return self.scan(monoid, along, *map(self.widen, items), start=begin,
                             reverse=reverse, exclusive=exclusive)
        dtypes = [self.code[i].dtype for i in items]
        empty = monoid.init(self, dtypes)
        init = empty if start is None else start
        axis = self.code[along].payload
        if not isinstance(axis, Axis):
            return init if exclusive else monoid.combine(self, init, items)
        inner = self.join((*items, *init)) | {axis.name}
        order = self._order(monoid, (axis.name,), empty, False)
        several = 0 < order.block < self.axes[axis.name]
        scan = (Scan(monoid, axis.name, empty, reverse, order, init) if several
                else Scan(monoid, axis.name, init, reverse))
        loop = self.put(scan, (*items, *init), dtypes[0], inner - {axis.name})
        self.loops[loop] = scan
        state, before, merged, other = [self._states(loop, init, role, inner) for role in Role]
        step = monoid.combine(self, state, items)
        self.put(Step(loop, monoid.merge(self, merged, other) if several else ()), step,
                 dtypes[0], inner)
        if several:
            return monoid.merge(self, before, state if exclusive else step)
        if not exclusive:
            return step
        # The step overwrites the state, so the previous state needs its own name.
        return tuple([self.put(Prim("cast"), (v,), self.code[v].dtype) for v in state])

    def store(self, arg: int, value: int, index: Ids, mode: str = "set") -> None:
        """Write a value into an output, by default sequentially ('set').

        'once' means that no two points write to the same place, so they may run in parallel. Any
        other mode is a word that combines the value with the old one: 'add', 'mul', 'minimum', ...
        """
        dtype = self.args[arg].dtype
        value = self.cast(value, dtype)
        if mode not in ("set", "once"):
            value = self.cast(self.prim(mode, self.load(arg, index), value), dtype)
        args = (value, *index)
        self.code.append(Instr(Store(arg, mode == "once"), args, dtype))  # even if it repeats one
        self.free.append(self.join(args))

    def join(self, values: Sequence[int]) -> frozenset[str]:
        """Return the union of the free axes of several values."""
        return frozenset().union(*[self.free[v] for v in values])
