"""Elementwise ops: records and the functions that users call, see `define.py`."""

from tinyml.ops.elementwise.activation import *  # noqa: F403
from tinyml.ops.elementwise.arithmetic import *  # noqa: F403
from tinyml.ops.elementwise.comparison import *  # noqa: F403
from tinyml.ops.elementwise.conversion import *  # noqa: F403
from tinyml.ops.elementwise.conversion import astype as astype  # public in tinyml.functions
from tinyml.ops.elementwise.transcendental import *  # noqa: F403
