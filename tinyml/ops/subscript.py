"""Keys of x[...], normalised to one form, from which views, gathers and scatters follow.

Every key becomes a slice of each axis, new axes, and, for the rest, tables of integers along
neighbouring axes. A boolean mask becomes the tables of where it holds, so their size depends on
values; putting a single value where a mask holds does not need that size.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyml.core.apply import apply, full
from tinyml.core.error_context import add_context
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.dtypes import bool_
from tinyml.errors import (
    ArgumentTypeError,
    AxisError,
    DTypeError,
    DynamicShapeError,
    OutOfRangeError,
    TinyMLError,
    as_function,
    expect,
    out_of_range,
)
from tinyml.ir.dims import Dim
from tinyml.ops.arguments import broadcast_shapes
from tinyml.ops.creation import asarray
from tinyml.ops.elementwise import add, astype, divide, maximum, minimum, multiply, where
from tinyml.ops.gather_scatter import GATHER, like, update_op
from tinyml.ops.sorting import nonzero
from tinyml.ops.views import SLICE, SLICE_SET, Ints, broadcast_to, permute_dims, reshape

_MERGE: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda _x, v: v, "add": add, "mul": multiply, "min": minimum, "max": maximum}
_SEVERAL = (Data, np.ndarray, list)


class Selection(NamedTuple):
    """A key of x[...] in normal form.

    start, stop, step  of every axis of x, as slice.indices gives them
    shape    of that slice without the axes that a number indexed, with new axes
    order    a permutation of that shape that moves separated indexed axes to the front, or None
    axis     the position of the first indexed axis after that; the others follow it
    picks    what indexes them: integer tensors, or masks, which index as many axes as they have
    """

    start: Ints
    stop: Ints
    step: Ints
    shape: Ints
    order: Ints | None
    axis: int
    picks: tuple[Any, ...]

    @property
    def counts(self) -> Ints:
        """The shape of the slice, with one axis for each of x."""
        return tuple([len(range(*cut)) for cut in zip(self.start, self.stop, self.step)])

    def cut(self, x: Any) -> Any:
        """Return the slice of x, with x's axes, as a view."""
        if self.counts == x.shape and min(self.step, default=1) > 0:
            return x
        return apply(SLICE, x, start=self.start, stop=self.stop, step=self.step)

    def arranged(self, part: Any) -> Any:
        """Return the slice with the axes that the picks expect, as a view."""
        part = part if part.shape == self.shape else reshape(part, self.shape)
        return part if self.order is None else permute_dims(part, self.order)

    def put_back(self, x: Any, part: Any) -> Any:
        """Return x with its slice replaced by `part`, which has the axes that the picks expect."""
        if self.order is not None:
            part = permute_dims(part, tuple(np.argsort(self.order).tolist()))
        part = reshape(part, self.counts)
        if self.counts == x.shape and min(self.step, default=1) > 0:
            return part
        return apply(SLICE_SET, x, part, start=self.start, stop=self.stop, step=self.step)


# ---- reading a key


def _items(key: Any, x: Any) -> tuple[list[Any], int]:
    """Return the parts of a key, arrays as tensors and ... as slices, and where ... was."""
    parts = [_part(part, x) for part in (key if isinstance(key, tuple) else (key,))]
    dots = [k for k, part in enumerate(parts) if part is Ellipsis]
    expect(len(dots) <= 1, "at most one ...", len(dots), AxisError)
    count = sum(map(_axes, parts))
    expect(count <= x.ndim, f"indices for at most {x.ndim} axes", count, AxisError,
           remedy="None makes a new axis")
    at = dots[0] if dots else len(parts)
    return [*parts[:at], *[slice(None)] * (x.ndim - count), *parts[at + 1 :]], at


