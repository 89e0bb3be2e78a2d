"""Differentiation of functions: reverse and forward mode, Jacobians, tapes, custom rules."""
