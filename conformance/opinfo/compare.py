"""One sample of PyTorch's: tinyml's values and gradients beside torch's."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import tinyml
from tinyml.tensor import Tensor

if TYPE_CHECKING:  # the ops under test may be installed without torch
    import torch

Array = npt.NDArray[Any]
RELATIVE = 1e-9
ABSOLUTE = 1e-12  # near 0, since sums that cancel leave the rounding errors of their terms
NARROW_UNITS = 16  # for a type less precise than RELATIVE: epsilons of the greatest element


class Different(AssertionError):
    """A result that differs from torch's; the text says which and by how much."""


def mapped(value: Any, f: Callable[[Any], Any]) -> Any:
    """Return nested tuples, lists, dicts and slices, with `f` applied to every leaf."""
    import torch

    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(v, f) for v in value]) if type(value) in (tuple, list) else \
            tuple([mapped(v, f) for v in value])
    if isinstance(value, dict):
        return {key: mapped(v, f) for key, v in value.items()}
    return f(value)


def leaves(value: Any) -> list[Any]:
    """Return the leaves of nested tuples and lists, from left to right."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def as_array(x: Any) -> Array:
    """Return a torch or tinyml tensor, or a number, as a NumPy array; bfloat16 as float32."""
    import torch

    if isinstance(x, torch.Tensor):
        x = x.detach().resolve_conj().resolve_neg()
        values: Array = (x.float() if x.dtype is torch.bfloat16 else x).numpy(force=True)
        return values
    array = np.asarray(x.numpy() if isinstance(x, Tensor) else x)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def converted(value: Any, device: str) -> Any:
    """Return a leaf of torch's sample in tinyml's form: a tensor, a dtype's name, a number."""
    import torch

    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return tinyml.tensor(as_array(value), dtype=dtype, device=device)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return str(value) if isinstance(value, (torch.device, torch.layout, torch.memory_format)) \
        else value


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return the tensors in nested arguments that require a gradient, each once, in order."""
    import torch

    found: list[torch.Tensor] = []

    def collect(x: Any) -> Any:
        if isinstance(x, torch.Tensor) and x.requires_grad and not any(x is y for y in found):
            found.append(x)
        return x

    mapped(value, collect)
    return found


def near(got: Any, want: Any, label: str) -> None:
    """Raise Different unless two results agree in shape, type, and value within the bound."""
    import torch

    if isinstance(want, torch.Tensor):
        if not isinstance(got, Tensor):
            raise Different(f"{label}: a {type(got).__name__} instead of a tensor")
        dtype = str(want.dtype).removeprefix("torch.")
        if got.dtype.name != dtype:
            raise Different(f"{label}: dtype {got.dtype.name} instead of {dtype}")
    a, b = as_array(got), as_array(want)
    if a.shape != b.shape:
        raise Different(f"{label}: shape {a.shape} instead of {b.shape}")
    if b.dtype.kind not in "fc":
        wrong = a != b
    else:
        size = np.abs(b)
        eps = torch.finfo(want.dtype).eps if isinstance(want, torch.Tensor) else 0.0
        bound = size * RELATIVE + ABSOLUTE
        if eps > RELATIVE:
            bound = bound + eps * NARROW_UNITS * np.max(size[np.isfinite(size)], initial=0.0)
        with np.errstate(all="ignore"):
            far = np.abs(a - b) > bound
            wrong = np.where(np.isfinite(b) & np.isfinite(a), far, a != b)
        wrong &= ~(np.isnan(a) & np.isnan(b))
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0]) if wrong.ndim else ()
        raise Different(f"{label}: {int(wrong.sum())} of {b.size} elements differ, first at {at}: "
                        f"{a[at]!r} instead of {b[at]!r}")


def _cotangents(outputs: list[torch.Tensor], name: str, seed: int) -> list[torch.Tensor]:
    import torch

    generator = np.random.default_rng([zlib.crc32(name.encode()), seed])
    found = []
    for y in outputs:
        g = torch.from_numpy(np.asarray(generator.standard_normal(y.shape)))
        if y.dtype.is_complex:
            g = torch.complex(g, torch.from_numpy(np.asarray(generator.standard_normal(y.shape))))
        found.append(g.to(y.dtype))
    return found


def compare(op: Any, sample: Any, adapter: Callable[..., Any], device: str, name: str,
            seed: int) -> None:
    """Run one sample through torch and tinyml; raise Different where their results differ.

    Values are compared from a call without gradients. Where torch's op supports gradients, those of
    a seeded cotangent are compared from a second call.
    """
    import torch

    whole = (sample.input, tuple(sample.args), dict(sample.kwargs))
    plain, args, kwargs = mapped(whole, lambda x: converted(x, device))
    wanted = op(sample.input, *sample.args, **sample.kwargs)
    got = leaves(adapter(plain, *args, **kwargs))
    want = leaves(wanted)
    if len(got) != len(want):
        raise Different(f"{len(got)} results instead of {len(want)}")
    for k, (a, b) in enumerate(zip(got, want)):
        near(a, b, f"result {k}" if len(want) > 1 else "result")
    inputs = tensors_of(whole) if op.supports_autograd else []
    places = [k for k, y in enumerate(want) if isinstance(y, torch.Tensor) and y.requires_grad]
    if inputs and places:
        _compare_gradients(whole, adapter, inputs, want, places, device, name, seed)


def _compare_gradients(whole: Any, adapter: Callable[..., Any], inputs: list[torch.Tensor],
                       want: list[Any], places: list[int], device: str, name: str,
                       seed: int) -> None:
    import torch

    outputs = [want[k] for k in places]
    arriving = _cotangents(outputs, name, seed)
    expected = torch.autograd.grad(outputs, inputs, arriving, allow_unused=True)

    def run(*primals: Any) -> list[Any]:
        def leaf(x: Any) -> Any:
            place = next((k for k, y in enumerate(inputs) if x is y), None)
            return converted(x, device) if place is None else primals[place]

        first, args, kwargs = mapped(whole, leaf)
        found = leaves(adapter(first, *args, **kwargs))
        return [found[k] for k in places]

    _, pullback = tinyml.vjp(run, *[converted(x, device) for x in inputs])
    found = pullback([converted(g, device) for g in arriving])
    for k, (a, b) in enumerate(zip(found, expected)):
        b = torch.zeros_like(inputs[k]) if b is None else b
        a = tinyml.zeros(tuple(b.shape), str(b.dtype).removeprefix("torch.")) if a is None else a
        near(a, b, f"gradient of operand {k}")
