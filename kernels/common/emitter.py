"""The base of all emitters: names and expressions; a language is a record of templates.

Two kinds of names are the same on every device: run-time integers (extents, strides, parameters:
`m0`, `m1`, ...) and values (`v7`, or `v7_3` in lane 3 of an unrolled axis).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import ClassVar, NamedTuple

from tinyml.dtypes import DType, int64
from tinyml.errors import KernelNotFound
from tinyml.ir.nest import (
    ZERO,
    Axis,
    Const,
    Ids,
    Imaginary,
    Instr,
    Item,
    Load,
    Param,
    Prim,
    Role,
    ScalarArg,
    State,
)
from tinyml.kernels.common.schedule import ScheduledNest
from tinyml.kernels.common.words import Words

UNNAMED = frozenset((Const, Axis, State, Item))  # written inline at each use


class Kernel(NamedTuple):
    """The source of a kernel and the arguments of a call.

    `meta` holds its run-time integers, after those common to every kernel of the device; `extent`
    is the number of points in its range; `checks` says whether it reports out-of-range indices;
    `types` are its parameter types if the device needs them, with '*' marking pointers.
    """

    source: str
    meta: list[int]
    extent: int
    checks: bool
    types: tuple[str, ...] = ()


class Language(NamedTuple):
    """How a language writes the parts of a kernel.

    types     value types, by dtype name
    words     the words of the vocabulary
    choose    a conditional expression, of a condition and two sides, that evaluates only one side
    convert   the conversion of an arithmetic expression to a type
    declare   the first assignment to a name, with its type
    assign    a later assignment
    loop      the head of a loop: variable, start, stop and step
    branch    the head of a conditional block: "if" or "while", and its condition
    room      the declaration of an array: element type, name, a value and number of elements
    end       the text that closes a loop or block, if any
    quotient  the division operator for non-negative integers
    """

    name: str
    types: dict[str, str]
    words: Words
    choose: Callable[[str, str, str], str]
    convert: Callable[[str, str], str]
    declare: Callable[[str, str, str], str]
    assign: Callable[[str, str], str]
    loop: Callable[[str, str, str, int], str]
    branch: Callable[[str, str], str]
    room: Callable[[str, str, str, int], str]
    end: str
    quotient: str


class Emitter(ABC):
    """Write the expressions of one scheduled nest in one language."""

    language: ClassVar[Language]

    def __init__(self, scheduled: ScheduledNest) -> None:
        self.scheduled = scheduled
        self.types = self.language.types
        self.lines: list[str] = []
        self.meta: list[int] = []
        self.depth = 1
        self.lane_axis = ""
        self.lane_count = 1
        self._integers: dict[tuple[str | int, ...], str] = {}
        self._axes: dict[str, str] = {}
        self._numbers: dict[int, int] = {}

    # ---- what each language does differently

    @abstractmethod
    def literal(self, value: float, dtype: DType) -> str:
        """Return a constant."""

    @abstractmethod
    def cast(self, name: str, have: DType, want: DType) -> str:
        """Return a conversion: integers wrap, floats truncate and saturate, NaN becomes 0."""

    @abstractmethod
    def check(self, name: str, index: str, extent: str, axis: str) -> list[str]:
        """Return statements that set `name` to `index`, or report it and set `name` to 0."""

    # ---- the language's templates

    def convert(self, text: str, dtype: DType) -> str:
        """Return an arithmetic expression converted to its type."""
        return self.language.convert(self.types[dtype.name], text)

    def write(self, line: str) -> None:
        """Write one line at the current indentation."""
        self.lines.append("    " * self.depth + line)

    def declare(self, name: str, text: str, dtype: DType) -> None:
        """Write the first assignment to a name."""
        self.write(self.language.declare(self.types[dtype.name], name, text))

    def assign(self, place: str, text: str) -> None:
        """Write a later assignment."""
        self.write(self.language.assign(place, text))

    def open_loop(self, variable: str, start: str, stop: str, step: int = 1) -> None:
        """Write the head of a loop; what follows is its body."""
        self.write(self.language.loop(variable, start, stop, step))
        self.depth += 1

    def open_branch(self, word: str, condition: str) -> None:
        """Write the head of a block that runs if, or while, a condition holds."""
        self.write(self.language.branch(word, condition))
        self.depth += 1

    def close_loop(self) -> None:
        """Close the innermost open loop or block."""
        self.depth -= 1
        if self.language.end:
            self.write(self.language.end)

    # ---- names

    def runtime_integer(self, key: tuple[str | int, ...], value: int) -> str:
        """Return the name of an integer passed at run time."""
        name = self._integers.get(key)
        if name is None:
            name = f"m{len(self.meta)}"
            self._integers[key] = name
            self.meta.append(value)
        return name

    def variable(self, axis: str) -> str:
        """Return the variable of an axis; axes are numbered in order of appearance, not by size."""
        return self._axes.setdefault(axis, f"i{len(self._axes)}")

    def number(self, value: int) -> int:
        """Return a value's number, in order of appearance: equal kernels have equal text."""
        return self._numbers.setdefault(value, len(self._numbers))

    def extent(self, axis: str) -> str:
        """Return the name of the extent of an axis."""
        return self.runtime_integer(("size", axis), self.scheduled.extents[axis])

    def state(self, loop: int, component: int, lane: int) -> str:
        """Return the name of a component of a loop's state."""
        return f"s{self.number(loop)}_{component}_{lane}"

    def lanes_of(self, value: int) -> int:
        """Return how many lanes a value has at this point."""
        return self.lane_count if self.lane_axis in self.scheduled.free[value] else 1

    def name(self, value: int, lane: int) -> str:
        """Return the text of a value at a use."""
        instr = self.scheduled.code[value]
        in_lanes = self.lane_axis in self.scheduled.free[value]
        several = in_lanes and self.lane_count > 1
        if type(instr.payload) in UNNAMED:
            match instr.payload:
                case Const() as constant:
                    return self.literal(constant.value, instr.dtype)
                case Axis(axis):
                    variable = self.variable(axis)
                    return f"({variable} + {lane})" if several else variable
                case State(loop, component, Role.BEFORE):
                    return f"before{self.number(loop)}_{component}_{lane if in_lanes else 0}"
                case State(loop, component):
                    return self.state(loop, component, lane if in_lanes else 0)
                case Item(component):
                    return self.state(instr.args[0], component, lane if in_lanes else 0)
        number = self.number(value)
        return f"v{number}_{lane}" if several else f"v{number}"

    # ---- expressions

    def address(self, arg: int, index: Ids, lane: int) -> str:
        """Return an element's address; stride 1 is structural, others are run-time integers."""
        terms = []
        for d, value in enumerate(index):
            stride = self.scheduled.strides[arg][d]
            if stride == 0 or value == ZERO:
                continue
            name = self.name(value, lane)
            terms.append(name if stride == 1 else
                         f"{name} * {self.runtime_integer((arg, d), stride)}")
        return " + ".join(terms) or "0"

    def element(self, arg: int, index: Ids, lane: int) -> str:
        """Return an element of an argument, to read or write."""
        return f"p{arg}[{self.address(arg, index, lane)}]"

    def packed_element(self, arg: int, address: str, dtype: DType) -> str:
        """Return an element smaller than a byte: its bits, sign-extended."""
        shift = (8 // dtype.bits).bit_length() - 1
        part = f"(({address}) & {8 // dtype.bits - 1}) * {dtype.bits}"
        text = f"((p{arg}[({address}) >> {shift}] >> ({part})) & {(1 << dtype.bits) - 1})"
        return self.convert(self.extend_sign(text, dtype), dtype)

    def extend_sign(self, text: str, dtype: DType) -> str:
        """Return the low bits of an integer, interpreted as a number of a packed type."""
        half = 1 << (dtype.bits - 1)
        return f"(({text} ^ {half}) - {half})" if dtype.kind == "int" else text

    def expression(self, value: int, lane: int) -> str:
        """Return the expression that computes a value."""
        instr = self.scheduled.code[value]
        match instr.payload:
            case Prim(word):
                return self._apply(word, instr, [self.name(a, lane) for a in instr.args])
            case Load() as load:
                return self._load(load, instr, lane)
            case Param(number):
                return self.runtime_integer(("param", number), self.scheduled.nest.params[number])
            case ScalarArg(number):
                return self._scalar(f"x{number}", instr.dtype)
            case Imaginary(number):
                return self._scalar(f"y{number}", instr.dtype)
        raise TypeError(f"no expression: {instr.payload}")

    def _scalar(self, name: str, dtype: DType) -> str:
        return f"{name} != 0" if dtype.kind == "bool" else self.convert(name, dtype)

    def _apply(self, word: str, instr: Instr, names: list[str]) -> str:
        """Return a word applied to operands given by name."""
        operand = self.scheduled.code[instr.args[-1]].dtype
        if word == "cast":
            return self.cast(names[0], operand, instr.dtype)
        text = self._word(word, operand).format(
            *names, t=self.types[instr.dtype.name], n=instr.dtype.bits
        )
        return text if instr.dtype.kind == "bool" else self.convert(text, instr.dtype)

    def _word(self, name: str, dtype: DType) -> str:
        """Return a word's template for operands of a type; raise KernelNotFound if it has none."""
        text = self.language.words.get(name)
        if isinstance(text, dict):
            text = text.get(dtype.kind) or text.get("int")
        if text is None:
            raise KernelNotFound(f"{self.language.name} has no word {name!r} for {dtype.name}")
        return text

    def _load(self, load: Load, instr: Instr, lane: int) -> str:
        index = instr.args[: load.rank]
        if instr.dtype.is_subbyte:
            address = self.address(load.arg, index, lane)
            text = self.packed_element(load.arg, address, instr.dtype)
        else:
            text = self.element(load.arg, index, lane)
        if instr.dtype.kind == "bool":
            text = f"({text} != 0)"
        if load.rank == len(instr.args):
            return text
        guard, other = (self.name(a, lane) for a in instr.args[load.rank:])
        return self.language.choose(guard, text, other)

    # ---- the range of a kernel

    def points(self, axes: Sequence[str]) -> int:
        """Return the number of points along some axes."""
        return prod([self.scheduled.extents[axis] for axis in axes])

    def split_point(self, axes: Sequence[str]) -> None:
        """Write the indices along `axes` of the point numbered `point`."""
        rest = "point"
        for axis in reversed(axes[1:]):
            extent, variable = self.extent(axis), self.variable(axis)
            self.declare(variable, f"{rest} % {extent}", int64)
            self.declare(f"rest_{variable}", f"{rest} {self.language.quotient} {extent}", int64)
            rest = f"rest_{variable}"
        self.declare(self.variable(axes[0]), rest, int64)
