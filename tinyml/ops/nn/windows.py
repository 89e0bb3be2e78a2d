"""Windows that slide over the planes of images (N, C, H, W): sizes, positions and bounds."""

from __future__ import annotations

from typing import Any

from tinyml.errors import expect
from tinyml.ir.nest import Nest
from tinyml.ops.arguments import as_places
from tinyml.ops.views import Ints

Pair = tuple[int, int]


def as_pair(value: Any, what: str) -> Pair:
    """Return two ints, one for each axis of a plane, from one int or two.

    Raises ShapeError for another number of them, and as `as_places` does.

    >>> as_pair(2, "stride"), as_pair((1, 3), "stride")
    ((2, 2), (1, 3))
    """
    sizes = as_places(value, what)
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    expect(len(sizes) == 2, f"{what}: one number or two", sizes)
    return sizes[0], sizes[1]


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Return the number of positions of a window along an axis.

    >>> window_count(8, 3, 1, 1, 1)
    8
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def cell_place(n: Nest, window: Pair, cell: Pair, stride: Ints, padding: Ints, dilation: Ints,
               shape: Ints) -> tuple[Pair, int | None]:
    """Return the position in the plane of a window's cell, and whether it lies inside.

    The second is None if there is no padding.
    """
    places = []
    guard: int | None = None
    for d in (0, 1):
        start = n.mul(window[d], n.param(stride[d]))
        offset = n.mul(cell[d], n.param(dilation[d]))
        place = n.sub(n.add(start, offset), n.param(padding[d]))
        if padding[d]:
            guard = n.both(guard, n.inside(place, shape[2 + d]))
        places.append(place)
    return (places[0], places[1]), guard
