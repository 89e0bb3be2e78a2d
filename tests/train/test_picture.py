"""The picture: the numbers in it, the file, what it refuses, and what it leaves alone."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyml.errors import ArgumentError, MissingExtraError, ShapeError
from tinyml.train import picture
from tinyml.train.picture import Mistake, confusion_matrix, draw, worst_mistakes

HISTORY = {"loss": [2.0, 1.0, 0.5], "accuracy": [0.5, 0.8, 0.95], "held_out_loss": [1.9, 0.9, 0.6]}
CONFUSION = np.diag(np.arange(30, 40)) + np.eye(10, k=3, dtype=int)
MISTAKES = [Mistake(np.full((8, 8), 0.5), 3, place % 10, 0.9) for place in range(20)]

matplotlib_needed = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="draws: pip install 'tinyml[train]'"
)


def test_confusion_matrix_counts() -> None:
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 5, (2, 200))
    counts = confusion_matrix(labels, predicted, 7)
    assert counts.dtype == np.int64 and counts.shape == (7, 7)
    for row, column in np.ndindex(7, 7):
        assert counts[row, column] == ((labels == row) & (predicted == column)).sum()


def test_confusion_matrix_of_nothing() -> None:
    nothing = np.zeros(0, np.int64)
    assert confusion_matrix(nothing, nothing, 3).tolist() == [[0] * 3] * 3


def test_confusion_matrix_refuses() -> None:
    two, three = np.array([0, 1]), np.array([0, 1, 2])
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\)"):
        confusion_matrix(two, three, 3)
    with pytest.raises(ArgumentError, match="0 <= predicted < 2"):
        confusion_matrix(np.array([0, 1, 1]), three, 2)
    with pytest.raises(ArgumentError, match="0 <= labels < 2"):
        confusion_matrix(np.array([0, -1]), two, 2)


def test_worst_mistakes_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
    labels = np.array([0, 0, 0, 1, 0])
    images = np.arange(5)[:, None, None, None] * np.ones((1, 1, 4, 6))
    found = worst_mistakes(images, labels, probabilities, 4)
    assert [int(mistake.image[0, 0]) for mistake in found] == [2, 1, 4, 3]
    assert [mistake.label == mistake.predicted for mistake in found] == [False, False, True, True]
    assert [mistake.confidence for mistake in found] == [0.7, 0.6, 0.55, 0.8]
    assert found[0].image.shape == (4, 6)
    assert len(worst_mistakes(images, labels, probabilities, 100)) == 5
    assert len(worst_mistakes(images[:, 0], labels, probabilities, 2)) == 2


def test_worst_mistakes_refuses() -> None:
    with pytest.raises(ShapeError, match="probabilities"):
        worst_mistakes(np.zeros((2, 8, 8)), np.array([0, 1]), np.zeros((3, 2)))


@pytest.mark.kernels(8)
@matplotlib_needed
@pytest.mark.parametrize(
    ("history", "confusion", "mistakes"),
    [
        pytest.param(HISTORY, CONFUSION, MISTAKES, id="usual"),
        pytest.param(HISTORY | {"train_accuracy": [0.4, 0.7, 0.9]}, CONFUSION, MISTAKES, id="full"),
        pytest.param({"loss": [], "accuracy": []}, np.zeros((10, 10), int), [], id="no epoch"),
        pytest.param({"loss": [1.0], "accuracy": [0.9]}, CONFUSION, MISTAKES[:1], id="one epoch"),
        pytest.param(
            {"loss": [np.nan, np.inf, 1e30], "accuracy": [0.1, np.nan, 0.1]}, CONFUSION, [],
            id="diverged",
        ),
        pytest.param(HISTORY, np.eye(10, dtype=int), [Mistake(np.eye(8), 3, 3, 0.4)], id="perfect"),
        pytest.param(HISTORY, np.ones((40, 40), int), MISTAKES, id="many classes"),
        pytest.param(HISTORY, np.full((1, 1), 10**9), [], id="one class"),
    ],
)
def test_a_png_is_drawn(
    history: dict[str, Any], confusion: Any, mistakes: list[Mistake], tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    draw(path, history, confusion, mistakes, subtitle="3 epochs")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 20_000
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1820, 1260)
    assert os.listdir(tmp_path) == ["picture.png"]


@matplotlib_needed
def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    draw(first, HISTORY, CONFUSION, MISTAKES)
    draw(second, HISTORY, CONFUSION, MISTAKES)
    assert first.read_bytes() == second.read_bytes()


@matplotlib_needed
def test_matplotlib_is_left_as_it_was(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context():
        before = dict(matplotlib.rcParams)
        had_pyplot = "matplotlib.pyplot" in sys.modules
        draw(tmp_path / "picture.png", HISTORY, CONFUSION, MISTAKES)
        assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


@matplotlib_needed
def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left")

    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        draw(path, HISTORY, CONFUSION, MISTAKES)
    assert os.listdir(tmp_path) == ["picture.png"] and path.read_bytes() == b"old"


def test_without_matplotlib_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyml\[train\]'"):
        draw(tmp_path / "picture.png", HISTORY, CONFUSION, MISTAKES)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("history", "confusion", "mistakes", "error", "words"),
    [
        ({"loss": [1.0]}, CONFUSION, [], ArgumentError, "history has 'accuracy'"),
        (HISTORY, np.zeros((10, 9), int), [], ShapeError, r"\(10, 9\)"),
        (HISTORY, CONFUSION, [Mistake(np.zeros(64), 1, 2, 0.5)], ShapeError, r"\(64,\)"),
    ],
)
def test_it_refuses_before_it_draws(
    history: Any, confusion: Any, mistakes: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        draw(tmp_path / "picture.png", history, confusion, mistakes)
    assert os.listdir(tmp_path) == []


def test_ticks_are_few_and_name_both_ends() -> None:
    for epochs in (1, 2, 3, 9, 20, 21, 99, 100, 173, 12_345):
        ticks = picture._ticks(epochs)
        assert ticks[0] == 1 and ticks[-1] == epochs
        assert len(ticks) <= picture.MOST_TICKS + 2 and ticks == sorted(set(ticks))
