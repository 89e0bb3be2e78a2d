"""From a scheduled nest to the source of an OpenCL C kernel: one text a word.

A kernel is `k(meta, [status,] buffer and offset..., numbers...)`; one work-item computes one point
of the parallel axes. `meta` holds the number of points, then sizes, strides and parameters.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

from tinyml.dtypes import DType, integer_range
from tinyml.kernels.common.emitter import Emitter
from tinyml.kernels.common.schedule import Program
from tinyml.kernels.common.small_floats import INFINITY, layout
from tinyml.kernels.opencl.words import HELPERS, WORDS

TYPES = {
    "bool": "bool", "int8": "char", "int16": "short", "int32": "int", "int64": "long",
    "uint8": "uchar", "uint16": "ushort", "uint32": "uint", "uint64": "ulong",
    "float32": "float", "float64": "double", "int4": "char", "uint4": "uchar",
    # Narrow floats are their bits until a cast makes numbers of them.
    "float16": "ushort", "bfloat16": "ushort", "float8_e4m3fn": "uchar", "float8_e5m2": "uchar",
}

# The same steps as in kernels/cpu/small_floats.py.
WIDEN = """float from_{name}({store} x) {{
    int code = x & {every};
    int normal = (code << {drop}) + ({rebias} << 23);
    int whole = code < {units} ? as_int((float)code * {unit}f) : normal;
    whole = code >= {top} ? ({infinity} | (code & {units} - 1) << {drop}) : whole;
    return as_float(whole | ((x & {sign}) != 0 ? INT_MIN : 0));
}}
"""
NARROW = """{store} to_{name}(float x) {{
    int code = as_int(x) & 0x7FFFFFFF;
    int near = (code + {half} + (code >> {drop} & 1)) >> {drop};
    near -= {rebias} << {mantissa};
    if ({exponent} < 8 && code < {least})
        near = as_int(as_float(code) + as_float({magic})) - {magic};
    near = near > {top} || code >= {infinity} ? {top} : near;
    near = code > {infinity} ? {nan} : near;
    return ({store})(near | (as_int(x) < 0 ? {sign} : 0));
}}
"""
ODD = """float odd_double(double x) {
    float near = (float)x;
    int code = as_int(near);
    bool inexact = (double)near != x && x == x;
    code -= inexact && fabs((double)near) > fabs(x);
    return as_float(inexact ? code | 1 : code);
}
"""

# The checked index before it was wrapped, the size and the axis, as longs behind the tag; the first
# to come is kept.
REPORT = (
    "if (atomic_cmpxchg(status, 0, tag) == 0) {{ volatile __global long *report = "
    "(volatile __global long *)status; report[1] = {0}; report[2] = {1}; report[3] = {2}; }}"
)


class Kernel(NamedTuple):
    """The source of a kernel, its run-time integers from position 1 on, and its points."""

    source: str
    meta: list[int]
    extent: int
    checks: bool


class OpenCLC(Emitter):
    """OpenCL C source."""

    language = "OpenCL C"
    words = WORDS

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.helpers: set[str] = set()  # functions that the kernel calls

    def type_name(self, dtype: DType) -> str:
        """The type of a value."""
        return TYPES[dtype.name]

    def literal(self, data: Any, dtype: DType) -> str:
        """A constant, floats by their exact hexadecimal form."""
        if dtype.kind == "float":
            value = struct.unpack("<d", data)[0]
            short = dtype.bits == 32
            if math.isnan(value):
                return f"(({TYPES[dtype.name]})NAN)"
            if math.isinf(value):
                return f"({'-' if value < 0 else ''}({TYPES[dtype.name]})INFINITY)"
            rounded = struct.unpack("f", struct.pack("f", value))[0] if short else value
            return f"({rounded.hex()}{'f' if short else ''})"
        if dtype.kind == "bool":
            return "true" if data else "false"
        if data == -(1 << 63):
            return "LONG_MIN"
        suffix = "UL" if dtype.kind == "uint" else "L"
        return f"(({TYPES[dtype.name]})({data}{suffix}))"

    def cast(self, name: str, have: DType, want: DType) -> str:
        """A conversion; convert_sat is not used, since drivers differ on NaN."""
        kind = TYPES[want.name]
        if have.is_small_float:
            self.helpers.add(_helper(WIDEN, have))
            return f"from_{have.name}({name})"
        if want.is_small_float:
            self.helpers.add(_helper(NARROW, want))
            if have.name == "float64":
                self.helpers.add(ODD)
                name = f"odd_double({name})"
            return f"to_{want.name}({name})"
        if want.kind == "bool":
            return f"{name} != 0"
        if have.is_float and want.is_integer:
            low, high = integer_range(want)
            own = TYPES[have.name]
            least = self.literal(low, want)
            most = self.literal(high, want)
            return (f"isnan({name}) ? ({kind})0 : {name} <= ({own}){float(low).hex()} ? {least} : "
                    f"{name} >= ({own}){float(high + 1).hex()} ? {most} : ({kind}){name}")
        if want.is_subbyte:
            return f"({kind}){self.signed(f'((long){name} & {(1 << want.bits) - 1})', want)}"
        return f"({kind}){name}"

    def choose(self, condition: str, yes: str, no: str) -> str:
        """C's conditional expression."""
        return f"({condition} ? {yes} : {no})"

    def convert(self, text: str, dtype: DType) -> str:
        """C widens small integers; the result is brought back."""
        return f"({TYPES[dtype.name]})({text})"

    def declare(self, name: str, text: str, dtype: DType) -> str:
        """A typed definition."""
        return f"{TYPES[dtype.name]} {name} = {text};"

    def assign(self, place: str, text: str) -> str:
        """An assignment."""
        return f"{place} = {text};"

    def open_loop(self, axis: str, start: str, stop: str, step: int) -> str:
        """A for statement."""
        before = "<" if step > 0 else ">"
        return f"for (long {axis} = {start}; {axis} {before} {stop}; {axis} += {step}) {{"

    def close_loop(self) -> str | None:
        """A brace."""
        return "}"

    def check(self, name: str, index: str, extent: str, axis: str) -> list[str]:
        """Out of range, the status buffer keeps the first report."""
        original = f"{name} >= 0 ? {name} : {name} - {extent}"
        return [
            f"long {name} = {index};",
            f"if ({name} < 0 || {name} >= {extent}) {{",
            f"    {REPORT.format(original, extent, axis)}",
            f"    {name} = 0;",
            "}",
        ]

    def emit(self) -> Kernel:
        """The kernel; a work-item beyond the last point returns."""
        program = self.program
        outer = [a for a in program.par if a != program.lane]
        extent = 1
        for axis in outer:
            extent *= program.sizes[axis]
        self.write("long point = get_global_id(0);")
        self.write("if (point >= meta[0]) return;")
        position = len(self.lines)
        rest = "point"
        for axis in reversed(outer[1:]):
            size, name = self.size(axis), self.axis(axis)
            self.write(f"long {name} = {rest} % {size};")
            self.write(f"long rest_{name} = {rest} / {size};")
            rest = f"rest_{name}"
        if outer:
            self.write(f"long {self.axis(outer[0])} = {rest};")
        if program.lane is not None:
            self.lanes(program.lane, program.lanes, program.body)
        else:
            self.body(program.body)
        reads = [f"    const long m{j} = meta[{j + 1}];" for j in range(len(self.meta))]
        self.lines[position:position] = reads
        return Kernel(self._wrap(), self.meta, extent, program.checks)

    def _wrap(self) -> str:
        program = self.program
        params = ["__global const long *meta"]
        if program.checks:
            params += ["volatile __global int *status", "int tag"]
        head = []
        for k, arg in enumerate(program.nest.args):
            kind = "uchar" if arg.dtype.kind == "bool" else TYPES[arg.dtype.name]
            const = "const " if arg.role == "in" else ""
            params += [f"__global {const}{kind} *b{k}", f"long f{k}"]
            head.append(f"    __global {const}{kind} *p{k} = b{k} + f{k};")
        for k, dtype in enumerate(program.nest.scalars):
            params.append(f"{TYPES[dtype.compute] if dtype.is_float else 'long'} x{k}")
        pragma = ""
        if any(i.dtype.name == "float64" for i in program.code):
            pragma = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"
        signature = f"__kernel void k({', '.join(params)})"
        top = f"{pragma}#pragma OPENCL FP_CONTRACT OFF"
        kernel = "\n".join([f"{signature} {{", *head, *self.lines, "}", ""])
        functions = sorted(self.helpers) + [
            text.format(t=kind) for name, text in HELPERS.items()
            for kind in ("float", "double", "ulong") if f"{name}_{kind}(" in kernel]
        return "\n".join([top, *functions, kernel])


def _helper(text: str, dtype: DType) -> str:
    """A conversion of one format."""
    shape = layout(dtype)
    return text.format(
        name=dtype.name, store=TYPES[dtype.name], exponent=dtype.exponent, infinity=INFINITY,
        mantissa=dtype.mantissa, units=1 << dtype.mantissa, rebias=127 - shape["bias"],
        half=(1 << (shape["drop"] - 1)) - 1,
        unit=(2.0 ** (1 - shape["bias"] - dtype.mantissa)).hex(), **shape)


def emit(program: Program) -> Kernel:
    """The OpenCL C kernel of a scheduled nest."""
    return OpenCLC(program).emit()
