"""How operations make tensors, whose one class stands on a higher floor.

Type checkers read `make.pyi` instead: that is the one place where a lower floor names the class.
"""

from __future__ import annotations

from typing import Any

from tinyml.core.node import Data as Tensor
from tinyml.core.node import Node
from tinyml.ir.spec import Spec

__all__ = ["Class", "Tensor", "make"]


class Class:
    """The class of tensors that operations make; tinyml.tensor enters it here."""

    tensor: Any = Tensor


def make(buf: Any, spec: Spec, node: Node | None = None) -> Any:
    """Return a tensor of these parts."""
    return Class.tensor(buf, spec, node)
