"""Optimizers and learning-rate schedules that match PyTorch's step by step.

>>> import tinyml
>>> w = tinyml.tensor([4.0], requires_grad=True)
>>> opt = tinyml.optim.SGD([w], lr=0.25)
>>> (w * w).sum().backward()
>>> opt.step()
>>> w.tolist()
[2.0]
"""

from typing import TYPE_CHECKING

from tinyml.errors.hints import front
from tinyml.optim.optimizers import SGD, AdamW, Optimizer
from tinyml.optim.schedules import cosine, one_cycle

__all__ = ["AdamW", "Optimizer", "SGD", "cosine", "one_cycle"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
