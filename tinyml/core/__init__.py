"""The path that every operation takes: apply, plans, nodes and the pullback along them."""
