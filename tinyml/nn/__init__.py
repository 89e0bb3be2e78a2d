"""Neural networks: modules that are pytrees, layers with PyTorch's names, and their functions.

>>> import tinyml
>>> from tinyml import nn
>>> model = nn.Sequential(nn.Linear(4, 3, key=tinyml.random.key(0)), nn.ReLU())
>>> [name for name, _ in model.named_parameters()], model(tinyml.zeros((2, 4))).shape
(['0.weight', '0.bias'], (2, 3))
"""

from typing import TYPE_CHECKING

from tinyml.errors.hints import front
from tinyml.nn import functional
from tinyml.nn.layers import GELU, Conv2d, Flatten, LayerNorm, Linear, MaxPool2d, ReLU, Sequential
from tinyml.nn.module import Module

__all__ = [
    "Conv2d",
    "Flatten",
    "GELU",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "Module",
    "ReLU",
    "Sequential",
    "functional",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
