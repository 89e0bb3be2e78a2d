"""Transcendental functions of float64 by straight-line arithmetic, in the ways of math_f32.py.

sin, cos and pow are those of the C library: to reduce any float64 by pi/2 takes too many steps.
"""

from __future__ import annotations

from typing import Any

from numpy import float64 as f64
from numpy import inf, nan
from numpy import int64 as i64

from tinyml.kernels.cpu.intrinsics import bits, fma, inlined, select


@inlined
def nearest_f64(x: Any) -> Any:
    """Return x / ln 2 plus 1.5 * 2^52 + 2046: the low bits hold n + 2046, n nearest to x / ln 2."""
    return fma(x, f64(1.4426950408889634), f64(6755399441057790))


@inlined
def rest_f64(x: Any, z: Any) -> Any:
    """Return x - n ln 2, with the n that z holds."""
    n = z - f64(6755399441057790)
    return fma(n, f64(-5.497923018708371e-14), fma(n, f64(-0.6931471805598903), x))


@inlined
def expm1_rest_f64(r: Any) -> Any:
    """Return exp(r) - 1 for |r| <= ln(2) / 2: r + r^2 q(r), error 2^-61.6."""
    q = f64(2.0898399482410185e-09)
    q = fma(q, r, f64(2.5109001311893675e-08))
    q = fma(q, r, f64(2.755732154595463e-07))
    q = fma(q, r, f64(2.7557244263989796e-06))
    q = fma(q, r, f64(2.4801587277588907e-05))
    q = fma(q, r, f64(0.00019841269886152428))
    q = fma(q, r, f64(0.0013888888888902032))
    q = fma(q, r, f64(0.00833333333332156))
    q = fma(q, r, f64(0.04166666666666665))
    q = fma(q, r, f64(0.16666666666666677))
    q = fma(q, r, f64(0.5))
    return fma(r * r, q, r)


@inlined
def scaled_f64(y: Any, z: Any) -> Any:
    """Return y 2^n with the n that z holds, as for float32."""
    both = bits(z)
    half = i64(both >> i64(1))
    return y * bits(i64(half << i64(52))) * bits(i64(i64(both - half) << i64(52)))


@inlined
def exp_f64(x: Any) -> Any:
    """Return exp(x), as for float32."""
    x = select(x > f64(710), f64(710), x)
    x = select(x < f64(-746), f64(-746), x)
    z = nearest_f64(x)
    return scaled_f64(f64(1) + expm1_rest_f64(rest_f64(x, z)), z)


@inlined
def expm1_f64(x: Any) -> Any:
    """Return exp(x) - 1 for |x| < 700, as for float32."""
    z = nearest_f64(x)
    power = bits(i64(i64(bits(z) - i64(1023)) << i64(52)))
    return fma(power, expm1_rest_f64(rest_f64(x, z)), power - f64(1))


@inlined
def signed_f64(y: Any, x: Any) -> Any:
    """Return |y| with the sign of x."""
    size = i64(bits(y) & i64(0x7FFFFFFFFFFFFFFF))
    return bits(i64(size | i64(bits(x) & i64(-0x8000000000000000))))


@inlined
def tanh_f64(x: Any) -> Any:
    """Return tanh(x), as for float32; beyond 20 it is 1."""
    a = abs(x)
    a = select(a > f64(20), f64(20), a)
    t = expm1_f64(a + a)
    return signed_f64(t / (t + f64(2)), x)


@inlined
def erf_f64(x: Any) -> Any:
    """Return erf(x), as for float32, p by powers of |x| - 3, error 2^-57.5; beyond 6 it is 1."""
    a = abs(x)
    a = select(a > f64(6), f64(6), a)
    u = a - f64(3)
    p = f64(7.83305610512161e-16)
    p = fma(p, u, f64(1.7893906734084793e-14))
    p = fma(p, u, f64(1.735706501470951e-13))
    p = fma(p, u, f64(9.042326219787598e-13))
    p = fma(p, u, f64(2.4222546442826257e-12))
    p = fma(p, u, f64(7.460735006889884e-13))
    p = fma(p, u, f64(-1.720627534119369e-11))
    p = fma(p, u, f64(-5.6292226339136477e-11))
    p = fma(p, u, f64(-5.631110676293294e-11))
    p = fma(p, u, f64(1.0417904231715438e-10))
    p = fma(p, u, f64(3.6416896005463896e-10))
    p = fma(p, u, f64(4.444375432263313e-10))
    p = fma(p, u, f64(-6.916618384406329e-10))
    p = fma(p, u, f64(1.00290960014005e-09))
    p = fma(p, u, f64(-7.088572258901533e-09))
    p = fma(p, u, f64(8.022344739507e-09))
    p = fma(p, u, f64(1.1372187588596264e-07))
    p = fma(p, u, f64(-1.407843048742892e-06))
    p = fma(p, u, f64(1.134003631150303e-05))
    p = fma(p, u, f64(-7.710241672610536e-05))
    p = fma(p, u, f64(0.0004769988011774413))
    p = fma(p, u, f64(-0.0027843069741132743))
    p = fma(p, u, f64(0.015764812753547523))
    p = fma(p, u, f64(0.9100997805592492))
    p = fma(p, u, f64(3.5734543473270004))
    return signed_f64(-expm1_f64(-a * p), x)


