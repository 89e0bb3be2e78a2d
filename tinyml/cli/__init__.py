"""The command line and what it serves: explain, doctor, benchmarks."""
