"""Files: tensors as safetensors, graphs as JSON."""

from tinyml.io.safetensors import load, load_numpy, read_metadata, save, write_atomic

__all__ = ["load", "load_numpy", "read_metadata", "save", "write_atomic"]
