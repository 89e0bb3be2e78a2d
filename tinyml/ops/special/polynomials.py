"""Orthogonal polynomials whose degrees are data, by three-term recurrences (DLMF 18.9).

p_{k+1} = (a x + b) p_k - c p_{k-1}, from p_0 = 1: one sequential loop over k, up to the greatest
degree, in which each point stops at its own degree. Derivatives are polynomials of the same
families.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinyml.ops.samples as samples
from tinyml.core.apply import apply
from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.dtypes import FLOATS, bool_, float32
from tinyml.errors import ArgumentError, OutOfRangeError, expect
from tinyml.ir.nest import Ids, Monoid, Nest
from tinyml.ir.op import Op, define
from tinyml.ops.arguments import as_number, as_size, element
from tinyml.ops.elementwise import astype, isnan, where
from tinyml.ops.elementwise.define import Operand, operand_dtype, shape_of
from tinyml.ops.rounding import rounded_once
from tinyml.ops.samples import ErrorCase, Sample, error_cases
from tinyml.ops.special.error import in_wide, infer
from tinyml.ops.views import zeros_of

__all__ = ["eval_chebyt", "eval_chebyu", "eval_chebyv", "eval_chebyw", "eval_hermite",
           "eval_hermitenorm", "eval_laguerre", "eval_legendre", "eval_sh_chebyt",
           "eval_sh_chebyu", "eval_sh_chebyv", "eval_sh_chebyw"]

GREATEST = 1 << 16  # the greatest degree, and so the most steps of one loop

Linear = tuple[float, float]  # the value at k is first + second * k


class Family(NamedTuple):
    """A recurrence: a, b, c over `divisor`, and p_1 = first[0] x + first[1]."""

    a: Linear
    b: Linear
    c: Linear
    divisor: Linear
    first: Linear


_ONE, _NONE = (1.0, 0.0), (0.0, 0.0)
_CHEBYSHEV = ((2.0, 0.0), _NONE, _ONE, _ONE)
# From name to a function of the parameter: Gegenbauer's lambda (DLMF 18.3), Laguerre's alpha.
FAMILIES: dict[str, Callable[[float], Family]] = {
    "chebyt": lambda _: Family(*_CHEBYSHEV, first=(1.0, 0.0)),
    "chebyv": lambda _: Family(*_CHEBYSHEV, first=(2.0, -1.0)),
    "chebyw": lambda _: Family(*_CHEBYSHEV, first=(2.0, 1.0)),
    "gegenbauer": lambda p: Family((2 * p, 2.0), _NONE, (2 * p - 1, 1.0), (1.0, 1.0),
                                   first=(2 * p, 0.0)),
    "hermite": lambda _: Family((2.0, 0.0), _NONE, (0.0, 2.0), _ONE, first=(2.0, 0.0)),
    "hermitenorm": lambda _: Family(_ONE, _NONE, (0.0, 1.0), _ONE, first=(1.0, 0.0)),
    "laguerre": lambda p: Family((-1.0, 0.0), (p + 1, 2.0), (p, 1.0), (1.0, 1.0),
                                 first=(-1.0, p + 1)),
}


def _step(n: Nest, state: tuple[int, ...], items: tuple[int, ...]) -> tuple[int, ...]:
    """Return the next polynomial while k is below the degree; once infinite, it stays so."""
    now, before = state
    slope, back, go = items
    dtype = n.code[now].dtype
    finite = n.prim("less", n.prim("abs", now), n.const(float("inf"), dtype), dtype=bool_)
    rest = n.prim("where", finite, n.prim("mul", back, before), n.const(0, dtype))
    following = n.prim("sub", n.prim("mul", slope, now), rest)
    return n.prim("where", go, following, now), n.prim("where", go, now, before)


THREE_TERMS = Monoid("three terms", lambda n, d: (n.const(1, d[0]), n.const(0, d[0])), _step, _step)


def _nest(n: Nest, index: Ids, x: Any, degree: Any, *, family: str, parameter: float,
          most: int) -> int:
    row = FAMILIES[family](parameter)
    dtype = in_wide(operand_dtype("float", (x, degree)))
    x, degree = element(n, x, index, dtype), element(n, degree, index, dtype)
    zero = n.const(0, dtype)

    def at(k: int, pair: Linear) -> int:
        """Return a coefficient of the recurrence at k."""
        start = n.const(pair[0], dtype)
        return start if not pair[1] else n.prim(
            "add", start, n.prim("mul", n.const(pair[1], dtype), k))

    below = n.prim("less", degree, zero, dtype=bool_)
    size = n.prim("floor", n.prim("abs", degree))
    axis = n.over(index, (most,))
    k = n.cast(axis[0], dtype)
    begins = n.prim("equal", k, zero, dtype=bool_)
    divisor = at(k, row.divisor)
    slope = n.prim("add", n.prim("mul", at(k, row.a), x), at(k, row.b))
    first = n.prim("add", n.prim("mul", n.const(row.first[0], dtype), x),
                   n.const(row.first[1], dtype))
    slope = n.prim("where", begins, first, n.prim("div", slope, divisor))
    back = n.prim("div", at(k, row.c), divisor)
    go = n.prim("less", k, size, dtype=bool_)
    y = n.reduce(THREE_TERMS, axis, slope, back, go)[0]
    none = n.prim("logical_and", below, n.prim("greater", size, zero, dtype=bool_), dtype=bool_)
    y = n.prim("where", none, zero, y)
    known = n.prim("less_equal", size, n.const(most, dtype), dtype=bool_)
    return n.prim("where", known, y, n.const(float("nan"), dtype))


def _normalize(*_: Any, family: str, parameter: Any = 0.0, most: Any) -> dict[str, Any]:
    expect(family in FAMILIES, f"a family among {', '.join(FAMILIES)}", family, ArgumentError)
    count = as_size(most, "most")
    expect(0 < count <= GREATEST, f"degrees up to {GREATEST}", count, OutOfRangeError)
    return {"family": family, "parameter": float(as_number(parameter, "parameter")), "most": count}


def _slope(g: Any, _y: Any, x: Any, n: Any, family: str, parameter: float, most: int) -> Any:
    """Return g times the derivative in x (DLMF 18.9.19, 18.9.21, 18.9.23, 18.9.25, 18.9.27)."""

    def other(kind: str, value: float, less: int = 1) -> Any:
        return apply(POLYNOMIAL, x, n - less, family=kind, parameter=value, most=most)

    if family in ("hermite", "hermitenorm"):
        return g * n * other(family, 0.0) * (2.0 if family == "hermite" else 1.0)
    if family == "laguerre":
        return -g * other(family, parameter + 1)
    if family == "gegenbauer":
        return g * other(family, parameter + 1) * (2 * parameter)
    if family == "chebyt":
        return g * n * other("gegenbauer", 1.0)
    sign = -1.0 if family == "chebyv" else 1.0
    return g * (other("gegenbauer", 2.0) + other("gegenbauer", 2.0, 2) * sign) * 2.0


def _samples(dtype: str) -> list[Sample]:
    degrees = np.array([0, 1, 2, 3, 5, 8, -1])
    cases = []
    wide = dtype in ("float32", "float64")
    for family in FAMILIES if wide else ("chebyt", "laguerre"):
        attrs = {"family": family, "parameter": 0.5 if family == "gegenbauer" else 0.0, "most": 8}
        cases.append(Sample((samples.spread(dtype, (7,), -1.5, 1.5), degrees), attrs, family, True))
        if dtype != "float64":
            continue
        hard = samples.spread(dtype, (3, 1), -0.9, 0.9)
        hard[0] = np.nan
        cases.append(Sample((hard, degrees), attrs, f"{family} at every degree"))
    ends = np.array([np.inf, -np.inf, 1.0, -1.0, 0.0, -0.0, np.nan], dtype)
    cases.append(Sample((ends, np.full(7, 4)), {**attrs, "most": 4}, "special"))
    cases.append(Sample((ends[:0], degrees[:0]), attrs, "empty"))
    return cases


POLYNOMIAL: Op = define(
    "polynomial", lambda x, n, family, parameter, most: infer(x, n), normalize=_normalize,
    nest=_nest,
    promote=lambda *specs: (shape_of(specs), operand_dtype("float", specs)),
    grad=(_slope, None), samples=_samples, dtypes=FLOATS, ulp=64,
    errors=error_cases(
        ErrorCase(([1.0], [2]), {"family": "chebyt", "most": 0}, OutOfRangeError, "degrees up to"),
        ErrorCase(([1.0], [2]), {"family": "bessel", "most": 3}, ArgumentError, "a family among")),
    doc="An orthogonal polynomial of degree n, by its recurrence; 0 for n < 0, NaN for "
        "n > most.",
)


def _greatest(n: Any) -> Any:
    """Return the greatest degree that is not NaN; 0 if there is none."""
    if not n.size:
        return 0
    known = where(isnan(n), 0, n) if n.dtype.is_float else n
    return known.max().item()


def _polynomial(family: str, parameter: float, n: Any, x: Any, most: int | None) -> Tensor:
    if not isinstance(x, Data) and isinstance(n, Data):
        x = zeros_of(n if n.spec.dtype.is_float else astype(n, float32)) + x
    if most is None:
        top = _greatest(n) if isinstance(n, Data) else n
        expect(top <= GREATEST, f"degrees up to {GREATEST}", top, OutOfRangeError)
        most = 8
        while most < top:
            most *= 2
    return apply(POLYNOMIAL, x, n, family=family, parameter=parameter, most=most)


def _evaluator(name: str, family: str, parameter: float, shifted: bool,
               polynomial: str) -> Callable[..., Tensor]:
    """Return the public function of a family, evaluated at 2x - 1 instead of x if shifted."""

    def function(n: Operand, x: Operand, most: int | None = None) -> Tensor:
        return at_shifted(n, x, most) if shifted else _polynomial(family, parameter, n, x, most)

    @rounded_once
    def at_shifted(n: Operand, x: Operand, most: int | None) -> Tensor:
        return _polynomial(family, parameter, n, x + x - 1.0, most)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Return {polynomial} of degree n at x, elementwise; n and x broadcast.

    n holds integers (fractions are dropped); below 0 the polynomial is 0. Without `most`, the
    greatest degree is read from n, which has no content yet inside jit; with it, nothing is read,
    and the result is NaN where n is greater. Raises OutOfRangeError for degrees beyond {GREATEST}.
    """
    return named_in_errors(function)


