"""How einops takes tensors: a backend of ours, registered when einops is loaded.

einops finds a backend among the subclasses of its own base class, so ours can exist only after
einops does. If it is loaded before tinyml, the class is made at once; if later, when its import
ends. Until then one object waits at the front of `sys.meta_path`: it compares a name, once for each
module that is imported, and is gone afterwards. Nothing here imports einops.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_BACKENDS = "einops._backends"
_made: list[type] = []  # a class holds its subclasses weakly


def _register(module: ModuleType) -> None:
    """Define the backend, which einops then finds by itself."""
    base = getattr(module, "AbstractBackend", None)
    if base is not None:  # another version of einops may not have one
        _made.append(type("TinyMLBackend", (_Backend, base), {}))


class _Backend:
    """What einops asks of a backend."""

    framework_name = "tinyml"

    def __init__(self) -> None:
        self.ours: Any = sys.modules[self.framework_name]

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Return whether this is a tensor of ours."""
        return isinstance(tensor, self.ours.Tensor)

    def from_numpy(self, x: Any) -> Any:
        """Return the array as a tensor."""
        return self.ours.tensor(x)

    def to_numpy(self, x: Any) -> Any:
        """Return the tensor as an array."""
        return x.detach().numpy()

    def arange(self, start: int, stop: int) -> Any:
        """Return the numbers from start to stop - 1."""
        return self.ours.arange(start, stop)

    def shape(self, x: Any) -> Any:
        """Return the shape."""
        return x.shape

    def reshape(self, x: Any, shape: Any) -> Any:
        """Return x in another shape."""
        return self.ours.reshape(x, tuple(shape))

    def transpose(self, x: Any, axes: Any) -> Any:
        """Return x with its axes reordered."""
        return self.ours.permute_dims(x, tuple(axes))

    def reduce(self, x: Any, operation: str, axes: Any) -> Any:
        """Return a reduction by name: min, max, sum, mean, prod, any, all."""
        return getattr(self.ours, operation)(x, axis=tuple(axes))

    def stack_on_zeroth_dimension(self, tensors: Any) -> Any:
        """Return the tensors along a new first axis."""
        return self.ours.stack(tensors)

    def add_axis(self, x: Any, new_position: int) -> Any:
        """Return x with a new axis."""
        return self.ours.expand_dims(x, new_position)

    def add_axes(self, x: Any, n_axes: int, pos2len: dict[int, int]) -> Any:
        """Return x with new axes of these sizes at these positions, without copying."""
        for position in sorted(pos2len):
            x = self.add_axis(x, position)
        return self.ours.broadcast_to(x, tuple([pos2len.get(k, n) for k, n in enumerate(x.shape)]))

    def tile(self, x: Any, repeats: Any) -> Any:
        """Return x repeated as a whole."""
        return self.ours.tile(x, tuple(repeats))

    def concat(self, tensors: Any, axis: int) -> Any:
        """Return the tensors joined along an axis."""
        return self.ours.concat(tensors, axis=axis)

    def is_float_type(self, x: Any) -> bool:
        """Return whether x has a mean."""
        return bool(x.dtype.is_inexact)

    def einsum(self, pattern: str, *x: Any) -> Any:
        """Return the sum of products."""
        return self.ours.einsum(pattern, *x)


class _Waiting:
    """The finder that waits for einops's backends, and finds nothing itself."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return None but for einops's backends, whose loader then registers ours at its end."""
        if name != _BACKENDS:
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _register(module)

        loader.exec_module = exec_module
        return spec


def watch() -> None:
    """Register the backend now if einops is loaded, otherwise when it is."""
    loaded = sys.modules.get(_BACKENDS)
    if loaded is not None:
        _register(loaded)
    else:
        sys.meta_path.insert(0, _Waiting())
