"""Differentiation of functions: reverse, forward, Jacobians, tapes, rules of one's own."""
