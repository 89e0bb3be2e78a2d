"""Sizes known only at run time, such as the number of non-zero elements."""

from __future__ import annotations

import itertools
from typing import Any, NoReturn

from tinyml.errors import DynamicShapeError

_numbers = itertools.count()


class Dim:
    """A size that is known only once the op has run: from 0 up to `limit`.

    It occurs in the shapes of values of a graph under construction. Two sizes are equal only if
    they are the same one; every other use, as a number or in a condition, raises
    DynamicShapeError. The shape rule of an op makes it.

    >>> from tinyml.ir.dims import Dim
    >>> n = Dim.fresh(12)
    >>> n.limit, n == n, n == Dim.fresh(12)
    (12, True, False)
    """

    __slots__ = ("limit", "number")

    def __init__(self, limit: int, number: int) -> None:
        self.limit = limit
        self.number = number

    @classmethod
    def fresh(cls, limit: int) -> Dim:
        """Return a size that is not known to equal any other."""
        return cls(limit, next(_numbers))

    def __repr__(self) -> str:
        return f"n{self.number}<={self.limit}"

    def __reduce__(self) -> NoReturn:
        self._refuse("copied or pickled")

    def _refuse(self, use: str) -> NoReturn:
        raise DynamicShapeError(f"the size {self!r} depends on values and cannot be {use}")

    def _number(self, *_: Any) -> NoReturn:
        self._refuse("used as a number while a graph is built")

    def _compare(self, _: Any) -> NoReturn:
        self._refuse("compared with a number while a graph is built")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _number
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = __mod__ = __rmod__ = _number
    __pow__ = __rpow__ = __divmod__ = __rdivmod__ = __neg__ = __pos__ = __abs__ = _number
    __int__ = __float__ = __index__ = __round__ = _number
    __lt__ = __le__ = __gt__ = __ge__ = _compare

    def __bool__(self) -> NoReturn:
        self._refuse("asked whether it is zero while a graph is built")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (int, float)):
            self._compare(other)
        return self is other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = object.__hash__
