"""What every device's kernels share: scheduling, the walk of an emitter, the cache on disk."""
