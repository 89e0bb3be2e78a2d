"""Complex arithmetic in terms of real parts: what a nest writes for a word on complex values.

A nest has three complex words: `complex` joins two parts, `real` and `imag` extract them.
Everything else is written with those, so no device needs complex numbers. Functions (exp, sqrt,
...) are composites of operations on parts, given by the bodies of their records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tinyml.dtypes import DType, bool_

Pair = tuple[int, int]


class Writer(Protocol):
    """The interface of a nest that these words need."""

    code: Any

    def const(self, value: complex, dtype: DType) -> int:
        """Return a constant."""

    def prim(self, word: str, *values: int, dtype: DType | None = None) -> int:
        """Return a word applied to values of one type."""

    def select(self, condition: int, yes: int, no: int) -> int:
        """Return `yes` if the condition holds, else `no`."""


def _add(n: Writer, x: Pair, y: Pair) -> Pair:
    return n.prim("add", x[0], y[0]), n.prim("add", x[1], y[1])


def _sub(n: Writer, x: Pair, y: Pair) -> Pair:
    return n.prim("sub", x[0], y[0]), n.prim("sub", x[1], y[1])


def _mul(n: Writer, x: Pair, y: Pair) -> Pair:
    def product(a: int, b: int) -> int:
        return n.prim("mul", a, b)

    return (n.prim("sub", product(x[0], y[0]), product(x[1], y[1])),
            n.prim("add", product(x[0], y[1]), product(x[1], y[0])))


def _fma(n: Writer, x: Pair, y: Pair, z: Pair) -> Pair:
    return _add(n, _mul(n, x, y), z)


def _div(n: Writer, x: Pair, y: Pair) -> Pair:
    """Divide by Smith's algorithm (CACM 5, 1962), which squares no part, so nothing overflows."""
    sizes = n.prim("abs", y[0]), n.prim("abs", y[1])
    wide = n.prim("greater_equal", *sizes, dtype=bool_)
    great, small = n.select(wide, y[0], y[1]), n.select(wide, y[1], y[0])
    none = n.prim("equal", great, n.const(0, n.code[great].dtype), dtype=bool_)
    ratio = n.select(none, small, n.prim("div", small, great))
    bottom = n.select(none, sizes[0], n.prim("add", great, n.prim("mul", small, ratio)))

    def quotient(word: str, own: int, other: int) -> int:
        """Return (own word other * ratio) / bottom; swapped if the imaginary part is larger."""
        plain = n.prim(word, own, n.prim("mul", other, ratio))
        turned = n.prim(word, n.prim("mul", own, ratio), other)
        return n.prim("div", n.select(wide, plain, turned), bottom)

    return quotient("add", x[0], x[1]), quotient("sub", x[1], x[0])


def _reciprocal(n: Writer, x: Pair) -> Pair:
    dtype = n.code[x[0]].dtype
    return _div(n, (n.const(1, dtype), n.const(0, dtype)), x)


def _equal(n: Writer, x: Pair, y: Pair) -> int:
    same = [n.prim("equal", a, b, dtype=bool_) for a, b in zip(x, y)]
    return n.prim("logical_and", *same, dtype=bool_)


def _either(test: str) -> Callable[[Writer, Pair], int]:
    """Return a function that tests whether either part passes a test."""

    def of(n: Writer, x: Pair) -> int:
        return n.prim("logical_or", *[n.prim(test, v, dtype=bool_) for v in x], dtype=bool_)

    return of


# From parts to parts, and from parts to a bool.
WORDS: dict[str, Callable[..., Pair]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "fma": _fma,
    "div": _div,
    "reciprocal": _reciprocal,
    "neg": lambda n, x: (n.prim("neg", x[0]), n.prim("neg", x[1])),
    "conj": lambda n, x: (x[0], n.prim("neg", x[1])),
    "square": lambda n, x: _mul(n, x, x),
}
TESTS: dict[str, Callable[..., int]] = {
    "equal": _equal,
    "not_equal": lambda n, x, y: n.prim("logical_not", _equal(n, x, y), dtype=bool_),
    "isnan": _either("isnan"),
    "isinf": _either("isinf"),
}
