"""The one path of every operation: apply, plans, nodes and the pullback along them."""
