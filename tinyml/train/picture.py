"""A training in one picture: curves, confusion matrix and the worst mistakes, as a PNG.

matplotlib is imported on first use, and only its figures are: the backend, settings and windows of
a program that also uses matplotlib are not touched.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyml.errors import ArgumentError, expect, missing_extra
from tinyml.io.safetensors import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

SHOWN = 12  # mistakes in the strip
INCHES, DOTS = (13.0, 9.0), 140  # a page of 1820 x 1260 pixels
LEFT, RIGHT_EDGE, GAP = 0.055, 0.955, 0.01  # margins, and the gap between two mistakes
MOST_TICKS = 8
LEGIBLE = 20  # with more classes, the counts no longer fit their squares

PAPER, INK, FAINT, RULE, EMPTY = "#fbfaf7", "#23262d", "#6f747d", "#e6e3dc", "#f1efe9"
RIGHT, WRONG = "#2c6390", "#cf5a35"


class Mistake(NamedTuple):
    """One image, its label, and the predicted class with its probability.

    `image` is (H, W), from 0 (paper) to 1 (ink). A correct prediction (`label == predicted`) may
    also appear, as one of the least certain.
    """

    image: Array
    label: int
    predicted: int
    confidence: float


def confusion_matrix(labels: Array, predicted: Array, classes: int) -> npt.NDArray[np.int64]:
    """Return how often each class was predicted as each: int64 (classes, classes), rows are labels.

    `labels` and `predicted` are integers (N,) from 0 to `classes` - 1. Raises ShapeError and
    ArgumentError where they are not.

    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    expect(
        labels.ndim == 1 and labels.shape == predicted.shape,
        "labels.shape == predicted.shape == (N,)",
        f"{labels.shape} and {predicted.shape}",
    )
    for name, values in (("labels", labels), ("predicted", predicted)):
        inside = values.size == 0 or 0 <= values.min() <= values.max() < classes
        expect(bool(inside), f"0 <= {name} < {classes}", values, ArgumentError)
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def worst_mistakes(
    images: Array, labels: Array, probabilities: Array, count: int = SHOWN
) -> list[Mistake]:
    """Return the `count` worst predictions: the wrong ones, surest first, then the least sure.

    `images` is (N, 1, H, W) or (N, H, W), `labels` integers (N,), `probabilities` floats
    (N, classes). Ties keep the order of the images. Raises ShapeError.

    >>> import numpy as np
    >>> images, labels = np.zeros((3, 1, 8, 8)), np.array([0, 1, 1])
    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> [(m.label, m.predicted) for m in worst_mistakes(images, labels, probabilities, 2)]
    [(1, 0), (1, 1)]
    """
    size = len(labels)
    expect(
        images.ndim in (3, 4) and len(images) == size and probabilities.shape[:-1] == (size,),
        "images (N, 1, H, W) or (N, H, W), labels (N,), probabilities (N, classes)",
        f"{images.shape}, {labels.shape}, {probabilities.shape}",
    )
    planes = images.reshape(size, *images.shape[-2:])
    predicted = probabilities.argmax(axis=-1)
    confidence = probabilities.max(axis=-1)
    right = predicted == labels
    order = np.lexsort((np.where(right, confidence, -confidence), right))[:count]
    return [
        Mistake(planes[i], int(labels[i]), int(predicted[i]), float(confidence[i])) for i in order
    ]


def draw(
    path: str | os.PathLike[str],
    history: Mapping[str, Sequence[float]],
    confusion: Array,
    mistakes: Sequence[Mistake],
    *,
    title: str = "Handwritten digits",
    subtitle: str = "",
) -> None:
    """Write the picture to `path` atomically: if anything fails, the old file stays.

    `history` holds one number per epoch under "loss" (training) and "accuracy" (held out, 0 to 1),
    and may hold "held_out_loss" and "train_accuracy". Other keys are ignored; a training stopped
    early has few numbers or none. `confusion` is int (C, C); rows are the true classes, columns the
    predicted ones. Of `mistakes`, worst first, the first 12 are shown.

    Raises MissingExtraError without matplotlib, ArgumentError for a missing key, ShapeError where
    shapes do not fit, and OSError where the system refuses the file.
    """
    for key in ("loss", "accuracy"):
        expect(key in history, f"history has {key!r}", sorted(history), ArgumentError)
    expect(
        confusion.ndim == 2 and confusion.shape[0] == confusion.shape[1],
        "confusion.shape == (C, C)",
        f"confusion.shape = {confusion.shape}",
    )
    for mistake in mistakes[:SHOWN]:
        shape = np.shape(mistake.image)
        expect(len(shape) == 2, "mistake.image.shape == (H, W)", shape)
    write_atomic(path, _render(history, confusion, mistakes[:SHOWN], title, subtitle))