def _part(part: Any, x: Any) -> Any:
    """Return a slice, None, ..., a Python int, or a tensor of integers or booleans."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, (bool, np.bool_)):
        return full((), bool(part), bool_, x.device)
    if isinstance(part, np.ndarray) and part.ndim == 0 and part.dtype.kind in "iu":
        return int(part)
    if not isinstance(part, Data):
        try:
            return operator.index(part)
        except TypeError:
            pass
    return _table(part, x)


def _table(part: Any, x: Any) -> Any:
    if isinstance(part, list) and not part:
        part = np.zeros(0, np.int64)  # a list without elements has no type of its own
    if not isinstance(part, _SEVERAL) and not hasattr(part, "__dlpack__"):
        raise ArgumentTypeError(
            f"an index of type {type(part).__name__}",
            remedy="an int, a slice, None, ..., or a tensor of integers or booleans",
        )
    table: Any = part if isinstance(part, Data) else asarray(part, device=x.device)
    expect(table.dtype.is_integer or table.dtype is bool_, "integer or boolean indices",
           table.dtype.name, DTypeError, remedy="cast with .astype('int64'), or compare for a mask")
    return table


def _axes(part: Any) -> int:
    """Return the number of axes that a part of a key indexes."""
    if part is None or part is Ellipsis:
        return 0
    return part.spec.ndim if isinstance(part, Data) and part.spec.dtype is bool_ else 1


def select(x: Any, key: Any) -> Selection:
    """Return the normal form of a key.

    Raises AxisError, OutOfRangeError, ArgumentTypeError, DTypeError.
    """
    parts, dots = _items(key, x)
    cuts: list[tuple[int, int, int]] = []
    shape: list[int] = []
    picks: list[Any] = []
    picked: list[int] = []  # axes of `shape`
    numbers: list[int] = []  # positions of numbers and picks in the key
    for k, part in enumerate(parts):
        sizes = x.shape[len(cuts) : len(cuts) + _axes(part)]
        if part is None:
            shape.append(1)
            continue
        if isinstance(part, slice):
            cuts.append(_cut(part, *sizes))
            shape.append(len(range(*cuts[-1])))
            continue
        numbers.append(k + (k >= dots))  # ... separates what is on either side of it
        if isinstance(part, int):
            place = _number(part, sizes[0], len(cuts))
            cuts.append((place, place + 1, 1))
            continue
        if part.dtype is bool_:
            fits = len(part.shape) == len(sizes) and all(
                n in (size, 0) for n, size in zip(part.shape, sizes))
            expect(fits, f"a mask of shape {sizes} for axes from {len(cuts)} on",
                   part.shape, OutOfRangeError, remedy="a mask has the sizes of what it indexes")
            if part.shape != sizes:  # the standard lets an empty mask select nothing from any size
                part = full(sizes, False, bool_, x.device)
        picks.append(part)
        cuts += [(0, size, 1) for size in sizes]
        sizes = sizes or (1,)  # a 0-d mask selects from a new axis of size 1
        picked += range(len(shape), len(shape) + len(sizes))
        shape += sizes
    together = numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    order = None
    if picks and not together and picked != list(range(len(picked))):
        order = (*picked, *[d for d in range(len(shape)) if d not in picked])
    axis = picked[0] if picks and together else 0
    start, stop, step = zip(*cuts) if cuts else ((), (), ())
    return Selection(start, stop, step, tuple(shape), order, axis, tuple(picks))


def _cut(part: slice, size: int) -> tuple[int, int, int]:
    try:
        start, stop, step = part.indices(size)
        count = len(range(start, stop, step))
        if count < 2:  # then any step is equivalent to 1
            return (start, start + 1, 1) if count else (0, 0, 1)
        return start, stop, step
    except TinyMLError:
        raise
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"slice {part}: {error}", remedy="integers or None") from None


def _number(place: int, size: int, axis: int) -> int:
    if not -size <= place < size:
        raise out_of_range(place, size, axis)
    return place % size


# ---- masks


def _tables(picks: tuple[Any, ...]) -> list[Any]:
    """Return integer tables; a mask becomes the tables of where it holds."""
    tables: list[Any] = []
    for pick in picks:
        if pick.dtype is not bool_:
            tables.append(pick)
            continue
        tables += nonzero(pick if pick.ndim else reshape(pick, (1,)))
    return tables


def _one_mask(chosen: Selection, shape: Ints, value: Ints) -> tuple[Any, Ints] | None:
    """Return a lone mask, and a value's shape, so that both broadcast to the part they change.

    None if each value belongs to its own position, which only the mask's content determines.
    """
    if len(chosen.picks) != 1 or chosen.picks[0].dtype is not bool_:
        return None
    mask = chosen.picks[0]
    rank = mask.ndim or 1
    after = len(shape) - chosen.axis - rank
    own = len(value) - after - 1  # the value's axis along the masked positions
    if own >= 0 and value[own] != 1:
        return None
    wide = reshape(mask, (*(mask.shape or (1,)), *(1,) * after))
    if own < 0:
        return wide, value
    return wide, (*value[:own], *(1,) * rank, *value[own + 1 :])


# ---- x[key] and x.at[key]


def getitem(x: Any, key: Any) -> Tensor:
    """Return x[key] as in NumPy and the Array API standard 2024.12; basic keys give views.

    Raises OutOfRangeError, AxisError, ShapeError, ArgumentTypeError, DTypeError.
    """
    chosen = select(x, key)
    part = chosen.arranged(chosen.cut(x))
    if not chosen.picks:  # a new object, even if all of x is selected
        return reshape(x, x.shape) if part is x else part
    return apply(GATHER, part, *_tables(chosen.picks), axis=chosen.axis)


def setitem(x: Any, key: Any, value: Any, mode: str = "set") -> Tensor:
    """Return x with x[key] changed by `value`, which broadcasts and takes x's type.

    `mode` is 'set', 'add', 'mul', 'min' or 'max'. Where indices repeat, updates apply one after the
    other in row-major order of the broadcast indices; with 'set' the last one wins.
    """
    op = update_op(mode)
    if x.dtype.is_subbyte and mode == "set":  # parts of a byte cannot be written one by one
        whole = astype(x, "int8" if x.dtype.kind == "int" else "uint8")
        return astype(setitem(whole, key, like(value, x), mode), x.dtype)
    chosen = select(x, key)
    value = like(value, x)
    part = chosen.arranged(chosen.cut(x))
    if not chosen.picks:
        value = broadcast_to(_without_lead(value, part.ndim), part.shape)
        return chosen.put_back(x, _MERGE[mode](part, value))  # type: ignore[no-any-return]
    lone = _one_mask(chosen, part.shape, value.shape)
    if lone is not None:
        mask, shape = lone
        value = _without_lead(reshape(value, shape), part.ndim)
        broadcast_to(value, part.shape)  # an error names the shape that is too wide
        return chosen.put_back(x, where(mask, _MERGE[mode](part, value), part))  # type: ignore[no-any-return]
    tables = _tables(chosen.picks)
    inner = broadcast_shapes(*[table.shape for table in tables])
    if any(isinstance(n, Dim) for n in inner):
        raise DynamicShapeError(
            "how many values a mask takes depends on its values, which a graph has only when it "
            "runs", remedy="one value for all places, or tinyml.where(mask, values, x)")
    wanted = (*part.shape[: chosen.axis], *inner, *part.shape[chosen.axis + len(tables) :])
    value = broadcast_to(_without_lead(value, len(wanted)), wanted)
    new = apply(op, part, value, *tables, axis=chosen.axis)
    return chosen.put_back(x, new)  # type: ignore[no-any-return]


def _without_lead(value: Any, ndim: int) -> Any:
    """Return a value without extra leading axes of size 1, which NumPy's assignment allows."""
    extra = value.ndim - ndim
    if extra > 0 and value.shape[:extra] == (1,) * extra:
        return reshape(value, value.shape[extra:])
    return value


