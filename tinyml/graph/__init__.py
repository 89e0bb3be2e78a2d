"""Graphs: what a function does to tensors, as equations; control flow whose branches are graphs."""
