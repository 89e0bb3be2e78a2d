"""The 1,797 handwritten 8x8 digits of the UCI optical-recognition set, shipped with the package.

`digits.gz` is a gzip member of 116,805 bytes: 1,797 rows of 65 bytes, 64 pixels (0 to 16, row by
row) and the label (0 to 9), in the order of the source. `digits.LICENSE.md`, beside it, gives the
source and licence.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from tinyml.errors import ArgumentError, FileFormatError, FileMissingError, expect
from tinyml.errors.hints import front

__all__ = ["held_out", "load", "split"]

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
HoldOut = Literal["fifth", "last"]

ROWS, SIDE, CLASSES = 1797, 8, 10
INK = 16  # a pixel's greatest value: the dark points of a 4x4 block of the scanned bitmap
LAST = ROWS // 5  # rows at the end: a fifth of all
ROW_BYTES = SIDE * SIDE + 1

_PATH = Path(__file__).with_name("digits.gz")
_SHA256 = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to expect a gzip header and checksum
_REMEDY = "install tinyml again: the file belongs to the package"


def load() -> tuple[Images, Labels]:
    """Return images, float32 (1797, 1, 8, 8) from 0 to 1, and labels, int64 (1797,), in file order.

    Each call returns new arrays. The file's content is checked against its SHA-256.

    Raises FileFormatError if the content differs and FileMissingError if there is no file.

    >>> images, labels = load()
    >>> images.dtype, images.min(), images.max(), labels[:5].tolist()
    (dtype('float32'), np.float32(0.0), np.float32(1.0), [0, 1, 2, 3, 4])
    """
    table = np.frombuffer(_content(_PATH), np.uint8).reshape(ROWS, ROW_BYTES)
    images = table[:, :-1].astype(np.float32) / np.float32(INK)
    return images.reshape(ROWS, 1, SIDE, SIDE), table[:, -1].astype(np.int64)


def split(hold_out: HoldOut = "fifth") -> tuple[Images, Labels, Images, Labels]:
    """Return training images and labels, then held-out images and labels.

    "fifth" holds out the 360 rows whose index is a multiple of 5. "last" holds out the last 359
    rows, which is harder, since neighbouring rows resemble each other.

    Raises ArgumentError for any other value, and whatever `load` raises.

    >>> train_images, train_labels, test_images, test_labels = split("fifth")
    >>> train_images.shape, test_images.shape
    ((1437, 1, 8, 8), (360, 1, 8, 8))
    """
    held = held_out(hold_out)
    images, labels = load()
    return images[~held], labels[~held], images[held], labels[held]


def held_out(hold_out: HoldOut = "fifth") -> npt.NDArray[np.bool_]:
    """Return which of the 1,797 rows `split` holds out: bool (1797,).

    Raises ArgumentError for any value other than "fifth" and "last".

    >>> int(held_out("fifth").sum()), int(held_out("last").sum())
    (360, 359)
    """
    words = get_args(HoldOut)
    expect(hold_out in words, f"hold_out in {words}", repr(hold_out), ArgumentError)
    held = np.zeros(ROWS, np.bool_)
    held[slice(0, None, 5) if hold_out == "fifth" else slice(-LAST, None)] = True
    return held


def _content(path: Path) -> bytes:
    """Return the rows of the file as bytes, after checking them."""
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise FileMissingError(f"there is no file {path}", remedy=_REMEDY) from None
    try:
        # The limit keeps a damaged file from expanding into gigabytes.
        content = zlib.decompressobj(_GZIP).decompress(packed, ROWS * ROW_BYTES + 1)
    except zlib.error as error:
        raise FileFormatError(f"{path} cannot be decompressed: {error}", remedy=_REMEDY) from None
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise FileFormatError(
            f"{path} is not the digits: Expect: SHA-256 of the content {_SHA256}. Actual: {found}",
            remedy=_REMEDY,
        )
    return content


if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
