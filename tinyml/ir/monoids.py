"""The monoids of reductions and scans, written in the vocabulary of the nest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tinyml.dtypes import DType, bool_, int64, integer_range
from tinyml.ir.nest import ZERO, Ids, Monoid, Nest


def least(n: Nest, dtype: DType) -> int:
    """Return the least value of the type as a constant."""
    return n.const(-math.inf if dtype.is_inexact else _range(dtype)[0], dtype)


def greatest(n: Nest, dtype: DType) -> int:
    """Return the greatest value of the type as a constant."""
    return n.const(math.inf if dtype.is_inexact else _range(dtype)[1], dtype)


def _range(dtype: DType) -> tuple[int, int]:
    return (0, 1) if dtype is bool_ else integer_range(dtype)


def _folding(name: str, word: str, start: Callable[[Nest, DType], int], block: int) -> Monoid:
    """Return the monoid of an associative word, which begins with a constant."""

    def join(n: Nest, state: Ids, items: Ids) -> Ids:
        return (n.prim(word, state[0], items[0]),)

    return Monoid(name, lambda n, dtypes: (start(n, dtypes[0]),), join, join, 8, block)


ONE_BLOCK = 1 << 62  # each factor of a product rounds once, whatever the tree
SUM = _folding("sum", "add", lambda n, d: n.const(0, d), 64)
PRODUCT = _folding("product", "mul", lambda n, d: n.const(1, d), ONE_BLOCK)
MAX = _folding("max", "maximum", least, 0)
MIN = _folding("min", "minimum", greatest, 0)
ALL_OF = _folding("all", "logical_and", lambda n, d: n.const(True, d), 0)
ANY_OF = _folding("any", "logical_or", lambda n, d: n.const(False, d), 0)
DOT = Monoid(
    "dot",
    lambda n, dtypes: (n.const(0, dtypes[0]),),
    lambda n, state, items: (n.prim("fma", items[0], items[1], state[0]),),
    lambda n, state, other: (n.prim("add", state[0], other[0]),),
    8, 512,
)


def _affine_step(n: Nest, state: Ids, items: Ids) -> Ids:
    factor, term = items
    return n.prim("mul", factor, state[0]), n.prim("add", n.prim("mul", factor, state[1]), term)


# Maps y -> a y + b, one after the other: the state is (a, b) of all so far; b is what 0 becomes.
# Their order matters, so there is one lane.
AFFINE = Monoid(
    "affine",
    lambda n, dtypes: (n.const(1, dtypes[0]), n.const(0, dtypes[0])),
    _affine_step,
    _affine_step,
)


def _arg_reduction(name: str, other: str, worst: Callable[[Nest, DType], int],
                   absent: bool = False) -> Monoid:
    """Return the monoid of (value, index) that keeps the first best value; NaN beats all.

    The word `other` tells that a value is no better than the best. With `absent`, an index below 0
    marks a value that does not count.
    """

    def combine(n: Nest, state: Ids, items: Ids) -> Ids:
        best, where = state
        value, index = items
        win = n.prim("logical_not", n.prim(other, value, best, dtype=bool_), dtype=bool_)
        if n.code[value].dtype.is_float:  # also if the value is NaN, but not if the best is
            number = n.prim("equal", best, best, dtype=bool_)
            win = n.prim("logical_and", win, number, dtype=bool_)
        empty = n.prim("less", where, ZERO, dtype=bool_)
        win = n.prim("logical_or", win, empty, dtype=bool_)
        if absent:
            real = n.prim("greater_equal", index, ZERO, dtype=bool_)
            win = n.prim("logical_and", win, real, dtype=bool_)
        return n.prim("where", win, value, best), n.prim("where", win, index, where)

    def init(n: Nest, dtypes: Sequence[DType]) -> Ids:
        return worst(n, dtypes[0]), n.const(-1, int64)

    return Monoid(name, init, combine, combine)


ARGMAX = _arg_reduction("argmax", "less_equal", least)
ARGMIN = _arg_reduction("argmin", "greater_equal", greatest)
ARGMAX_OF_SOME = _arg_reduction("argmax of some", "less_equal", least, absent=True)
