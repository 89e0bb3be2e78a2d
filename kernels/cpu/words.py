"""The words of the vocabulary in Numba's Python: one text a word."""

from __future__ import annotations

from tinyml.kernels.common.emitter import Words

# One text a word; {t} is the result's type, {n} its number of bits. Where kinds differ, a dict.
WORDS: Words = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "fma": {"float": "fma({0}, {1}, {2})", "int": "{0} * {1} + {2}"},
    "neg": {"float": "-{0}", "int": "{t}(0) - {0}"},
    "abs": {"float": "abs({0})", "int": "{0} if {0} >= {t}(0) else {t}(0) - {0}"},
    "floordiv": "{0} // {1}",
    "mod": "{0} % {1}",
    "square": "{0} * {0}",
    "reciprocal": "{t}(1) / {0}",
    "sign": {
        "float": "{t}(1) if {0} > 0 else {t}(-1) if {0} < 0 else {0}",
        "uint": "{t}(1) if {0} > 0 else {t}(0)",
        "int": "{t}(1) if {0} > 0 else {t}(-1) if {0} < 0 else {t}(0)",
    },
    "exp": "exp_{t}({0})",
    "log": "log_{t}({0})",
    "sqrt": "sqrt({0})",
    "sin": "sin_{t}({0})",
    "cos": "cos_{t}({0})",
    "tanh": "tanh_{t}({0})",
    "erf": "erf_{t}({0})",
    "erfc": "erfc_{t}({0})",
    "floor": {"float": "np.floor({0})", "int": "{0}"},
    "pow": "pow_{t}({0}, {1})",
    "maximum": {
        "float": "{0} if ({0} >= {1}) | ({0} != {0}) else {1}",
        "int": "{0} if {0} >= {1} else {1}",
    },
    "minimum": {
        "float": "{0} if ({0} <= {1}) | ({0} != {0}) else {1}",
        "int": "{0} if {0} <= {1} else {1}",
    },
    "where": {"int": "select({0}, {1}, {2})", "float": "select({0}, {1}, {2})",
              "bool": "{1} if {0} else {2}"},
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "isnan": "{0} != {0}",
    "logical_and": "{0} & {1}",
    "logical_or": "{0} | {1}",
    "logical_not": "not {0}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "rotate": "({0} << {1}) | ({0} >> ({t}({n}) - {1}))",
    "bitwise_left_shift":
        "({0} << {1}) if (i64({1}) >= i64(0)) & (i64({1}) < i64({n})) else {t}(0)",
    "bitwise_right_shift": {
        "int": "{0} >> ({1} if (i64({1}) >= i64(0)) & (i64({1}) < i64({n})) else {t}({n} - 1))",
        "uint": "({0} >> {1}) if {1} < {t}({n}) else {t}(0)",
    },
    "real": "{0}.real",
    "imag": "{0}.imag",
    "complex": "complex({0}, {1})",
}
