"""Differentiation of functions: reverse and forward mode, Jacobians, tapes, checkpoints, rules of one's own."""
