"""The words of the vocabulary in Numba's Python: one template per word."""

from __future__ import annotations

from tinyml.kernels.common.words import COMMON, Words

# Functions of one or two operands that are called by the word's own name.
CALLED = ("exp log sin cos tanh erf erfc acos asin atan sinh cosh tan acosh asinh atanh log1p "
          "expm1 log2 log10 exp2 logb").split()
CALLED2 = ("atan2", "hypot", "nextafter", "ldexp")

WORDS: Words = {
    **COMMON,
    **{name: f"{name}_{{t}}({{0}})" for name in CALLED},
    **{name: f"{name}_{{t}}({{0}}, {{1}})" for name in CALLED2},
    "neg": {"float": "-{0}", "int": "{t}(0) - {0}"},
    "abs": {"float": "abs({0})", "int": "{0} if {0} >= {t}(0) else {t}(0) - {0}"},
    "floordiv": "{0} // {1}",
    "mod": "{0} % {1}",
    "reciprocal": "{t}(1) / {0}",
    "sign": {
        "float": "{t}(1) if {0} > 0 else {t}(-1) if {0} < 0 else {0} + {t}(0)",
        "uint": "{t}(1) if {0} > 0 else {t}(0)",
        "int": "{t}(1) if {0} > 0 else {t}(-1) if {0} < 0 else {t}(0)",
    },
    "sqrt": "sqrt({0})",
    "floor": {"float": "np.floor({0})", "int": "{0}"},
    "ceil": {"float": "np.ceil({0})", "int": "{0}"},
    "trunc": {"float": "np.trunc({0})", "int": "{0}"},
    "round": {"float": "np.rint({0})", "int": "{0}"},
    "copysign": "signed_{t}({0}, {1})",
    "signbit": "bits({0}) < 0",
    "pow": {
        "float": "pow_{t}({0}, {1})",
        "uint": "power_u64(u64({0}), u64({1}))",
        "int": "{t}(power_u64(u64({0}), u64({1}))) if {1} >= {t}(0) else {t}(1) if {0} == {t}(1) "
               "else {t}(1) - ({1} & {t}(1)) * {t}(2) if {0} == {t}(-1) else {t}(0)",
    },
    "gcd": {
        "uint": "gcd_u64(u64({0}), u64({1}))",
        "int": "gcd_u64(u64(i64({0}) if {0} >= 0 else -i64({0})), "
               "u64(i64({1}) if {1} >= 0 else -i64({1})))",
    },
    "floor_divide": {
        "float": "floor_divide_{t}({0}, {1})",
        "uint": "{t}(0) if {1} == {t}(0) else {0} // {1}",
        "int": "{t}(0) if {1} == {t}(0) else "
               "({t}(0) - {0}) if {1} == {t}(-1) else {0} // {1}",
    },
    "remainder": {
        "float": "remainder_{t}({0}, {1})",
        "uint": "{t}(0) if {1} == {t}(0) else {0} % {1}",
        "int": "{t}(0) if ({1} == {t}(0)) | ({1} == {t}(-1)) else {0} % {1}",
    },
    "fmod": {
        "float": "fmod_{t}({0}, {1})",
        "uint": "{t}(0) if {1} == {t}(0) else {0} % {1}",
        "int": "{t}(0) if ({1} == {t}(0)) | ({1} == {t}(-1)) else {0} % {1} - "
               "({1} if ({0} % {1} != {t}(0)) & (({0} < {t}(0)) != ({1} < {t}(0))) else {t}(0))",
    },
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
    "isnan": "{0} != {0}",
    "logical_and": "{0} & {1}",
    "logical_or": "{0} | {1}",
    "logical_not": "not {0}",
    "bitwise_invert": {"bool": "not {0}", "int": "~{0}"},
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
