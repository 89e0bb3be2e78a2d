"""Sample generators: the small, seeded cases that every record is tested on."""

from tinyml.ops.samples.cumulative import *  # noqa: F403
from tinyml.ops.samples.elementwise import *  # noqa: F403
from tinyml.ops.samples.linalg import *  # noqa: F403
from tinyml.ops.samples.movement import *  # noqa: F403
from tinyml.ops.samples.nn import *  # noqa: F403
from tinyml.ops.samples.reductions import *  # noqa: F403
from tinyml.ops.samples.values import *  # noqa: F403
