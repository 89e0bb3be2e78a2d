"""Stateful: objects that change, such as modules, optimizers and generators, as pytrees."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import tinyml.tree as tree
from tinyml.core.node import Data
from tinyml.core.state import STATE
from tinyml.errors import ArgumentError, ReadOnlyError

# Internal attributes: the mode, the names of the children of an object that was rebuilt from leaves
# other than tensors, and the graph that it was made in.
MODE, CHILDREN, BORN = "training", "_children", "_born"
INTERNAL = (CHILDREN, BORN)


S = TypeVar("S", bound="Stateful")


class Stateful:
    """Base class of objects with state; jit writes back what changes in one that is an argument.

    An object is a pytree. Its children are the attributes that hold tensors or other objects with
    state, directly or in lists, tuples and dicts, and those named in `run_time`, which hold numbers
    that change from run to run. Everything else is static, and should be hashable.
    """

    run_time: ClassVar[tuple[str, ...]] = ()

    def __new__(cls: type[S], *args: Any, **options: Any) -> S:
        """Create an object that records the graph under construction, if any."""
        made = object.__new__(cls)
        if STATE.building is not None:
            vars(made)[BORN] = STATE.building.scope
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != BORN}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        tree.register(cls, _split, functools.partial(_join, cls), lambda fixed: fixed[0])

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_may_change(f".{name}")
        super().__setattr__(name, value)

    def _check_may_change(self, what: str) -> None:
        """Raise ReadOnlyError if a graph is being built and this object is not part of it."""
        builder = STATE.building
        if builder is not None and vars(self).get(BORN) is not builder.scope:
            raise ReadOnlyError(
                f"{type(self).__name__}{what} from outside would be changed while a graph is "
                "built, once and not at each run",
                remedy=f"pass the {_noun(self)} as an argument: what changes in it is written back",
            )


def _noun(x: Stateful) -> str:
    """Return what a user calls an object: the name of its public base class."""
    bases = [cls.__name__ for cls in type(x).__mro__ if Stateful in cls.__bases__]
    return bases[0].lower() if bases else "object"


def attributes(x: Stateful) -> Iterator[tuple[str, Any]]:
    """Yield an object's attributes with their names, without internal ones."""
    for name, value in vars(x).items():
        if name != MODE and name not in INTERNAL:
            yield name, value


def within(value: Any, around: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what is around a value's items; raise ArgumentError if the value is in itself."""
    if any(value is outer for outer in around):
        raise ArgumentError(f"a {type(value).__name__} contains itself",
                            remedy="no cycles: refer back by weakref.ref(...)")
    return (*around, value)


def is_state(value: Any, around: tuple[Any, ...] = ()) -> bool:
    """Return whether a value is a tensor or an object with state, or a container of one."""
    if isinstance(value, (Data, Stateful)):
        return True
    if not isinstance(value, (list, tuple, dict)):
        return False
    around = within(value, around)
    return any(is_state(item, around)
               for item in (value.values() if isinstance(value, dict) else value))


def _split(x: Stateful) -> tuple[list[Any], Any]:
    known: Iterable[str] = (*vars(x).get(CHILDREN, ()), *x.run_time)
    names, children, fixed = [], [], []
    for name, value in attributes(x):
        if name in known or is_state(value):
            names.append(name)
            children.append(value)
        else:
            fixed.append((name, value))
    return children, (tuple(names), getattr(x, MODE, None), tuple(fixed))


def _join(cls: type[Stateful], structure: Any, children: list[Any]) -> Stateful:
    names, mode, fixed = structure
    made: Stateful = cls.__new__(cls)
    vars(made).update(zip(names, children, strict=True))
    vars(made).update([(name, _copied(value)) for name, value in fixed])
    vars(made)[CHILDREN] = names
    if mode is not None:
        vars(made)[MODE] = mode
    return made


def _copied(value: Any) -> Any:
    """Return a static value, containers copied, so that a change is not seen in two objects."""
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return {k: _copied(v) for k, v in value.items()} if type(value) is dict else value