def _render(
    history: Mapping[str, Sequence[float]],
    confusion: Array,
    mistakes: Sequence[Mistake],
    title: str,
    subtitle: str,
) -> bytes:
    """Return the picture as the bytes of a PNG."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "train") from error
    figure = Figure(figsize=INCHES, dpi=DOTS, facecolor=PAPER)
    FigureCanvasAgg(figure)
    _heading(figure, confusion, title, subtitle)
    upper = figure.add_axes((LEFT, 0.60, 0.38, 0.24))
    lower = figure.add_axes((LEFT, 0.285, 0.38, 0.24))
    training, held_out = history["loss"], history.get("held_out_loss", ())
    _curves(upper, "Loss", "{:.4g}", training, held_out)
    training, held_out = history.get("train_accuracy", ()), history["accuracy"]
    _curves(lower, "Accuracy, %", "{:.2f}", _percent(training), _percent(held_out))
    _keep_the_end_in_sight(lower, [*_percent(training), *_percent(held_out)])
    lower.set_xlabel("epoch", color=FAINT, fontsize=9)
    _squares(figure.add_axes((0.535, 0.285, 0.385, 0.555)), confusion)
    if mistakes:
        _strip(figure, mistakes)
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor=PAPER, metadata={"Title": title})
    return content.getvalue()


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


def _heading(figure: Figure, confusion: Array, title: str, subtitle: str) -> None:
    """Draw title and subtitle at the left, the result in large figures at the right."""
    figure.text(LEFT, 0.945, title, color=INK, fontsize=22, fontweight="bold", va="center")
    figure.text(LEFT, 0.905, subtitle, color=FAINT, fontsize=11.5, va="center")
    total, right = int(confusion.sum()), int(np.trace(confusion))
    if total:
        figure.text(RIGHT_EDGE, 0.945, f"{100 * right / total:.2f} %", color=RIGHT, fontsize=22,
                    fontweight="bold", va="center", ha="right")
    figure.text(RIGHT_EDGE, 0.905, f"{right:,} of {total:,} held-out images read right",
                color=FAINT, fontsize=11.5, va="center", ha="right")


def _curves(
    axes: Axes, title: str, form: str, training: Sequence[float], held_out: Sequence[float]
) -> None:
    """Draw lines over epochs, with each one's last value in the legend."""
    _bare(axes, title)
    longest = max(len(training), len(held_out))
    if longest == 0:
        _note(axes, "no epoch was completed")
        return
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    for name, values, colour in (("training", training, FAINT), ("held out", held_out, RIGHT)):
        if len(values):
            label = f"{name}  {form.format(values[-1])}"
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=2.2,
                      solid_capstyle="round", marker="o", markevery=[len(values) - 1],
                      markersize=6, clip_on=False, zorder=3, label=label)
    axes.set_xlim(1 - 0.02 * longest, longest + 0.02 * longest)
    axes.set_xticks(_ticks(longest))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend(frameon=False, fontsize=10, labelcolor="linecolor", handlelength=1.2, ncols=2,
                loc="lower right", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.2)


def _ticks(epochs: int) -> list[int]:
    """Return some round epochs, always including the first and the last."""
    round_steps = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    step = next(step for step in round_steps if epochs <= MOST_TICKS * step)
    middle = [epoch for epoch in range(step, epochs, step) if epochs - epoch > step / 2]
    return sorted({1, *middle, epochs})


