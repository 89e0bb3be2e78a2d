"""16-bit floats: what several ops compute is float32 inside and rounded once, in every room."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinyml
import tinyml.nn.functional as F
from tinyml import linalg, special

pytestmark = pytest.mark.kernels(2)
RNG = np.random.default_rng(8)
V, W, M = RNG.uniform(0.5, 3, 40), RNG.uniform(0.5, 3, 40), RNG.uniform(-3, 3, (4, 6))
GREAT = np.array([60000.0, 50000.0, np.nan, 64000.0])  # float16 ends at 65504
FAR = np.array([-60000.0, 60000.0, 20000.0])
IDS = np.arange(40) % 3
IMAGE, KERNEL = RNG.uniform(-1, 1, (2, 3, 5, 5)), RNG.uniform(-1, 1, (4, 3, 3, 3))

COMPOSED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "nanmean": (tinyml.nanmean, (GREAT,)),
    "nanvar": (tinyml.nanvar, (GREAT / 300,)),
    "nanstd": (lambda x: tinyml.nanstd(x, correction=1), (GREAT,)),
    "average": (tinyml.average, (np.nan_to_num(GREAT, nan=1e4),)),
    "average weights": (lambda x, w: tinyml.average(x, weights=w), (V * 1e4, W)),
    "cov": (tinyml.cov, (M * 1e2,)), "corrcoef": (tinyml.corrcoef, (M * 1e3,)),
    "median": (tinyml.median, (FAR,)),
    "quantile": (lambda x: tinyml.quantile(x, [0.0, 0.1, 0.25, 1.0]), (FAR,)),
    "quantile of many": (lambda x: tinyml.quantile(x, 0.7), (np.arange(3000.0),)),
    "nanpercentile": (lambda x: tinyml.nanpercentile(x, 30.0), (GREAT,)),
    "norm": (tinyml.vector_norm, (np.array([300.0, 400.0]),)),
    "norm of 3": (lambda x: tinyml.vector_norm(x, ord=3), (np.array([100.0, 50.0]),)),
    "cdist": (tinyml.cdist, (M * 100, M[::-1].copy() * 100)),
    "interp": (tinyml.interp, (np.array([0.0, 0.3]), np.array([-1.0, 1.0]), FAR[:2])),
    "trapezoid": (tinyml.trapezoid, (np.array([60000.0, 60000.0, -64000.0]),)),
    "cumulative_trapezoid": (tinyml.cumulative_trapezoid, (V * 1e4,)),
    "gradient": (tinyml.gradient, (FAR,)),
    "cross": (tinyml.cross, (np.array([300.0, 300, 1]), np.array([300.0, 301, 2]))),
    "einsum of three": (lambda x, y, z: tinyml.einsum("ij,jk,k->i", x, y, z),
                        (M * 30, M.T.copy() * 30, np.array([1e-2, -1e-2, 1e-2, 1e-2]))),
    "segment_sum": (lambda x: tinyml.segment_sum(x, tinyml.tensor(IDS, device=x.device)), (V,)),
    "segment_mean": (lambda x: tinyml.segment_mean(x, tinyml.tensor(IDS, device=x.device)),
                     (V * 2e4,)),
    "scatter_reduce": (lambda x: tinyml.scatter_reduce(
        x, tinyml.tensor(IDS, device=x.device), x, reduce="mean"), (V * 2e4,)),
    "histogram": (lambda x: tinyml.histogram(x, 7)[1], (FAR,)),
    "round": (lambda x: tinyml.round(x, decimals=3), (np.array([400.126, 3.14159]),)),
    "glu": (tinyml.glu, (V,)), "logcumsumexp": (tinyml.logcumsumexp, (V * 100 - 200,)),
    "lerp": (lambda x, y: tinyml.lerp(x, y, 0.25), (FAR[:1], FAR[1:2])),
    "linear": (F.linear, (M * 30, M[:2] * 30, np.array([-1e4, 1e4]))),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b), (IMAGE, KERNEL, V[:4] * 100)),
    "mse_loss": (F.mse_loss, (V * 70, W * 3)),
    "beta": (special.beta, (V, W)), "betaln": (special.betaln, (V * 100, W)),
    "multigammaln": (lambda x: special.multigammaln(x, 3), (V + 5,)),
    "eval_sh_chebyt": (lambda x: special.eval_sh_chebyt(5, x), (V / 3,)),
    "matrix_power": (lambda x: linalg.matrix_power(x, 3), (M[:, :4] / 3,)),
}


def tensors(arrays: tuple[Any, ...], dtype: str, device: str) -> list[Any]:
    return [tinyml.tensor(x, dtype=dtype, device=device) for x in arrays]


def apart(got: Any, want: Any) -> float:
    """The distance in units in the last place of the 16-bit type; any two NaN are equal."""
    a, b = got.astype("float32").numpy(), want.astype("float32").numpy()
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    with np.errstate(invalid="ignore"):
        info = tinyml.finfo(got.dtype)
        unit = np.maximum(np.abs(b), float(info.smallest_normal)) * float(info.eps)
        off = np.where((a == b) | np.isnan(b), 0.0, np.abs(a - b) / unit)
    return float(np.max(off, initial=0.0))


@pytest.mark.kernels(8)
@pytest.mark.parametrize("name", COMPOSED)
def test_a_composed_function_rounds_once(name: str, device: str) -> None:
    dtype = "bfloat16" if len(name) % 3 == 0 else "float16"
    function, arrays = COMPOSED[name]
    xs = tensors(arrays, dtype, device)
    got, want = function(*xs), function(*[x.astype("float32") for x in xs])
    assert got.dtype.name == dtype and want.dtype.name == "float32"
    rounded = want.astype(dtype)
    assert np.isfinite(rounded.astype("float32").numpy()).any()
    assert apart(got, rounded) == 0


@pytest.mark.kernels(12)
@pytest.mark.parametrize("name", ["nanmean", "nanstd", "median", "linear", "mse_loss", "cdist"])
def test_its_gradient_rounds_once_too(name: str, device: str) -> None:
    function, arrays = COMPOSED[name]
    xs = tensors([np.nan_to_num(x, nan=3.0) / 100 for x in arrays], "float16", device)
    wide = [x.astype("float32") for x in xs]
    got = tinyml.grad(lambda x: function(x, *xs[1:]).astype("float32").sum())(xs[0])
    want = tinyml.grad(lambda x: function(x, *wide[1:]).sum())(wide[0])
    assert got.dtype.name == "float16" and apart(got, want.astype("float16")) == 0


def public() -> Iterator[tuple[str, Any]]:
    """Every public function, by its room; those that draw numbers or need other types refuse."""
    for room in (tinyml, linalg, special, F):
        for name in sorted(vars(room)):
            value = getattr(room, name)
            if not name.startswith("_") and callable(value) and not inspect.isclass(value):
                yield f"{room.__name__}.{name}", value


def floats(value: Any) -> list[Any]:
    parts = value if isinstance(value, (tuple, list)) else [value]
    return [p for p in parts if isinstance(p, tinyml.Tensor) and p.dtype.is_float]


# Not values of their operands' type, or none that is defined by the operands alone.
OTHERS = {"tinyml.float_power", "tinyml.empty_like", "tinyml.nextafter"}


@pytest.mark.slow
@pytest.mark.kernels(300)
@pytest.mark.parametrize("shape", [(5,), (3, 3)])
def test_every_public_function_is_near_its_float32_result(shape: tuple[int, ...]) -> None:
    """With one, two and three operands; a result of one op is off by its rounding at most."""
    wrong, count = [], 0
    values = [RNG.uniform(0.3, 0.9, shape) for _ in range(3)]
    for name, function in public():
        for arity in (1, 2, 3):
            xs = tensors(tuple(values[:arity]), "bfloat16", "cpu")
            try:
                want = floats(function(*[x.astype("float32") for x in xs]))
                got = floats(function(*xs))
            except Exception:  # it takes other operands
                continue
            count += len(want)
            if name not in OTHERS:
                wrong += [(name, arity, apart(a, b.astype("bfloat16"))) for a, b in zip(got, want)
                          if a.dtype.name == "bfloat16" and apart(a, b.astype("bfloat16")) > 1]
                wrong += [(name, arity, a.dtype.name) for a, b in zip(got, want, strict=True)
                          if b.dtype.name == "float32" and a.dtype.name == "float64"]
    assert count > 150
    assert not wrong
