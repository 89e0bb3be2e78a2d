"""State: objects that change, and what a jitted function changes in its arguments."""
