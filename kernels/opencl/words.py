"""The words of the vocabulary in OpenCL C: one template per word."""

from __future__ import annotations

from tinyml.kernels.common.words import COMMON, Words

# Built-in functions of one or two operands, called by the word's own name.
CALLED = ("exp log sqrt sin cos erf erfc acos asin atan sinh cosh tan acosh asinh atanh "
          "expm1 log2 log10 exp2 logb").split()
CALLED2 = ("atan2", "hypot", "nextafter", "copysign")

# Functions that a kernel's source includes if it calls them.
HELPERS = {
    "remainder": """\
{t} remainder_{t}({t} x, {t} y) {{
    {t} rest = fmod(x, y);
    if (rest == 0) return copysign(rest, y);
    return (rest < 0) != (y < 0) ? rest + y : rest;
}}
""",
    "floor_divide": """\
{t} floor_divide_{t}({t} x, {t} y) {{
    {t} rest = fmod(x, y), quotient = x / y;
    if (y == 0 || isinf(x) || isinf(y)) return quotient;
    {t} whole = rint((x - rest) / y - (rest != 0 && (rest < 0) != (y < 0) ? 1 : 0));
    return whole == 0 ? quotient * 0 : whole;
}}
""",
    "power": """\
{t} power_{t}({t} x, {t} n) {{
    {t} y = 1;
    for (; n != 0; n >>= 1, x *= x) if (n & 1) y *= x;
    return y;
}}
""",
    "gcd": """\
{t} gcd_{t}({t} x, {t} y) {{
    while (y != 0) {{ {t} rest = x % y; x = y; y = rest; }}
    return x;
}}
""",
}

WORDS: Words = {
    **COMMON,
    **{name: f"{name}({{0}})" for name in CALLED},
    **{name: f"{name}({{0}}, {{1}})" for name in CALLED2},
    "neg": "-{0}",
    "abs": {"float": "fabs({0})", "uint": "{0}", "int": "{0} < 0 ? -{0} : {0}"},
    "floordiv": "{0} / {1} - ({0} % {1} < 0 ? 1 : 0)",
    "mod": "({0} % {1} + {1}) % {1}",
    "reciprocal": "({t})1 / {0}",
    "sign": {
        "float": "{0} > 0 ? ({t})1 : {0} < 0 ? ({t})-1 : {0} + 0",
        "uint": "{0} > 0 ? ({t})1 : ({t})0",
        "int": "{0} > 0 ? ({t})1 : {0} < 0 ? ({t})-1 : ({t})0",
    },
    # PoCL's log1p flushes subnormal numbers to zero.
    "log1p": "fabs({0}) < 1e-20f ? {0} : log1p({0})",
    # PoCL's tanh is one ulp short of 1 at infinity.
    "tanh": "fabs({0}) > 20 ? copysign(({t})1, {0}) : tanh({0})",
    "floor": {"float": "floor({0})", "int": "{0}"},
    "ceil": {"float": "ceil({0})", "int": "{0}"},
    "trunc": {"float": "trunc({0})", "int": "{0}"},
    "round": {"float": "rint({0})", "int": "{0}"},
    "signbit": "signbit({0}) != 0",
    "ldexp": "isnan({1}) ? {1} : ldexp({0}, (int)clamp({1}, ({t})-5000, ({t})5000))",
    "pow": {
        "float": "pow({0}, {1})",
        "uint": "power_ulong((ulong){0}, (ulong){1})",
        "int": "{1} >= 0 ? ({t})power_ulong((ulong){0}, (ulong){1}) : {0} == 1 ? ({t})1 : "
               "{0} == -1 ? ({t})(1 - ({1} & 1) * 2) : ({t})0",
    },
    "gcd": {
        "uint": "gcd_ulong((ulong){0}, (ulong){1})",
        "int": "gcd_ulong((ulong)({0} < 0 ? -(long){0} : (long){0}), "
               "(ulong)({1} < 0 ? -(long){1} : (long){1}))",
    },
    "floor_divide": {
        "float": "floor_divide_{t}({0}, {1})",
        "uint": "{1} == 0 ? ({t})0 : ({t})({0} / {1})",
        "int": "{1} == 0 ? ({t})0 : {1} == -1 ? ({t})-{0} : "
               "({t})({0} / {1} - (({0} % {1} != 0 && ({0} < 0) != ({1} < 0)) ? 1 : 0))",
    },
    "remainder": {
        "float": "remainder_{t}({0}, {1})",
        "uint": "{1} == 0 ? ({t})0 : ({t})({0} % {1})",
        "int": "{1} == 0 || {1} == -1 ? ({t})0 : "
               "({t})({0} % {1} + (({0} % {1} != 0 && ({0} < 0) != ({1} < 0)) ? {1} : 0))",
    },
    "fmod": {
        "float": "fmod({0}, {1})",
        "uint": "{1} == 0 ? ({t})0 : ({t})({0} % {1})",
        "int": "{1} == 0 || {1} == -1 ? ({t})0 : ({t})({0} % {1})",
    },
    "maximum": {
        "float": "({0} >= {1} || isnan({0})) ? {0} : {1}",
        "int": "{0} >= {1} ? {0} : {1}",
    },
    "minimum": {
        "float": "({0} <= {1} || isnan({0})) ? {0} : {1}",
        "int": "{0} <= {1} ? {0} : {1}",
    },
    "where": "{0} ? {1} : {2}",
    "isnan": "isnan({0}) != 0",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "bitwise_invert": {"bool": "!{0}", "int": "~{0}"},
    "rotate": "rotate({0}, {1})",
    "bitwise_left_shift": "((ulong){1} < {n}) ? ({t})({0} << {1}) : ({t})0",
    "bitwise_right_shift": {
        "int": "{0} >> (((ulong){1} < {n}) ? {1} : ({t})({n} - 1))",
        "uint": "((ulong){1} < {n}) ? ({t})({0} >> {1}) : ({t})0",
    },
}
