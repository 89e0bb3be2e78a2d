"""Turns a scheduled nest into the source of an OpenCL C kernel: one template per word.

A kernel is `k(meta, [status, slot,] buffer and offset..., numbers...)`; one work-item computes one
point of the parallel axes. `meta` holds the number of points, then sizes, strides and parameters.
"""

from __future__ import annotations

import math
import struct

from tinyml.dtypes import DType, integer_range
from tinyml.ir.nest import Instr
from tinyml.kernels.common.emitter import Kernel, Language
from tinyml.kernels.common.schedule import Loop, ScheduledNest
from tinyml.kernels.common.small_floats import INFINITY, float_format
from tinyml.kernels.common.statements import StatementEmitter
from tinyml.kernels.opencl.words import HELPERS, WORDS

TYPES = {
    "bool": "bool", "int8": "char", "int16": "short", "int32": "int", "int64": "long",
    "uint8": "uchar", "uint16": "ushort", "uint32": "uint", "uint64": "ulong",
    "float32": "float", "float64": "double", "int4": "char", "uint4": "uchar",
    # Small floats are their bits until a cast makes numbers of them.
    "float16": "ushort", "bfloat16": "ushort", "float8_e4m3fn": "uchar", "float8_e5m2": "uchar",
}
OPENCL_C = Language(
    name="OpenCL C",
    types=TYPES,
    words=WORDS,
    choose=lambda condition, yes, no: f"({condition} ? {yes} : {no})",
    convert=lambda kind, text: f"({kind})({text})",  # C widens small integers
    declare=lambda kind, name, text: f"{kind} {name} = {text};",
    assign=lambda place, text: f"{place} = {text};",
    loop=lambda variable, start, stop, step: (
        f"for (long {variable} = {start}; {variable} {'<' if step > 0 else '>'} {stop}; "
        f"{variable} += {step}) {{"),
    branch=lambda word, condition: f"{word} ({condition}) {{",
    room=lambda kind, name, _like, count: f"{kind} {name}[{count}];",
    end="}",
    quotient="/",
)

