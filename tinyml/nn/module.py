"""Module: parameters and submodules as plain attributes, named as in PyTorch, and a pytree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from tinyml.core.error_context import named_in_errors
from tinyml.core.node import Leaf
from tinyml.errors import ArgumentError, ArgumentTypeError, DTypeError, TinyMLError
from tinyml.ops.arguments import as_flag
from tinyml.ops.creation import asarray
from tinyml.state.stateful import Stateful, attributes, within
from tinyml.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Forward(Protocol[P, R]):
    """For type checkers: a call of a module takes and returns what its `forward` does."""

    def forward(self, *args: P.args, **options: P.kwargs) -> R:
        """Compute the module's result."""
        ...


class Module(Stateful):
    """A function with parameters. Subclasses assign attributes and define `forward`.

    A Tensor attribute is state, and a parameter if it requires a gradient. A Module, or a list,
    tuple or dict that holds tensors or modules, is a child. Everything else is static, and should
    be hashable. A module is a pytree whose leaves are its tensors, so `grad` and `tree.map` take
    it; a tensor used in two places is two leaves there, but one parameter in `parameters`.

    >>> import tinyml
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = tinyml.tensor([2.0], requires_grad=True)
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(tinyml.tensor([3.0])).tolist()
    [6.0]
    """

    training: bool = True

    def __call__(self: Forward[P, R], *args: P.args, **options: P.kwargs) -> R:
        return self.forward(*args, **options)

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the module's result; each subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Tell type checkers that a submodule from a container may have any attribute."""

    # ---- what is inside

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly inside, with their names."""
        for name, value in attributes(self):
            yield from _modules(name, value)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all modules inside it, each once, parents first."""
        seen: set[int] = set()
        stack: list[Module] = [self]
        while stack:
            module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield module
                stack.extend(reversed([child for _, child in module.children()]))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors that require gradients, each once, with names such as '0.weight'."""
        seen: set[int] = set()
        for name, value in _tensors("", self):
            if value.requires_grad and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Tensor]:
        """Yield the tensors that require gradients, each once."""
        for _, value in self.named_parameters():
            yield value

    @named_in_errors
    def accumulate_grad(self, gradient: Module) -> None:
        """Add a gradient with this module's structure, as from `value_and_grad`, to each `grad`.

        A tensor used in two places gets the sum. Raises ArgumentError for another structure.

        >>> import tinyml
        >>> layer = tinyml.nn.Linear(2, 1)
        >>> layer.accumulate_grad(tinyml.grad(lambda m: m.bias.sum())(layer))
        >>> layer.bias.grad.tolist()
        [1.0]
        """
        mine, theirs = list(_tensors("", self)), list(_tensors("", gradient))
        if [(name, x.shape) for name, x in mine] != [(name, g.shape) for name, g in theirs]:
            raise ArgumentError(f"a gradient in another structure than this {type(self).__name__}",
                                remedy="tinyml.grad(f)(module) of this very module")
        for (_, value), (_, g) in zip(mine, theirs):
            if value.requires_grad:
                value.grad = g.detach() if value.grad is None else value.grad + g.detach()

    # ---- state

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors by name, as they are now; further training does not change them."""
        return {name: value.detach() for name, value in _tensors("", self)}

    @named_in_errors
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the contents of all tensors with the values of the same names, Tensor or NumPy.

        Each value is moved to the tensor's device and cast to its dtype, if of the same kind.
        Raises ArgumentError that lists all missing and unexpected names and all wrong shapes and
        kinds; in that case nothing is replaced.
        """
        as_state(state)
        own = dict(_tensors("", self))
        wrong = [f"missing: {name}" for name in own if name not in state]
        wrong += [f"unexpected: {name}" for name in state if name not in own]
        new = {}
        for name, value in own.items():
            if name in state:
                try:
                    new[name] = conform(state[name], value)
                except TinyMLError as error:
                    wrong.append(f"{name}: {error.message}")
        if wrong:
            raise ArgumentError(
                f"the state does not fit {type(self).__name__}:\n    " + "\n    ".join(wrong),
                remedy="build the module with the sizes with which the state was saved",
            )
        for name, content in new.items():
            own[name]._replace(content)

    def to(self, device: Any = None, dtype: Any = None) -> Module:
        """Move all tensors to a device and cast the floating ones; return the module itself."""
        for module_tensor in {id(value): value for _, value in _tensors("", self)}.values():
            gradient = module_tensor.grad
            _become(module_tensor, _moved(module_tensor.detach(), device, dtype))
            if gradient is not None:
                module_tensor.grad = _moved(gradient, device, dtype)
        return self

    def train(self, mode: bool = True) -> Module:
        """Set `training` on this module and all inside it; return the module itself."""
        training = as_flag(mode, "mode")
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Module:
        """Set `training` to False, as `train(False)` does; return the module itself."""
        return self.train(False)

    # ---- text

    def extra_repr(self) -> str:
        """Return the text between the parentheses in the repr of a module without children."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.children()]
        if self.extra_repr():
            lines.insert(0, self.extra_repr())
        if not list(self.children()):
            return f"{type(self).__name__}({self.extra_repr()})"
        inner = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {inner}\n)"


def as_state(state: Any) -> None:
    """Raise ArgumentTypeError unless this is a mapping, as `state_dict` returns it."""
    if not isinstance(state, Mapping):
        raise ArgumentTypeError(f"a state is a {type(state).__name__}",
                                remedy="what state_dict() returned, or tinyml.load(path)")


def conform(value: Any, like: Tensor) -> Tensor:
    """Return `value` as a tensor with the shape, dtype and device of `like`.

    Raises ArgumentError for another shape and DTypeError for another kind of dtype.
    """
    given = value.detach() if isinstance(value, Tensor) else asarray(value)
    if given.shape != like.shape:
        raise ArgumentError(f"shape {given.shape} where {like.shape} is expected")
    if given.dtype.kind != like.dtype.kind:
        raise DTypeError(f"dtype {given.dtype.name} where {like.dtype.name} is expected")
    return given.to(like.device).astype(like.dtype)


def _become(value: Tensor, new: Tensor) -> None:
    """Replace a tensor's content, even with another dtype or device; a leaf becomes a new leaf."""
    value.buf, value.spec = new.buf, new.spec
    value.node = Leaf(new.spec, 0) if isinstance(value.node, Leaf) else None


def _moved(value: Tensor, device: Any, dtype: Any) -> Tensor:
    if dtype is not None and value.dtype.is_float:
        value = value.astype(dtype)
    return value if device is None else value.to(device)


# ---- walking


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a container's items with their names."""
    if isinstance(value, Module):
        yield from attributes(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key), item
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield str(i), item


def _tensors(name: str, value: Any, around: tuple[Any, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors below a value in PyTorch's order: a module's own tensors come first."""
    if isinstance(value, Tensor):
        yield name, value
        return
    around = within(value, around)
    items = [(f"{name}.{step}" if name else step, item) for step, item in _items(value)]
    for own in (True, False):
        for path, item in items:
            if isinstance(item, Tensor) is own:
                yield from _tensors(path, item, around)


def _modules(name: str, value: Any,
             around: tuple[Any, ...] = ()) -> Iterator[tuple[str, Module]]:
    if isinstance(value, Module):
        yield name, value
        return
    for step, item in _items(value):
        yield from _modules(f"{name}.{step}", item, within(value, around))
