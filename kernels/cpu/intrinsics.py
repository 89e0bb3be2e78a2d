"""The names that kernel sources use, for Numba; imported only to compile a kernel."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def numba_type(text: str) -> Any:
    """Return a type of Numba: '*float32' is a typed pointer, 'float64' a number."""
    from numba import types

    pointer: Any = types.CPointer
    plain = getattr(types, text.lstrip("*"))
    return pointer(plain) if text.startswith("*") else plain


def _fma() -> Any:
    """Return fma: x*y + z with one rounding, where the processor has the instruction."""
    import llvmlite.binding as llvm
    from numba.extending import intrinsic

    features = llvm.get_host_cpu_features()
    fused = bool(features.get("fma")) or "aarch64" in llvm.get_default_triple()

    @intrinsic
    def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if fused:
                return builder.fma(*args)
            return builder.fadd(builder.fmul(args[0], args[1]), args[2])

        return x(x, x, x), generate

    return fma


def _bits() -> Any:
    """Return bits: those of a float as an integer of its width, or of an integer as a float."""
    from numba import types
    from numba.extending import intrinsic

    pairs = ((types.float32, types.int32), (types.float64, types.int64))
    other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}

    @intrinsic
    def bits(context: Any, x: Any) -> Any:
        result = other[x]

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(result))

        return result(x), generate

    return bits


def _half() -> Any:
    """Return half: a float32 as the bits of the nearest float16; None without an instruction."""
    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    native = llvm.get_host_cpu_features().get("f16c")
    if not native and "aarch64" not in llvm.get_default_triple():
        return None

    @intrinsic
    def half(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

        return types.uint16(types.float32), generate

    return half


def _select() -> Any:
    """Return select: x where a condition holds, else y, without a branch."""
    from numba.extending import intrinsic

    @intrinsic
    def select(context: Any, condition: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.select(*args)

        return x(condition, x, x), generate

    return select


def _sqrt() -> Any:
    """Return sqrt: one instruction, correctly rounded, NaN below 0; errno is not set."""
    from numba.extending import intrinsic

    @intrinsic
    def sqrt(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = args[0].type
            return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [kind]), args)

        return x(x), generate

    return sqrt


def _array() -> Any:
    """Return array: array(f32(0), 64) is room for 64 float32 on the stack."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    unliteral: Any = types.unliteral
    pointer: Any = types.CPointer
    allocate: Any = cgutils.alloca_once

    @intrinsic(prefer_literal=True)
    def array(context: Any, like: Any, count: Any) -> Any:
        plain = unliteral(like)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            item = context.get_value_type(plain)
            room = allocate(builder, ir.ArrayType(item, count.literal_value))
            room.align = 64
            return builder.bitcast(room, item.as_pointer())

        return pointer(plain)(like, count), generate

    return array


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that is inlined into the loops of kernels."""
    from numba import njit

    made: Callable[..., Any] = njit(error_model="numpy", forceinline=True)(function)
    return made


ARGUMENTS = {"f32": "float32", "f64": "float64", "u8": "uint8", "u16": "uint16", "u64": "uint64"}


def compile_called(source: str, functions: dict[str, Any]) -> None:
    """Compile the inlined functions that a source calls, without `superword_vectorisation`.

    Vectors of two that LLVM finds within a call would keep it from vectorising the loop around.
    """
    for name in set(re.findall(r"\b\w+(?=\()", source)) & functions.keys():
        function = functions[name]
        dtype = numba_type(ARGUMENTS[name.rpartition("_")[2]])
        function.compile((dtype,) * function.py_func.__code__.co_argcount)


def libm(name: str, arity: int = 1) -> Callable[..., Any]:
    """Return a function of the C library, on one element; for float32, `name` gets an f."""
    from llvmlite import ir
    from numba.core import cgutils
    from numba.extending import intrinsic

    declare: Any = cgutils.get_or_insert_function

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        symbol = name if isinstance(kind, ir.DoubleType) else f"{name}f"
        shape = ir.FunctionType(kind, [kind] * len(args))
        return builder.call(declare(builder.module, shape, symbol), args)

    @intrinsic
    def one(context: Any, x: Any) -> Any:
        return x(x), generate

    @intrinsic
    def two(context: Any, x: Any, y: Any) -> Any:
        return x(x, x), generate

    call: Any = one if arity == 1 else two
    return inlined((lambda x: call(x)) if arity == 1 else lambda x, y: call(x, y))


fma: Any = _fma()
bits: Any = _bits()
select: Any = _select()
half: Any = _half()


@contextlib.contextmanager
def superword_vectorisation() -> Iterator[None]:
    """Turn on LLVM's SLP pass for one compilation: it makes vectors of unrolled lanes."""
    import numba

    config: Any = numba.config
    before = config.SLP_VECTORIZE
    try:
        config.SLP_VECTORIZE = 1
        yield
    finally:
        config.SLP_VECTORIZE = before


NAMES: dict[str, Any] = {
    "math": math,
    "np": np,
    "inf": math.inf,
    "nan": math.nan,
    "fma": fma,
    "select": select,
    "bits": bits,
    "array": _array(),
    "sqrt": _sqrt(),
    "b1": np.bool_,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "u8": np.uint8,
    "u16": np.uint16,
    "u32": np.uint32,
    "u64": np.uint64,
    "f32": np.float32,
    "f64": np.float64,
    "c64": np.complex64,
    "c128": np.complex128,
}
