"""Tensors, modules and what belongs to them pass through pickle and `copy` by value."""

from __future__ import annotations

import ast
import copy
import multiprocessing
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyml
from tinyml import nn, optim
from tinyml.dtypes import DTYPES, EVERY, as_dtype
from tinyml.errors import ConcretizationError, DeviceWarning, FileFormatError, GradientError
from tinyml.ops.pickled import restore_tensor

pytestmark = pytest.mark.kernels(4)
ROOT = Path(__file__).parents[2]
WAYS: dict[str, Callable[[Any], Any]] = {
    **{f"protocol {p}": lambda x, p=p: pickle.loads(pickle.dumps(x, p))
       for p in (0, 2, pickle.HIGHEST_PROTOCOL)},
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=WAYS)
def again(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Each way to come back."""
    return WAYS[request.param]


@tinyml.jit
def doubled(x: tinyml.Tensor) -> tinyml.Tensor:
    """Found by its name, as a decorated function is."""
    return x + x


def _halved(x: tinyml.Tensor) -> tinyml.Tensor:
    return x * 0.5


class Net(nn.Module):
    """One weight under two names, in a list too, with settings and compiled members."""

    def __init__(self, device: str = "cpu") -> None:
        self.first = nn.Linear(2, 3, key=tinyml.random.key(5), device=device)
        self.layers = [nn.ReLU(), nn.LayerNorm(3, device=device)]
        self.tied = self.first.weight
        self.count = tinyml.tensor(4, device=device)
        self.rate = 0.5
        self.by_name, self.by_value = doubled, tinyml.jit(_halved)
        self.act = tinyml.tanh

    def forward(self, x: tinyml.Tensor) -> tinyml.Tensor:
        """Return what all members make of x."""
        for layer in [self.first, *self.layers]:
            x = layer(x)
        return self.act(self.by_value(self.by_name(x)) * self.rate)


class Estimator:
    """As scikit-learn's are: settings, and a net once it is fitted."""

    def __init__(self, width: int = 3) -> None:
        self.width = width

    def fit(self, x: tinyml.Tensor) -> Estimator:
        """Fit nothing, but hold a net and its optimizer."""
        self.net_ = Net(str(x.device))
        self.optimizer_ = optim.AdamW(self.net_.parameters(), lr=0.25)
        self.net_(x).sum().backward()
        self.optimizer_.step()
        return self


def same(x: tinyml.Tensor, y: Any) -> None:
    """Fail unless y holds x's values, on its device, in memory of its own."""
    assert type(y) is type(x) and y is not x and y.buf is not x.buf
    assert (y.shape, y.dtype, y.device, y.requires_grad) == (
        x.shape, x.dtype, x.device, x.requires_grad)
    assert x.numpy().tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize("name", EVERY)
def test_every_type_comes_back(name: str, again: Callable[[Any], Any], device: str) -> None:
    dtype = as_dtype(name)
    whole = np.array([[0, 1, 1, 3, 2, 1, 0]]).astype(dtype.numpy)
    if not tinyml.zeros((), device=device).device.supports(dtype):
        device = "cpu"  # where there are all types
    x = tinyml.tensor(whole, device=device)
    for part in (x, x[0, 1:2], x[0, 3], x[:, 7:], x[0, ::-2]):
        same(part, again(part))


@given(hnp.arrays(st.sampled_from([np.float32, np.float64, np.complex128, np.int64, np.bool_]),
                  hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
def test_every_value_comes_back_bit_by_bit(values: Any) -> None:
    x = tinyml.tensor(values)
    same(x, pickle.loads(pickle.dumps(x)))
    same(x, copy.deepcopy(x))


def test_a_view_does_not_carry_its_base(device: str) -> None:
    base = tinyml.ones((300, 300), device=device)
    for view in (base[0, :3], base.T[7:8, 5], base[::100, ::150]):
        assert len(pickle.dumps(view)) < 500


def test_a_leaf_stays_a_leaf_and_only_deepcopy_takes_its_gradient(device: str) -> None:
    leaf = tinyml.tensor([3.0, -1.0], requires_grad=True, device=device)
    (leaf * leaf).sum().backward()
    loaded, copied = pickle.loads(pickle.dumps(leaf)), copy.deepcopy(leaf)
    same(leaf, loaded)
    same(leaf, copied)
    assert leaf.grad is not None and loaded.grad is None
    assert copied.grad.tolist() == [6.0, -2.0] and copied.grad is not leaf.grad
    (copied * 5.0).sum().backward()
    assert copied.grad.tolist() == [11.0, 3.0] and leaf.grad.tolist() == [6.0, -2.0]


def test_what_has_a_history_is_refused(again: Callable[[Any], Any]) -> None:
    leaf = tinyml.ones(2, requires_grad=True)
    with pytest.raises(GradientError, match="detach"):
        again([leaf * 2.0])
    with pytest.raises(GradientError, match="detach"):
        tinyml.grad(lambda x: (again(x) * 2.0).sum())(tinyml.ones(2))
    same((leaf * 2.0).detach(), again((leaf * 2.0).detach()))
    assert copy.copy(leaf * 2.0).requires_grad


def test_a_value_of_a_graph_is_refused() -> None:
    x = tinyml.ones(2)
    with pytest.raises(ConcretizationError, match="no content yet"):
        tinyml.jit(lambda x: (pickle.dumps(x), x)[1])(x)
    with pytest.raises(ConcretizationError, match="no content yet"):
        tinyml.jit(lambda m, x: (pickle.dumps(m), m(x))[1])(nn.LayerNorm(2), x)


def test_where_the_device_is_missing_it_is_on_the_cpu_with_a_warning() -> None:
    _, arguments = tinyml.tensor([1.5, 2.5], requires_grad=True).__reduce__()
    content, dtype, _, leaf, cls = arguments
    with pytest.warns(DeviceWarning, match="opencl:77"):
        x = restore_tensor(content, dtype, "opencl:77", leaf, cls)
    assert str(x.device) == "cpu" and x.tolist() == [1.5, 2.5] and x.requires_grad


@pytest.mark.parametrize("content", [b"", b"\x08" * 40, None])
def test_other_bytes_are_refused(content: Any) -> None:
    with pytest.raises(FileFormatError, match="not a pickled tensor"):
        restore_tensor(content, "float32", "cpu", False, tinyml.Tensor)


def test_a_module_is_its_class_and_state(again: Callable[[Any], Any], device: str) -> None:
    net = Net(device).eval()
    x = tinyml.tensor([[0.5, -1.0]], device=device)
    other = again(net)
    assert type(other) is Net and other.training is False and other.rate == 0.5
    assert other.tied is other.first.weight and other.tied is not net.tied
    assert [name for name, _ in other.named_parameters()] == [
        name for name, _ in net.named_parameters()]
    for name, value in net.state_dict().items():
        same(value, other.state_dict()[name])
    assert other.by_name is doubled and other.act is tinyml.tanh
    assert other(x).tolist() == net(x).tolist()
    shallow = copy.copy(net)
    assert shallow.tied is net.tied and shallow is not net


def test_a_module_made_in_a_graph_comes_back_outside(again: Callable[[Any], Any]) -> None:
    kept = []
    tinyml.jit(lambda x: (kept.append(nn.ReLU()), x + x)[1])(tinyml.ones(2))
    back = again(kept[0])
    back.setting = 3
    assert back.setting == 3


def test_an_estimator_with_its_optimizer(again: Callable[[Any], Any], device: str) -> None:
    fitted = Estimator().fit(tinyml.tensor([[1.0, 2.0], [0.0, 1.0]], device=device))
    other = again(fitted)
    assert [id(p) for p in other.optimizer_.params] == [id(p) for p in other.net_.parameters()]
    assert other.optimizer_.steps == fitted.optimizer_.steps and other.optimizer_.lr == 0.25
    for key, value in fitted.optimizer_.state_dict().items():
        np.testing.assert_array_equal(np.asarray(other.optimizer_.state_dict()[key]),
                                      np.asarray(value))


def test_generators_go_on_where_they_are(again: Callable[[Any], Any]) -> None:
    generator = tinyml.random.Generator(11)
    generator.next_key()
    other = again(generator)
    wanted = [generator.next_key().tolist() for _ in range(3)]
    assert [other.next_key().tolist() for _ in range(3)] == wanted
    assert len({tuple(key) for key in wanted}) == 3


def test_devices_and_types_are_themselves(again: Callable[[Any], Any], device: str) -> None:
    x = tinyml.zeros(1, device=device)
    assert again(x.device) is x.device and copy.copy(x.device) is x.device
    for dtype in DTYPES.values():
        assert again(dtype) is dtype


def _summed(net: Net, x: tinyml.Tensor) -> tuple[tinyml.Tensor, Net]:
    return net(x).detach(), net


@pytest.mark.slow
def test_a_spawned_process_takes_and_returns_them() -> None:
    net, x = Net(), tinyml.tensor([[0.5, -1.0]])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        y, other = pool.apply(_summed, (net, x))
    assert y.tolist() == net(x).tolist()
    same(net.tied, other.first.weight)


@pytest.mark.slow
@pytest.mark.peers("joblib")
def test_joblib_with_two_jobs() -> None:
    import joblib

    net, xs = Net(), [tinyml.tensor([[0.5, k]]) for k in (1.0, 2.0, 3.0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of resources and time
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(_summed)(net, x) for x in xs)
    assert [y.tolist() for y, _ in found] == [net(x).tolist() for x in xs]


def test_nothing_of_the_house_reads_or_writes_a_pickle() -> None:
    others = {"pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
    for folder in ("tinyml", "kernels", "conformance"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_bytes())
            names = {alias.name.split(".")[0] for node in ast.walk(tree)
                     if isinstance(node, ast.Import) for alias in node.names}
            names |= {(node.module or "").split(".")[0] for node in ast.walk(tree)
                      if isinstance(node, ast.ImportFrom)}
            unpickles = any(isinstance(node, ast.keyword) and node.arg == "allow_pickle"
                            and not (isinstance(node.value, ast.Constant) and not node.value.value)
                            for node in ast.walk(tree))
            assert not names & others and not unpickles, path
