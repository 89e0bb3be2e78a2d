"""Types of the elementwise functions: written by `python -m tinyml.ops.stub`."""

from tinyml.dtypes import FLOATS as FLOATS
from tinyml.dtypes import INTEGERS as INTEGERS
from tinyml.ops.elementwise.conversion import CAST as CAST
from tinyml.ops.elementwise.conversion import COPY as COPY
from tinyml.ops.elementwise.conversion import WHERE as WHERE
from tinyml.ops.elementwise.conversion import astype as astype
from tinyml.ops.elementwise.define import ALL as ALL
from tinyml.ops.elementwise.define import KINDS as KINDS
from tinyml.ops.elementwise.define import NUMBERS as NUMBERS
from tinyml.ops.elementwise.define import Operand as Operand
from tinyml.ops.elementwise.define import device_of as device_of
from tinyml.ops.elementwise.define import elementwise as elementwise
from tinyml.ops.elementwise.define import meet as meet
from tinyml.ops.elementwise.define import operand_dtype as operand_dtype
from tinyml.ops.elementwise.define import row as row
from tinyml.ops.elementwise.define import shape_of as shape_of
from tinyml.tensor import Tensor

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "addcdiv",
    "addcmul",
    "angle",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "celu",
    "clip",
    "complex",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "divide",
    "elu",
    "equal",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "frac",
    "frexp",
    "gcd",
    "glu",
    "greater",
    "greater_equal",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "hypot",
    "imag",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "lcm",
    "ldexp",
    "leaky_relu",
    "lerp",
    "less",
    "less_equal",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logaddexp2",
    "logb",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logit",
    "logsigmoid",
    "maximum",
    "minimum",
    "mish",
    "multiply",
    "nan_to_num",
    "negative",
    "nextafter",
    "not_equal",
    "polar",
    "positive",
    "pow",
    "rad2deg",
    "real",
    "reciprocal",
    "relu6",
    "remainder",
    "rint",
    "round",
    "rsqrt",
    "scaled",
    "selu",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "softplus",
    "softshrink",
    "softsign",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "tanhshrink",
    "threshold",
    "trunc",
    "where",
    "xlogy",
]

def abs(x: Operand, /) -> Tensor:
    """|x|; the least integer stays itself."""

def acos(x: Operand, /) -> Tensor:
    """The angle whose cosine is x; NaN beyond 1."""

def acosh(x: Operand, /) -> Tensor:
    """The inverse of cosh; NaN below 1."""

