"""Adapters of special functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinyml.special as special


def _degree(name: str) -> Callable[..., Any]:
    """Return a function of torch's (x, n) that calls SciPy's (n, x)."""
    return lambda x, n: getattr(special, name)(n, x)


# torch's name -> tinyml.special's, where the arguments are the same.
NAMES = {
    "lgamma": "gammaln", "digamma": "psi", "erfinv": "erfinv", "i0": "i0", "igamma": "gammainc",
    "igammac": "gammaincc", "logit": "logit", "xlogy": "xlogy", "special_xlog1py": "xlog1py",
    "special_zeta": "zeta", "special_entr": "entr", "special_erfcx": "erfcx",
    "special_ndtr": "ndtr", "special_ndtri": "ndtri", "special_log_ndtr": "log_ndtr",
    "special_i0e": "i0e", "special_i1": "i1", "special_i1e": "i1e", "special_airy_ai": "airy_ai",
    "special_bessel_j0": "j0", "special_bessel_j1": "j1", "special_bessel_y0": "y0",
    "special_bessel_y1": "y1", "special_modified_bessel_i0": "i0",
    "special_modified_bessel_i1": "i1", "special_modified_bessel_k0": "k0",
    "special_modified_bessel_k1": "k1", "special_scaled_modified_bessel_k0": "k0e",
    "special_scaled_modified_bessel_k1": "k1e", "special_spherical_bessel_j0": "spherical_j0",
}
POLYNOMIALS = {
    **{f"{kind}chebyshev_polynomial_{letter}": f"eval_{short}cheby{letter}"
       for kind, short in (("", ""), ("shifted_", "sh_")) for letter in "tuvw"},
    "hermite_polynomial_h": "eval_hermite", "hermite_polynomial_he": "eval_hermitenorm",
    "laguerre_polynomial_l": "eval_laguerre", "legendre_polynomial_p": "eval_legendre",
}

TABLE: dict[str, Callable[..., Any]] = {
    **{theirs: getattr(special, ours) for theirs, ours in NAMES.items()},
    **{f"special_{theirs}": _degree(ours) for theirs, ours in POLYNOMIALS.items()},
    **{f"polygamma_polygamma_n_{k}": lambda x, n: special.polygamma(n, x) for k in range(5)},
    "special_polygamma_special_polygamma_n_0": lambda x, n: special.polygamma(n, x),
    **{f"mvlgamma_mvlgamma_p_{p}": lambda x, p: special.multigammaln(x, p) for p in (1, 3, 5)},
}
