"""The front of the elementwise operations: every function of their tables under one name.

Types for checkers and editors stand in `elementwise.pyi`, which is derived from the rows.
"""

from __future__ import annotations

import tinyml.dtypes as dtypes
import tinyml.ops.elementwise.activation as activations
import tinyml.ops.elementwise.arithmetic as arithmetic
import tinyml.ops.elementwise.comparison as comparisons
import tinyml.ops.elementwise.conversion as conversion
import tinyml.ops.elementwise.define as rows
import tinyml.ops.elementwise.transcendental as functions

TABLES = (conversion, arithmetic, functions, comparisons, activations)

# What other rooms take from here beside the functions, and where it stands.
PASSED_ON = {
    **dict.fromkeys(("FLOATS", "INTEGERS"), dtypes),
    **dict.fromkeys(("ALL", "KINDS", "NUMBERS", "Operand", "device_of", "elementwise", "meet",
                     "operand_dtype", "row", "shape_of"), rows),
    **dict.fromkeys(("CAST", "COPY", "WHERE", "astype"), conversion),
}

globals().update({name: getattr(home, name) for name, home in PASSED_ON.items()})
globals().update(rows.FUNCTIONS)
from tinyml.ops.elementwise.activation import gelu, relu, sigmoid  # noqa: E402, F401

__all__ = sorted([*rows.FUNCTIONS, 'relu', 'sigmoid', 'gelu'])
