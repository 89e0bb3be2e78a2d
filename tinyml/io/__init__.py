"""Files: tensors as safetensors, graphs as JSON."""

from tinyml.io.safetensors import load, save

__all__ = ["load", "save"]
