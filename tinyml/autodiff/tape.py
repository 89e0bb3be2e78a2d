"""GradientTape: differentiate what a block of code did, rather than a function."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import tinyml.tree as tree
from tinyml.autodiff.grad import check_conforms, is_float, is_seen_outside
from tinyml.core.backward import backward
from tinyml.core.node import Leaf, Node, new_epoch
from tinyml.core.state import STATE
from tinyml.errors import ArgumentError, ArgumentTypeError, GradientError, expect
from tinyml.ops.creation import ones_like, zeros_like
from tinyml.tensor import Tensor


class GradientTape:
    """Record the operations inside a `with` block, to compute gradients of them.

    `watch(x)` marks the tensor object x until the block ends, without changing its values;
    afterwards the object is as before. Operations on it inside the block are recorded, in other
    threads too. Tensors made with `requires_grad=True` need not be watched. Tensors made in the
    block keep their history, so its memory is held until they are dropped.

    Tapes may be nested: the outer one sees what the inner one computes, so the gradient of a
    gradient is the second derivative. A tape computes one gradient and then drops its record,
    unless it is `persistent`.

    >>> import tinyml
    >>> x = tinyml.tensor(3.0)
    >>> with tinyml.GradientTape() as outer:
    ...     outer.watch(x)
    ...     with tinyml.GradientTape() as inner:
    ...         inner.watch(x)
    ...         y = x * x * x
    ...     slope = inner.gradient(y, x)
    >>> slope.item(), outer.gradient(slope, x).item()
    (27.0, 18.0)
    """

    def __init__(self, persistent: bool = False) -> None:
        self.persistent = persistent
        self._watched: dict[int, tuple[Tensor, Leaf, Node | None]] = {}
        self._depth: int | None = None
        self._recorded = True
        self._state = "new"

    def __enter__(self) -> GradientTape:
        if self._state != "new":
            raise GradientError("a tape records one block, and this one has been entered before",
                                remedy="a new GradientTape()")
        self._state = "recording"
        self._recorded = STATE.recording
        STATE.depth += 1
        STATE.recording = True
        self._depth = STATE.depth
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._state = "done"
        STATE.depth -= 1
        STATE.recording = self._recorded
        for x, leaf, before in reversed(self._watched.values()):
            if x.node is leaf:
                x.node = before

    def watch(self, tensors: Any) -> None:
        """Record operations on these tensors, a pytree, from here to the end of the block.

        Raises GradientError outside the block, and for a tensor that is not of a float type.
        """
        if self._state != "recording":
            raise GradientError("watch outside of the tape's block",
                                remedy="with GradientTape() as tape: tape.watch(x)")
        assert self._depth is not None
        for x in tree.flatten(tensors)[0]:
            if not isinstance(x, Tensor):
                raise ArgumentTypeError(f"a tape watches tensors, not a {type(x).__name__}",
                                        remedy="tinyml.tensor(...)")
            expect(x.dtype.is_inexact, "a float type for a gradient", x.dtype.name, GradientError,
                   remedy="cast it to float, and watch that")
            if id(x) in self._watched and x.node is self._watched[id(x)][1]:
                continue
            before = x.node
            new_epoch()
            min_level = self._depth if before is None else min(self._depth, before.min_level)
            leaf = Leaf(x.spec, min_level, before)
            self._watched[id(x)] = (x, leaf, before)
            x.node = leaf

    def gradient(self, target: Any, sources: Any, output_gradients: Any = None,
                 unconnected_gradients: str = "none") -> Any:
        """Return the gradient of `target` with respect to `sources`, as a pytree like them.

        `target` is a pytree of float tensors, which are summed, weighted by `output_gradients`
        (like the target; ones if it is None). Sources are tensors that were watched, that require
        gradients, or that the block computed from such tensors. If the target does not depend on a
        source, the result is None, or zeros if `unconnected_gradients` is "zero". A tensor in the
        target that depends on nothing watched contributes nothing.

        Raises GradientError if a tape that is not persistent is asked for a second gradient.
        """
        if self._state == "new":
            raise GradientError("the tape has recorded nothing", remedy="with tape: ...")
        if self._state == "spent":
            raise GradientError("the tape gave its gradient already",
                                remedy="GradientTape(persistent=True)")
        expect(unconnected_gradients in ("none", "zero"), 'unconnected_gradients "none" or "zero"',
               repr(unconnected_gradients), ArgumentError)
        ys, definition = tree.flatten(target)
        for y in ys:
            if not is_float(y):
                raise GradientError(
                    f"a target is {y.spec if isinstance(y, Tensor) else type(y).__name__}",
                    remedy="float tensors")
        if output_gradients is None:
            gs: list[Any] = [ones_like(y) for y in ys]
        else:
            gs = check_conforms(output_gradients, ys, definition, "output gradient like the target")
        xs, structure = tree.flatten(sources)
        results = backward([y.node for y in ys], gs, [self._find_node(x) for x in xs],
                           is_seen_outside([*ys, *gs]), through=True)
        if unconnected_gradients == "zero":
            results = [zeros_like(x) if g is None else g for x, g in zip(xs, results)]
        if not self.persistent and self._state == "done":
            self._watched.clear()
            self._state = "spent"
        return tree.unflatten(structure, results)

    def _find_node(self, x: Any) -> Node | None:
        """Return the node of a source in the record."""
        if not isinstance(x, Tensor):
            raise ArgumentTypeError(f"a source is a {type(x).__name__}", remedy="a tensor")
        watched = self._watched.get(id(x))
        return watched[1] if watched is not None else x.node
