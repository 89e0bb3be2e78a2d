"""einops takes tensors, whichever of the two is loaded first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyml

pytestmark = [pytest.mark.kernels(8), pytest.mark.peers("einops")]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
@pytest.mark.parametrize("pattern", [
    ("a (b c) -> c b a", {"b": 3}), ("a b -> (b a)", {}), ("a b -> b 1 a ()", {}),
    ("... b -> b ...", {}),
])
def test_rearrange_is_numpy_s(pattern: Any, dtype: str, device: str) -> None:
    import einops

    values = np.arange(24).reshape(4, 6).astype(dtype)
    have = einops.rearrange(tinyml.tensor(values, device=device), pattern[0], **pattern[1])
    assert isinstance(have, tinyml.Tensor) and str(have.device) == device
    np.testing.assert_array_equal(have.numpy(), einops.rearrange(values, pattern[0], **pattern[1]))


@pytest.mark.parametrize("how", ["min", "max", "sum", "mean", "prod"])
def test_reduce_is_numpy_s(how: str, device: str) -> None:
    import einops

    values = np.random.default_rng(3).normal(size=(2, 6, 4)).astype(np.float32)
    x = tinyml.tensor(values, device=device)
    for pattern, sizes in (("a (b c) d -> b d", {"c": 2}), ("a b d ->", {}), ("a b d -> d 1", {})):
        np.testing.assert_allclose(einops.reduce(x, pattern, how, **sizes).numpy(),
                                   einops.reduce(values, pattern, how, **sizes), rtol=1e-5)
    for word in ("any", "all"):
        assert einops.reduce(x > 2.0, "a b d -> d", word).tolist() == einops.reduce(
            values > 2.0, "a b d -> d", word).tolist()


def test_repeat_pack_unpack_einsum_and_lists(device: str) -> None:
    import einops

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = tinyml.tensor(values, device=device)
    for pattern in ("a b -> a k b m", "a b -> (a k) (m b)", "a b -> m a b k"):
        np.testing.assert_array_equal(einops.repeat(x, pattern, k=2, m=3).numpy(),
                                      einops.repeat(values, pattern, k=2, m=3))
    packed, shapes = einops.pack([x, x[:, 0], x[:, None]], "a *")
    assert packed.shape == (2, 7)
    back = einops.unpack(packed, shapes, "a *")
    assert [piece.shape for piece in back] == [(2, 3), (2,), (2, 1, 3)]
    np.testing.assert_array_equal(back[0].numpy(), values)
    product = einops.einsum(x, x, "a b, c b -> a c")
    np.testing.assert_array_equal(product.numpy(), values @ values.T)
    assert einops.rearrange([x, x + 1.0], "n a b -> a (n b)").shape == (2, 6)
    assert einops.parse_shape(x, "a b") == {"a": 2, "b": 3}
    assert einops.asnumpy(x).tolist() == values.tolist()
    with pytest.raises(einops.EinopsError):
        einops.rearrange(x, "a b c -> a")


def test_gradients_and_jit_go_through(device: str) -> None:
    import einops

    x = tinyml.tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3), device=device)

    def f(x: Any) -> Any:
        return (einops.rearrange(x, "a b -> b a")[0] * 3.0).sum()

    assert tinyml.grad(f)(x).tolist() == [[3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    assert tinyml.jit(f)(x).item() == f(x).item() == 9.0


USE = "print(einops.rearrange(x, 'a b -> (b a)').tolist())"
MAKE = "x = tinyml.tensor([[1, 2], [3, 4]])"


@pytest.mark.parametrize("order", [
    ["import einops", "import tinyml", MAKE], ["import tinyml", "import einops", MAKE],
    ["import tinyml", MAKE, "import einops"],
    ["import tinyml", MAKE, "from einops.einops import rearrange", "import einops"],
    ["import einops, numpy", "einops.rearrange(numpy.ones((1, 1)), 'a b -> b a')", "import tinyml",
     MAKE],
    ["import tinyml", "import einops.layers", MAKE],
])
def test_the_order_of_imports_does_not_matter(order: list[str]) -> None:
    order = [*order, "import gc; gc.collect()"]
    code = "\n".join([f"import sys; sys.path.insert(0, {str(ROOT)!r})", *order, USE,
                      "print(any('tinyml' in type(f).__module__ for f in sys.meta_path))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.stdout.split("\n")[:2] == ["[1, 3, 2, 4]", "False"], done.stderr


def test_tinyml_alone_does_not_load_einops() -> None:
    code = ("import sys, tinyml, json.tool; print('einops' in sys.modules, "
            "sum('tinyml' in type(f).__module__ for f in sys.meta_path))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          cwd=ROOT, check=True)
    assert done.stdout.strip() == "False 1"
