"""Adapters of shapes, joins and splits, padding, windows, and products of matrices and tensors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import tinyml as tm
from tinyml.conformance.opinfo.reductions import as_vector
from tinyml.ir.devices import is_device_name


def given(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Return sizes given one by one or as one sequence."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def expand(x: Any, *sizes: Any) -> Any:
    """Return x broadcast; -1 keeps the size."""
    wanted = given(sizes)
    own = (1,) * (len(wanted) - x.ndim) + x.shape
    return tm.broadcast_to(x, tuple([n if m == -1 else m for n, m in zip(own, wanted)]))


def sum_to_size(x: Any, *sizes: Any) -> Any:
    """Return x summed over the axes along which the target shape would broadcast to x's."""
    wanted = given(sizes)
    lead = x.ndim - len(wanted)
    over = [d for d in range(x.ndim) if d < lead or wanted[d - lead] != x.shape[d]]
    return tm.reshape(tm.sum(x, axis=tuple(over)) if over else x, wanted)


def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """Return coordinate grids of vectors; a number counts as a vector of one element."""
    parts = list(tensors[0]) if isinstance(tensors[0], (tuple, list)) else list(tensors)
    return tm.meshgrid(*[x.reshape((1,)) if x.ndim == 0 else x for x in parts], indexing=indexing)


def split(x: Any, size: Any, dim: int = 0) -> Any:
    """Return parts of one size, the last one the remainder, or of the sizes given."""
    if isinstance(size, int):
        return tm.split(x, list(range(size, x.shape[dim], size)), dim)
    return tm.split(x, list(itertools.accumulate(size))[:-1], dim)


def chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    """Return at most this many parts of equal size."""
    return split(x, max(1, math.ceil(x.shape[dim] / chunks)), dim)


def tensor_split(x: Any, at: Any, dim: int = 0) -> Any:
    """Return equal parts, or parts between indices; numbers may come as tensors."""
    at = at.tolist() if isinstance(at, tm.Tensor) else at
    return tm.array_split(x, list(at) if isinstance(at, tuple) else at, dim)


def chunk_cat(tensors: Any, dim: int, count: int) -> Any:
    """Return each tensor in `count` rows along an axis, padded with zeros, concatenated."""
    rows = []
    for x in tensors:
        dim = dim % x.ndim
        missing = -x.shape[dim] % count
        x = tm.pad(x, [(0, missing if d == dim else 0) for d in range(x.ndim)])
        rows.append(tm.reshape(x, (*x.shape[:dim], count, -1)))
    return tm.concat(rows, axis=dim + 1)


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Return x with neighbouring axes merged into one."""
    if x.ndim == 0:
        return x.reshape((1,))
    start, end = start_dim % x.ndim, end_dim % x.ndim
    size = math.prod(x.shape[start : end + 1])
    return x.reshape((*x.shape[:start], size, *x.shape[end + 1 :]))


def unflatten(x: Any, dim: int, sizes: Any) -> Any:
    """Return x with an axis split into several; one of the sizes may be -1."""
    dim = dim % x.ndim
    known = math.prod(n for n in sizes if n != -1)
    sizes = [x.shape[dim] // known if n == -1 else n for n in sizes]
    return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def squeeze(x: Any, dim: Any = None) -> Any:
    """Return x without its axes of size 1: all, or those among the given ones."""
    named = range(x.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    dims = [d % x.ndim for d in named] if x.ndim else []
    return tm.squeeze(x, tuple([d for d in dims if x.shape[d] == 1]))


def transpose(x: Any, first: int, second: int) -> Any:
    """Return x with two axes exchanged; a number has none."""
    return tm.swapaxes(x, first, second) if x.ndim else x


def matrix_transposed(x: Any) -> Any:
    """Return a matrix transposed; anything with fewer axes unchanged."""
    return x.T if x.ndim == 2 else x


def movedim(x: Any, source: Any, destination: Any) -> Any:
    """Return x with axes moved to other positions."""
    return tm.moveaxis(x, tuple(source), tuple(destination))


def pairs(x: Any, widths: Any) -> list[tuple[int, int]]:
    """Return torch's widths, from the last axis on, as pairs from the first."""
    found = [(widths[k], widths[k + 1]) for k in range(0, len(widths), 2)]
    return [(0, 0)] * (x.ndim - len(found)) + found[::-1]


