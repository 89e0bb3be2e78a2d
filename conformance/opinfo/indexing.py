"""Adapters of indexing, scattering, sorting, searching and counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tinyml as tm
from tinyml.conformance.opinfo.reductions import as_vector
from tinyml.conformance.opinfo.shapes import stored

REDUCTIONS = {"sum": "sum", "prod": "prod", "mean": "mean", "amax": "max", "amin": "min"}


def vector(x: Any) -> Any:
    """Return x, a number as a vector of one element."""
    return x.reshape((1,)) if x.ndim == 0 else x


def put(x: Any, places: Any, values: Any, accumulate: bool = False) -> Any:
    """Return x with values at flat, row-major indices."""
    flat = tm.scatter(tm.ravel(x), tm.ravel(places), tm.ravel(values), 0,
                      "add" if accumulate else "set")
    return flat.reshape(x.shape)


def places_of(x: Any) -> Any:
    """Return the flat, row-major index of each element."""
    return tm.arange(x.size, device=x.device).reshape(x.shape)


def put_into(x: Any, part: Callable[[Any], Any], values: Any) -> Any:
    """Return x with values in a part of it, which a function of views selects."""
    return put(x, part(places_of(x)), values)


def narrow(x: Any, dim: int, start: Any, length: int) -> Any:
    """Return a part of an axis."""
    dim, start = dim % x.ndim, int(start)
    start = start % x.shape[dim] if start < 0 else start
    return sliced(x, dim, start, start + length)


def sliced(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """Return a slice of one axis."""
    dim = dim % x.ndim
    return x[tuple([slice(start, end, step) if d == dim else slice(None) for d in range(x.ndim)])]


def select(x: Any, dim: int, index: int) -> Any:
    """Return one index along an axis."""
    dim = dim % x.ndim
    return x[tuple([index if d == dim else slice(None) for d in range(x.ndim)])]


def getitem(x: Any, key: Any) -> Any:
    """Return x[key]."""
    return x[tuple(key) if isinstance(key, list) and any(
        isinstance(k, (list, slice, tm.Tensor)) for k in key) else key]


def index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """Return x with values at x[indices]."""
    there = x.at[tuple(indices)]
    return there.add(values) if accumulate else there.set(values)


def _fitting(x: Any, dim: int, index: Any) -> Any:
    """Return the part of x that an index of other axes covers."""
    return x[tuple([slice(None) if d == dim % x.ndim else slice(0, n)
                    for d, n in enumerate(index.shape)])]


def gather(x: Any, dim: int, index: Any, **_: Any) -> Any:
    """Return one element per index along an axis; the index may cover less of the other axes."""
    if x.ndim == 0 or not index.size:
        whole = vector(x)
        if not index.size:
            return tm.zeros(index.shape, x.dtype)
        return tm.gather(whole, vector(index), 0).reshape(index.shape)
    return tm.take_along_axis(_fitting(x, dim, index), index.astype("int64"), axis=dim)


def scatter(x: Any, dim: int, index: Any, src: Any, *, reduce: Any = None) -> Any:
    """Return x with elements of src written at one index per element along an axis."""
    if x.ndim == 0:
        src = vector(src) if isinstance(src, tm.Tensor) else src
        return scatter(vector(x), 0, vector(index), src, reduce=reduce).reshape(())
    if not index.size:
        return x
    places = gather(places_of(x), dim, index)
    if isinstance(src, tm.Tensor):
        src = src[tuple([slice(0, n) for n in index.shape])]
    else:
        src = tm.full(index.shape, float(src), x.dtype, x.device)
    mode = {None: "set", "add": "add", "multiply": "mul"}[reduce]
    flat = tm.scatter(tm.ravel(x), tm.ravel(places), tm.ravel(src), 0, mode)
    return flat.reshape(x.shape)


def scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str,
                   include_self: bool = True) -> Any:
    """Return x with src reduced into it."""
    if x.ndim == 0:
        return scatter_reduce(vector(x), 0, vector(index), vector(src), reduce,
                              include_self).reshape(())
    src = src[tuple([slice(0, n) for n in index.shape])]
    return tm.scatter_reduce(x, index, src, dim, REDUCTIONS[reduce], include_self)


def index_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str,
                 include_self: bool = True) -> Any:
    """Return x with slices of src reduced into the slices that an index selects."""
    if x.ndim == 0:
        return index_reduce(vector(x), 0, vector(index), vector(src), reduce,
                            include_self).reshape(())
    shape = [index.size if d == dim % x.ndim else 1 for d in range(x.ndim)]
    wide = tm.broadcast_to(index.reshape(shape), src.shape)
    return tm.scatter_reduce(x, wide, src, dim, REDUCTIONS[reduce], include_self)


def indexed(mode: str) -> Callable[..., Any]:
    """Return index_add, index_copy or index_fill: x changed in the slices at an index."""

    def call(x: Any, dim: int, index: Any, src: Any, *, alpha: Any = 1) -> Any:
        if x.ndim == 0:
            src = vector(src) if isinstance(src, tm.Tensor) else src
            return call(vector(x), 0, vector(index), src, alpha=alpha).reshape(())
        dim = dim % x.ndim
        shape = (*x.shape[:dim], index.size, *x.shape[dim + 1 :])
        if not isinstance(src, tm.Tensor):
            src = tm.full((), float(src), x.dtype, x.device)
        values = tm.broadcast_to(src if alpha == 1 else src * alpha, shape)
        return tm.scatter(x, vector(index), values, dim, mode)

    return call


def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """Return x with the first elements of source written in order where a mask holds."""
    x, mask = tm.broadcast_arrays(x, mask)
    places = tm.nonzero(tm.ravel(mask))[0]
    flat = tm.scatter(tm.ravel(x), places, tm.ravel(source)[: places.size], 0)
    return flat.reshape(x.shape)


def masked_select(x: Any, mask: Any) -> Any:
    """Return the elements where a mask holds."""
    x, mask = tm.broadcast_arrays(x, mask)
    return tm.gather(tm.ravel(x), tm.nonzero(tm.ravel(mask))[0], 0)


def masked_index(x: Any, mask: Any, indices: Any, fill: Any) -> Any:
    """Return x[indices] where a mask holds, else the fill value."""
    safe = tuple([i if i is None else tm.where(tm.logical_and(i >= 0, i < n), i, 0)
                  for i, n in zip(indices, x.shape)])
    return tm.where(mask, x[safe], fill)


def masked_index_put(x: Any, mask: Any, indices: Any, values: Any) -> Any:
    """Return x with values added at x[indices] where a mask holds."""
    safe = tuple([tm.where(tm.logical_and(i >= -n, i < n), i, 0)
                  for i, n in zip(indices, x.shape)])
    return x.at[safe].add(tm.where(mask, values, 0.0))


def take_along(x: Any, index: Any, dim: Any = None) -> Any:
    """Return one element per index along an axis, or of the flattened x."""
    if dim is None:
        return tm.gather(tm.ravel(x), tm.ravel(index), 0)
    return tm.take_along_axis(x, index, axis=dim)


def nonzero(x: Any, *, as_tuple: bool = False) -> Any:
    """Return the indices where x is nonzero, as rows or as one vector per axis."""
    if as_tuple:
        return tm.nonzero(vector(x))
    if x.ndim == 0:
        return tm.zeros((int(bool(x != 0)), 0), "int64")
    return tm.stack(tm.nonzero(x), 1)


def nonzero_static(x: Any, *, size: int, fill_value: int = -1) -> Any:
    """Return the rows of `nonzero`, cut or padded to a fixed number."""
    rows = nonzero(x)[:size]
    return tm.pad(rows, [(0, size - rows.shape[0]), (0, 0)], constant_values=fill_value)


# ---- sorting and searching


def sort(x: Any, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Any:
    """Return the sorted elements, and their indices."""
    if x.ndim == 0:
        return x, tm.zeros((), "int64")
    order = tm.argsort(x, axis=dim, descending=descending)
    return tm.sort(x, axis=dim, descending=descending), order


def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """Return the first k elements in order."""
    return as_vector(lambda v: tm.topk(v, k, 0 if v.ndim == 1 else dim, largest))(x)


def unique(x: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: Any = None) -> Any:
    """Return the distinct elements or slices, in order."""
    return tm.unique(vector(x) if dim is not None else x, dim, return_inverse=return_inverse,
                     return_counts=return_counts)


def unique_consecutive(x: Any, return_inverse: bool = False, return_counts: bool = False,
                       dim: Any = None) -> Any:
    """Return the elements with consecutive repeats removed."""
    return tm.unique(vector(x) if dim is not None else x, dim, return_inverse=return_inverse,
                     return_counts=return_counts, consecutive=True)


def searchsorted(table: Any, values: Any, *, out_int32: bool = False, right: bool = False,
                 side: Any = None, sorter: Any = None) -> Any:
    """Return where values would be inserted; each row of a table is searched separately."""
    side = side or ("right" if right else "left")
    number = not isinstance(values, tm.Tensor)
    values = tm.full((), float(values), table.dtype, table.device) if number else values
    if table.ndim == 1:
        found = tm.searchsorted(table, tm.ravel(values), side=side, sorter=sorter)
        found = found.reshape(values.shape)
    else:
        rows = math.prod(table.shape[:-1])
        flat = table.reshape((rows, table.shape[-1]))
        wanted = values.reshape((rows, values.shape[-1]))
        order = None if sorter is None else sorter.reshape(flat.shape)
        parts = [tm.searchsorted(flat[k], wanted[k], side=side,
                                 sorter=None if order is None else order[k]) for k in range(rows)]
        found = tm.stack(parts).reshape(values.shape) if parts else \
            tm.zeros(values.shape, "int64", table.device)
    return found.astype("int32") if out_int32 else found


def bucketize(x: Any, edges: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """Return the index of each element's bucket."""
    return searchsorted(edges, x, out_int32=out_int32, right=right)


