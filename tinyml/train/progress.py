"""Progress of a training: a live bar on a terminal with rich, else one plain line per epoch.

>>> import io
>>> stream = io.StringIO()
>>> with progress(epochs=2, steps=3, stream=stream) as report:
...     for _ in range(3):
...         report.step()
...     report.epoch(loss=1.25, accuracy=0.875)
>>> print(stream.getvalue(), end="")
epoch 1/2  loss 1.2500  held out 87.50 %
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, final

if TYPE_CHECKING:
    from rich.progress import Progress


COMPILING = "compiling"


class Reporter(ABC):
    """Reports a training's progress; a context manager, so that a bar is always removed.

    `epochs` and `steps` (per epoch) are the planned numbers; a training may end earlier.
    """

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs = epochs
        self.steps = steps
        self.done = 0

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def epoch(self, loss: float, accuracy: float) -> None:
        """Report a finished epoch: its mean training loss and held-out accuracy (0 to 1)."""
        self.done += 1
        figures = f"loss {loss:.4f}  held out {100 * accuracy:.2f} %"
        self.show(f"{self.done:{len(str(self.epochs))}}/{self.epochs}", figures)

    @abstractmethod
    def step(self) -> None:
        """Report a finished step of the current epoch."""

    @abstractmethod
    def show(self, place: str, figures: str) -> None:
        """Show the position, as '3/20', and the figures of the epoch just finished."""

    @abstractmethod
    def close(self) -> None:
        """Remove what is drawn; nothing is reported afterwards."""


@final
class Lines(Reporter):
    """One line of plain ASCII per epoch, flushed at once."""

    def __init__(self, epochs: int, steps: int, stream: TextIO) -> None:
        super().__init__(epochs, steps)
        self.stream = stream

    def step(self) -> None:
        """Do nothing: there is one line per epoch."""

    def show(self, place: str, figures: str) -> None:
        print(f"epoch {place}  {figures}", file=self.stream, flush=True)

    def close(self) -> None:
        """Do nothing: each line is complete."""


@final
class Bar(Reporter):
    """A live bar over all steps of all epochs, with the last epoch's figures beside it.

    In the first epoch it says instead that kernels are being compiled: before the first step, and
    after the last one, while the held-out images are read for the first time.
    """

    def __init__(self, epochs: int, steps: int, live: Progress) -> None:
        super().__init__(epochs, steps)
        self.live = live
        self.task = live.add_task("epochs", total=epochs * steps, place=f"0/{epochs}",
                                  figures=COMPILING)
        self.taken = 0

    def __enter__(self) -> Reporter:
        self.live.start()
        return self

    def step(self) -> None:
        self.taken += 1
        figures: dict[str, Any] = {}
        if self.done == 0 and self.taken in (1, self.steps):
            figures = {"figures": COMPILING if self.taken == self.steps else ""}
        self.live.update(self.task, advance=1, **figures)

    def show(self, place: str, figures: str) -> None:
        # Whatever the steps counted, the bar now stands at the end of the epoch.
        completed = self.done * self.steps
        self.live.update(self.task, completed=completed, place=place, figures=figures)

    def close(self) -> None:
        self.live.stop()


def progress(epochs: int, steps: int, *, stream: TextIO | None = None) -> Reporter:
    """Return the reporter that suits the stream (standard error unless given).

    It is a `Bar` where the stream is a terminal with a movable cursor and rich is installed, and
    `Lines` everywhere else. Raises nothing of its own.

    >>> import io
    >>> type(progress(20, 22, stream=io.StringIO())).__name__
    'Lines'
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        live = _live(stream)
        if live is not None:
            return Bar(epochs, steps, live)
    return Lines(epochs, steps, stream)


def _live(stream: TextIO) -> Progress | None:
    """Return rich's display on a stream; None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns: tuple[Any, ...] = (
        TextColumn("epoch {task.fields[place]}", style="bold"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=Console(file=stream), expand=True)
