"""Files: tensors as safetensors, graphs as JSON."""

from typing import TYPE_CHECKING

from tinyml.errors.hints import front
from tinyml.io.safetensors import load, load_numpy, read_metadata, save, write_atomic

__all__ = ["load", "load_numpy", "read_metadata", "save", "write_atomic"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
