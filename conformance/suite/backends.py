"""Backends: anything that can run an op by its name, such as tinyml on a device, or NumPy.

A backend has a `name`, a `version` and `run(op, *arrays, **attrs)`, which takes and returns NumPy
arrays (Python scalars stay scalars). It raises NotImplementedError for what it lacks; such a case
counts as unsupported, never as passed. `pullback` is optional; the gradients suite uses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinyml.conformance import reference
from tinyml.ir.devices import HOST, find_device, find_kernels

Array = npt.NDArray[Any]
Pullback = Callable[[Array], tuple[Array, ...]]


def elsewhere(op: str, backend: str) -> bool:
    """Return whether an op runs only by kernels and has none on this device of tinyml's.

    >>> elsewhere("svd", "tinyml:opencl"), elsewhere("svd", "tinyml:cpu"), elsewhere("svd", "numpy")
    (True, False, False)
    """
    from tinyml.ops.linalg import BY_LAPACK

    home, _, device = backend.partition(":")
    return home == "tinyml" and op in BY_LAPACK and not find_kernels(op, device)


class Backend(Protocol):
    """What the suites need from a backend."""

    name: str
    version: str

    def lacks(self, dtype: str) -> str | None:
        """Return why this machine cannot hold a dtype, or None; such cases are skipped."""
        ...

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[Array, ...]:
        """Return the outputs of the op; raise NotImplementedError where the backend lacks it."""
        ...

    def pullback(
        self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int]
    ) -> Pullback:
        """Return the map from the first output's cotangent to those of the arguments in `wrt`."""
        ...

    def tangent(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
                tangents: Sequence[Array]) -> Array:
        """Return the tangent of the op's first output, given those of the arguments in `wrt`."""
        ...

    def second(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
               g: Array, directions: Sequence[Array]) -> tuple[Array, ...]:
        """Return the gradient of <directions, pullback of g> for the arguments in `wrt`."""
        ...


class NumPy:
    """The reference's own functions, run in the dtype of their arguments, not in the widest.

    >>> NumPy().run("add", np.float32([1]), 2)[0]
    array([3.], dtype=float32)
    """

    name = "numpy"
    version = np.__version__

    def lacks(self, dtype: str) -> str | None:
        """Return None: NumPy has every dtype."""
        return None

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[Array, ...]:
        """Return the outputs, each in the dtype it must have."""
        if op not in reference.TABLE:
            raise NotImplementedError(f"numpy has no {op}")
        return reference.native(op, *arrays, **attrs)

    def pullback(
        self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int]
    ) -> Pullback:
        """Raise NotImplementedError: NumPy has no gradients."""
        raise NotImplementedError(f"numpy has no gradient of {op}")

    def tangent(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
                tangents: Sequence[Array]) -> Array:
        """Raise NotImplementedError: NumPy has no gradients."""
        raise NotImplementedError(f"numpy has no jvp of {op}")

    def second(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
               g: Array, directions: Sequence[Array]) -> tuple[Array, ...]:
        """Raise NotImplementedError: NumPy has no gradients."""
        raise NotImplementedError(f"numpy has no gradient of {op}")


