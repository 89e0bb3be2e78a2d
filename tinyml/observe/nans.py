"""Catch NaNs and infinities where they first appear: `tinyml.debug`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np

from tinyml.errors import ArgumentError, NaNError, NaNWarning, shown
from tinyml.ir.spec import Spec
from tinyml.observe.events import Event, observe
from tinyml.observe.memory import Tracking, track_memory

_already_warned: dict[Any, Any] = {}  # so that a line in a loop warns once, as filters ask for
Action = Literal["raise", "warn"]
_TESTS: dict[str, tuple[Callable[[Any], Any], Callable[[float], bool]]] = {
    "NaN": (np.isnan, math.isnan),
    "infinity": (np.isinf, math.isinf),
}


def _check(event: Event, what: str, action: Action) -> None:
    """Raise or warn if a float result holds a NaN or infinity that no float input held."""
    if event.how == "view" or event.ran:
        return  # nothing new, or already seen in the ops that it ran
    test, of_number = _TESTS[what]
    for buf, spec in zip(event.buffers, event.outs):
        if not spec.dtype.is_float or spec.size == 0:
            continue
        bad = test(spec.device.download(buf, spec))
        if not bad.any():
            continue
        if _is_given(event, test, of_number):
            return
        place = ", ".join(map(str, np.unravel_index(int(bad.argmax()), bad.shape)))
        _report(event, action, f"{what} in {int(bad.sum())} of {bad.size} elements of the result "
                f"{spec!r}, the first at [{place}]; no float input holds one")
        return


def _is_given(event: Event, test: Callable[[Any], Any],
              of_number: Callable[[float], bool]) -> bool:
    """Return whether an operand or an attribute already holds one."""
    for value, spec in zip(event.values, event.ins):
        if isinstance(spec, Spec):
            if spec.dtype.is_float and test(spec.device.download(value, spec)).any():
                return True
        elif isinstance(value, float) and of_number(value):
            return True
    return any(isinstance(value, float) and of_number(value) for value in event.attrs.values())


def _report(event: Event, action: Action, message: str) -> None:
    origin = event.gradient_of
    remedy = None
    if origin == "call":
        message += ". This is part of the gradient of a jitted function"
        remedy = "call it without jit under tinyml.debug, which then names the op"
    elif origin is not None:
        message += f". This is the gradient of {origin!r}"
        remedy = (f"give {origin!r} other operands where its slope has no value: where(...) before "
                  "it; a where(...) after it does not help")
    if action == "raise":
        raise NaNError(message, remedy=remedy)
    filename, number = event.location or ("<unknown>", 0)
    warnings.warn_explicit(f"{event.op}: {message}", NaNWarning, filename, number,
                           registry=_already_warned)


@contextmanager
def debug(nans: Action | None = "raise", *, infs: Action | None = None,
          leaks: bool = False, all_threads: bool = False) -> Iterator[Tracking | None]:
    """Stop, or warn, at the first op whose result holds a NaN that none of its inputs held.

    The NaNError (or NaNWarning) names op, shapes, device, the position of the first NaN, the user's
    line, and in a backward pass the op whose gradient was being computed. Python numbers and
    attributes count as inputs, so NaNs added on purpose pass. `infs` does the same for infinities.
    With `leaks` the value of the `with` statement is that of `track_memory()`, else None. Every
    result is read, so this is slow. Ops of other threads are checked only with `all_threads`.

    Raises ArgumentError if an action is not "raise", "warn" or None.

    >>> import tinyml
    >>> with tinyml.debug(nans="raise"):
    ...     tinyml.log(tinyml.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    ...
    tinyml.errors.NaNError: log: NaN in 1 of 2 elements of the result float32[2] cpu, the first at \
[1]; no float input holds one
      inputs: float32[2] cpu
      line: <doctest tinyml.observe.nans.debug[1]>:2: tinyml.log(tinyml.tensor([1.0, -1.0]))
      remedy: keep the operands in the range that the op is defined on
    """
    wanted = [(what, action) for what, action in (("NaN", nans), ("infinity", infs))
              if action is not None]
    for _, action in wanted:
        if action not in ("raise", "warn"):
            raise ArgumentError(f"debug cannot {shown(action)}", remedy='"raise", "warn" or None')

    def see(event: Event) -> None:
        for what, action in wanted:
            _check(event, what, action)

    with ExitStack() as stack:
        if wanted:
            stack.enter_context(observe(see, all_threads=all_threads))
        yield stack.enter_context(track_memory()) if leaks else None
