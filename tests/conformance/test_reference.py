"""The reference: that it stands alone, known values, identities, and agreement with the peers."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyml.conformance.reference import TABLE, evaluate, wide

FOLDER = Path(__file__).parents[2] / "conformance" / "reference"
FILES = sorted(FOLDER.glob("*.py"))
ALLOWED = {"__future__", "collections.abc", "fractions", "math", "ml_dtypes", "numpy",
           "numpy.typing", "typing"}
# Long double's own rounding, times some.
TIGHT = 50 * float(np.finfo(np.longdouble).eps)


def value(name: str, *args: Any, **attrs: Any) -> Any:
    return evaluate(name, *args, **attrs)[0].value


def long(*values: Any) -> Any:
    return np.array([np.longdouble(each) for each in values])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_reference_imports_numpy_alone(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "it reaches out of its folder"
    assert found <= ALLOWED
    assert "import_module" not in path.read_text(encoding="utf-8")


def test_erf_has_the_digits_of_the_tables() -> None:
    # Abramowitz and Stegun, table 7.1, and erfc(5) of table 7.3, with more digits.
    x = long("0.5", "1", "2", "5")
    digits = long(
        "0.52049987781304653768274665389196452874",
        "0.84270079294971486934122063508260925930",
        "0.99532226501895273416206925636725292861",
        "0.99999999999846254020557196514981165651",
    )
    assert np.abs(wide("erf", x)[0] / digits - 1).max() < TIGHT
    assert (wide("erf", -x)[0] == -wide("erf", x)[0]).all()


def test_both_forms_of_erf_meet() -> None:
    below = np.nextafter(np.longdouble(2.5), np.longdouble(0))
    series, fraction = wide("erf", np.array([below]))[0], wide("erf", long("2.5"))[0]
    assert abs(series - fraction)[0] < TIGHT


def test_gelu_is_exact_in_the_tail() -> None:
    # -8 times the normal distribution function at -8, 6.220960574271784123515995...e-16.
    assert wide("gelu", long("-8"))[0][0] == pytest.approx(
        -8 * 6.2209605742717841235e-16, rel=1e-15
    )


def test_integers_wrap_around() -> None:
    assert value("add", np.int8([127]), 1).tolist() == [-128]
    assert value("neg", np.int32([-(2**31)])).tolist() == [-(2**31)]
    assert value("mul", np.uint64([2**63]), np.uint64([2])).tolist() == [0]
    assert value("sum", np.array([2**63 - 1, 1]), axis=(0,)).tolist() == -(2**63)


def test_casts_truncate_saturate_and_wrap() -> None:
    hard = np.array([np.nan, np.inf, -np.inf, 300.7, -0.9, -1.0], np.float32)
    assert value("cast", hard, dtype="uint8").tolist() == [0, 255, 0, 255, 0, 0]
    assert value("cast", hard, dtype="int8").tolist() == [0, 127, -128, 127, 0, -1]
    assert value("cast", np.float64([1e300]), dtype="uint64").tolist() == [2**64 - 1]
    assert value("cast", np.int32([300, -1]), dtype="uint8").tolist() == [44, 255]
    assert value("cast", hard[:2], dtype="bool").tolist() == [True, True]


@pytest.mark.parametrize(
    ("first", "second", "meeting"),
    [
        (np.int8(1), np.uint8(1), "int16"),
        (np.int64(1), np.float32(1), "float32"),
        (np.float32(1), np.float64(1), "float64"),
        (np.bool_(True), 1, "int64"),
        (np.int8(1), 2.5, "float32"),
        (np.float64(1), 2, "float64"),
        (np.uint8(1), True, "uint8"),
    ],
)
def test_dtypes_meet(first: Any, second: Any, meeting: str) -> None:
    for args in ((first, second), (second, first)):
        arrays = [x if isinstance(x, bool | int | float) else np.atleast_1d(x) for x in args]
        assert evaluate("add", *arrays)[0].dtype.name == meeting


def test_dtypes_without_a_common_one_do_not_meet() -> None:
    with pytest.raises(TypeError, match="common"):
        evaluate("add", np.int8([1]), np.uint64([1]))


def test_convolution_and_its_gradients_are_adjoint() -> None:
    rng = np.random.default_rng(0)
    window = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    x, w = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(4, 3, 3, 2))
    y = value("conv2d", x, w, **window)
    g = rng.normal(size=y.shape)
    dx = value("conv2d_dx", g, w, shape=x.shape, **window)
    dw = value("conv2d_dw", g, x, shape=w.shape, **window)
    product = float((y * g).sum())
    assert float((x * dx).sum()) == pytest.approx(product, rel=1e-14)
    assert float((w * dw).sum()) == pytest.approx(product, rel=1e-14)


def test_convolution_of_one_window_is_a_sum() -> None:
    x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    window = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    assert value("conv2d", x, w, **window).tolist() == [[[[8.0, 12.0], [20.0, 24.0]]]]


def test_pooling_finds_the_first_greatest_and_nan_wins() -> None:
    x = np.array([[[[1.0, 5.0, 5.0, 2.0], [3.0, 5.0, np.nan, 9.0]]]])
    window = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    values, indices = evaluate("max_pool2d", x, **window)
    assert np.array_equal(values.value, [[[[5.0, np.nan]]]], equal_nan=True)
    assert indices.value.tolist() == [[[[1, 6]]]]


def test_pooling_and_its_gradient_are_adjoint() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 6))
    values, indices = evaluate("max_pool2d", x, kernel=(3, 2), stride=(1, 2), padding=(1, 1))
    assert (value("max_pool2d_take", x, indices.value) == values.value).all()
    g = rng.normal(size=values.value.shape)
    dx = value("max_pool2d_dx", g, indices.value, shape=x.shape)
    assert float((x * dx).sum()) == pytest.approx(float((values.value * g).sum()), rel=1e-14)


def test_the_last_update_of_a_place_wins_and_sums_add_up() -> None:
    x, at, updates = np.zeros(3), np.array([1, -1, 1]), np.array([1.0, 2.0, 4.0])
    assert value("scatter", x, updates, at, axis=0).tolist() == [0, 4, 2]
    assert value("scatter_add", x, updates, at, axis=0).tolist() == [0, 5, 2]


def test_random_bits_are_those_of_jax() -> None:
    # jax.random.bits of key(0), key(7), and of the key data (0xDEADBEEF, 0xFFFFFFFF); jax 0.10.2.
    known = {
        (0, 0): [4070199207, 4202968722, 1427181096, 2012915765, 2447653815],
        (0, 7): [2895194379, 4185947648, 1300703658, 1906787632, 3139134342],
        (0xDEADBEEF, 0xFFFFFFFF): [4225451885, 1952916153, 688207869, 2483180139],
    }
    for key, bits in known.items():
        drawn = value("random_bits", np.array(key, np.uint32), shape=(len(bits),))
        assert drawn.tolist() == bits


# -- the peers -----------------------------------------------------------------------------------

UNARY = (
    "neg abs exp log sqrt sin cos tanh erf floor isnan logical_not square reciprocal sign relu "
    "sigmoid gelu"
)
BINARY = (
    "add sub mul div pow maximum minimum equal not_equal less less_equal greater greater_equal "
    "logical_and logical_or"
)
TORCH_NAMES = {
    "equal": "eq",
    "not_equal": "ne",
    "less_equal": "le",
    "greater_equal": "ge",
    "greater": "gt",
    "less": "lt",
}


def _agree(ours: Any, theirs: Any, exempt: Any = False) -> None:
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    with np.errstate(over="ignore"):
        ours = ours.astype(theirs.dtype)
    close = np.isclose(ours, theirs, rtol=1e-12, atol=1e-14, equal_nan=True)
    assert (close | exempt).all()


@pytest.mark.peers("torch")
@pytest.mark.parametrize("name", UNARY.split())
def test_elementwise_agrees_with_torch(name: str) -> None:
    import torch

    from tinyml.ops.samples.values import special

    random = np.random.default_rng(0).uniform(-6, 6, 200)
    x = np.concatenate([special("float64"), random])
    functions = {"gelu": torch.nn.functional.gelu}
    function = functions.get(name) or getattr(torch, name)
    # Torch's sign of NaN is 0; the Array API's is NaN.
    exempt = np.isnan(x) if name == "sign" else False
    _agree(value(name, x), function(torch.from_numpy(x)).numpy(), exempt)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("name", BINARY.split())
def test_binary_agrees_with_torch(name: str) -> None:
    import torch

    from tinyml.ops.samples.values import pairs, special

    x, y = pairs(special("float64"), special("float64"))
    function = getattr(torch, TORCH_NAMES.get(name, name))
    _agree(value(name, x, y), function(torch.from_numpy(x), torch.from_numpy(y)).numpy())


@pytest.mark.peers("torch")
def test_reductions_and_composites_agree_with_torch() -> None:
    import torch
    from torch.nn import functional

    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=5)
    labels = np.array([1, 0, 4, 4])
    t, tw, tb, tl = map(torch.from_numpy, (x, w, b, labels))
    _agree(value("sum", x, axis=(0,), keepdims=True), t.sum(0, keepdim=True))
    _agree(value("mean", x, axis=(0, 1)), t.mean())
    _agree(value("var", x, axis=(1,), correction=1.0), t.var(1))
    _agree(value("argmax", x, axis=1), t.argmax(1))
    _agree(value("softmax", x, axis=1), t.softmax(1))
    _agree(value("log_softmax", x, axis=0), t.log_softmax(0))
    _agree(value("cross_entropy", x, labels), functional.cross_entropy(t, tl))
    _agree(value("layer_norm", x, w, b, eps=1e-5), functional.layer_norm(t, (5,), tw, tb))
    _agree(value("matmul", x, x.T.copy()), t @ t.T)


@pytest.mark.peers("torch")
@pytest.mark.parametrize("window", [((1, 1), (0, 0), (1, 1)), ((2, 1), (1, 2), (1, 2))])
def test_convolution_and_pooling_agree_with_torch(window: Any) -> None:
    import torch
    from torch.nn import functional

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(4, 3, 3, 2))
    attrs = dict(zip(("stride", "padding", "dilation"), window, strict=True))
    t, tw = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w).requires_grad_()
    y = functional.conv2d(t, tw, None, *window)
    g = rng.normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(g))
    assert t.grad is not None and tw.grad is not None
    _agree(value("conv2d", x, w, **attrs), y.detach())
    _agree(value("conv2d_dx", g, w, shape=x.shape, **attrs), t.grad)
    _agree(value("conv2d_dw", g, x, shape=w.shape, **attrs), tw.grad)
    pooled = functional.max_pool2d(t.detach(), (3, 2), (2, 1), (1, 1), return_indices=True)
    for ours, theirs in zip(
        evaluate("max_pool2d", x, kernel=(3, 2), stride=(2, 1), padding=(1, 1)), pooled, strict=True
    ):
        _agree(ours.value, theirs)


@pytest.mark.peers("jax")
def test_random_bits_agree_with_jax() -> None:
    import jax

    key = jax.random.key(123456)
    data = np.asarray(jax.random.key_data(key))
    assert (value("random_bits", data, shape=(3, 5)) == jax.random.bits(key, (3, 5))).all()


def test_every_name_of_the_table_is_an_identifier() -> None:
    assert all(name.isidentifier() for name in TABLE)
