"""Data sets that come with the package, and what is done to images before training.

>>> from tinyml.data import digits
>>> images, labels = digits.load()
>>> images.shape, labels.shape
((1797, 1, 8, 8), (1797,))
"""