eval_chebyt = _evaluator("eval_chebyt", "chebyt", 0.0, False, "Chebyshev's polynomial T")
eval_chebyu = _evaluator("eval_chebyu", "gegenbauer", 1.0, False, "Chebyshev's polynomial U")
eval_chebyv = _evaluator("eval_chebyv", "chebyv", 0.0, False, "Chebyshev's polynomial V")
eval_chebyw = _evaluator("eval_chebyw", "chebyw", 0.0, False, "Chebyshev's polynomial W")
eval_sh_chebyt = _evaluator("eval_sh_chebyt", "chebyt", 0.0, True, "T(2x - 1)")
eval_sh_chebyu = _evaluator("eval_sh_chebyu", "gegenbauer", 1.0, True, "U(2x - 1)")
eval_sh_chebyv = _evaluator("eval_sh_chebyv", "chebyv", 0.0, True, "V(2x - 1)")
eval_sh_chebyw = _evaluator("eval_sh_chebyw", "chebyw", 0.0, True, "W(2x - 1)")
eval_hermite = _evaluator("eval_hermite", "hermite", 0.0, False, "Hermite's polynomial H")
eval_hermitenorm = _evaluator("eval_hermitenorm", "hermitenorm", 0.0, False,
                              "Hermite's polynomial He")
eval_laguerre = _evaluator("eval_laguerre", "laguerre", 0.0, False, "Laguerre's polynomial L")
eval_legendre = _evaluator("eval_legendre", "gegenbauer", 0.5, False, "Legendre's polynomial P")
