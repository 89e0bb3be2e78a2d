"""The digits: what is shipped, how it is split, what a damaged file does; and their distortions."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tinyml.data import digits
from tinyml.data.augment import distort
from tinyml.errors import ArgumentError, FileFormatError, FileMissingError, ShapeError

FILE = Path(digits.__file__).with_name("digits.gz")


def test_shapes_and_dtypes() -> None:
    images, labels = digits.load()
    assert images.dtype == np.float32 and images.shape == (1797, 1, 8, 8)
    assert labels.dtype == np.int64 and labels.shape == (1797,)
    assert (images.min(), images.max()) == (0, 1)
    assert images.flags.c_contiguous and images.flags.writeable


def test_the_first_row_is_that_of_the_source() -> None:
    images, labels = digits.load()
    assert labels[0] == 0
    top = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    assert (images[0, 0, :2] * 16).tolist() == top


def test_the_classes_are_those_of_the_source() -> None:
    counts = np.bincount(digits.load()[1])
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_loads_are_independent() -> None:
    images, labels = digits.load()
    images[:], labels[:] = 7, 7
    again, _ = digits.load()
    assert again.max() == 1


@pytest.mark.parametrize(("word", "count"), [("fifth", 360), ("last", 359)])
def test_a_split_keeps_every_row_once(word: digits.HoldOut, count: int) -> None:
    images, labels = digits.load()
    train_images, train_labels, test_images, test_labels = digits.split(word)
    assert len(test_images) == len(test_labels) == count
    assert len(train_images) == len(train_labels) == 1797 - count
    held = digits.held_out(word)
    assert np.array_equal(images[held], test_images)
    assert np.array_equal(labels[~held], train_labels)


def test_what_is_held_out() -> None:
    assert np.flatnonzero(digits.held_out("fifth")).tolist() == list(range(0, 1797, 5))
    assert np.flatnonzero(digits.held_out("last")).tolist() == list(range(1438, 1797))


def test_another_split_is_refused() -> None:
    with pytest.raises(ArgumentError, match="fifth.*last.*Actual: 'half'"):
        digits.split(cast(Any, "half"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "other content"])
def test_a_damaged_file_is_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = FILE.read_bytes()
    middle = len(packed) // 2
    content = {
        "truncated": packed[:middle],
        "flipped": packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :],
        "empty": b"",
        "text": b"0,0,5,13",
        "other content": gzip.compress(bytes(1797 * 65)),
    }[damage]
    path = tmp_path / "digits.gz"
    path.write_bytes(content)
    monkeypatch.setattr(digits, "_PATH", path)
    with pytest.raises(FileFormatError, match="install tinyml again"):
        digits.load()


def test_a_bomb_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "digits.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    monkeypatch.setattr(digits, "_PATH", path)
    tracemalloc.start()
    with pytest.raises(FileFormatError):
        digits.load()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_missing_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_PATH", tmp_path / "digits.gz")
    with pytest.raises(FileMissingError, match="install tinyml again"):
        digits.load()


def test_source_and_licence_stand_beside_the_file() -> None:
    text = FILE.with_name("digits.LICENSE.md").read_text(encoding="utf-8")
    for words in ("Alpaydin", "Kaynak", "1998", "10.24432/C50P49", "CC BY 4.0", digits._SHA256):
        assert words in text
    assert 40_000 <= FILE.stat().st_size <= 60_000


def test_distortion_follows_the_generator_alone() -> None:
    images, _ = digits.load()
    first = distort(images, np.random.default_rng(3))
    assert first.dtype == np.float32 and first.shape == images.shape
    assert first.tobytes() == distort(images, np.random.default_rng(3)).tobytes()
    assert first.tobytes() != distort(images, np.random.default_rng(4)).tobytes()


def _by_hand(image: np.ndarray[Any, Any], generator: np.random.Generator, shift: float,
             bend: float) -> np.ndarray[Any, Any]:
    """The formula for one channel of one image, pixel by pixel."""
    height, width = image.shape
    matrix = np.eye(2) + generator.uniform(-bend, bend, (2, 2))
    offset = generator.uniform(-shift, shift, 2)
    centre = np.array([height - 1, width - 1]) / 2
    result = np.zeros_like(image)
    for place in np.ndindex(height, width):
        source = matrix @ (place - centre) + offset + centre
        low = np.floor(source).astype(int)
        for corner in (low, low + [0, 1], low + [1, 0], low + [1, 1]):
            if (corner >= 0).all() and (corner < image.shape).all():
                result[place] += np.prod(1 - abs(source - corner)) * image[tuple(corner)]
    return result


@pytest.mark.parametrize(("shift", "bend"), [(0.8, 0.2), (3.0, 0.7), (40.0, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (1, 1)])
def test_distortion_is_its_formula(shape: tuple[int, int], shift: float, bend: float) -> None:
    for seed in range(20):
        image = np.random.default_rng(99).random(shape).astype(np.float32)
        got = distort(image[None, None], np.random.default_rng(seed), shift=shift, bend=bend)
        want = _by_hand(image, np.random.default_rng(seed), shift, bend)
        np.testing.assert_allclose(got[0, 0], want, atol=1e-6)


def test_channels_move_together() -> None:
    image = np.random.default_rng(0).random((3, 1, 6, 7)).astype(np.float32)
    got = distort(np.concatenate([image, 2 * image], axis=1), np.random.default_rng(1))
    np.testing.assert_allclose(got[:, 1], 2 * got[:, 0], rtol=1e-6)


def test_distortion_refuses_other_shapes() -> None:
    with pytest.raises(ShapeError, match=r"ndim == 4.*\(8, 8\)"):
        distort(np.zeros((8, 8), np.float32), np.random.default_rng(0))


def test_no_images_are_no_trouble() -> None:
    empty = np.zeros((0, 1, 8, 8), np.float32)
    assert distort(empty, np.random.default_rng(0)).shape == (0, 1, 8, 8)
