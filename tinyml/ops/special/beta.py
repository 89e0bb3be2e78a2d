"""The beta function and its logarithm, without the cancellation of three great logarithms."""

from __future__ import annotations

import math
from typing import Any

import tinyml.ops.samples as samples
from tinyml.core.make import Tensor
from tinyml.ops.elementwise import exp, log, log1p, maximum, minimum, where
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.rounding import rounded_once
from tinyml.ops.special.error import as_tensors
from tinyml.ops.special.gamma import HALF_LOG_TAU, gammaln, psi, stirling_rest

__all__ = ["beta", "betaln"]

GREAT = 8.0  # from here on Stirling's series is exact in every type


def _betaln(a: Any, b: Any) -> Tensor:
    """Return log |B(a, b)|; for a great operand by Stirling's formula (DLMF 5.11.1).

    There the great terms of the three logarithms are subtracted on paper (DiDonato, Morris 1992).
    """
    low, high = minimum(a, b), maximum(a, b)
    far = (low > 0) & (high >= GREAT) & (high < math.inf)
    p, q = where(far, low, 1.0), where(far, high, GREAT)
    great = where(p < GREAT, GREAT, p)
    ratio = p / q
    rest = stirling_rest(q) - stirling_rest(p + q)
    one = gammaln(p) + p - (q - 0.5) * log1p(ratio) - p * log(p + q) + rest
    both = (HALF_LOG_TAU + stirling_rest(great) + rest - log(great) * 0.5
            - great * log1p(q / great) - (q - 0.5) * log1p(ratio))
    a, b = where(far, 1.0, a), where(far, 1.0, b)
    near = gammaln(a) + gammaln(b) - gammaln(a + b)
    near = where((low > 0) & (high == math.inf), -math.inf, near)
    return where(far, where(p < GREAT, one, both), near)


STEPS = 10  # terms of the sum before its tail
# B_2k / 2k, the coefficients of psi's asymptotic series (DLMF 5.11.2).
TAIL = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)


def _psi_step(a: Any, b: Any) -> Tensor:
    """Return the sum over k >= 0 of b / ((a + k) (a + b + k)) (DLMF 5.7.6), all of one sign.

    Its tail is the difference of two asymptotic series, divided by their arguments' difference.
    """
    inside = (a > 0) & (b > 0) & (b < math.inf)
    x, y = where(inside, a, 1.0), where(inside, b, 1.0)
    total: Any = 0.0
    for k in range(STEPS):
        total = y / (x + float(k)) / (x + y + float(k)) + total
    start, end = x + float(STEPS), x + y + float(STEPS)
    u, v = 1.0 / (start * start), 1.0 / (end * end)
    rest: Any = 0.0  # the sum over k of TAIL[k - 1] (u^k - v^k) / (u - v)
    powers: Any = 1.0
    for k, c in enumerate(TAIL):
        rest = powers * c + rest
        powers = powers * u + v ** (k + 1)
    apart = y / start / end
    tail = log1p(y / start) + apart * 0.5 + apart * ((start + end) / start / end) * rest
    return where(inside, total + tail, psi(a + b) - psi(a))


_SAMPLES = samples.binary(0.3, 20.0, second=(0.2, 30.0), hard=False, rich=("float64",))


@elementwise("float", ulp=32, samples=_SAMPLES)
def psi_step(a: Operand, b: Operand, /) -> Tensor:
    """Return psi(a + b) - psi(a), for positive a and b without cancellation."""
    return _psi_step(*as_tensors(a, b))


@elementwise("float", ulp=32, samples=_SAMPLES,
             grad=(lambda g, _y, a, b: -(g * psi_step(a, b)),
                   lambda g, _y, a, b: -(g * psi_step(b, a))))
def betaln(a: Operand, b: Operand, /) -> Tensor:
    """Return log |B(a, b)|, where B(a, b) = gamma(a) gamma(b) / gamma(a + b)."""
    return _betaln(*as_tensors(a, b))


@rounded_once
def beta(a: Operand, b: Operand) -> Tensor:
    """Return B(a, b) = gamma(a) gamma(b) / gamma(a + b) for a, b > 0, elementwise.

    >>> import tinyml
    >>> round(tinyml.special.beta(tinyml.tensor(2.0), 3.0).item(), 5)
    0.08333
    """
    return exp(betaln(a, b))
