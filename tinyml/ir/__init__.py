"""What an operation is and what it becomes: records, specs, loop nests, lowering, devices by name."""