def _keep_the_end_in_sight(axes: Axes, values: Sequence[float]) -> None:
    """Crop the first few epochs below the frame, where they would flatten the others."""
    finite = np.asarray([value for value in values if np.isfinite(value)])
    if len(finite):
        low, high = float(np.quantile(finite, 0.15)), float(finite.max())
        margin = max(0.08 * (high - low), 0.5)
        axes.set_ylim(low - margin, min(high + margin, 100 + 0.5 * margin))
        for line in axes.lines:
            line.set_clip_on(True)


def _squares(axes: Axes, confusion: Array) -> None:
    """Draw the confusion matrix: blue where right, orange where wrong, counts in the squares."""
    from matplotlib.colors import to_rgb

    _bare(axes, "What was read as what")
    classes = len(confusion)
    written = confusion.sum(axis=1)
    share = confusion / np.maximum(written, 1)[:, None]
    diagonal = np.eye(classes, dtype=bool)
    # One mistake must be visible beside forty correct ones: square roots lift the small shares.
    strength = np.where(diagonal, 0.15 + 0.85 * share, 0.3 + 0.7 * np.sqrt(share))
    strength = np.where(confusion > 0, strength, 0.0)[..., None]
    colour = np.where(diagonal[..., None], to_rgb(RIGHT), to_rgb(WRONG))
    empty = np.asarray(to_rgb(EMPTY))
    axes.imshow(empty + strength * (colour - empty), aspect="auto", interpolation="nearest")
    axes.set_xlabel("read as", color=FAINT, fontsize=9)
    axes.set_ylabel("written", color=FAINT, fontsize=9)
    if classes > LEGIBLE:
        return
    edges = np.arange(classes + 1) - 0.5
    axes.hlines(edges, -0.5, classes - 0.5, color=PAPER, linewidth=2)
    axes.vlines(edges, -0.5, classes - 0.5, color=PAPER, linewidth=2)
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    for row, column in np.argwhere(confusion > 0).tolist():
        dark = strength[row, column, 0] > 0.55
        axes.text(column, row, f"{confusion[row, column]:,}", ha="center", va="center",
                  fontsize=10, fontweight="bold", color=PAPER if dark else INK)
    for row in np.flatnonzero(written).tolist():
        axes.text(classes - 0.4, row, f"{100 * share[row, row]:.0f} %", va="center", fontsize=9,
                  color=FAINT if confusion[row, row] == written[row] else WRONG)


def _strip(figure: Figure, mistakes: Sequence[Mistake]) -> None:
    """Draw the worst mistakes side by side, with label, prediction and confidence."""
    from matplotlib.colors import LinearSegmentedColormap

    ink = LinearSegmentedColormap.from_list("ink", ["#ffffff", INK])
    wrong = sum(mistake.label != mistake.predicted for mistake in mistakes)
    words = "Worst mistakes" if wrong == len(mistakes) else "All mistakes, then the least sure"
    words = words if wrong else "No mistakes; the least sure"
    figure.text(LEFT, 0.205, words, color=INK, fontsize=12, fontweight="bold", va="center")
    width = (RIGHT_EDGE - LEFT + GAP) / SHOWN
    for place, mistake in enumerate(mistakes):
        axes = figure.add_axes((LEFT + place * width, 0.07, width - GAP, 0.11), anchor="NW")
        axes.imshow(mistake.image, cmap=ink, vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks(())
        axes.set_yticks(())
        bad = mistake.label != mistake.predicted
        for spine in axes.spines.values():
            spine.set_color(WRONG if bad else RULE)
            spine.set_linewidth(1.6 if bad else 1.0)
        reading = f"{mistake.label} read as {mistake.predicted}" if bad else f"{mistake.label}"
        axes.set_xlabel(f"{reading}\n{100 * mistake.confidence:.0f} %", fontsize=9,
                        color=WRONG if bad else FAINT)


def _bare(axes: Axes, title: str) -> None:
    """Remove the frame and tick marks; put a title at the left."""
    axes.set_facecolor(PAPER)
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=10)
    axes.tick_params(length=0, colors=FAINT, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _note(axes: Axes, words: str) -> None:
    """Write words in place of a curve."""
    axes.set_xticks(())
    axes.set_yticks(())
    axes.text(0.5, 0.5, words, color=FAINT, fontsize=10, ha="center", va="center",
              transform=axes.transAxes)
