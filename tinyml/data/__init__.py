"""Data sets shipped with the package, and augmentation of images for training.

>>> from tinyml.data import digits
>>> images, labels = digits.load()
>>> images.shape, labels.shape
((1797, 1, 8, 8), (1797,))
"""