def pad(x: Any, widths: Any, mode: str = "constant", value: Any = None) -> Any:
    """Return x padded; a negative width crops. A replicated edge is that of the whole x."""
    wanted = pairs(x, widths)
    named = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    more = {"constant_values": 0 if value is None else value} if mode == "constant" else {}
    cut = [(max(0, -a), max(0, -b)) for a, b in wanted]
    wide = [(max(0, a), max(0, b)) for a, b in wanted]
    if mode == "circular":  # crop first, since the wrapping is that of what is left
        x = x[tuple([slice(a, n - b) for (a, b), n in zip(cut, x.shape)])]
        return tm.pad(x, wide, named[mode])
    x = tm.pad(x, wide, named[mode], **more)
    return x[tuple([slice(a, n - b) for (a, b), n in zip(cut, x.shape)])]


def constant_pad(x: Any, widths: Any, value: Any = 0) -> Any:
    """Return x padded with one value."""
    return pad(x, widths, "constant", value)


def unfold(x: Any, dim: int, size: int, step: int) -> Any:
    """Return windows along an axis, as a new last axis."""
    if x.ndim == 0:
        return x.reshape((1,)) if size else x.reshape((1,))[:0]
    if size == 0:
        count = x.shape[dim] // step + 1
        return tm.zeros((*x.shape[: dim % x.ndim], count, *x.shape[dim % x.ndim + 1 :], 0),
                        x.dtype)
    return tm.sliding_window_view(x, size, dim, step)


def pair(value: Any) -> tuple[int, int]:
    """Return a pair from one number for both, or from two."""
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


