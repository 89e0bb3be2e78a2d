"""The words of the vocabulary in OpenCL C: one text a word."""

from __future__ import annotations

from tinyml.kernels.common.emitter import Words

# One text a word; {t} is the result's type, {n} its number of bits. Where kinds differ, a dict.
WORDS: Words = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "fma": {"float": "fma({0}, {1}, {2})", "int": "{0} * {1} + {2}"},
    "neg": "-{0}",
    "abs": {"float": "fabs({0})", "uint": "{0}", "int": "{0} < 0 ? -{0} : {0}"},
    "floordiv": "{0} / {1} - ({0} % {1} < 0 ? 1 : 0)",
    "mod": "({0} % {1} + {1}) % {1}",
    "square": "{0} * {0}",
    "reciprocal": "({t})1 / {0}",
    "sign": {
        "float": "{0} > 0 ? ({t})1 : {0} < 0 ? ({t})-1 : {0}",
        "uint": "{0} > 0 ? ({t})1 : ({t})0",
        "int": "{0} > 0 ? ({t})1 : {0} < 0 ? ({t})-1 : ({t})0",
    },
    "exp": "exp({0})",
    "log": "log({0})",
    "sqrt": "sqrt({0})",
    "sin": "sin({0})",
    "cos": "cos({0})",
    # PoCL's own falls one unit short of 1 at infinity.
    "tanh": "fabs({0}) > 20 ? copysign(({t})1, {0}) : tanh({0})",
    "erf": "erf({0})",
    "erfc": "erfc({0})",
    "floor": {"float": "floor({0})", "int": "{0}"},
    "pow": "pow({0}, {1})",
    "maximum": {
        "float": "({0} >= {1} || isnan({0})) ? {0} : {1}",
        "int": "{0} >= {1} ? {0} : {1}",
    },
    "minimum": {
        "float": "({0} <= {1} || isnan({0})) ? {0} : {1}",
        "int": "{0} <= {1} ? {0} : {1}",
    },
    "where": "{0} ? {1} : {2}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "isnan": "isnan({0}) != 0",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "rotate": "rotate({0}, {1})",
    "bitwise_left_shift": "((ulong){1} < {n}) ? ({t})({0} << {1}) : ({t})0",
    "bitwise_right_shift": {
        "int": "{0} >> (((ulong){1} < {n}) ? {1} : ({t})({n} - 1))",
        "uint": "((ulong){1} < {n}) ? ({t})({0} >> {1}) : ({t})0",
    },
}
