"""What an operation is and what it becomes: records, specs, loop nests, the table of devices."""
