"""How devices write the vocabulary's words, and the words written alike in Python and C.

A word has one template, or one for each kind of operand that needs its own; "int" covers the kinds
that are not named. In a template, {0}, {1} and {2} are the operands, {t} is the result's type and
{n} its number of bits.
"""

from __future__ import annotations

Words = dict[str, str | dict[str, str]]

COMMON: Words = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "fma": {"float": "fma({0}, {1}, {2})", "int": "{0} * {1} + {2}"},
    "square": "{0} * {0}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
}
