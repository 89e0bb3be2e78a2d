"""Forward mode: jvp, the derivative in one direction.

A pullback is linear in its cotangent, so the pullback of the pullback maps tangents to tangents:
the transpose of the transpose. No op needs a separate rule for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tinyml.tree as tree
from tinyml.autodiff.grad import R, check_conforms, is_float, is_seen_outside, linearize, mark
from tinyml.core.backward import backward
from tinyml.core.node import one_deeper
from tinyml.errors import ArgumentTypeError, refuse
from tinyml.ops.creation import zeros_like


def jvp(f: Callable[..., R], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[R, R]:
    """Return (value, tangent): f at `primals`, and its derivative in the direction `tangents`.

    `primals` are f's arguments, as a tuple or a list; they and the value may be pytrees. Tangents
    have the shapes and dtypes of the primals, with None for a leaf that is not a float tensor; the
    same holds for the value's tangent. Raises ShapeError, DTypeError or ArgumentTypeError if a
    tangent does not match its primal. Costs about three runs of f.

    >>> import tinyml
    >>> x, v = tinyml.tensor([3.0]), tinyml.tensor([10.0])
    >>> y, t = tinyml.jvp(lambda x: x * x, (x,), (v,))
    >>> y.tolist(), t.tolist()
    ([9.0], [60.0])
    """
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            refuse(f"{what} as a tuple, one for each argument", type(given).__name__,
                   ArgumentTypeError, remedy=f"jvp(f, (x,), (v,)): {what} in parentheses")
    primals, tangents = tuple(primals), tuple(tangents)
    flat, definition = tree.flatten(primals)
    directions = check_conforms(tangents, flat, definition, "tangent like the primals")
    for x, tangent in zip(flat, directions):
        if tangent is not None and not is_float(x):
            raise ArgumentTypeError("a tangent of what is no float tensor", remedy="None")
    with one_deeper() as depth:
        run = linearize(f, primals)
        pairs = [mark(zeros_like(y), depth) if is_float(y) else (None, None)
                 for y in run.outputs]
        pulled = run.pull(tree.unflatten(run.shape, [g for g, _ in pairs]), hooks=False)
    nodes = [None if g is None else g.node for g in pulled]
    record = is_seen_outside([x for node, *pair in zip(nodes, pulled, directions)
                              if node is not None for x in pair])
    leaves = [leaf for _, leaf in pairs]
    found = backward(nodes, directions, leaves, record, False)
    results = [zeros_like(y) if leaf is not None and tangent is None else tangent
               for y, leaf, tangent in zip(run.outputs, leaves, found)]
    return run.value(), tree.unflatten(run.shape, results)
