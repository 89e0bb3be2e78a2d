"""How operations make tensors, whose class is defined in a higher layer.

Type checkers read `make.pyi` instead, the only place where a lower layer names the class.
"""

from __future__ import annotations

from typing import Any

from tinyml.core.node import Data as Tensor
from tinyml.core.node import Node
from tinyml.ir.spec import Spec

__all__ = ["Class", "Tensor", "make"]


class Class:
    """The class of tensors that operations make; tinyml.tensor sets it."""

    tensor: Any = Tensor


def make(buf: Any, spec: Spec, node: Node | None = None) -> Any:
    """Return a tensor made of these parts."""
    return Class.tensor(buf, spec, node)
