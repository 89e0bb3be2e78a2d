"""Special functions, with scipy.special's names and arguments, plus others of torch.special."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tinyml.ops.special.bessel as _bessel
import tinyml.ops.special.beta as _beta
import tinyml.ops.special.error as _error
import tinyml.ops.special.gamma as _gamma
import tinyml.ops.special.polynomials as _polynomials
from tinyml.errors.hints import front
from tinyml.ops.elementwise import erf as erf
from tinyml.ops.elementwise import erfc as erfc
from tinyml.ops.elementwise import exp2 as exp2
from tinyml.ops.elementwise import expm1 as expm1
from tinyml.ops.elementwise import log1p as log1p
from tinyml.ops.elementwise import sigmoid as expit  # scipy's name
from tinyml.ops.elementwise import xlogy as xlogy
from tinyml.ops.nn.softmax import log_softmax as log_softmax
from tinyml.ops.nn.softmax import softmax as softmax
from tinyml.ops.special.bessel import *  # noqa: F403
from tinyml.ops.special.beta import *  # noqa: F403
from tinyml.ops.special.error import *  # noqa: F403
from tinyml.ops.special.gamma import *  # noqa: F403
from tinyml.ops.special.polynomials import *  # noqa: F403

if not TYPE_CHECKING:  # mypy understands only literal lists; without one it uses the imports
    __all__ = ["erf", "erfc", "exp2", "expit", "expm1", "log1p", "log_softmax", "softmax", "xlogy",
               *_bessel.__all__, *_beta.__all__, *_error.__all__, *_gamma.__all__,
               *_polynomials.__all__]

if not TYPE_CHECKING:
    __getattr__, __dir__ = front(__name__)
