"""The reference's operations that run along an axis or order it: scans, sort, nonzero."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .rules import define, kind

Array = npt.NDArray[Any]


def _widened(x: Array) -> Array:
    """Return integers in 64 bits, in which they are summed and multiplied."""
    letter = kind(x.dtype)
    return x if letter in "fc" else x.astype(np.uint64 if letter == "u" else np.int64)


def _scanned(
    accumulate: Any, x: Array, start: Array, axis: int, reverse: bool, exclusive: bool
) -> Array:
    """Return NumPy's accumulation of `start` and x, flipped where it runs from the end."""
    if reverse:
        x = np.flip(x, axis)
    result = accumulate(np.concatenate([start, _widened(x)], axis), axis=axis)
    places = np.arange(x.shape[axis]) + (0 if exclusive else 1)
    result = np.take(result, places, axis)
    return np.asarray(np.flip(result, axis) if reverse else result)


def _begin(x: Array, start: tuple[Array, ...], axis: int, empty: int) -> Array:
    if start:
        return start[0]
    shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    # -0.0 is the additive identity: adding 0.0 would change -0.0.
    zero = -0.0 if x.dtype.kind == "f" and empty == 0 else empty
    return np.full(shape, zero, _widened(x).dtype)


@define("cumsum", result="sum", data=(0,))
def cumsum(x: Array, *start: Array, axis: int, reverse: bool, exclusive: bool) -> Array:
    """Return the cumulative sums along an axis."""
    return _scanned(np.cumsum, x, _begin(x, start, axis, 0), axis, reverse, exclusive)


@define("cumprod", result="sum", data=(0,))
def cumprod(x: Array, *start: Array, axis: int, reverse: bool, exclusive: bool) -> Array:
    """Return the cumulative products along an axis."""
    return _scanned(np.cumprod, x, _begin(x, start, axis, 1), axis, reverse, exclusive)


@define("linear_scan")
def linear_scan(a: Array, b: Array, *start: Array, axis: int, reverse: bool) -> Array:
    """Return y_i = a_i y_(i-1) + b_i, one after the other."""
    factors, terms = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    result = np.zeros(terms.shape, b.dtype)
    state = np.moveaxis(start[0], axis, 0)[0] if start else np.zeros(terms.shape[1:], b.dtype)
    order = range(len(terms) - 1, -1, -1) if reverse else range(len(terms))
    for k in order:
        state = factors[k] * state + terms[k]
        result[k] = state
    return np.moveaxis(result, 0, axis)


def _rank(x: Array) -> Array:
    """Return integers that sort as the values do: NaN above all, both zeros equal."""
    distinct, rank = np.unique(x, return_inverse=True)
    rank = rank.reshape(x.shape)
    return np.where(x != x, distinct.size, rank)


@define("sort", result="first and index")
def sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
    """Return the sorted elements and their indices; the sort is stable."""
    rank = _rank(x)
    indices = np.argsort(-rank if descending else rank, axis, kind="stable")
    return np.take_along_axis(x, indices, axis), indices.astype(np.int64)


@define("nonzero", result="int64", data=(0,))
def nonzero(x: Array) -> Array:
    """Return the indices of the elements that are not zero, one row each, in row-major order."""
    return np.argwhere(x).astype(np.int64)


@define("searchsorted", result="int64")
def searchsorted(table: Array, values: Array, side: str) -> Array:
    """Return how many table entries precede each value; with side 'right', equal ones included."""
    x, y = table, values[..., None]
    less = (x < y) | ((y != y) & (x == x))
    equal = (x == y) | ((y != y) & (x != x))
    return np.asarray(np.sum(less | equal if side == "right" else less, -1, dtype=np.int64))
