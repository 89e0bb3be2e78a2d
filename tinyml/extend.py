"""The one supported import for plugins, and for records of tinyml's own outside `tinyml.ops`.

`__all__` is the whole interface; docs/extend.md explains each name by an example that runs.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinyml.core.apply import apply, apply_many
from tinyml.errors import expect
from tinyml.errors.hints import front as _front
from tinyml.ir.devices import Call, Plan, kernel
from tinyml.ir.nest import Ids, Monoid, Nest
from tinyml.ir.op import Op, define
from tinyml.ir.spec import Spec
from tinyml.ops.arguments import with_shape
from tinyml.ops.elementwise.define import Operand, elementwise
from tinyml.ops.samples.values import ErrorCase, Sample

__all__ = ["Call", "ErrorCase", "Ids", "Monoid", "Nest", "Op", "Operand", "Plan", "Sample", "Spec",
           "apply", "apply_many", "define", "elementwise", "expect", "kernel", "with_shape"]

if not _TYPE_CHECKING:
    __getattr__, __dir__ = _front(__name__)
