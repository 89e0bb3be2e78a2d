"""Elementwise ops: records and the functions that users call, see `define.py`."""

import tinyml.ops.elementwise.activation as _activation
import tinyml.ops.elementwise.arithmetic as _arithmetic
import tinyml.ops.elementwise.comparison as _comparison
import tinyml.ops.elementwise.conversion as _conversion
import tinyml.ops.elementwise.transcendental as _transcendental
from tinyml.ops.elementwise.activation import *  # noqa: F403
from tinyml.ops.elementwise.arithmetic import *  # noqa: F403
from tinyml.ops.elementwise.comparison import *  # noqa: F403
from tinyml.ops.elementwise.conversion import *  # noqa: F403
from tinyml.ops.elementwise.conversion import astype as astype  # public in tinyml.functions
from tinyml.ops.elementwise.transcendental import *  # noqa: F403

__all__: list[str] = []
__all__ += _activation.__all__
__all__ += _arithmetic.__all__
__all__ += _comparison.__all__
__all__ += _conversion.__all__
__all__ += _transcendental.__all__
