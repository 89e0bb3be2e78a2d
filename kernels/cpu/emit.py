"""Turns a scheduled nest into the source of a Numba kernel: one template per word.

A kernel is `k(meta, [status,] pointers..., numbers...)`. `meta` holds the range lo, hi, then sizes,
strides and parameters; pointers are typed and indexed with run-time strides.
"""

from __future__ import annotations

from tinyml.dtypes import DType, integer_range
from tinyml.kernels.common.emitter import Kernel, Language
from tinyml.kernels.common.schedule import Block, Loop, ScheduledNest
from tinyml.kernels.cpu.lanes import LaneEmitter
from tinyml.kernels.cpu.words import WORDS

MIN_ROWS = 64  # enough to share between threads

TYPES = {
    "bool": "b1", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8",
    "uint16": "u16", "uint32": "u32", "uint64": "u64", "float32": "f32", "float64": "f64",
    "complex64": "c64", "complex128": "c128", "int4": "i8", "uint4": "u8",
    # Small floats are their bits until a cast makes numbers of them.
    "float16": "u16", "bfloat16": "u16", "float8_e4m3fn": "u8", "float8_e5m2": "u8",
}
NUMBA = Language(
    name="Numba",
    types=TYPES,
    words=WORDS,
    choose=lambda condition, yes, no: f"({yes} if {condition} else {no})",
    convert=lambda kind, text: f"{kind}({text})",  # Numba widens small and mixed integers
    declare=lambda _kind, name, text: f"{name} = {text}",
    assign=lambda place, text: f"{place} = {text}",
    loop=lambda variable, start, stop, step: f"for {variable} in range({start}, {stop}, {step}):",
    branch=lambda word, condition: f"{word} {condition}:",
    room=lambda _kind, name, like, count: f"{name} = array({like}, {count})",
    end="",
    quotient="//",
)


class NumbaEmitter(LaneEmitter):
    """Writes Python source that Numba compiles."""

    language = NUMBA

    def literal(self, value: float, dtype: DType) -> str:
        """Return a constant of a NumPy scalar type."""
        return repr(value) if dtype.kind == "bool" else f"{TYPES[dtype.name]}({value!r})"

    def cast(self, name: str, have: DType, want: DType) -> str:
        """Return a conversion; the bounds are exact in every float type."""
        short = TYPES[want.name]
        if have.is_small_float:
            return f"{have.name}_{TYPES[have.name]}({name})"
        if want.is_small_float:
            single = name if have.name == "float32" else f"odd_f64({name})"
            return f"{want.name}_f32({single})"
        if want.kind == "bool":
            return f"{name} != 0"
        if have.kind == "bool":
            return f"{short}(1) if {name} else {short}(0)"
        if have.is_float and want.is_integer:
            low, high = integer_range(want)
            own = TYPES[have.name]
            return (f"{short}(0) if {name} != {name} else {short}({low}) "
                    f"if {name} <= {own}({low}.0) else {short}({high}) "
                    f"if {name} >= {own}({high + 1}.0) else {short}({name})")
        if want.is_subbyte:
            return self.extend_sign(f"(i64({name}) & {(1 << want.bits) - 1})", want)
        return f"{short}({name})"

    def check(self, name: str, index: str, extent: str, axis: str) -> list[str]:
        """Return a check; `status` gets the original index, the extent, a flag and the axis."""
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
        """Return the kernel; its range runs over the outer parallel axes."""
        scheduled = self.scheduled
        inner = scheduled.lane_axis
        if inner is None and scheduled.parallel and self._walks_rows():
            inner = scheduled.parallel[-1]
        outer = [a for a in scheduled.parallel if a != inner]
        if scheduled.lane_axis is None and inner is not None and not outer:
            self.loop_over(inner, "lo", "hi", 1, self._hoist(inner))
            return self._assemble(scheduled.extents[inner])
        if len(outer) == 1:
            self.open_loop(self.variable(outer[0]), "lo", "hi")
        elif outer or inner is not None:
            self.open_loop("point", "lo", "hi")
        if len(outer) > 1:
            self.split_point(outer)
        if inner is None:
            self.write_block(scheduled.body)
        elif scheduled.lane_axis is None:
            self.loop_over(inner, "0", self.extent(inner), 1, self._hoist(inner))
        else:
            self.loop_in_lanes(Loop(inner, scheduled.body, scheduled.lanes))
        return self._assemble(self.points(outer))

    def _walks_rows(self) -> bool:
        """Return whether the innermost parallel axis becomes a loop; else the range is all points.

        A loop saves a division per point. If points have loops of their own, it is used only if
        there are enough rows to share between threads.
        """
        scheduled = self.scheduled
        if not any(isinstance(s, Loop) for s in scheduled.body):
            return True
        rows = self.points(scheduled.parallel[:-1])
        return len(scheduled.parallel) > 1 and rows >= MIN_ROWS

    def _hoist(self, inner: str) -> Block:
        """Write the values that are constant along an axis; return the rest, for its loop.

        LLVM would hoist them too, but would split the loop in two at each choice, exponentially.
        """
        rest: Block = []
        for statement in self.scheduled.body:
            if (not isinstance(statement, Loop) and statement.kind == "value"
                    and inner not in self.scheduled.free[statement.id]):
                self.write_block([statement])
            else:
                rest.append(statement)
        return rest

    def _assemble(self, extent: int) -> Kernel:
        scheduled = self.scheduled
        args = scheduled.nest.args
        scalars = scheduled.nest.scalars
        numbers = ["float64" if d.is_inexact else "int64" for d in scalars]
        imaginary = [k for k, d in enumerate(scalars) if d.kind == "complex"]
        numbers += ["float64"] * len(imaginary)
        names = ["meta"] + (["status"] if scheduled.checks else [])
        names += [f"p{k}" for k in range(len(args))] + [f"x{k}" for k in range(len(scalars))]
        names += [f"y{k}" for k in imaginary]
        types = ["*int64"] * (2 if scheduled.checks else 1)
        types += [f"*{a.dtype.storage}" for a in args] + numbers
        head = [f"def k({', '.join(names)}):", "    lo = meta[0]", "    hi = meta[1]"]
        head += [f"    m{j} = meta[{j + 2}]" for j in range(len(self.meta))]
        source = "\n".join(head + self.lines) + "\n"
        return Kernel(source, self.meta, extent, scheduled.checks, tuple(types))


def emit(scheduled: ScheduledNest) -> Kernel:
    """Return the Numba kernel of a scheduled nest."""
    return NumbaEmitter(scheduled).emit()
