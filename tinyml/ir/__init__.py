"""What an operation is and what it becomes: records, specs, loop nests, devices by name."""
