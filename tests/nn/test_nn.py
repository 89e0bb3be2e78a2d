"""Modules and layers: torch's values and gradients, names and text; pytrees; refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import nn, random, tree
from tinyml.errors import ArgumentError, TinyMLError
from tinyml.nn import functional

pytestmark = pytest.mark.kernels(1)

KEY = 0


def small(dtype: Any = None, device: Any = None) -> nn.Sequential:
    """A network with one layer of each kind."""
    keys = random.split(random.key(KEY), 2)
    options: dict[str, Any] = {"dtype": dtype, "device": device}
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, key=keys[0], **options),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(12, **options),
        nn.GELU(),
        nn.Linear(12, 5, key=keys[1], **options),
    )


def small_torch() -> Any:
    """The same network in torch, in float64."""
    from torch import nn as other

    return other.Sequential(
        other.Conv2d(2, 3, 3, padding=1),
        other.ReLU(),
        other.MaxPool2d(2),
        other.Flatten(),
        other.LayerNorm(12),
        other.GELU(),
        other.Linear(12, 5),
    ).double()


def close(ours: Any, theirs: Any) -> None:
    """Equal to relative 1e-10."""
    expected = theirs.detach().numpy()
    assert np.allclose(ours.detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.peers("torch")
def test_values_and_gradients_equal_torch_s(device: str) -> None:
    import torch

    theirs, ours = small_torch(), small(tinyml.float64, device)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(4, 2, 4, 4))
    labels = np.array([0, 4, 2, 2])
    their_x = torch.tensor(x, requires_grad=True)
    our_x = tinyml.tensor(x, device=device, requires_grad=True)
    their_y, our_y = theirs(their_x), ours(our_x)
    close(our_y, their_y)
    their_loss = torch.nn.functional.cross_entropy(their_y, torch.tensor(labels))
    our_loss = functional.cross_entropy(our_y, tinyml.tensor(labels, device=device))
    close(our_loss, their_loss)
    their_loss.backward()
    our_loss.backward()
    close(our_x.grad, their_x.grad)
    gradients = dict(theirs.named_parameters())
    for name, param in ours.named_parameters():
        close(param.grad, gradients[name].grad)


@pytest.mark.peers("torch")
@pytest.mark.parametrize(("ours", "theirs"), [
    (lambda x: functional.softmax(x, 1), lambda F, x: F.softmax(x, 1)),
    (lambda x: functional.log_softmax(x, 0), lambda F, x: F.log_softmax(x, 0)),
    (lambda x: functional.max_pool2d(x, (2, 1), 1, (1, 0)),
     lambda F, x: F.max_pool2d(x, (2, 1), 1, (1, 0))),
    (lambda x: functional.conv2d(x, x[:1, :, :2, :2], None, 2, (1, 0), (1, 2)),
     lambda F, x: F.conv2d(x, x[:1, :, :2, :2], None, 2, (1, 0), (1, 2))),
    (lambda x: functional.mse_loss(x, x[:1]), lambda F, x: F.mse_loss(x, x[:1].expand(x.shape))),
    (lambda x: functional.mse_loss(x, x[:1], "sum"),
     lambda F, x: F.mse_loss(x, x[:1].expand(x.shape), reduction="sum")),
], ids=["softmax", "log_softmax", "max_pool2d", "conv2d", "mse_loss", "mse_loss sum"])
def test_functions_equal_torch_s(ours: Any, theirs: Any, device: str) -> None:
    import torch

    values = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    their_x = torch.tensor(values, requires_grad=True)
    our_x = tinyml.tensor(values, device=device, requires_grad=True)
    their_y, our_y = theirs(torch.nn.functional, their_x), ours(our_x)
    close(our_y, their_y)
    (their_y * their_y).sum().backward()
    (our_y * our_y).sum().backward()
    close(our_x.grad, their_x.grad)


@pytest.mark.peers("torch")
def test_names_and_text_are_torch_s() -> None:
    theirs, ours = small_torch(), small()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [str(m).split("(")[0] for m in ours.modules()] == [
        str(m).split("(")[0] for m in theirs.modules()]
    assert repr(ours[0]) == repr(theirs[0]) and repr(ours[6]) == repr(theirs[6])
    assert repr(ours).split("\n")[1] == repr(theirs).split("\n")[1]


def test_initial_values_have_torch_s_distributions() -> None:
    for layer, fan_in in ((nn.Linear(100, 300, key=random.key(1)), 100),
                          (nn.Conv2d(7, 300, 3, key=random.key(1)), 63)):
        bound = fan_in**-0.5
        for value in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
            assert np.abs(value).max() <= bound * (1 + 1e-6)
            # A uniform value's deviation is bound / sqrt(3); 5 deviations of its estimate.
            assert abs(value.std() / bound * 3**0.5 - 1) < 5 / value.size**0.5
            assert abs(value.mean()) < 5 * bound / (3 * value.size) ** 0.5
    assert nn.LayerNorm(3).weight.detach().tolist() == [1.0] * 3


def test_a_key_decides_and_the_global_generator_otherwise() -> None:
    one, two = nn.Linear(2, 2, key=random.key(3)), nn.Linear(2, 2, key=random.key(3))
    assert np.array_equal(one.weight.detach().numpy(), two.weight.detach().numpy())
    random.seed(1)
    first = [nn.Linear(2, 2).weight.detach().tolist() for _ in range(2)]
    random.seed(1)
    assert [nn.Linear(2, 2).weight.detach().tolist() for _ in range(2)] == first
    assert first[0] != first[1]


def test_devices_start_from_the_same_weights(device: str) -> None:
    for here, there in zip(small().parameters(), small(device=device).parameters(), strict=True):
        assert np.array_equal(here.detach().numpy(), there.detach().numpy())


class Stack(nn.Module):
    """Modules in containers, a shared parameter, a buffer and fixed values."""

    def __init__(self) -> None:
        self.layers = [nn.Linear(2, 2, key=random.key(i)) for i in range(2)]
        self.by_name = {"a": nn.ReLU(), "b": nn.LayerNorm(2)}
        self.tied = self.layers[0].weight
        self.mean = tinyml.tensor([0.0, 0.0])
        self.sizes = [1, 2]
        self.nothing = None

    def forward(self, x: Any) -> Any:
        """Any shape (..., 2)."""
        for layer in self.layers:
            x = self.by_name["b"](self.by_name["a"](layer(x - self.mean)))
        return x @ self.tied


def test_containers_shared_parameters_and_buffers() -> None:
    stack = Stack()
    assert [name for name, _ in stack.named_parameters()] == [
        "tied", "layers.0.bias", "layers.1.weight", "layers.1.bias", "by_name.b.weight",
        "by_name.b.bias"]
    assert list(stack.state_dict())[:2] == ["tied", "mean"] and "layers.0.weight" in (
        stack.state_dict())
    assert len(list(stack.parameters())) == 6
    assert [type(module).__name__ for module in stack.modules()] == [
        "Stack", "Linear", "Linear", "ReLU", "LayerNorm"]


def test_a_module_is_a_pytree() -> None:
    stack = Stack()
    leaves, treedef = tree.flatten(stack)
    assert len(leaves) == 8 and all(isinstance(leaf, tinyml.Tensor) for leaf in leaves)
    assert tree.paths(treedef)[0] == ".layers[0].weight"
    copy = tree.unflatten(treedef, leaves)
    assert isinstance(copy, Stack) and copy.sizes == [1, 2] and copy.nothing is None
    assert tree.flatten(copy)[1] == treedef == tree.flatten(Stack())[1]
    x = tinyml.tensor([[1.0, 2.0]])
    assert np.array_equal(copy(x).detach().numpy(), stack(x).detach().numpy())
    sizes = tree.map(lambda leaf: leaf.size, stack)
    assert tree.flatten(sizes) == ([leaf.size for leaf in leaves], treedef)
    assert sizes.mean == 2


def test_the_mode_reaches_all_modules_and_is_part_of_the_structure() -> None:
    stack = Stack()
    before = tree.flatten(stack)[1]
    assert stack.eval() is stack
    assert not any(module.training for module in stack.modules())
    assert tree.flatten(stack)[1] != before
    assert tree.flatten(stack.train())[1] == before


def test_a_state_comes_back_and_is_a_copy() -> None:
    model = small()
    state = model.state_dict()
    before = {name: value.numpy().copy() for name, value in state.items()}
    for param in model.parameters():
        param._replace(param.detach() * 2.0)
    assert all(np.array_equal(state[name].numpy(), before[name]) for name in state)
    kept = list(model.parameters())
    model.load_state_dict(state)
    assert all(one is two for one, two in zip(kept, model.parameters(), strict=True))
    assert all(param.requires_grad for param in model.parameters())
    for name, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), before[name])


def test_a_state_that_does_not_fit_is_listed_whole_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 3, key=random.key(0)), nn.Linear(3, 1, key=random.key(1)))
    before = model[0].weight.detach().tolist()
    with pytest.raises(ArgumentError) as caught:
        model.load_state_dict({
            "0.weight": np.zeros((3, 2), np.float32),
            "0.bias": np.zeros(4, np.float32),
            "1.weight": np.zeros((1, 3), np.int64),
            "2.weight": np.zeros(1),
        })
    for words in ("missing: 1.bias", "unexpected: 2.weight", "0.bias: shape (4,)",
                  "1.weight: dtype int64"):
        assert words in str(caught.value)
    assert model[0].weight.detach().tolist() == before


def test_to_casts_and_moves_in_place(device: str) -> None:
    model = small()
    params = list(model.parameters())
    assert model.to(device, tinyml.float64) is model
    assert all(one is two for one, two in zip(params, model.parameters(), strict=True))
    assert all(p.dtype is tinyml.float64 and p.requires_grad for p in params)
    x = tinyml.tensor(np.ones((1, 2, 4, 4)), device=device)
    assert model(x).dtype is tinyml.float64
    assert str(params[0].device) == str(x.device)


@pytest.mark.kernels(20)
def test_training_learns(device: str) -> None:
    x = tinyml.tensor(np.eye(4, dtype=np.float32), device=device)
    labels = tinyml.tensor(np.arange(4), device=device)
    model = nn.Sequential(nn.Linear(4, 8, key=random.key(0), device=device), nn.GELU(),
                          nn.Linear(8, 4, key=random.key(1), device=device))
    optimizer = tinyml.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_an_empty_batch_goes_through() -> None:
    assert small()(tinyml.zeros((0, 2, 4, 4))).shape == (0, 5)


@pytest.mark.parametrize("call", [
    lambda: nn.Linear(0, 2),
    lambda: nn.Linear(2, -1),
    lambda: nn.Linear(2, 1.5),  # type: ignore[arg-type]
    lambda: nn.Conv2d(1, 1, 0),
    lambda: nn.Conv2d(1, 1, (1, 2, 3)),
    lambda: nn.LayerNorm((2, 3)),
    lambda: nn.Flatten(2, 1)(tinyml.ones((2, 2, 2))),
    lambda: nn.Flatten(1, 3)(tinyml.ones((2, 2, 2))),
    lambda: nn.Linear(2, 3, key=random.key(0))(tinyml.ones((2, 3))),
    lambda: functional.mse_loss(tinyml.ones((2,)), tinyml.ones((2,)), "median"),
    lambda: functional.softmax(tinyml.ones((2,)), 1),
])
def test_bad_arguments_are_refused(call: Any) -> None:
    with pytest.raises(TinyMLError):
        call()


def test_a_module_without_forward_says_so() -> None:
    class Empty(nn.Module):
        """Nothing."""

    with pytest.raises(NotImplementedError, match="Empty does not define forward"):
        Empty()(1)
