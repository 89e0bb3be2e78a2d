"""What is beyond the standard, in one place: the modules whose names the front door gives away."""

from __future__ import annotations

import tinyml.ops.arranging as _arranging
import tinyml.ops.borders as _borders
import tinyml.ops.counting as _counting
import tinyml.ops.distinct as _distinct
import tinyml.ops.nans as _nans
import tinyml.ops.norms as _norms
import tinyml.ops.products as _products
import tinyml.ops.running as _running
import tinyml.ops.series as _series
import tinyml.ops.statistics as _statistics
from tinyml.ops.arranging import *  # noqa: F403
from tinyml.ops.borders import *  # noqa: F403
from tinyml.ops.counting import *  # noqa: F403
from tinyml.ops.distinct import *  # noqa: F403
from tinyml.ops.nans import *  # noqa: F403
from tinyml.ops.norms import *  # noqa: F403
from tinyml.ops.products import *  # noqa: F403
from tinyml.ops.running import *  # noqa: F403
from tinyml.ops.series import *  # noqa: F403
from tinyml.ops.statistics import *  # noqa: F403

__all__: list[str] = []
__all__ += _arranging.__all__
__all__ += _borders.__all__
__all__ += _counting.__all__
__all__ += _distinct.__all__
__all__ += _nans.__all__
__all__ += _norms.__all__
__all__ += _products.__all__
__all__ += _running.__all__
__all__ += _series.__all__
__all__ += _statistics.__all__
