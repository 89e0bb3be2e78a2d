"""The one supported door for plugins: records, kernels and nests of your own.

What stands in `__all__` is the whole interface; docs/extend.md explains each name by an example.
tinyml's own records outside tinyml/ops come in by this door too.
"""

from tinyml.core.apply import apply, apply_many
from tinyml.errors import expect
from tinyml.ir.devices import Call, Plan, kernel
from tinyml.ir.nest import Ids, Monoid, Nest
from tinyml.ir.op import Op, define, find
from tinyml.ir.spec import Spec, make_spec
from tinyml.ops.arguments import with_shape
from tinyml.ops.elementwise.define import elementwise
from tinyml.ops.samples.values import ErrorCase, Sample

__all__ = ["Call", "ErrorCase", "Ids", "Monoid", "Nest", "Op", "Plan", "Sample", "Spec", "apply",
           "apply_many", "define", "elementwise", "expect", "find", "kernel", "make_spec",
           "with_shape"]
