"""The order in which a loop combines floats, a part of the nest: only what a user can see fixes it.

Strides, the neighbours in a fused kernel and the number of threads change the loops, not the order
of one result's terms. So a result has the same bits eager and in a graph, whatever the layout.
"""

from __future__ import annotations

from typing import NamedTuple

SHORT = 32  # with fewer elements than this a reduction uses one lane


class Accumulation(NamedTuple):
    """The order in which a loop combines its elements, fixed by what a user can see.

    Elements are numbered row by row. With `in_lanes`, consecutive ones go to different lanes, as
    many as the device has. Each lane adds `block` of them in a row; then the lanes merge pairwise,
    and blocks merge as a binary tree. A `block` of 0 leaves the order to the schedule.
    """

    block: int = 0
    in_lanes: bool = False


def accumulation(block: int, size: int, in_lanes: bool) -> Accumulation:
    """Return the order for `size` elements of a monoid with such a block.

    >>> accumulation(64, 1000, True), accumulation(64, 20, True)
    (Accumulation(block=64, in_lanes=True), Accumulation(block=64, in_lanes=False))
    """
    return Accumulation(block, in_lanes and block > 0 and size >= SHORT)
