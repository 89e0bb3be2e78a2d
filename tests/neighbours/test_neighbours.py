"""Libraries that take tensors: those of the Array API, and what no neighbour may die of."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinyml

Array = Any


def grid(*shape: int) -> Array:
    """0, 1, 2, ... as float32 in a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.peers("einops")
def test_einops_takes_tensors(device: str) -> None:
    from einops import array_api

    x = tinyml.tensor(grid(6, 4), device=device)
    have = array_api.rearrange(x, "(a b) c -> b (a c)", a=2)
    want = grid(6, 4).reshape(2, 3, 4).transpose(1, 0, 2).reshape(3, 8)
    assert isinstance(have, tinyml.Tensor) and have.tolist() == want.tolist()
    assert array_api.reduce(x, "(a b) c -> b", "max", a=2).tolist() == [15.0, 19.0, 23.0]
    assert array_api.repeat(x, "a c -> a b c", b=2).shape == (6, 2, 4)
    assert array_api.pack([x, x], "* c")[0].shape == (12, 4)


@pytest.mark.peers("array_api_compat")
def test_array_api_compat_takes_tensors(device: str) -> None:
    import array_api_compat

    x = tinyml.tensor(grid(2, 3), device=device)
    assert array_api_compat.is_array_api_obj(x)
    assert array_api_compat.array_namespace(x, x) is tinyml
    assert array_api_compat.device(x) == x.device and array_api_compat.size(x) == 6
    assert str(array_api_compat.to_device(x, "cpu").device) == "cpu"


SCIPY = """
import sys
import numpy as np, scipy.special, scipy.stats, tinyml
table = np.random.default_rng(0).normal(size=(20, 4))
x = tinyml.tensor(table, device=sys.argv[1])
for f in (lambda x: scipy.special.logsumexp(x, axis=1), lambda x: scipy.special.softmax(x, axis=0),
          lambda x: scipy.stats.zscore(x, axis=0), lambda x: scipy.stats.skew(x, axis=0),
          lambda x: scipy.stats.moment(x, 3, axis=0), lambda x: scipy.special.erf(x),
          lambda x: scipy.stats.pearsonr(x[:, 0], x[:, 1]).statistic,
          lambda x: scipy.stats.ttest_1samp(x, 0.5).statistic):
    have, want = f(x), f(table)
    assert isinstance(have, tinyml.Tensor) and str(have.device) == sys.argv[1], type(have)
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-9)
"""


SKLEARN = """
import sys
import numpy as np, tinyml
from sklearn import config_context
from sklearn.metrics import accuracy_score, mean_squared_error, pairwise, r2_score
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
table = np.random.default_rng(0).normal(size=(20, 4))
x, labels = tinyml.tensor(table, device=sys.argv[1]), np.arange(20) % 3
ours = tinyml.tensor(labels, device=sys.argv[1])
with config_context(array_api_dispatch=True):
    for make in (StandardScaler, MinMaxScaler, Normalizer):
        have, want = make().fit_transform(x), make().fit_transform(table)
        assert isinstance(have, tinyml.Tensor) and str(have.device) == sys.argv[1], type(have)
        np.testing.assert_allclose(have.numpy(), want, rtol=1e-9, atol=1e-12)
    for f in (pairwise.cosine_similarity, pairwise.rbf_kernel):
        np.testing.assert_allclose(f(x, x).numpy(), f(table, table), rtol=1e-9, atol=1e-12)
    for f in (mean_squared_error, r2_score):
        np.testing.assert_allclose(float(f(x[:, 0], x[:, 1])), f(table[:, 0], table[:, 1]))
    assert accuracy_score(ours, ours) == 1.0
"""


def _in_a_process_of_its_own(script: str, device: str) -> None:
    """SciPy reads SCIPY_ARRAY_API when it is first imported, and scikit-learn asks SciPy.

    Both make arrays of their own without naming a device, so the device is the default one.
    """
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "TINYML_DEVICE": device,
                   "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", script, device], env=environment, text=True,
                           capture_output=True, timeout=300, check=False)
    assert child.returncode == 0, child.stderr


@pytest.mark.peers("scipy")
def test_scipy_takes_tensors(device: str) -> None:
    _in_a_process_of_its_own(SCIPY, device)


@pytest.mark.peers("sklearn", "scipy")
def test_scikit_learn_takes_tensors(device: str) -> None:
    _in_a_process_of_its_own(SKLEARN, device)


NEIGHBOURS = """
import gc, sys
import numpy as np, jax.numpy as jnp, tinyml, torch
x = tinyml.tensor(np.arange(1000.0, dtype="float32"), device=sys.argv[1])
want = np.arange(1000.0, dtype="float32")
held = [torch.from_dlpack(x), torch.from_dlpack(x, copy=True), jnp.from_dlpack(x),
        torch.utils.dlpack.from_dlpack(x.__dlpack__()), x.__dlpack__()]
try:
    held += [torch.from_dlpack(x, copy=False), np.from_dlpack(x, copy=False),
             torch.utils.dlpack.from_dlpack(x.__dlpack__(copy=False)), x.__dlpack__(copy=False)]
except BufferError:
    assert not isinstance(x.device.lend(x.buf, x.spec), np.ndarray)
del x
gc.collect()
for k in range(8):
    assert tinyml.full((1000,), -1.0, device=sys.argv[1]).copy()[k].item() == -1.0
for values in held:
    if hasattr(values, "shape"):
        assert np.array_equal(np.asarray(values), want), type(values)
"""


@pytest.mark.peers("torch", "jax")
def test_no_neighbour_dies_of_a_capsule(device: str) -> None:
    """From any device, shared or copied, consumed or not, held until the process ends."""
    _in_a_process_of_its_own(NEIGHBOURS, device)