def indexed(function: Callable[..., Tensor], x: Any, *arguments: Any) -> Tensor:
    """Call getitem or setitem, and name the indexed tensor in errors."""
    try:
        return function(x, *arguments)
    except TinyMLError as error:
        raise add_context(error, "index", [x]) from error.__cause__


class At:
    """Functional updates: `x.at[key].set(v)` returns a new tensor and leaves x unchanged.

    Where indices repeat, updates apply one after the other in row-major order of the broadcast
    indices, so results are the same on every run; with `set` the last one wins.

    >>> import tinyml
    >>> x, i = tinyml.ones(3), tinyml.tensor([0, 2, 0])
    >>> v = tinyml.tensor([2.0, 3.0, 4.0])
    >>> x.at[i].set(v).tolist(), x.at[i].add(v).tolist(), x.at[i].mul(v).tolist()
    ([4.0, 1.0, 3.0], [7.0, 1.0, 4.0], [8.0, 1.0, 3.0])
    """

    __slots__ = ("_tensor", "_key")

    def __init__(self, tensor: Any, key: Any = Ellipsis) -> None:
        self._tensor = tensor
        self._key = key

    def __getitem__(self, key: Any) -> At:
        return At(self._tensor, key)

    def _changed(self, value: Any, mode: str) -> Tensor:
        return indexed(setitem, self._tensor, self._key, value, mode)

    def get(self) -> Tensor:
        """Return x[key]."""
        return indexed(getitem, self._tensor, self._key)

    def set(self, value: Any) -> Tensor:
        """Return x with x[key] replaced by a value, which broadcasts; the last of several wins.

        >>> import tinyml
        >>> tinyml.zeros(3).at[1].set(5.0).tolist()
        [0.0, 5.0, 0.0]
        """
        return self._changed(value, "set")

    def add(self, value: Any) -> Tensor:
        """Return x with a value added to x[key]; repeated indices accumulate."""
        return self._changed(value, "add")

    def mul(self, value: Any) -> Tensor:
        """Return x with x[key] multiplied by a value; repeated indices multiply each time."""
        return self._changed(value, "mul")

    def divide(self, value: Any) -> Tensor:
        """Return x with x[key] divided by a value; repeated indices divide by the product."""
        ones = broadcast_to(like(1, self._tensor), self._tensor.shape)
        return divide(self._tensor, indexed(setitem, ones, self._key, value, "mul"))

    def min(self, value: Any) -> Tensor:
        """Return x with x[key] replaced by its minimum with a value; NaN where one is NaN."""
        return self._changed(value, "min")

    def max(self, value: Any) -> Tensor:
        """Return x with x[key] replaced by its maximum with a value; NaN where one is NaN."""
        return self._changed(value, "max")

    def apply(self, function: Callable[[Tensor], Any]) -> Tensor:
        """Return x with x[key] replaced by function(x[key]), once where indices repeat."""
        return self.set(as_function(function, "function")(self.get()))
