"""The names that kernel sources use, as Numba knows them; imported only to compile a kernel."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np


def numba_type(text: str) -> Any:
    """'*float32' is a typed pointer, 'float64' a number."""
    from numba import types

    pointer: Any = types.CPointer
    plain = getattr(types, text.lstrip("*"))
    return pointer(plain) if text.startswith("*") else plain


def _fma() -> Any:
    """One rounding for x*y + z where the processor has the instruction."""
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


@contextlib.contextmanager
def superword_vectorisation() -> Iterator[None]:
    """LLVM's SLP pass on for one compilation: it turns unrolled lanes into vectors."""
    import numba

    config: Any = numba.config
    before = config.SLP_VECTORIZE
    config.SLP_VECTORIZE = 1
    try:
        yield
    finally:
        config.SLP_VECTORIZE = before


NAMES: dict[str, Any] = {
    "math": math,
    "np": np,
    "inf": math.inf,
    "nan": math.nan,
    "fma": _fma(),
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
}