def add(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 + x2; integers wrap around."""

def addcdiv(x: Operand, x1: Operand, x2: Operand, /, value: Operand = 1) -> Tensor:
    """x + value x1 / x2."""

def addcmul(x: Operand, x1: Operand, x2: Operand, /, value: Operand = 1) -> Tensor:
    """x + value x1 x2."""

def angle(x: Operand, /) -> Tensor:
    """The angle of x in the plane; of real numbers pi below 0, else 0."""

def asin(x: Operand, /) -> Tensor:
    """The angle whose sine is x; NaN beyond 1."""

def asinh(x: Operand, /) -> Tensor:
    """The inverse of sinh."""

def atan(x: Operand, /) -> Tensor:
    """The angle whose tangent is x."""

def atan2(x1: Operand, x2: Operand, /) -> Tensor:
    """The angle of the point (x2, x1), from -pi to pi."""

def atanh(x: Operand, /) -> Tensor:
    """The inverse of tanh; NaN beyond 1."""

def bitwise_and(x1: Operand, x2: Operand, /) -> Tensor:
    """The bits set in both."""

def bitwise_invert(x: Operand, /) -> Tensor:
    """Every bit of x the other way."""

def bitwise_left_shift(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 shifted left by x2 bits; 0 where x2 is negative or not below the width."""

def bitwise_or(x1: Operand, x2: Operand, /) -> Tensor:
    """The bits set in one or both."""

def bitwise_right_shift(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 shifted right by x2 bits, filled with the sign; all fill where x2 is not in the width."""

def bitwise_xor(x1: Operand, x2: Operand, /) -> Tensor:
    """The bits set in exactly one."""

def ceil(x: Operand, /) -> Tensor:
    """The least whole number not below x, in x's type."""

def celu(x: Operand, /, alpha: Operand = 1.0) -> Tensor:
    """x above 0, else alpha (exp(x / alpha) - 1)."""

def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """x, but not below `min` and not above `max`; `max` where min is above it."""

def complex(x1: Operand, x2: Operand, /) -> Tensor:
    """The complex number of a real and an imaginary part."""

def conj(x: Operand, /) -> Tensor:
    """The complex conjugate of x; of real numbers, x itself."""

def copysign(x1: Operand, x2: Operand, /) -> Tensor:
    """|x1| with the sign of x2, that of -0.0 and NaN too."""

def cos(x: Operand, /) -> Tensor:
    """The cosine of x radians."""

def cosh(x: Operand, /) -> Tensor:
    """The hyperbolic cosine."""

def deg2rad(x: Operand, /) -> Tensor:
    """x degrees in radians."""

def divide(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 / x2; x / 0 is inf or NaN."""

def elu(x: Operand, /, alpha: Operand = 1.0) -> Tensor:
    """x above 0, else alpha (exp(x) - 1) (Clevert 2015)."""

def equal(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 == x2; NaN equals nothing."""

def erf(x: Operand, /) -> Tensor:
    """The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x."""

def erfc(x: Operand, /) -> Tensor:
    """The complementary error function, 1 - erf(x) without cancellation."""

def exp(x: Operand, /) -> Tensor:
    """e to the power x."""

def exp2(x: Operand, /) -> Tensor:
    """2 to the power x."""

def expm1(x: Operand, /) -> Tensor:
    """exp(x) - 1 without cancellation."""

def float_power(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 to the power x2 in float64, or complex128 where one is complex."""

def floor(x: Operand, /) -> Tensor:
    """The greatest whole number not above x, in x's type."""

def floor_divide(x1: Operand, x2: Operand, /) -> Tensor:
    """The greatest whole number not above x1 / x2, x1 / x2 where one is infinite; of integers 0
    where x2 is 0."""

def fmax(x1: Operand, x2: Operand, /) -> Tensor:
    """The greater; the other where one is NaN."""

def fmin(x1: Operand, x2: Operand, /) -> Tensor:
    """The lesser; the other where one is NaN."""

def fmod(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 - x2 * trunc(x1 / x2), with the sign of x1."""

def frac(x: Operand, /) -> Tensor:
    """x - trunc(x), the fraction with x's sign."""

def frexp(x: Operand, /) -> tuple[Tensor, Tensor]:
    """(m, e) with x = m 2^e and 0.5 <= |m| < 1, e int32; 0, infinities and NaN have e = 0."""

def gcd(x1: Operand, x2: Operand, /) -> Tensor:
    """The greatest common divisor, not negative; gcd(0, 0) is 0."""

def glu(x: Operand, /, axis: int = -1) -> Tensor:
    """One half of x times the sigmoid of the other, along an axis (Dauphin 2016)."""

def greater(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 > x2; false where one is NaN."""

def greater_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 >= x2; false where one is NaN."""

def hardshrink(x: Operand, /, lambd: Operand = 0.5) -> Tensor:
    """0 from -lambd to lambd, else x."""

def hardsigmoid(x: Operand, /) -> Tensor:
    """(x + 3) / 6, but not below 0 and not above 1."""

def hardswish(x: Operand, /) -> Tensor:
    """x hardsigmoid(x) (Howard 2019)."""

def hardtanh(x: Operand, /, min_val: Operand = -1.0, max_val: Operand = 1.0) -> Tensor:
    """x, but not below min_val and not above max_val."""

def heaviside(x1: Operand, x2: Operand, /) -> Tensor:
    """0 below 0, 1 above it, x2 at 0; NaN stays NaN."""

def hypot(x1: Operand, x2: Operand, /) -> Tensor:
    """sqrt(x1^2 + x2^2) without overflow; inf beside NaN too."""

def imag(x: Operand, /) -> Tensor:
    """The imaginary part of x; of real numbers, zeros."""

def isclose(x1: Operand, x2: Operand, /, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool =
        False) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol |x2|; with `equal_nan`, NaN is close to NaN."""

def isfinite(x: Operand, /) -> Tensor:
    """Whether x is neither infinite nor NaN."""

def isinf(x: Operand, /) -> Tensor:
    """Whether x, or a part of it, is an infinity."""

def isnan(x: Operand, /) -> Tensor:
    """Whether x is NaN."""

def isneginf(x: Operand, /) -> Tensor:
    """Whether x is the negative infinity."""

def isposinf(x: Operand, /) -> Tensor:
    """Whether x is the positive infinity."""

def isreal(x: Operand, /) -> Tensor:
    """Whether x has no imaginary part, or 0 there."""

def lcm(x1: Operand, x2: Operand, /) -> Tensor:
    """The least common multiple, not negative; 0 where one is 0."""

def ldexp(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 times 2^x2; of a whole x2 exactly."""

def leaky_relu(x: Operand, /, negative_slope: Operand = 0.01) -> Tensor:
    """x above 0, else negative_slope x; a tensor of slopes is PReLU (He 2015)."""

def lerp(x1: Operand, x2: Operand, weight: Operand, /) -> Tensor:
    """x1 + weight (x2 - x1): at 0 it is x1, at 1 x2."""

def less(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 < x2; false where one is NaN."""

def less_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 <= x2; false where one is NaN."""

def log(x: Operand, /) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below."""

def log10(x: Operand, /) -> Tensor:
    """The logarithm to base 10; -inf at 0, NaN below."""

def log1p(x: Operand, /) -> Tensor:
    """log(1 + x) without cancellation."""

def log2(x: Operand, /) -> Tensor:
    """The logarithm to base 2; -inf at 0, NaN below."""

def logaddexp(x1: Operand, x2: Operand, /) -> Tensor:
    """log(exp(x1) + exp(x2)) without overflow."""

def logaddexp2(x1: Operand, x2: Operand, /) -> Tensor:
    """log2(2^x1 + 2^x2) without overflow."""

def logb(x: Operand, /) -> Tensor:
    """The exponent of x as a number: floor(log2(|x|)), exactly."""

def logical_and(x1: Operand, x2: Operand, /) -> Tensor:
    """Whether both are true."""

def logical_not(x: Operand, /) -> Tensor:
    """Whether x is false or 0."""

def logical_or(x1: Operand, x2: Operand, /) -> Tensor:
    """Whether one or both are true."""

def logical_xor(x1: Operand, x2: Operand, /) -> Tensor:
    """Whether exactly one is true."""

def logit(x: Operand, /) -> Tensor:
    """log(x / (1 - x)), the inverse of sigmoid; NaN outside 0 to 1."""

def logsigmoid(x: Operand, /) -> Tensor:
    """log(sigmoid(x)) without overflow."""

def maximum(x1: Operand, x2: Operand, /) -> Tensor:
    """The greater; NaN where one is. At a tie each side gets half the gradient."""

def minimum(x1: Operand, x2: Operand, /) -> Tensor:
    """The lesser; NaN where one is. At a tie each side gets half the gradient."""

def mish(x: Operand, /) -> Tensor:
    """x tanh(softplus(x)) (Misra 2019)."""

def multiply(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 * x2; integers wrap around."""

def nan_to_num(x: Operand, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None =
        None) -> Tensor:
    """x with NaN replaced by `nan`, infinities by `posinf` and `neginf`: the extremes by
    default."""

def negative(x: Operand, /) -> Tensor:
    """-x; integers wrap around."""

def nextafter(x1: Operand, x2: Operand, /) -> Tensor:
    """The number next to x1 in the direction of x2."""

def not_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 != x2; NaN differs from all."""

def polar(x1: Operand, x2: Operand, /) -> Tensor:
    """The complex number of size x1 and angle x2."""

def positive(x: Operand, /) -> Tensor:
    """x in new memory."""

def pow(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 to the power x2 (IEEE 754 pow); integers wrap around, and with a negative x2 are cut off
    toward 0, which of 0 is 0."""

def rad2deg(x: Operand, /) -> Tensor:
    """x radians in degrees."""

def real(x: Operand, /) -> Tensor:
    """The real part of x; of real numbers, x itself."""

def reciprocal(x: Operand, /) -> Tensor:
    """1 / x; 1 / 0 is inf."""

def relu6(x: Operand, /) -> Tensor:
    """x, but not below 0 and not above 6."""

def remainder(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 - x2 * floor_divide(x1, x2), with the sign of x2; of integers 0 where x2 is 0."""

def rint(x: Operand, /) -> Tensor:
    """The nearest whole number, the even one of two."""

def round(x: Operand, /, *, decimals: int = 0) -> Tensor:
    """The nearest multiple of 10^-decimals, the even one of two; integers stay as they are."""

def rsqrt(x: Operand, /) -> Tensor:
    """1 / sqrt(x); inf at 0, NaN below."""

def scaled(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 times 2 to the power x2, a whole number."""

def selu(x: Operand, /) -> Tensor:
    """A scaled elu that keeps mean and variance (Klambauer 2017)."""

def sign(x: Operand, /) -> Tensor:
    """-1, 0 or 1 by the sign of x, x / |x| if complex; NaN stays NaN."""

def signbit(x: Operand, /) -> Tensor:
    """Whether the sign is minus, that of -0.0 and of NaN too."""

def silu(x: Operand, /) -> Tensor:
    """x sigmoid(x) (Elfwing 2017)."""

def sin(x: Operand, /) -> Tensor:
    """The sine of x radians."""

def sinc(x: Operand, /) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0."""

def sinh(x: Operand, /) -> Tensor:
    """The hyperbolic sine."""

def softplus(x: Operand, /, beta: Operand = 1.0, threshold: Operand = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""

def softshrink(x: Operand, /, lambd: Operand = 0.5) -> Tensor:
    """x brought lambd nearer to 0, at most to 0."""

def softsign(x: Operand, /) -> Tensor:
    """x / (1 + |x|)."""

def sqrt(x: Operand, /) -> Tensor:
    """The square root; NaN below 0."""

def square(x: Operand, /) -> Tensor:
    """x * x; integers wrap around."""

def subtract(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 - x2; integers wrap around."""

def tan(x: Operand, /) -> Tensor:
    """The tangent of x radians."""

def tanh(x: Operand, /) -> Tensor:
    """The hyperbolic tangent."""

def tanhshrink(x: Operand, /) -> Tensor:
    """x - tanh(x)."""

def threshold(x: Operand, limit: Operand, value: Operand, /) -> Tensor:
    """x where it is above the limit, else value."""

def trunc(x: Operand, /) -> Tensor:
    """x without its fraction, in x's type."""

def where(condition: Operand, x1: Operand, x2: Operand, /) -> Tensor:
    """Elements of x1 where the condition holds, else of x2; all three broadcast."""

def xlogy(x1: Operand, x2: Operand, /) -> Tensor:
    """x1 log(x2), 0 where x1 is 0; NaN where x2 is."""