def image_windows(x: Any, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Return windows of images as columns."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = map(pair, (kernel, dilation, padding, stride))
    if x.ndim == 3:
        return image_windows(x.reshape((1, *x.shape)), kernel, dilation, padding, stride)[0]
    x = tm.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    x = tm.sliding_window_view(x, (kh - 1) * dh + 1, 2, sh)
    x = tm.sliding_window_view(x, (kw - 1) * dw + 1, 3, sw)[..., ::dh, ::dw]
    batch, channels, rows, columns = x.shape[:4]
    x = tm.permute_dims(x, (0, 1, 4, 5, 2, 3))
    return x.reshape((batch, channels * kh * kw, rows * columns))


def glu(x: Any, dim: int = -1) -> Any:
    """Return one half of x times the sigmoid of the other."""
    value, gate = tm.split(x, 2, dim)
    return value * tm.sigmoid(gate)


def to(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return x in another dtype, given by name or by a tensor."""
    for arg in args:
        if isinstance(arg, tm.Tensor):
            return x.astype(arg.dtype)
        if isinstance(arg, str) and not is_device_name(arg):
            return x.astype(arg)
    return x


def stored(x: Any, size: Any, stride: Any, offset: int = 0) -> Any:
    """Return the flat indices into a dense tensor that sizes and strides select."""
    place: Any = tm.full(tuple(size), offset, "int64", x.device)
    for d, (n, step) in enumerate(zip(size, stride)):
        shape = [n if k == d else 1 for k in range(len(size))]
        place = place + tm.reshape(tm.arange(n, device=x.device) * step, shape)
    return place


def as_strided(x: Any, size: Any, stride: Any, storage_offset: int = 0) -> Any:
    """Return the elements of the dense x at the given strides."""
    return tm.gather(tm.ravel(x), stored(x, size, stride, storage_offset), 0)


def rolled_to_middle(sign: int) -> Callable[..., Any]:
    """Return fftshift or its inverse: a roll by half the size along axes."""

    def call(x: Any, dim: Any = None) -> Any:
        dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
        half = [x.shape[d] // 2 if sign > 0 else -(x.shape[d] // 2) for d in dims]
        return tm.roll(x, tuple(half), tuple(dims))

    return call


def pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    """Return x with channels rearranged into r by r blocks of pixels."""
    r, (*batch, c, h, w) = upscale_factor, x.shape
    n = len(batch)
    x = x.reshape((*batch, c // (r * r), r, r, h, w))
    x = tm.permute_dims(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return x.reshape((*batch, c // (r * r), h * r, w * r))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """Return x with r by r blocks of pixels rearranged into channels."""
    r, (*batch, c, h, w) = downscale_factor, x.shape
    n = len(batch)
    x = x.reshape((*batch, c, h // r, r, w // r, r))
    x = tm.permute_dims(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return x.reshape((*batch, c * r * r, h // r, w // r))


def channel_shuffle(x: Any, groups: int) -> Any:
    """Return x with the channels of its groups interleaved."""
    batch, c, *rest = x.shape
    x = tm.swapaxes(x.reshape((batch, groups, c // groups, *rest)), 1, 2)
    return x.reshape((batch, c, *rest))


def combinations(x: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """Return every combination of r elements, in order."""
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    table = list(choose(range(x.shape[0]), r))
    if not table:
        return tm.zeros((0, r), x.dtype)
    return tm.gather(x, tm.tensor(table, dtype="int64", device=x.device), 0)


def cartesian_prod(*vectors: Any) -> Any:
    """Return every choice of one element from each vector."""
    if len(vectors) == 1:
        return vectors[0]
    return tm.stack([tm.ravel(grid) for grid in tm.meshgrid(*vectors, indexing="ij")], 1)


def repeat(x: Any, *sizes: Any) -> Any:
    """Return x repeated along each axis; additional axes come first."""
    return tm.tile(x, given(sizes))


def repeat_interleave(x: Any, repeats: Any, dim: Any = None, output_size: Any = None) -> Any:
    """Return x with each element repeated."""
    return tm.repeat(x.reshape((1,)) if x.ndim == 0 else x, repeats, dim)


def roll(x: Any, shifts: Any, dims: Any = None) -> Any:
    """Return x with elements rolled along axes."""
    if not x.ndim or not x.size:
        return x
    dims = None if dims in (None, ()) else dims
    return tm.roll(x, shifts, dims)


def products(beta: Any, x: Any, alpha: Any, product: Any) -> Any:
    """Return beta x + alpha product."""
    return x * beta + product * alpha


def tensordot(x: Any, y: Any, dims: Any = 2) -> Any:
    """Return tensor products summed over axes."""
    return tm.tensordot(x, y, axes=dims if isinstance(dims, int) else tuple(map(tuple, dims)))


def multi_dot(tensors: Any) -> Any:
    """Return the matrix product of several tensors."""
    found = tensors[0]
    for x in tensors[1:]:
        found = tm.matmul(found, x)
    return found


def dims(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Return torch's arguments of a diagonal under tinyml's names."""
    return tm.diagonal(x, offset, dim1, dim2)


def same(x: Any, *_: Any, **__: Any) -> Any:
    """Return x unchanged, whatever memory layout is asked for."""
    return x


TABLE: dict[str, Callable[..., Any]] = {
    "broadcast_to": lambda x, shape: tm.broadcast_to(x, shape),
    "broadcast_tensors": lambda *xs: tm.broadcast_arrays(*xs),
    "expand": expand, "expand_copy": expand,
    "expand_as": lambda x, y: tm.broadcast_to(x, y.shape),
    "sum_to_size": sum_to_size,
    "clone": lambda x, **_: x.copy(), "contiguous": same, "alias_copy": same,
    "resolve_conj": same, "resolve_neg": same,
    "view_as_complex": lambda x: x[..., 0] + x[..., 1] * 1j,
    "block_diag": lambda *xs: tm.block_diag(*xs),
    "combinations": combinations, "cartesian_prod": cartesian_prod,
    "chunk": chunk, "unsafe_chunk": chunk,
    "split": split, "unsafe_split": split, "split_list_args": split, "split_with_sizes": split,
    "split_with_sizes_copy": split, "tensor_split": tensor_split,
    "hsplit": lambda x, at: tm.hsplit(x, at), "vsplit": lambda x, at: tm.vsplit(x, at),
    "dsplit": lambda x, at: tm.dsplit(x, at),
    "unbind": lambda x, dim=0: tm.unstack(x, axis=dim),
    "unbind_copy": lambda x, dim=0: tm.unstack(x, axis=dim),
    "cat": lambda xs, dim=0: tm.concat(
        [x for x in xs if x.shape != (0,)] or list(xs[:1]), axis=dim),
    "stack": lambda xs, dim=0: tm.stack(list(xs), axis=dim),
    "hstack": lambda xs: tm.hstack(list(xs)), "vstack": lambda xs: tm.vstack(list(xs)),
    "dstack": lambda xs: tm.dstack(list(xs)), "column_stack": lambda xs: tm.column_stack(list(xs)),
    "_chunk_cat": chunk_cat,
    "atleast_1d": lambda *xs: tuple([tm.atleast_1d(x) for x in _flat(xs)]),
    "atleast_2d": lambda *xs: tuple([tm.atleast_2d(x) for x in _flat(xs)]),
    "atleast_3d": lambda *xs: tuple([tm.atleast_3d(x) for x in _flat(xs)]),
    "diag": lambda x, k=0: tm.diag(x, k),
    "diagflat": lambda x, offset=0: tm.diagflat(x, offset),
    "diag_embed": lambda x, offset=0, dim1=-2, dim2=-1: tm.diag_embed(x, offset, dim1, dim2),
    "diagonal": dims, "diagonal_copy": dims,
    "linalg_diagonal": lambda x, *, offset=0, dim1=-2, dim2=-1: dims(x, offset, dim1, dim2),
    "trace": lambda x: tm.sum(tm.diagonal(x)),
    "tril": lambda x, k=0: tm.tril(x, k=k), "triu": lambda x, k=0: tm.triu(x, k=k),
    "flip": lambda x, dims: tm.flip(x, axis=tuple(dims)) if dims else x,
    "fliplr": lambda x: tm.fliplr(x), "flipud": lambda x: tm.flipud(x),
    "meshgrid_variadic_tensors": meshgrid, "meshgrid_list_of_tensors": meshgrid,
    "as_strided": as_strided, "as_strided_copy": as_strided,
    "constant_pad_nd": constant_pad,
    **{f"nn_functional_pad_{mode}": pad for mode in (
        "constant", "reflect", "replicate", "replicate_negative", "circular")},
    "nn_functional_unfold": image_windows,
    "nn_functional_glu": as_vector(glu),
    "nn_functional_pixel_shuffle": pixel_shuffle,
    "nn_functional_pixel_unshuffle": pixel_unshuffle,
    "nn_functional_channel_shuffle": channel_shuffle,
    "fft_fftshift": rolled_to_middle(1), "fft_ifftshift": rolled_to_middle(-1),
    "to": to,
    "permute": lambda x, axes: tm.permute_dims(x, [a % x.ndim for a in axes]),
    "permute_copy": lambda x, axes: tm.permute_dims(x, [a % x.ndim for a in axes]),
    "movedim": movedim,
    "transpose": transpose, "transpose_copy": transpose,
    "T": matrix_transposed, "H": matrix_transposed, "t": matrix_transposed,
    "t_copy": matrix_transposed, "mT": lambda x: x.mT, "mH": lambda x: x.mT,
    "roll": roll, "rot90": lambda x, k=1, dims=(0, 1): tm.rot90(x, k, dims),
    "ravel": lambda x: tm.ravel(x), "flatten": flatten, "unflatten": unflatten,
    **{name: lambda x, *sizes: tm.reshape(x, given(sizes))
       for name in ("reshape", "view", "view_copy")},
    **{name: lambda x, y: tm.reshape(x, y.shape) for name in ("reshape_as", "view_as")},
    "squeeze": squeeze, "squeeze_multiple": squeeze, "squeeze_copy": squeeze,
    "unsqueeze": lambda x, dim: tm.expand_dims(x, axis=dim),
    "unsqueeze_copy": lambda x, dim: tm.expand_dims(x, axis=dim),
    "unfold": unfold, "unfold_copy": unfold,
    "repeat": repeat, "tile": lambda x, dims: tm.tile(x, dims),
    "repeat_interleave": repeat_interleave,
    # products
    "matmul": lambda x, y: tm.matmul(x, y), "__rmatmul__": lambda x, y: tm.matmul(y, x),
    "mm": lambda x, y: tm.matmul(x, y), "bmm": lambda x, y: tm.matmul(x, y),
    "mv": lambda x, y: tm.matmul(x, y), "dot": lambda x, y: tm.matmul(x, y),
    "vdot": lambda x, y: tm.matmul(x, y),
    "addmm": lambda x, a, b, beta=1, alpha=1: products(beta, x, alpha, tm.matmul(a, b)),
    "addmm_decomposed": lambda x, a, b, beta=1, alpha=1: products(beta, x, alpha, tm.matmul(a, b)),
    "addmv": lambda x, a, b, beta=1, alpha=1: products(beta, x, alpha, tm.matmul(a, b)),
    "baddbmm": lambda x, a, b, beta=1, alpha=1: products(beta, x, alpha, tm.matmul(a, b)),
    "addbmm": lambda x, a, b, beta=1, alpha=1: products(
        beta, x, alpha, tm.sum(tm.matmul(a, b), axis=0)),
    "addr": lambda x, a, b, beta=1, alpha=1: products(beta, x, alpha, tm.outer(a, b)),
    "outer": lambda x, y: tm.outer(x, y), "inner": lambda x, y: tm.inner(x, y),
    "kron": lambda x, y: tm.kron(x, y),
    "cross": lambda x, y, dim=-1: tm.cross(x, y, dim),
    "linalg_cross": lambda x, y, *, dim=-1: tm.cross(x, y, dim),
    "linalg_vecdot": lambda x, y, *, dim=-1: tm.vecdot(x, y, axis=dim),
    "linalg_multi_dot": multi_dot,
    "linalg_vander": lambda x, *, N=None: tm.vander(
        x.reshape((1,)) if x.ndim == 0 else x, N, increasing=True),
    "einsum": lambda xs, text: tm.einsum(text, *xs),
    "tensordot": tensordot,
}


def _flat(xs: tuple[Any, ...]) -> list[Any]:
    """Return tensors given one by one or as one list."""
    return list(xs[0]) if isinstance(xs[0], (tuple, list)) else list(xs)