def histogram(x: Any, bins: Any, *, range: Any = None, weight: Any = None,
              density: bool = False) -> Any:
    """Return the counts as floats, and the edges."""
    counts, edges = tm.histogram(x, bins, range, density, weight)
    return counts.astype(x.dtype), edges


def histogramdd(x: Any, bins: Any, *, range: Any = None, weight: Any = None,
                density: bool = False) -> Any:
    """Return the counts as floats, and each axis's edges; the last axis of x holds the points."""
    points = x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))
    weight = None if weight is None else tm.ravel(weight)
    pairs = None if range is None else list(zip(range[::2], range[1::2]))
    counts, edges = tm.histogramdd(points, bins, pairs, density, weight)
    return counts.astype(x.dtype), list(edges)


def histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """Return the counts as floats; equal limits mean those of the data."""
    return tm.histogram(x, bins, None if min == max else (min, max))[0].astype(x.dtype)


def segment_reduce(data: Any, reduce: str, *, lengths: Any = None, offsets: Any = None,
                   axis: int = 0, unsafe: bool = False, initial: Any = None) -> Any:
    """Return reductions of segments of consecutive elements along an axis.

    `initial` is included in each.
    """
    if lengths is None:
        lengths = tm.diff(offsets, axis=axis)
    *batch, count = lengths.shape
    ids = tm.repeat(tm.arange(lengths.size, device=data.device), tm.ravel(lengths))
    size = math.prod(data.shape[: axis + 1])
    rows = data.reshape((size, *data.shape[axis + 1 :]))[: ids.size]  # the lengths may end earlier
    name = {"sum": "segment_sum", "mean": "segment_sum", "prod": "segment_prod",
            "max": "segment_max", "min": "segment_min"}[reduce]
    found = getattr(tm, name)(rows, ids, lengths.size)
    found = found.reshape((*batch, count, *found.shape[1:]))
    if initial is not None:
        join = {"sum": tm.add, "mean": tm.add, "prod": tm.multiply, "max": tm.maximum,
                "min": tm.minimum}[reduce]
        found = join(found, float(initial))
    if reduce != "mean":
        return found
    many = lengths.reshape((*lengths.shape, *[1] * (found.ndim - lengths.ndim)))
    return tm.where(many > 0, found / tm.maximum(many, 1).astype(data.dtype), found)


