"""Types of make.py: the class of tensors by its own name."""

from typing import TYPE_CHECKING, Any

from tinyml.core.node import Node
from tinyml.ir.spec import Spec

if TYPE_CHECKING:  # mypy follows this import last, and so knows the functions that methods are
    from tinyml.tensor import Tensor as Tensor

class Class:
    tensor: Any

def make(buf: Any, spec: Spec, node: Node | None = None) -> Tensor: ...
