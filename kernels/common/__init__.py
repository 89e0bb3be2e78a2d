"""What every device's kernels share: scheduling, emitting source, memory, the disk cache."""