@inlined
def erfc_f64(x: Any) -> Any:
    """Return erfc(x), as for float32, q up to 0.87, error 2^-55.9."""
    a = abs(x)
    a = select(a > f64(27.5), f64(27.5), a)
    t = f64(1) / (a + f64(2))
    q = (a - f64(2)) * t
    h = f64(-6.0084662478149045e-09)
    h = fma(h, q, f64(-1.5007835889522156e-08))
    h = fma(h, q, f64(2.476214641099467e-08))
    h = fma(h, q, f64(1.1234973960626681e-07))
    h = fma(h, q, f64(4.459561718646451e-08))
    h = fma(h, q, f64(-3.206998501986184e-07))
    h = fma(h, q, f64(-6.157730110467007e-07))
    h = fma(h, q, f64(-4.2043729163784554e-09))
    h = fma(h, q, f64(2.0300025496813324e-06))
    h = fma(h, q, f64(3.6483238258365274e-06))
    h = fma(h, q, f64(-1.1378733196621183e-06))
    h = fma(h, q, f64(-1.6122832944913888e-05))
    h = fma(h, q, f64(-2.1692456177531423e-05))
    h = fma(h, q, f64(3.414939907910278e-05))
    h = fma(h, q, f64(0.00014446996463690154))
    h = fma(h, q, f64(3.4371354347606284e-05))
    h = fma(h, q, f64(-0.0006630733995257766))
    h = fma(h, q, f64(-0.0008372960545690328))
    h = fma(h, q, f64(0.0030906120506761048))
    h = fma(h, q, f64(0.006479185067328128))
    h = fma(h, q, f64(-0.02151066188913106))
    h = fma(h, q, f64(-0.03644223150686974))
    h = fma(h, q, f64(0.279472092556049))
    h = fma(h, q, f64(-0.6871606844138106))
    h = fma(h, q, f64(1.021582705242023))
    high = bits(i64(bits(a) & i64(-0x8000000)))
    z = nearest_f64(-(a * a))
    r = rest_f64(-(high * high), z) - (a - high) * (a + high)
    y = scaled_f64(h * t * (f64(1) + expm1_rest_f64(r)), z)
    return select(x < f64(0), f64(2) - y, y)


@inlined
def log_f64(x: Any) -> Any:
    """Return log(x) as n ln 2 + log(1 + f).

    log(1 + f) = f - f^2/2 + s (f^2/2 + s^2 q(s^2)) with s = f / (2 + f), since log(1 + f) =
    2 atanh(s) = 2 s + s^3 q(s^2), and 2 s = f - s f: error 2^-59.5.
    """
    tiny = x < f64(2.2250738585072014e-308)
    whole = bits(select(tiny, x * f64(2.0**54), x))
    shifted = i64(whole - i64(0x3FE6A09E667F3BCD))
    n = f64(i64(shifted >> i64(52))) - select(tiny, f64(54), f64(0))
    f = bits(i64(i64(shifted & i64(0xFFFFFFFFFFFFF)) + i64(0x3FE6A09E667F3BCD))) - f64(1)
    s = f / (f64(2) + f)
    z = s * s
    q = f64(0.1479771601160762)
    q = fma(q, z, f64(0.1531387994193445))
    q = fma(q, z, f64(0.18183570771380267))
    q = fma(q, z, f64(0.22222198453209424))
    q = fma(q, z, f64(0.2857142874352089))
    q = fma(q, z, f64(0.3999999999940973))
    q = fma(q, z, f64(0.6666666666666735))
    half = f64(0.5) * f * f
    y = fma(s, fma(z, q, half), n * f64(5.497923018708371e-14))
    y = fma(n, f64(0.6931471805598903), f - (half - y))
    y = select(x < f64(inf), y, x)
    below = select(x == f64(0), f64(-inf), f64(nan))
    return select(x > f64(0), y, below)
