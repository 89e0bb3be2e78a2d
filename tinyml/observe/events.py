"""Observers: callbacks that see each op as it runs, with its time, operands and results.

There is one mechanism: while an observer is open, plans are remade with their runs wrapped
(`core.apply.Watching`), and every op that runs becomes an `Event`. While none is open, the original
plans run, so observation costs nothing. `profile`, `debug` and `track_memory` are built on it.
"""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tinyml.concurrency import new_lock
from tinyml.core.apply import Watching
from tinyml.core.make import make
from tinyml.core.plan import CompiledOp
from tinyml.core.state import STATE
from tinyml.errors import ArgumentTypeError, SourceLocation, line_text, user_frame
from tinyml.ir.op import LIVING, Op
from tinyml.ir.spec import Spec

# ---- the mechanism


class Event:
    """One op that ran.

    op         its name
    how        kernel, nest, view, body or host
    ins, outs  specs; in `ins`, a Python number is represented by its type
    attrs      its attributes
    seconds    in this op alone, without the ops that it ran itself (those of a body)
    ran        how many ops it ran itself
    depth      how many ops it was nested in

    `results`, `operands`, `line` and `gradient_of` are computed on access, so read them inside the
    callback. A stored event keeps memory alive, so keep only the values that you need.
    """

    __slots__ = ("op", "how", "ins", "outs", "attrs", "seconds", "ran", "depth", "values",
                 "buffers")

    def __init__(self, op: Op, plan: CompiledOp, outs: tuple[Spec, ...], values: tuple[Any, ...],
                 buffers: tuple[Any, ...], seconds: float, ran: int, depth: int) -> None:
        self.op = op.name
        self.how = plan.how
        self.ins = plan.ins
        self.outs = outs
        self.attrs = plan.attrs
        self.seconds = seconds
        self.ran = ran
        self.depth = depth
        self.values = values
        self.buffers = buffers

    @property
    def results(self) -> tuple[Any, ...]:
        """The results, as tensors without a gradient."""
        return tuple([make(buf, spec) for buf, spec in zip(self.buffers, self.outs)])

    @property
    def operands(self) -> tuple[Any, ...]:
        """The operands: tensors without a gradient, and numbers."""
        return tuple([make(value, spec) if isinstance(spec, Spec) else value
                      for value, spec in zip(self.values, self.ins)])

    @property
    def nbytes(self) -> int:
        """Bytes read and written, each operand and result once; a view moves none."""
        if self.how == "view" or self.ran:
            return 0
        return sum(spec.nbytes for spec in (*self.ins, *self.outs) if isinstance(spec, Spec))

    @property
    def location(self) -> SourceLocation | None:
        """File and number of the user's line, outside tinyml and the callback.

        For an equation of a graph, which runs long after it was traced, that is the line that was
        traced.
        """
        return find_user_location(_thread.frame)

    @property
    def line(self) -> str | None:
        """The user's line that ran this op, as 'file:line: source'."""
        location = self.location
        return None if location is None else line_text(*location)

    @property
    def gradient_of(self) -> str | None:
        """The op whose gradient rule ran this op; None in a forward pass."""
        op = STATE.pullback_of
        return None if op is None else str(op.name)

    def __repr__(self) -> str:
        ins = ", ".join(repr(s) if isinstance(s, Spec) else s.__name__ for s in self.ins)
        return f"<{self.op} ({ins}) -> {', '.join(map(repr, self.outs))}>"


def find_user_location(frame: types.FrameType | None) -> SourceLocation | None:
    """Return the user's line as seen from a frame: that of the equation that a replay runs.

    Without a replay, or if a replayed op runs the user's own code, it is the line in that code.
    """
    user, equation = user_frame(frame), STATE.equation
    if equation is not None and user is STATE.caller:
        location: SourceLocation = equation.location
        return location
    return None if user is None else (user.f_code.co_filename, user.f_lineno)


class _Observer(NamedTuple):
    """A callback, the thread whose ops it sees (None: all), and whether to wait for devices."""

    callback: Callable[[Event], None]
    thread: int | None
    synchronize: bool


class _Thread(threading.local):
    """What a thread is doing under observation.

    frame    the frame of the op whose callbacks run; None while none run
    depth    how many ops it is inside
    ran      how many ops the current one has run itself
    inside   the seconds that these took
    """

    frame: types.FrameType | None = None
    depth = 0
    ran = 0
    inside = 0.0


