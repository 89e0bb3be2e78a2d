"""What all emitters share: the walk over a scheduled nest; a language only says how it writes.

An emitter keeps two things apart that are named alike on every device: run-time integers (sizes,
strides, parameters: `m0`, `m1`, ...) and values (`v7`, or `v7_3` in lane 3 of an unrolled axis).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from tinyml.dtypes import DType
from tinyml.errors import KernelNotFound
from tinyml.ir.nest import ZERO, Instr
from tinyml.kernels.common.schedule import Loop, Program, Statement

Words = dict[str, str | dict[str, str]]


class Emitter(ABC):
    """Writes the source of one program in one language."""

    language: str
    words: Words

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.meta: list[int] = []
        self.depth = 1
        self.lane_axis = ""
        self.lane_count = 1
        self._numbers: dict[Any, str] = {}
        self._axes: dict[str, str] = {}
        self._values: dict[int, int] = {}

    # ---- what a language says

    @abstractmethod
    def type_name(self, dtype: DType) -> str:
        """The type of a value."""

    @abstractmethod
    def literal(self, data: Any, dtype: DType) -> str:
        """A constant."""

    @abstractmethod
    def cast(self, name: str, have: DType, want: DType) -> str:
        """A conversion: integers wrap; floats to integers truncate, saturate, NaN gives 0."""

    @abstractmethod
    def choose(self, condition: str, yes: str, no: str) -> str:
        """A conditional expression that evaluates one side only."""

    @abstractmethod
    def convert(self, text: str, dtype: DType) -> str:
        """An arithmetic expression brought to its type."""

    @abstractmethod
    def declare(self, name: str, text: str, dtype: DType) -> str:
        """The first assignment to a name."""

    @abstractmethod
    def assign(self, place: str, text: str) -> str:
        """A later assignment."""

    @abstractmethod
    def open_loop(self, axis: str, start: str, stop: str, step: int) -> str:
        """The head of a loop."""

    @abstractmethod
    def close_loop(self) -> str | None:
        """What ends a loop, if anything does."""

    @abstractmethod
    def check(self, name: str, index: str, extent: str, axis: str) -> list[str]:
        """Statements that leave `index` in `name`, or report it and leave 0."""

    # ---- run-time integers

    def number(self, key: Any, value: int) -> str:
        """The name of a run-time integer."""
        name = self._numbers.get(key)
        if name is None:
            name = f"m{len(self.meta)}"
            self._numbers[key] = name
            self.meta.append(value)
        return name

    def axis(self, name: str) -> str:
        """The variable of an axis: numbered as they appear, since sizes are no structure."""
        return self._axes.setdefault(name, f"i{len(self._axes)}")

    def _numbered(self, value: int) -> int:
        """A value's number in the text: as they appear, so that equal kernels are equal texts."""
        return self._values.setdefault(value, len(self._values))

    def size(self, axis: str) -> str:
        """The name of an axis's size."""
        return self.number(("size", axis), self.program.sizes[axis])

    # ---- expressions

    def _lanes(self, value: int) -> int:
        return self.lane_count if self.lane_axis in self.program.free[value] else 1

    def name(self, value: int, lane: int) -> str:
        """How a value is written where it is used."""
        instr = self.program.code[value]
        if instr.kind == "const":
            return self.literal(instr.data, instr.dtype)
        if instr.kind == "axis":
            variable = self.axis(instr.data)
            lanes = instr.data == self.lane_axis and self.lane_count > 1
            return f"({variable} + {lane})" if lanes else variable
        if instr.kind == "state":
            reduction, component, role = instr.data
            own = lane if role < 2 and self.lane_axis in self.program.free[value] else 0
            return self._state(reduction, component, own)
        if instr.kind == "item":
            own = lane if self.lane_axis in self.program.free[value] else 0
            return self._state(instr.args[0], instr.data, own)
        number = self._numbered(value)
        return f"v{number}_{lane}" if self._lanes(value) > 1 else f"v{number}"

    def _state(self, reduction: int, component: int, lane: int) -> str:
        return f"s{self._numbered(reduction)}_{component}_{lane}"

    def address(self, arg: int, index: tuple[int, ...], lane: int) -> str:
        """The element of an argument at an index; stride 1 is structure, other strides numbers."""
        terms = []
        for d, value in enumerate(index):
            stride = self.program.strides[arg][d]
            if stride == 0 or value == ZERO:
                continue
            name = self.name(value, lane)
            terms.append(name if stride == 1 else f"{name} * {self.number((arg, d), stride)}")
        return " + ".join(terms) or "0"

    def place(self, arg: int, index: tuple[int, ...], lane: int) -> str:
        """An element of an argument, to read or write."""
        return f"p{arg}[{self.address(arg, index, lane)}]"

    def packed(self, arg: int, address: str, dtype: DType) -> str:
        """An element of less than a byte: the bits at its place, the sign carried into the rest."""
        shift = (8 // dtype.bits).bit_length() - 1
        part = f"(({address}) & {8 // dtype.bits - 1}) * {dtype.bits}"
        text = f"((p{arg}[({address}) >> {shift}] >> ({part})) & {(1 << dtype.bits) - 1})"
        return self.convert(self.signed(text, dtype), dtype)

    def signed(self, text: str, dtype: DType) -> str:
        """The low bits of an integer read as a number of a packed type."""
        half = 1 << (dtype.bits - 1)
        return f"(({text} ^ {half}) - {half})" if dtype.kind == "int" else text

    def expression(self, value: int, lane: int) -> str:
        """What a value is computed by."""
        instr = self.program.code[value]
        if instr.kind == "load":
            return self._load(instr, lane)
        if instr.kind == "param":
            return self.number(("param", instr.data), self.program.nest.params[instr.data])
        if instr.kind in ("scalar", "imaginary"):
            return self.scalar(instr)
        return self.prim(instr, [self.name(a, lane) for a in instr.args])

    def scalar(self, instr: Instr) -> str:
        """A number handed over by the caller."""
        name = f"{'x' if instr.kind == 'scalar' else 'y'}{instr.data}"
        return f"{name} != 0" if instr.dtype.kind == "bool" else self.convert(name, instr.dtype)

    def prim(self, instr: Instr, names: list[str]) -> str:
        """A word over named operands."""
        operand = self.program.code[instr.args[-1]].dtype
        if instr.data == "cast":
            return self.cast(names[0], operand, instr.dtype)
        text = self.word(instr.data, operand).format(
            *names, t=self.type_name(instr.dtype), n=instr.dtype.bits
        )
        return text if instr.dtype.kind == "bool" else self.convert(text, instr.dtype)

    def word(self, name: str, dtype: DType) -> str:
        """The text of a word over operands of a type; KernelNotFound where it has none."""
        text = self.words.get(name)
        if isinstance(text, dict):
            text = text.get(dtype.kind) or text.get("int")
        if text is None:
            raise KernelNotFound(f"{self.language} has no word {name!r} for {dtype.name}")
        return text

    def _load(self, instr: Instr, lane: int) -> str:
        arg, rank = instr.data
        if instr.dtype.is_subbyte:
            text = self.packed(arg, self.address(arg, instr.args[:rank], lane), instr.dtype)
        else:
            text = self.place(arg, instr.args[:rank], lane)
        if instr.dtype.kind == "bool":
            text = f"({text} != 0)"
        if rank == len(instr.args):
            return text
        guard, other = (self.name(a, lane) for a in instr.args[rank:])
        return self.choose(guard, text, other)

    # ---- statements

    def write(self, line: str) -> None:
        """One line at the present depth."""
        self.lines.append("    " * self.depth + line)

    def _value(self, value: int) -> None:
        instr = self.program.code[value]
        for lane in range(self._lanes(value)):
            name = self.name(value, lane)
            if instr.kind == "check":
                index, extent = (self.name(a, lane) for a in instr.args)
                axis = self.number(("axis of", instr.data), instr.data)
                for line in self.check(name, index, extent, axis):
                    self.write(line)
            else:
                self.write(self.declare(name, self.expression(value, lane), instr.dtype))

    def _init(self, reduction: int, lanes: int) -> None:
        for lane in range(max(lanes, self._lanes(reduction))):
            for j, start in enumerate(self.program.code[reduction].data[2]):
                dtype = self.program.code[start].dtype
                name = self._state(reduction, j, lane)
                self.write(self.declare(name, self.name(start, lane), dtype))

    def _combine(self, step: int) -> None:
        instr = self.program.code[step]
        for lane in range(self._lanes(step)):
            for j, value in enumerate(instr.args):
                self.write(self.assign(self._state(instr.data[0], j, lane), self.name(value, lane)))

    def _finish(self, reduction: int, lanes: int) -> None:
        """Merge partial states pairwise into lane 0."""
        width = lanes
        while width > 1:
            width //= 2
            for lane in range(width):
                self._merge(reduction, lane, lane + width)

    def _merge(self, reduction: int, into: int, other: int) -> None:
        merged = self.program.code[self.program.steps[reduction]].data[1]
        names: dict[int, str] = {}
        results = [self._merged(v, reduction, (into, other), names) for v in merged]
        for j, result in enumerate(results):
            self.write(self.assign(self._state(reduction, j, into), result))

    def _merged(self, value: int, reduction: int, lanes: tuple[int, int],
                names: dict[int, str]) -> str:
        """How a value of a merge is written, its operands before it."""
        instr = self.program.code[value]
        if instr.kind == "state" and instr.data[0] == reduction:
            return self._state(reduction, instr.data[1], lanes[instr.data[2] == 1])
        if instr.kind != "prim":
            return self.name(value, 0)
        if value not in names:
            text = self.prim(instr, [self._merged(a, reduction, lanes, names) for a in instr.args])
            names[value] = f"w{self._numbered(value)}_{lanes[0]}_{lanes[1]}"
            self.write(self.declare(names[value], text, instr.dtype))
        return names[value]

    def _store(self, effect: int) -> None:
        instr = self.program.code[effect]
        arg, _ = instr.data
        for lane in range(self._lanes(effect)):
            value = self.name(instr.args[0], lane)
            if instr.dtype.kind == "bool":
                value = self.choose(value, "1", "0")
            place = self.place(arg, instr.args[1:], lane)
            self.write(self.assign(place, value))

    def body(self, statements: list[Statement]) -> None:
        """Statements, in order."""
        for statement in statements:
            if isinstance(statement, Loop):
                self._loop(statement)
            elif statement.kind == "value":
                self._value(statement.id)
            elif statement.kind == "init":
                self._init(statement.id, statement.lanes)
            elif statement.kind == "finish":
                self._finish(statement.id, statement.lanes)
            elif statement.kind == "combine":
                self._combine(statement.id)
            else:
                self._store(statement.id)

    def loop(self, axis: str, start: str, stop: str, step: int,
             statements: list[Statement]) -> None:
        """A sequential loop around statements."""
        self.write(self.open_loop(self.axis(axis), start, stop, step))
        self.depth += 1
        self.body(statements)
        self.depth -= 1
        end = self.close_loop()
        if end:
            self.write(end)

    def lanes(self, axis: str, lanes: int, statements: list[Statement]) -> None:
        """A loop in steps of `lanes`, and the rest one by one."""
        size = self.size(axis)
        whole = f"{size} - {size} % {lanes}"
        outer = self.lane_axis, self.lane_count
        self.lane_axis, self.lane_count = axis, lanes
        self.loop(axis, "0", whole, lanes, statements)
        self.lane_axis, self.lane_count = outer
        self.loop(axis, whole, size, 1, statements)

    def _loop(self, loop: Loop) -> None:
        if loop.reverse:
            self.loop(loop.axis, f"{self.size(loop.axis)} - 1", "-1", -1, loop.body)
        elif loop.lanes > 1:
            self.lanes(loop.axis, loop.lanes, loop.body)
        else:
            self.loop(loop.axis, "0", self.size(loop.axis), 1, loop.body)
