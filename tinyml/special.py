"""Special functions, named and with arguments as in scipy.special; torch.special's beyond it."""

from __future__ import annotations

import tinyml.ops.special.bessel as _bessel
import tinyml.ops.special.error as _error
import tinyml.ops.special.gamma as _gamma
import tinyml.ops.special.polynomials as _polynomials
from tinyml.ops.elementwise import erf, erfc, exp2, expm1, log1p, xlogy
from tinyml.ops.elementwise import sigmoid as expit
from tinyml.ops.nn.softmax import log_softmax, softmax
from tinyml.ops.special.bessel import *  # noqa: F403
from tinyml.ops.special.error import *  # noqa: F403
from tinyml.ops.special.gamma import *  # noqa: F403
from tinyml.ops.special.polynomials import *  # noqa: F403

__all__ = ["erf", "erfc", "exp2", "expit", "expm1", "log1p", "log_softmax", "softmax", "xlogy"]
__all__ += _bessel.__all__
__all__ += _error.__all__
__all__ += _gamma.__all__
__all__ += _polynomials.__all__