# The same steps as in kernels/cpu/small_floats.py.
WIDEN = """float from_{name}({store} x) {{
    int code = x & {magnitude};
    int normal = (code << {drop}) + ({rebias} << 23);
    int whole = code < {units} ? as_int((float)code * {unit}f) : normal;
    whole = code >= {overflow} ? ({infinity} | (code & {units} - 1) << {drop}) : whole;
    return as_float(whole | ((x & {sign}) != 0 ? INT_MIN : 0));
}}
"""
NARROW = """{store} to_{name}(float x) {{
    int code = as_int(x) & 0x7FFFFFFF;
    int near = (code + {half} + (code >> {drop} & 1)) >> {drop};
    near -= {rebias} << {mantissa};
    if ({exponent} < 8 && code < {min_normal})
        near = as_int(as_float(code) + as_float({rounder})) - {rounder};
    near = near > {overflow} || code >= {infinity} ? {overflow} : near;
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

# A slot keeps the first report: 1, then, as longs, the index before it was wrapped, extent, axis.
REPORT = (
    "volatile __global long *report = status + 4 * slot; "
    "if (atomic_cmpxchg((volatile __global int *)report, 0, 1) == 0) "
    "{{ report[1] = {0}; report[2] = {1}; report[3] = {2}; }}"
)

# What an integer is compared with itself; compilers warn of it. A float may be NaN.
WITH_ITSELF = {"equal": "true", "less_equal": "true", "greater_equal": "true",
               "not_equal": "false", "less": "false", "greater": "false"}


class OpenCLEmitter(StatementEmitter):
    """Writes OpenCL C source."""

    language = OPENCL_C

    def __init__(self, scheduled: ScheduledNest) -> None:
        super().__init__(scheduled)
        self._conversions: set[str] = set()  # functions that the kernel calls

    def literal(self, value: float, dtype: DType) -> str:
        """Return a constant, a float in its exact hexadecimal form."""
        kind = TYPES[dtype.name]
        if dtype.kind == "float":
            if math.isnan(value):
                return f"(({kind})NAN)"
            if math.isinf(value):
                return f"({'-' if value < 0 else ''}({kind})INFINITY)"
            if dtype.bits == 32:
                return f"({struct.unpack('f', struct.pack('f', value))[0].hex()}f)"
            return f"({value.hex()})"
        if dtype.kind == "bool":
            return "true" if value else "false"
        if value == -(1 << 63):
            return "LONG_MIN"
        suffix = "UL" if dtype.kind == "uint" else "L"
        return f"(({kind})({value}{suffix}))"

    def cast(self, name: str, have: DType, want: DType) -> str:
        """Return a conversion; convert_sat is not used, since drivers differ on NaN."""
        kind = TYPES[want.name]
        if have.is_small_float:
            self._conversions.add(_conversion(WIDEN, have))
            return f"from_{have.name}({name})"
        if want.is_small_float:
            self._conversions.add(_conversion(NARROW, want))
            if have.name == "float64":
                self._conversions.add(ODD)
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
            return f"({kind}){self.extend_sign(f'((long){name} & {(1 << want.bits) - 1})', want)}"
        return f"({kind}){name}"

    def _apply(self, word: str, instr: Instr, names: list[str]) -> str:
        if word in WITH_ITSELF and len(set(names)) == 1:
            if not self.scheduled.code[instr.args[0]].dtype.is_float:
                return WITH_ITSELF[word]
        return super()._apply(word, instr, names)

    def check(self, name: str, index: str, extent: str, axis: str) -> list[str]:
        """Return a check; a slot of the status buffer keeps the first report."""
        original = f"{name} >= 0 ? {name} : {name} - {extent}"
        return [
            f"long {name} = {index};",
            f"if ({name} < 0 || {name} >= {extent}) {{",
            f"    {REPORT.format(original, extent, axis)}",
            f"    {name} = 0;",
            "}",
        ]

    def emit(self) -> Kernel:
        """Return the kernel; work-items beyond the last point do nothing."""
        scheduled = self.scheduled
        outer = [a for a in scheduled.parallel if a != scheduled.lane_axis]
        self.write("long point = get_global_id(0);")
        self.write("if (point >= meta[0]) return;")
        position = len(self.lines)
        if outer:
            self.split_point(outer)
        if scheduled.lane_axis is not None:
            self.loop_in_lanes(Loop(scheduled.lane_axis, scheduled.body, scheduled.lanes))
        else:
            self.write_block(scheduled.body)
        reads = [f"    const long m{j} = meta[{j + 1}];" for j in range(len(self.meta))]
        self.lines[position:position] = reads
        return Kernel(self._assemble(), self.meta, self.points(outer), scheduled.checks)

    def _assemble(self) -> str:
        scheduled = self.scheduled
        params = ["__global const long *meta"]
        if scheduled.checks:
            params += ["volatile __global long *status", "int slot"]
        head = []
        for k, arg in enumerate(scheduled.nest.args):
            kind = "uchar" if arg.dtype.kind == "bool" else TYPES[arg.dtype.name]
            const = "const " if arg.role == "in" else ""
            params += [f"__global {const}{kind} *b{k}", f"long f{k}"]
            head.append(f"    __global {const}{kind} *p{k} = b{k} + f{k};")
        for k, dtype in enumerate(scheduled.nest.scalars):
            params.append(f"{TYPES[dtype.compute] if dtype.is_float else 'long'} x{k}")
        pragma = ""
        if any(i.dtype.name == "float64" for i in scheduled.code):
            pragma = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"
        signature = f"__kernel void k({', '.join(params)})"
        top = f"{pragma}#pragma OPENCL FP_CONTRACT OFF"
        kernel = "\n".join([f"{signature} {{", *head, *self.lines, "}", ""])
        functions = sorted(self._conversions) + [
            text.format(t=kind) for name, text in HELPERS.items()
            for kind in ("float", "double", "ulong") if f"{name}_{kind}(" in kernel]
        return "\n".join([top, *functions, kernel])


def _conversion(text: str, dtype: DType) -> str:
    """Return the function that converts one format."""
    form = float_format(dtype)
    return text.format(
        name=dtype.name, store=TYPES[dtype.name], exponent=dtype.exponent, infinity=INFINITY,
        mantissa=dtype.mantissa, units=1 << dtype.mantissa, rebias=127 - form.bias,
        half=(1 << (form.drop - 1)) - 1,
        unit=(2.0 ** (1 - form.bias - dtype.mantissa)).hex(), **form._asdict())


def emit(scheduled: ScheduledNest) -> Kernel:
    """Return the OpenCL C kernel of a scheduled nest."""
    return OpenCLEmitter(scheduled).emit()
