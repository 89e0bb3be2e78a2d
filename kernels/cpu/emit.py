"""From a scheduled nest to the source of a Numba kernel: one text a word.

A kernel is `k(meta, [status,] pointers..., numbers...)`. `meta` holds the range lo, hi, then sizes,
strides and parameters; pointers are typed and indexed with run-time strides.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from tinyml.dtypes import DType, integer_range
from tinyml.kernels.common.schedule import Loop, Program, Statement, Step
from tinyml.kernels.cpu.lanes import InLanes
from tinyml.kernels.cpu.words import WORDS

ROWS = 64  # that many may be shared between threads

SHORT = {
    "bool": "b1", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8",
    "uint16": "u16", "uint32": "u32", "uint64": "u64", "float32": "f32", "float64": "f64",
    "complex64": "c64", "complex128": "c128", "int4": "i8", "uint4": "u8",
    # Narrow floats are their bits until a cast makes numbers of them.
    "float16": "u16", "bfloat16": "u16", "float8_e4m3fn": "u8", "float8_e5m2": "u8",
}

class Kernel(NamedTuple):
    """The source of a kernel, and what it is called with.

    `types` are those of its parameters, '*' marking pointers; `meta` its run-time integers from
    position 2 on; `extent` the length of the range that may be split; `checks` whether it reports
    indices out of range.
    """

    source: str
    types: tuple[str, ...]
    meta: list[int]
    extent: int
    checks: bool


class Numba(InLanes):
    """Python source that Numba compiles."""

    language = "Numba"
    words = WORDS

    def type_name(self, dtype: DType) -> str:
        """The name of a NumPy scalar type."""
        return SHORT[dtype.name]

    def literal(self, data: Any, dtype: DType) -> str:
        """A constant of a type."""
        if dtype.kind == "float":
            return f"{SHORT[dtype.name]}({struct.unpack('<d', data)[0]!r})"
        return repr(bool(data)) if dtype.kind == "bool" else f"{SHORT[dtype.name]}({data})"

    def cast(self, name: str, have: DType, want: DType) -> str:
        """A conversion; the bounds are exact in every float type."""
        short = SHORT[want.name]
        if have.is_small_float:
            return f"{have.name}_{SHORT[have.name]}({name})"
        if want.is_small_float:
            single = name if have.name == "float32" else f"odd_f64({name})"
            return f"{want.name}_f32({single})"
        if want.kind == "bool":
            return f"{name} != 0"
        if have.kind == "bool":
            return f"{short}(1) if {name} else {short}(0)"
        if have.is_float and want.is_integer:
            low, high = integer_range(want)
            own = SHORT[have.name]
            return (f"{short}(0) if {name} != {name} else {short}({low}) "
                    f"if {name} <= {own}({low}.0) else {short}({high}) "
                    f"if {name} >= {own}({high + 1}.0) else {short}({name})")
        if want.is_subbyte:
            return self.signed(f"(i64({name}) & {(1 << want.bits) - 1})", want)
        return f"{short}({name})"

    def choose(self, condition: str, yes: str, no: str) -> str:
        """Python's conditional expression."""
        return f"({yes} if {condition} else {no})"

    def convert(self, text: str, dtype: DType) -> str:
        """Numba widens small integers and mixes; the result is brought back."""
        return f"{SHORT[dtype.name]}({text})"

    def declare(self, name: str, text: str, dtype: DType) -> str:
        """Python declares by assigning."""
        return f"{name} = {text}"

    def assign(self, place: str, text: str) -> str:
        """An assignment."""
        return f"{place} = {text}"

    def open_loop(self, axis: str, start: str, stop: str, step: int) -> str:
        """A range."""
        return f"for {axis} in range({start}, {stop}, {step}):"

    def close_loop(self) -> str | None:
        """Indentation ends it."""
        return None

    def check(self, name: str, index: str, extent: str, axis: str) -> list[str]:
        """The index before it was wrapped, the size, a flag and the axis go to `status`."""
        return [
            f"{name} = {index}",
            f"if ({name} < 0) | ({name} >= {extent}):",
            "    if status[2] == 0:",
            f"        status[0] = {name} if {name} >= 0 else {name} - {extent}",
            f"        status[1] = {extent}",
            f"        status[3] = {axis}",
            "    status[2] = 1",
            f"    {name} = i64(0)",
        ]

    def emit(self) -> Kernel:
        """The kernel; its range runs over the outer parallel axes."""
        program = self.program
        inner = program.lane
        if inner is None and program.par and self._walks_rows():
            inner = program.par[-1]
        outer = [a for a in program.par if a != inner]
        extent = 1
        for axis in outer:
            extent *= program.sizes[axis]
        if inner is None and not outer:
            self.body(program.body)
        elif inner is not None and program.lane is None and not outer:
            extent = program.sizes[inner]
            self.loop(inner, "lo", "hi", 1, self._ahead(inner))
        else:
            self._outer(outer)
            self._inner(inner)
        return self._wrap(extent)

    def _walks_rows(self) -> bool:
        """Whether the innermost parallel axis is a loop; else the range runs over all points.

        A loop spares a division a point; where points have loops of their own, only with rows
        enough to be shared between threads.
        """
        program = self.program
        if not any(isinstance(s, Loop) for s in program.body):
            return True
        rows = 1
        for axis in program.par[:-1]:
            rows *= program.sizes[axis]
        return len(program.par) > 1 and rows >= ROWS

    def _ahead(self, inner: str) -> list[Statement]:
        """Write what is the same all along the inner axis; what is left for its loop.

        LLVM would do so too, and make two loops of each choice in it, and two of each of those.
        """
        rest: list[Statement] = []
        for statement in self.program.body:
            if (isinstance(statement, Step) and statement.kind == "value"
                    and inner not in self.program.free[statement.id]):
                self.body([statement])
            else:
                rest.append(statement)
        return rest

    def _outer(self, outer: list[str]) -> None:
        """A loop over the range, and the parallel axes that its points stand for."""
        rest = self.axis(outer[0]) if len(outer) == 1 else "point"
        self.write(self.open_loop(rest, "lo", "hi", 1))
        self.depth += 1
        for axis in reversed(outer[1:]):
            size, name = self.size(axis), self.axis(axis)
            self.write(f"{name} = {rest} % {size}")
            self.write(f"rest_{name} = {rest} // {size}")
            rest = f"rest_{name}"
        if len(outer) > 1:
            self.write(f"{self.axis(outer[0])} = {rest}")

    def _inner(self, inner: str | None) -> None:
        program = self.program
        if inner is None:
            self.body(program.body)
        elif program.lane is None:
            self.loop(inner, "0", self.size(inner), 1, self._ahead(inner))
        else:
            self.lanes(inner, program.lanes, program.body)

    def _wrap(self, extent: int) -> Kernel:
        program = self.program
        args = program.nest.args
        scalars = program.nest.scalars
        numbers = ["float64" if d.is_inexact else "int64" for d in scalars]
        imaginary = [k for k, d in enumerate(scalars) if d.kind == "complex"]
        numbers += ["float64"] * len(imaginary)
        names = ["meta"] + (["status"] if program.checks else [])
        names += [f"p{k}" for k in range(len(args))] + [f"x{k}" for k in range(len(scalars))]
        names += [f"y{k}" for k in imaginary]
        types = ["*int64"] * (2 if program.checks else 1)
        types += [f"*{a.dtype.storage}" for a in args] + numbers
        head = [f"def k({', '.join(names)}):", "    lo = meta[0]", "    hi = meta[1]"]
        head += [f"    m{j} = meta[{j + 2}]" for j in range(len(self.meta))]
        source = "\n".join(head + self.lines) + "\n"
        return Kernel(source, tuple(types), self.meta, extent, program.checks)


def emit(program: Program) -> Kernel:
    """The Numba kernel of a scheduled nest."""
    return Numba(program).emit()
