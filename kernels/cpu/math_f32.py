"""Transcendental functions as straight-line arithmetic, which LLVM vectorises.

A call to the C library prevents vectorisation of a loop. Here nothing branches and nothing is
called: a choice is a select, `fma` is one instruction if the processor has it, and no sum is
reordered, so an element has the same bits in the vector body and in the loop's remainder.

The polynomials are weighted minimax fits, made for this file: Lawson's reweighted least squares on
Chebyshev nodes in 60 digits. The coefficients were rounded to the type one at a time, from the
lowest power up, refitting the rest each time (all at once if there are 25 of them). The error
stated with each is that of the polynomial, relative to the function. float32 sin, cos and pow are
computed in float64; the functions of float64 are in math_f64.py.

Reduction: exp(x) = 2^n exp(r) with n the integer nearest to x / ln 2 and r = x - n ln 2; ln 2 is in
two parts, and the first times n is exact (Cody and Waite, Software Manual for the Elementary
Functions, 1980). Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy import float32 as f32
from numpy import float64 as f64
from numpy import inf, nan
from numpy import int32 as i32
from numpy import int64 as i64

from tinyml.kernels.cpu.intrinsics import bits, fma, inlined, libm, select
from tinyml.kernels.cpu.math_f64 import erf_f64, erfc_f64, exp_f64, log_f64, signed_f64, tanh_f64
from tinyml.kernels.cpu.math_integer import DIVISION

# ---- float32: exp and functions based on it


@inlined
def nearest_f32(x: Any) -> Any:
    """Return x / ln 2 plus 1.5 * 2^23 + 254: the low bits hold n + 254, n nearest to x / ln 2."""
    return fma(x, f32(1.442695041), f32(12583166))


@inlined
def rest_f32(x: Any, z: Any) -> Any:
    """Return x - n ln 2, with the n that z holds."""
    n = z - f32(12583166)
    return fma(n, f32(-1.42860677e-06), fma(n, f32(-0.693145752), x))


@inlined
def scaled_f32(y: Any, z: Any) -> Any:
    """Return y 2^n with the n that z holds, in two steps, since 2^n alone may overflow.

    254 is twice the bias of an exponent: each half of n + 254 is an exponent as it stands, and the
    shift into its place drops the bits above.
    """
    both = bits(z)
    half = i32(both >> i32(1))
    return y * bits(i32(half << i32(23))) * bits(i32(i32(both - half) << i32(23)))


@inlined
def expm1_rest_f32(r: Any) -> Any:
    """Return exp(r) - 1 for |r| <= ln(2) / 2: r + r^2 q(r), error 2^-31.1."""
    q = f32(1.976164e-04)
    q = fma(q, r, f32(1.3932317e-03))
    q = fma(q, r, f32(8.333546e-03))
    q = fma(q, r, f32(4.1666493e-02))
    q = fma(q, r, f32(1.6666666e-01))
    q = fma(q, r, f32(0.5))
    return fma(r * r, q, r)


@inlined
def exp_rest_f32(r: Any) -> Any:
    """Return exp(r) for |r| <= ln(2) / 2, error 2^-28.2."""
    p = f32(1.3820999e-03)
    p = fma(p, r, f32(8.368671e-03))
    p = fma(p, r, f32(4.1668262e-02))
    p = fma(p, r, f32(1.6666521e-01))
    p = fma(p, r, f32(4.9999994e-01))
    p = fma(p, r, f32(1))
    return fma(p, r, f32(1))


@inlined
def exp_f32(x: Any) -> Any:
    """Return exp(x) as 2^n exp(r); x is clamped where that is inf or 0 anyway."""
    x = select(x > f32(89), f32(89), x)
    x = select(x < f32(-104), f32(-104), x)
    z = nearest_f32(x)
    return scaled_f32(exp_rest_f32(rest_f32(x, z)), z)


@inlined
def expm1_f32(x: Any) -> Any:
    """Return exp(x) - 1 for |x| < 80: 2^n - 1 and 2^n (exp(r) - 1), both without cancellation."""
    z = nearest_f32(x)
    power = bits(i32(i32(bits(z) - i32(127)) << i32(23)))
    return fma(power, expm1_rest_f32(rest_f32(x, z)), power - f32(1))


@inlined
def signed_f32(y: Any, x: Any) -> Any:
    """Return |y| with the sign of x."""
    size = i32(bits(y) & i32(0x7FFFFFFF))
    return bits(i32(size | i32(bits(x) & i32(-0x80000000))))


@inlined
def tanh_f32(x: Any) -> Any:
    """Return tanh(x) as t / (t + 2), t = exp(2 |x|) - 1, with the sign of x; beyond 10 it is 1."""
    a = abs(x)
    a = select(a > f32(10), f32(10), a)
    t = expm1_f32(a + a)
    return signed_f32(t / (t + f32(2)), x)


# ---- float32: the error function


@inlined
def erf_f32(x: Any) -> Any:
    """Return erf(x) as 1 - exp(-|x| p(|x|)) with the sign of x, where p(x) = -log(erfc(x)) / x.

    Beyond 4 it is 1. The error, relative to erf, is 2^-24.2.
    """
    a = abs(x)
    a = select(a > f32(4), f32(4), a)
    p = f32(3.9970317e-05)
    p = fma(p, a, f32(-3.7552297e-04))
    p = fma(p, a, f32(1.2361127e-03))
    p = fma(p, a, f32(2.2742545e-04))
    p = fma(p, a, f32(-1.933701e-02))
    p = fma(p, a, f32(1.0281956e-01))
    p = fma(p, a, f32(6.366158e-01))
    p = fma(p, a, f32(1.1283792))
    return signed_f32(-expm1_f32(-a * p), x)


@inlined
def erfc_f32(x: Any) -> Any:
    """Return erfc(x) as exp(-a^2) h(q) / (a + 2), a = |x|, q = (a - 2) / (a + 2); 2 - that below 0.

    h = exp(a^2) erfc(a) (a + 2) is smooth for q in [-1, 0.68]: error 2^-25.2. The square is in two
    parts, the first exact: a rounded square would cost 100 ulp.
    """
    a = abs(x)
    a = select(a > f32(10.5), f32(10.5), a)
    t = f32(1) / (a + f32(2))
    q = (a - f32(2)) * t
    h = f32(-4.2488293e-05)
    h = fma(h, q, f32(-5.2231096e-04))
    h = fma(h, q, f32(-7.2848494e-04))
    h = fma(h, q, f32(3.0365242e-03))
    h = fma(h, q, f32(6.4353114e-03))
    h = fma(h, q, f32(-2.1500718e-02))
    h = fma(h, q, f32(-3.643592e-02))
    h = fma(h, q, f32(2.7947125e-01))
    h = fma(h, q, f32(-6.871609e-01))
    h = fma(h, q, f32(1.0215827))
    high = bits(i32(bits(a) & i32(-4096)))
    z = nearest_f32(-(a * a))
    r = rest_f32(-(high * high), z) - (a - high) * (a + high)
    y = scaled_f32(h * t * exp_rest_f32(r), z)
    return select(x < f32(0), f32(2) - y, y)


# ---- float32: the logarithm


@inlined
def log_f32(x: Any) -> Any:
    """Return log(x) as n ln 2 + log(1 + f), where sqrt(1/2) <= 1 + f < sqrt(2).

    log(1 + f) = f - f^2/2 + f^3 p(f), error 2^-27.3; subnormal numbers are scaled by 2^23 first.
    """
    tiny = x < f32(1.17549435e-38)
    whole = bits(select(tiny, x * f32(8388608), x))
    shifted = i32(whole - i32(0x3F3504F3))
    n = f32(i32(shifted >> i32(23))) - select(tiny, f32(23), f32(0))
    f = bits(i32(i32(shifted & i32(0x7FFFFF)) + i32(0x3F3504F3))) - f32(1)
    p = f32(-7.6326266e-02)
    p = fma(p, f, f32(1.2761502e-01))
    p = fma(p, f, f32(-1.3160627e-01))
    p = fma(p, f, f32(1.4201683e-01))
    p = fma(p, f, f32(-1.6623314e-01))
    p = fma(p, f, f32(2.0001239e-01))
    p = fma(p, f, f32(-2.5000823e-01))
    p = fma(p, f, f32(3.333333e-01))
    square = f * f
    y = fma(n, f32(1.42860677e-06), square * f * p)
    y = f + fma(f32(-0.5), square, y)
    y = fma(n, f32(0.693145752), y)
    y = select(x < f32(inf), y, x)
    below = select(x == f32(0), f32(-inf), f32(nan))
    return select(x > f32(0), y, below)


# ---- float32: trigonometric functions

# 2/pi times 2^(27 w) modulo 4, w = 0..3, in parts of 29, 29 and 53 bits. Multiples of 4 in their
# products with a number of 24 bits do not count (Payne and Hanek 1983), and two of them are exact.
TURNS = tuple(
    tuple(f64(float.fromhex(part)) for part in window)
    for window in (
        ("0x1.45f306cp-1", "0x1.c9c882ap-29", "0x1.4fe13abe8fa9ap-59"),
        ("-0x1.1b1bbecp-1", "0x1.29fc276p-29", "-0x1.05c1596447e49p-58"),
        ("0x1.4a7f09ep+0", "-0x1.4170566p-29", "0x1.bb81b6c52b328p-59"),
        ("-0x1.505c15ap+0", "0x1.377036ep-29", "-0x1.d6a66c3bc6fbep-59"),
    )
)
(HIGH0, MIDDLE0, LOW0), (HIGH1, MIDDLE1, LOW1) = TURNS[:2]
(HIGH2, MIDDLE2, LOW2), (HIGH3, MIDDLE3, LOW3) = TURNS[2:]


@inlined
def integer_f64(x: Any) -> Any:
    """Return the integer nearest to x, for |x| < 2^51."""
    return (x + f64(6755399441055744)) - f64(6755399441055744)


@inlined
def modulo4(x: Any) -> Any:
    """Return x minus a multiple of 4, exactly, in [-2, 2]."""
    return x - f64(4) * integer_f64(x * f64(0.25))


@inlined
def turn(x: Any, quarters: Any) -> Any:
    """Return sin(x + quarters pi/2) of a float32 x of any size, in float64."""
    a = abs(x)
    one, two, three = a >= f64(2.0**51), a >= f64(2.0**78), a >= f64(2.0**105)
    far = select(three, f64(2.0**-81), f64(2.0**-54))
    x = x * select(two, far, select(one, f64(2.0**-27), f64(1)))
    high = select(two, select(three, HIGH3, HIGH2), select(one, HIGH1, HIGH0))
    middle = select(two, select(three, MIDDLE3, MIDDLE2), select(one, MIDDLE1, MIDDLE0))
    low = select(two, select(three, LOW3, LOW2), select(one, LOW1, LOW0))
    first = modulo4(x * high)
    second = modulo4(x * middle)
    z = first + second + f64(6755399441055744)
    f = first - (z - f64(6755399441055744)) + second
    f = fma(x, low, f)
    n = i64(bits(z) + quarters)
    s = f * f
    # sin(pi/2 f) / f and cos(pi/2 f) in powers of f^2: errors 2^-37.6 and 2^-34.1
    sine = f64(0.00015826034008804994)
    sine = fma(sine, s, f64(-0.004681296496429257))
    sine = fma(sine, s, f64(0.07969258833877124))
    sine = fma(sine, s, f64(-0.6459640965286177))
    sine = f * fma(sine, s, f64(1.5707963267948966))
    cosine = f64(0.0009040062264144841)
    cosine = fma(cosine, s, f64(-0.020860281091763907))
    cosine = fma(cosine, s, f64(0.253669242922799))
    cosine = fma(cosine, s, f64(-1.2337005433034574))
    cosine = fma(cosine, s, f64(1))
    y = select(i64(n & i64(1)) != i64(0), cosine, sine)
    return bits(i64(bits(y) ^ i64(i64(n & i64(2)) << i64(62))))


@inlined
def sin_f32(x: Any) -> Any:
    """Return sin(x); 0 keeps its sign."""
    y = f32(turn(f64(x), i64(0)))
    return select(x == f32(0), x, y)


@inlined
def cos_f32(x: Any) -> Any:
    """Return cos(x), the sine a quarter turn on."""
    return f32(turn(f64(x), i64(1)))


# ---- float32: powers


@inlined
def log2_of_f32(x: Any) -> Any:
    """Return the base-2 logarithm, in float64, of a float32 that is not negative.

    With s = (m - 1) / (m + 1), it is s (2 / ln 2 + s^2 q(s^2)), error 2^-44.9.
    """
    shifted = i64(bits(x) - i64(0x3FE6A09E667F3BCD))
    n = f64(i64(shifted >> i64(52)))
    m = bits(i64(i64(shifted & i64(0xFFFFFFFFFFFFF)) + i64(0x3FE6A09E667F3BCD)))
    s = (m - f64(1)) / (m + f64(1))
    z = s * s
    q = f64(0.28256501973316583)
    q = fma(q, z, f64(0.3199330428082515))
    q = fma(q, z, f64(0.41220844279417473))
    q = fma(q, z, f64(0.5770779528066579))
    q = fma(q, z, f64(0.9617966940589144))
    y = fma(s, fma(q, z, f64(2.8853900817779268)), n)
    y = select(x < f64(inf), y, x)
    return select(x == f64(0), f64(-inf), y)


@inlined
def exp2_to_f32(t: Any) -> Any:
    """Return 2^t in float64, for the accuracy and range of float32: error 2^-34.3."""
    t = select(t > f64(160), f64(160), t)
    t = select(t < f64(-160), f64(-160), t)
    z = t + f64(6755399441055744)
    r = t - (z - f64(6755399441055744))
    p = f64(1.5197047011763259e-05)
    p = fma(p, r, f64(0.00015466775775271403))
    p = fma(p, r, f64(0.001333393070252292))
    p = fma(p, r, f64(0.009618038072455017))
    p = fma(p, r, f64(0.05550410371773686))
    p = fma(p, r, f64(0.2402265106698091))
    p = fma(p, r, f64(0.6931471807032688))
    return fma(p, r, f64(1)) * bits(i64(i64(bits(z) + i64(1023)) << i64(52)))


@inlined
def pow_f32(x: Any, y: Any) -> Any:
    """Return x^y as 2^(y log2 |x|), with the signs and exceptions of IEEE 754's pow."""
    base, power = f64(x), f64(y)
    a, size = abs(base), abs(power)
    t = select(a == f64(1), f64(0), power * log2_of_f32(a))
    result = exp2_to_f32(t)
    # A float32 of 2^25 or more is an even integer; so is infinity.
    small = select(size < f64(33554432), size, f64(0))
    odd = integer_f64(small * f64(0.5)) * f64(2) != small
    whole = integer_f64(small) == small
    negative = bits(x) < i32(0)
    result = select(negative & whole & odd, -result, result)
    broken = (x < f32(0)) & (a < f64(inf)) & (not whole)
    result = select(broken | (base != base) | (power != power), f64(nan), result)
    return select((y == f32(0)) | (x == f32(1)), f32(1), f32(result))


# Left to the C library: one number at a time, right to an ULP or two.
LIBM = ("acos asin atan sinh cosh tan acosh asinh atanh log1p expm1 log2 log10 exp2 logb").split()
LIBM2 = ("atan2", "hypot", "nextafter", "fmod")

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"{name}_{t}": libm(name) for name in LIBM for t in ("f32", "f64")},
    **{f"{name}_{t}": libm(name, 2) for name in LIBM2 for t in ("f32", "f64")},
    **DIVISION,
    "sin_f64": libm("sin"), "cos_f64": libm("cos"), "pow_f64": libm("pow", 2),
    "exp_f32": exp_f32, "exp_f64": exp_f64,
    "log_f32": log_f32, "log_f64": log_f64,
    "tanh_f32": tanh_f32, "tanh_f64": tanh_f64,
    "sin_f32": sin_f32, "cos_f32": cos_f32,
    "erf_f32": erf_f32, "erf_f64": erf_f64,
    "erfc_f32": erfc_f32, "erfc_f64": erfc_f64,
    "pow_f32": pow_f32,
    "signed_f32": signed_f32, "signed_f64": signed_f64,
}
