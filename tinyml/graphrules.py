"""What shape rules leave to their callers, held against graphs from files.

The public functions give these ops what fits by construction; a file may give them anything, and a
kernel that trusted a shape would read outside of its memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyml.dtypes import bool_, int64
from tinyml.graph import Graph
from tinyml.op import Op, find
from tinyml.planning import checked
from tinyml.spec import Spec, make_spec

STEPS = ("sgd_step", "sgd_momentum_step", "adamw_step")


def fits(op: Op, specs: Sequence[Any], attrs: dict[str, Any]) -> bool:
    """Whether an op takes these operands, in what its own rule does not ask.

    Whatever is wrong beyond that, this or the rule may raise an error of any kind.
    """
    counts = operand_counts(op)
    if counts and len(specs) not in counts:
        return False
    return op.name not in RULES or RULES[op.name](*specs, **attrs)


@functools.lru_cache(maxsize=1024)
def operand_counts(op: Op) -> frozenset[int]:
    """How many operands an op takes whose rule takes any number; none said where it asks itself.

    >>> from tinyml.op import find
    >>> operand_counts(find("add")), operand_counts(find("concat"))
    (frozenset({2}), frozenset())
    """
    if (op.lift is None and op.name not in STEPS) or op.samples is None:
        return frozenset()
    return frozenset([len(sample.args) for sample in op.samples(op.dtypes[0])])


# ---- ops that apply graphs


def _reads(graph: Graph, specs: Sequence[Any]) -> bool:
    return [var.spec for var in graph.inputs] == list(specs)


def _cond_fits(pred: Any, *xs: Any, yes: Graph, no: Graph) -> bool:
    return (isinstance(pred, Spec) and pred.dtype is bool_ and pred.shape == ()
            and _reads(yes, xs) and _reads(no, xs) and yes.specs == no.specs)


def _scan_fits(*xs: Any, body: Graph, carry: int, consts: int, length: int,
               reverse: bool) -> bool:
    whole = all(type(n) is int and n >= 0 for n in (carry, consts, length))
    rows = xs[carry + consts :] if whole else ()
    if not whole or len(xs) < carry + consts or type(reverse) is not bool or any(
            not isinstance(x, Spec) or x.shape[:1] != (length,) for x in rows):
        return False
    cut = [make_spec(x.shape[1:], x.dtype, x.device, None, True) for x in rows]
    return _reads(body, [*xs[: carry + consts], *cut]) and body.specs[:carry] == xs[:carry]


def _while_fits(*xs: Any, test: Graph, body: Graph, carry: int, max_steps: int | None) -> bool:
    limited = max_steps is None or (type(max_steps) is int and max_steps >= 0)
    if not limited or type(carry) is not int or not 0 < carry <= len(xs):
        return False
    (going,) = test.specs
    return (going.dtype is bool_ and going.shape == () and _reads(test, xs) and _reads(body, xs)
            and body.specs == xs[:carry])


# ---- ops with numbers as attributes


def _numbers(*_: Any, before: Any = None, after: Any = None, **attrs: Any) -> bool:
    return all(isinstance(value, (bool, int, float, np.generic)) for value in attrs.values())


# ---- gradients of ops that choose elements


def _put_fits(x: Spec, indices: Spec, updates: Spec, axis: Any) -> bool:
    (chosen,) = checked(find("take_along"), (x, indices), {"axis": axis})[1]
    return chosen.shape == updates.shape and x.dtype is updates.dtype


def _unslice_fits(g: Spec, shape: Any, **places: Any) -> bool:
    whole = make_spec(_sizes(shape), g.dtype, g.device)
    (part,) = checked(find("slice"), (whole,), places)[1]
    return part.shape == g.shape


def _pool_dx_fits(g: Spec, indices: Spec, shape: Any) -> bool:
    return (len(_sizes(shape)) == g.ndim == 4 and indices.dtype is int64
            and g.shape == indices.shape and g.shape[:2] == shape[:2])


def _pool_take_fits(x: Spec, indices: Spec) -> bool:
    return x.ndim == indices.ndim == 4 and indices.dtype is int64 and (
        x.shape[:2] == indices.shape[:2])


def _sizes(shape: Any) -> tuple[int, ...]:
    """A shape of ints that are not negative; ValueError for another."""
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"no shape: {shape!r:.80}")
    return shape


RULES: dict[str, Callable[..., bool]] = {
    "cond": _cond_fits,
    "scan": _scan_fits,
    "while": _while_fits,
    "pad": _numbers,
    **dict.fromkeys(STEPS, _numbers),
    "put_along": _put_fits,
    "unslice": _unslice_fits,
    "max_pool2d_dx": _pool_dx_fits,
    "max_pool2d_take": _pool_take_fits,
}