TABLE: dict[str, Callable[..., Any]] = {
    "item": lambda x: x.item(),
    "equal": lambda x, y: tm.array_equal(x, y),
    "allclose": lambda x, y, rtol=1e-5, atol=1e-8, equal_nan=False: tm.allclose(
        x, y, rtol, atol, equal_nan),
    "isin": lambda x, y, **_: tm.isin(x, y),
    "where": lambda x, condition, y: tm.where(condition, x, y),
    "masked_fill": lambda x, mask, value: tm.where(mask, value, x),
    "masked_scatter": masked_scatter, "masked_select": masked_select,
    "nonzero": nonzero, "nonzero_static": nonzero_static, "argwhere": nonzero,
    "narrow": narrow, "narrow_copy": narrow, "slice": sliced, "select": select,
    "select_scatter": lambda x, src, dim, index: put_into(
        x, lambda places: select(places, dim, index), src),
    "slice_scatter": lambda x, src, dim=0, start=None, end=None, step=1: put_into(
        x, lambda places: sliced(places, dim, start, end, step), src),
    "diagonal_scatter": lambda x, src, offset=0, dim1=0, dim2=1: put_into(
        x, lambda places: tm.diagonal(places, offset, dim1, dim2), src),
    "as_strided_scatter": lambda x, src, size, stride, storage_offset=0: put(
        x, stored(x, size, stride, storage_offset), src),
    "__getitem__": getitem, "index_put": index_put,
    "_unsafe_masked_index": masked_index,
    "_unsafe_masked_index_put_accumulate": masked_index_put,
    "gather": gather, "take_along_dim": take_along,
    "take": lambda x, index: tm.gather(tm.ravel(x), index, 0),
    "put": put,
    "scatter": scatter, "scatter_add": lambda x, dim, index, src: scatter(
        x, dim, index, src, reduce="add"),
    **{f"scatter_reduce_{name}": scatter_reduce for name in REDUCTIONS},
    **{f"index_reduce_{name}": index_reduce for name in REDUCTIONS if name != "sum"},
    "index_select": lambda x, dim, index: tm.gather(
        vector(x), vector(index), dim) if x.ndim else tm.gather(vector(x), index, 0).reshape(()),
    "index_add": indexed("add"), "index_copy": indexed("set"), "index_fill": indexed("set"),
    "sort": sort, "argsort": lambda *args, **kwargs: sort(*args, **kwargs)[1],
    "msort": lambda x: tm.sort(x, axis=0),
    "topk": topk,
    "unique": unique, "unique_consecutive": unique_consecutive,
    "searchsorted": searchsorted, "bucketize": bucketize,
    "histogram": histogram, "histogramdd": histogramdd, "histc": histc,
    "_segment_reduce_lengths": segment_reduce, "_segment_reduce_offsets": segment_reduce,
}
