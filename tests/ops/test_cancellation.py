"""Where great terms cancel or overflow on the way to a moderate result: beside branch points, ...

The judge is mpmath, with so many digits that nothing cancels there. Complex numbers are on the CPU.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import special

pytestmark = pytest.mark.kernels(4)
INVERSE = ("acos", "acosh", "asin", "asinh", "atan", "atanh", "log", "log1p", "sqrt", "sign")
OTHERS = ("exp", "expm1", "tan", "tanh", "log2", "log10", "rsqrt", "reciprocal")
# All branch points, a point of |z| = 1, zeros of tan and cos; and how far from them.
CENTRES = (0, 1, -1, 1j, -1j, 0.6 + 0.8j, -0.8 + 0.6j, math.pi / 2, math.pi / 2 * 1j)
STEPS = {"complex128": (1e-200, 1e-160, 1e-20, 1e-4, 0.7, 30, 1e154, 1.2e308),
         "complex64": (1e-30, 1e-20, 1e-9, 1e-4, 0.7, 30, 1e19, 2.4e38)}


def points(dtype: str) -> Any:
    """Points at all distances from all centres, along the axes and askew."""
    rng = np.random.default_rng(17)
    found = []
    for centre in CENTRES:
        for step in STEPS[dtype]:
            a, b = rng.uniform(0.5, 1, 2) * rng.choice([-1, 1], 2) * step
            found += [centre + complex(a, b), centre + complex(0, b)]
    for step in STEPS[dtype]:  # parts of different sizes
        for other in STEPS[dtype]:
            found.append(complex(step, -other))
    return np.array(found).astype(dtype)


@pytest.mark.peers("mpmath")
@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
@pytest.mark.parametrize("name", INVERSE + OTHERS)
def test_complex_functions_keep_their_digits(name: str, dtype: str) -> None:
    import mpmath

    exact = {"log1p": lambda z: mpmath.log(1 + z), "sign": lambda z: z / abs(z),
             "log2": lambda z: mpmath.log(z) / mpmath.log(2), "reciprocal": lambda z: 1 / z,
             "log10": lambda z: mpmath.log(z) / mpmath.log(10),
             "rsqrt": lambda z: 1 / mpmath.sqrt(z)}.get(name) or getattr(mpmath, name)
    z = points(dtype)
    info = np.finfo(z.real.dtype)
    if name in ("exp", "expm1", "tan", "tanh"):
        z = z[np.abs(z) < 30]
    with np.errstate(all="ignore"):
        got = getattr(tinyml, name)(tinyml.tensor(z)).numpy()
    count = 0
    for x, y in zip(z.tolist(), got.tolist()):
        if x == 0 or (0 in (x.real, x.imag) and abs(x) > 1):  # on a cut a zero's sign decides
            continue
        with mpmath.workprec(2600 if dtype == "complex128" else 500):
            want = mpmath.mpc(exact(mpmath.mpc(x)))
            size = abs(want)
            if not float(info.tiny) * 4 < size < float(info.max) / 4:
                continue
            assert cmath.isfinite(y), (x, complex(want))
            off = float(abs(mpmath.mpc(y) - want) / size) / float(info.eps)
        assert off < 8, (x, y, complex(want), off)
        count += 1
    assert count > 100


@pytest.mark.peers("mpmath")
@pytest.mark.parametrize("name", ["log", "log1p"])
def test_the_part_that_vanishes_at_modulus_one_keeps_its_digits(name: str) -> None:
    import mpmath

    turns = np.random.default_rng(3).uniform(-3, 3, 200)
    z = np.exp(1j * turns) - (name == "log1p")
    got = getattr(tinyml, name)(tinyml.tensor(z)).numpy().real
    for x, y in zip(z.tolist(), got.tolist()):
        with mpmath.workprec(400):
            modulus = abs(mpmath.mpc(x) + (name == "log1p"))
            want = mpmath.log(modulus)
            assert abs(y - want) <= abs(want) * 2**-48, (x, y, float(want))


ONE: dict[str, Any] = {
    "logit": (lambda m, x: m.log(x / (1 - x)), 0.5 + np.array([1e-7, -1e-6, 1e-3, -0.2, 0.24])),
    "tanhshrink": (lambda m, x: x - m.tanh(x), np.array([1e-8, -1e-4, 0.02, 0.9, 1.9, -2.1, 5.0])),
}


@pytest.mark.peers("mpmath")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ONE)
def test_functions_with_a_zero_keep_their_digits(name: str, dtype: str, device: str) -> None:
    import mpmath

    exact, x = ONE[name][0], ONE[name][1].astype(dtype)
    got = getattr(tinyml, name)(tinyml.tensor(x, device=device)).tolist()
    for a, y in zip(x.tolist(), got):
        with mpmath.workprec(400):
            want = exact(mpmath, mpmath.mpf(a))
            assert abs(y - want) <= abs(want) * 16 * float(np.finfo(dtype).eps), (a, y)


@pytest.mark.peers("mpmath")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_betaln_and_its_slopes_keep_their_digits(dtype: str, device: str) -> None:
    import mpmath

    sizes = np.array([1e-8, 1e-3, 0.3, 0.5, 2.0, 7.99, 8.0, 33.0, 3e3, 1e5, 3e8, 1e13], dtype)
    a, b = (x.ravel() for x in np.meshgrid(sizes, sizes))
    xs = [tinyml.tensor(x, device=device) for x in (a, b)]
    got = special.betaln(*xs).numpy()
    slopes = tinyml.grad(lambda *ab: special.betaln(*ab).sum(), argnums=1)(*xs).numpy()
    eps = float(np.finfo(dtype).eps)
    for x, y, value, slope in zip(a.tolist(), b.tolist(), got.tolist(), slopes.tolist()):
        with mpmath.workprec(400):
            p, q = mpmath.mpf(x), mpmath.mpf(y)
            terms = [mpmath.loggamma(p), mpmath.loggamma(q), -mpmath.loggamma(p + q)]
            want = sum(terms)
            # Near B = 1 no digits remain, since the operands themselves are rounded.
            assert abs(value - want) <= 16 * eps * (1 + abs(want)), (x, y, value)
            steep = mpmath.psi(0, q) - mpmath.psi(0, p + q)
            assert abs(slope - steep) <= 16 * eps * abs(steep), (x, y, slope)


@pytest.mark.peers("mpmath")
@pytest.mark.parametrize("a", [1.0, 30.0, 1e4, 3e6])
def test_the_slope_of_an_incomplete_gamma_keeps_its_digits(a: float, device: str) -> None:
    import mpmath

    x = np.array([a * 0.999, a, a + math.sqrt(a)])
    slope = tinyml.grad(lambda x: special.gammainc(a, x).sum())(tinyml.tensor(x, device=device))
    for at, got in zip(x.tolist(), slope.tolist()):
        with mpmath.workprec(200):
            p, q = mpmath.mpf(a), mpmath.mpf(at)
            want = mpmath.exp((p - 1) * mpmath.log(q) - q - mpmath.loggamma(p))
            assert abs(got - want) <= 1e-9 * want  # a times an error of the relative distance


def test_slopes_of_lengths_and_angles_do_not_overflow(device: str) -> None:
    for size in (1e-25, 1e-3, 1e20, 2.0**100):
        a, b = (tinyml.tensor(np.float32([k * size]), device=device) for k in (3, 4))
        turned = tinyml.grad(lambda a, b: tinyml.atan2(a, b).sum(), argnums=(0, 1))(a, b)
        along = tinyml.grad(lambda a, b: tinyml.hypot(a, b).sum(), argnums=(0, 1))(a, b)
        np.testing.assert_allclose([t.item() * size for t in turned], [4 / 25, -3 / 25], rtol=1e-5)
        np.testing.assert_allclose([t.item() for t in along], [0.6, 0.8], rtol=1e-6)
    for x in (1e10, 1e25):
        slope = tinyml.grad(lambda x: tinyml.asinh(x).sum())(tinyml.tensor([x], device=device))
        np.testing.assert_allclose(slope.item() * x, 1, rtol=1e-6)


def test_a_tiny_step_from_a_branch_point_of_atan_has_its_slope() -> None:
    step = 1e-9
    for name, centre, sign in (("atan", 1j, 1), ("atan", -1j, 1), ("atanh", 1, -1)):
        z = centre + step * (0.6 + 0.8j)
        # 1 / (1 +- z^2), with the small factor computed from the step, not from z.
        small = z - centre
        want = 1 / (sign * small * (2 * centre + small))
        slope = tinyml.vjp(getattr(tinyml, name), tinyml.tensor(z, dtype="complex128"))[1](
            tinyml.tensor(1.0, dtype="complex128"))
        assert abs(np.conj(slope[0].item()) - want) <= 1e-14 * abs(want)
