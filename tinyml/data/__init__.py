"""Data sets shipped with the package, and augmentation of images for training.

>>> from tinyml.data import digits
>>> images, labels = digits.load()
>>> images.shape, labels.shape
((1797, 1, 8, 8), (1797,))
"""

from typing import TYPE_CHECKING

from tinyml.data import augment, digits
from tinyml.errors.hints import front

__all__ = ["augment", "digits"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
