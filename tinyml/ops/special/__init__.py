"""Special functions: errors, gamma, Bessel, polynomials."""