class TinyML:
    """tinyml on one of its devices.

    Arrays become tensors of the same layout: a transposed array becomes a transposed view.
    """

    sums_in_blocks = True  # so the bound on its sums is the stricter one: see bounds.py

    def __init__(self, device: str = HOST) -> None:
        import tinyml

        self.device = device
        self.name = f"tinyml:{device}"
        self.version = tinyml.__version__

    def lacks(self, dtype: str) -> str | None:
        """Return why the device lacks a dtype (float64 is optional in OpenCL), or None."""
        from tinyml.dtypes import as_dtype

        has = find_device(self.device).supports(as_dtype(dtype))
        return None if has else f"{self.name} has no {dtype} on this machine"

    def run(self, op: str, /, *arrays: Any, **attrs: Any) -> tuple[Array, ...]:
        """Return the outputs of `tinyml.core.apply` on this device."""
        outputs = self._apply(op, [self._enter(x) for x in arrays], attrs)
        return tuple(np.asarray(y.numpy()) for y in outputs)

    def pullback(
        self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int]
    ) -> Pullback:
        """Return the vector-Jacobian product that tinyml records for this op."""
        from tinyml.autodiff.grad import vjp

        only_these, entered = self._only(op, args, attrs, wrt)
        y, pull = vjp(only_these, *entered)
        dtype = np.dtype(y.dtype.name)

        def back(g: Array) -> tuple[Array, ...]:
            result = pull(self._enter(np.asarray(g, dtype)))
            results = result if isinstance(result, tuple) else (result,)
            return tuple(np.asarray(x.numpy()) for x in results)

        return back

    def tangent(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
                tangents: Sequence[Array]) -> Array:
        """Return the Jacobian-vector product that tinyml derives from this op's rules."""
        from tinyml.autodiff.jvp import jvp

        only_these, entered = self._only(op, args, attrs, wrt)
        _, tangent = jvp(only_these, entered, [self._enter(v) for v in tangents])
        return np.asarray(tangent.numpy())

    def second(self, op: str, args: Sequence[Any], attrs: dict[str, Any], wrt: Sequence[int],
               g: Array, directions: Sequence[Array]) -> tuple[Array, ...]:
        """Return the vector-Jacobian product of the one that tinyml records for this op."""
        from tinyml.autodiff.grad import vjp

        only_these, entered = self._only(op, args, attrs, wrt)
        cotangent = self._enter(g)

        def pulled(*variables: Any) -> Any:
            result = vjp(only_these, *variables)[1](cotangent)
            return result if isinstance(result, tuple) else (result,)

        _, pull = vjp(pulled, *entered)
        result = pull(tuple(self._enter(v) for v in directions))
        results = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(x.numpy()) for x in results)

    def _only(self, op: str, args: Sequence[Any], attrs: dict[str, Any],
              wrt: Sequence[int]) -> tuple[Callable[..., Any], list[Any]]:
        """Return the op's first output as a function of the arguments in `wrt`, and these."""
        entered = [self._enter(x) for x in args]

        def only_these(*variables: Any) -> Any:
            full = list(entered)
            for k, variable in zip(wrt, variables, strict=True):
                full[k] = variable
            return self._apply(op, full, attrs)[0]

        return only_these, [entered[k] for k in wrt]

    def _apply(self, op: str, args: Sequence[Any], attrs: dict[str, Any]) -> tuple[Any, ...]:
        from tinyml.core.apply import apply_many
        from tinyml.ir.op import find

        return apply_many(find(op), *args, **attrs)

    def _enter(self, x: Any) -> Any:
        """Return a tensor with an array's values and layout; anything else unchanged."""
        if not isinstance(x, np.ndarray):
            return x
        if x.flags.c_contiguous or x.size == 0:
            return self._dense(x)
        return self._laid_out(x)

    def _dense(self, x: Array) -> Any:
        from tinyml.ops.creation import tensor

        return tensor(np.ascontiguousarray(x).reshape(x.shape), device=self.device)

    def _laid_out(self, x: Array) -> Any:
        """Return a tensor with an array's flips, broadcasts, gaps and axis order, made by views."""
        from tinyml.ops.views import broadcast_to, permute_dims

        flips = tuple(slice(None, None, -1 if step < 0 else 1) for step in x.strides)
        held = x[flips]
        repeats = tuple(slice(0, 1 if step == 0 else None) for step in held.strides)
        held = held[repeats]
        order = tuple(int(k) for k in np.argsort([-step for step in held.strides], kind="stable"))
        dense = held.transpose(order)
        if dense.flags.c_contiguous:
            y = self._dense(dense)
        else:
            spaced = np.zeros((*dense.shape[:-1], 2 * dense.shape[-1]), x.dtype)
            spaced[..., ::2] = dense
            y = self._dense(spaced)[..., ::2]
        if order != tuple(range(x.ndim)):
            y = permute_dims(y, tuple(order.index(k) for k in range(x.ndim)))
        if held.shape != x.shape:
            y = broadcast_to(y, x.shape)
        return y[flips] if any(part.step == -1 for part in flips) else y


def open_backend(name: str) -> Backend:
    """Return the backend called 'numpy', 'tinyml:cpu', 'tinyml:opencl' or 'module:object'.

    >>> open_backend("numpy").name
    'numpy'
    """
    if name == "numpy":
        return NumPy()
    home, _, rest = name.partition(":")
    if home == "tinyml":
        return TinyML(rest or HOST)
    if not rest:
        raise ValueError(f"no backend {name!r}: one of numpy, tinyml:DEVICE, MODULE:OBJECT")
    made = getattr(importlib.import_module(home), rest)
    backend: Backend = made() if isinstance(made, type) else made
    return backend