_thread = _Thread()
_observers: tuple[_Observer, ...] = ()
_lock = new_lock()
_plans: dict[Op, dict[Any, CompiledOp]] = {}  # the plans used while nobody observes


def _wrap(op: Op, plan: CompiledOp) -> Callable[..., Any]:
    """Return the function that replaces a plan's run while somebody observes."""
    run = plan.run
    if any(isinstance(spec, Spec) and spec.symbolic for spec in (*plan.ins, *plan.outs)):
        return run  # an equation of a graph: nothing is executed
    # A separate plan: one that held itself would be a cycle, left to the collector.
    inner = CompiledOp(run, plan.ins, plan.outs, plan.attrs, plan.how)

    def observed(*values: Any) -> Any:
        me = threading.get_ident()
        seeing = [o for o in _observers if o.thread is None or o.thread == me]
        if not seeing or _thread.frame is not None:
            return run(*values)
        return _observe_run(op, inner, values, seeing)

    return observed


def _observe_run(op: Op, plan: CompiledOp, values: tuple[Any, ...],
                 seeing: Sequence[_Observer]) -> Any:
    """Run an op, time it, and notify the observers."""
    clock = time.perf_counter
    wait = _nothing
    if any(o.synchronize for o in seeing):
        wait = next(s.device.synchronize for s in (*plan.outs, *plan.ins) if isinstance(s, Spec))
    here, entered = _thread, clock()
    outer = here.ran, here.inside
    here.ran, here.inside = 0, 0.0
    here.depth += 1
    try:
        wait()
        start = clock()
        result = plan.run(*values)
        wait()
        seconds = clock() - start - here.inside
        ran = here.ran
    finally:
        here.depth -= 1
        here.ran, here.inside = outer
    outs = plan.outs
    buffers = tuple(result) if isinstance(result, tuple) else (result,)
    if plan.how == "host":  # shapes are known only from the results, so these are tensors already
        outs = tuple([tensor.spec for tensor in buffers])
        buffers = tuple([tensor.buf for tensor in buffers])
    event = Event(op, plan, outs, values, buffers, seconds, ran, here.depth)
    here.frame = sys._getframe()
    try:
        for observer in seeing:
            observer.callback(event)
    finally:
        here.frame = None
        here.ran += 1
        here.inside += clock() - entered
    return result


def _nothing() -> None:
    pass


def _renew(observers: tuple[_Observer, ...]) -> None:
    """Install exactly these observers, and remake the plans, since the old ones do not notify."""
    global _observers, _plans
    with _lock:
        if _observers:
            Watching.wrap = None
            for op in list(LIVING):
                op.memo.clear()
                op.memo.update(_plans.get(op, {}))
            _plans = {}
        _observers = observers
        if observers:
            _plans = {op: dict(op.memo) for op in list(LIVING)}
            for op in _plans:
                op.memo.clear()
            Watching.wrap = _wrap


@contextmanager
def observe(callback: Callable[[Event], None], *, all_threads: bool = False,
            synchronize: bool = False) -> Iterator[None]:
    """Call `callback(event)` after every op that runs inside the block; see Event.

    It sees the ops of this thread, or with `all_threads` those of all threads (the callback then
    runs in those threads). With `synchronize`, it waits for the device around each op, so that the
    op's time is its own. Several observers may be open; the outermost is called first. Ops run by
    a callback are not observed, and an error that it raises propagates from the op. The ops inside
    a jitted function are seen too: they run one at a time. While a graph is traced nothing runs,
    so nothing is seen.

    Raises ArgumentTypeError if `callback` is not callable.

    >>> import tinyml
    >>> from tinyml.observe import observe
    >>> seen = []
    >>> with observe(lambda event: seen.append((event.op, event.outs[0].shape))):
    ...     y = tinyml.ones((2, 3)).sum(axis=0) * 2
    >>> seen
    [('expand', (2, 3)), ('sum', (3,)), ('mul', (3,))]
    """
    if not callable(callback):
        raise ArgumentTypeError(f"an observer is a {type(callback).__name__}",
                                remedy="a function of one event")
    observer = _Observer(callback, None if all_threads else threading.get_ident(), synchronize)
    with _lock:
        _renew((*_observers, observer))
    try:
        yield
    finally:
        with _lock:
            _renew(tuple([other for other in _observers if other is not observer]))
