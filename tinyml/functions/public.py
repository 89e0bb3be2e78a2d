"""The public functions of this room, collected for `tinyml`."""

import tinyml.functions.datatypes as _datatypes
import tinyml.functions.einsum as _einsum
import tinyml.functions.histograms as _histograms
import tinyml.functions.nan_reductions as _nan_reductions
import tinyml.functions.norms as _norms
import tinyml.functions.numeric as _numeric
import tinyml.functions.padding as _padding
import tinyml.functions.products as _products
import tinyml.functions.rearrange as _rearrange
import tinyml.functions.segments as _segments
import tinyml.functions.sets as _sets
import tinyml.functions.split_stack as _split_stack
import tinyml.functions.statistics as _statistics
from tinyml.functions.datatypes import *  # noqa: F403
from tinyml.functions.einsum import *  # noqa: F403
from tinyml.functions.histograms import *  # noqa: F403
from tinyml.functions.nan_reductions import *  # noqa: F403
from tinyml.functions.norms import *  # noqa: F403
from tinyml.functions.numeric import *  # noqa: F403
from tinyml.functions.padding import *  # noqa: F403
from tinyml.functions.products import *  # noqa: F403
from tinyml.functions.rearrange import *  # noqa: F403
from tinyml.functions.segments import *  # noqa: F403
from tinyml.functions.sets import *  # noqa: F403
from tinyml.functions.split_stack import *  # noqa: F403
from tinyml.functions.statistics import *  # noqa: F403
from tinyml.ops.methods import Methods as _Methods
from tinyml.tensor import Tensor as _Tensor

# Not __all__, which type checkers would have to read from other modules.
_NAMES = [
    *_datatypes.__all__,
    *_einsum.__all__,
    *_histograms.__all__,
    *_nan_reductions.__all__,
    *_norms.__all__,
    *_numeric.__all__,
    *_padding.__all__,
    *_products.__all__,
    *_rearrange.__all__,
    *_segments.__all__,
    *_sets.__all__,
    *_split_stack.__all__,
    *_statistics.__all__,
]

# Those methods of tensors that are functions of this room.
for _name in _Methods.__annotations__:
    setattr(_Tensor, _name, globals().get(_name) or getattr(_rearrange, _name))
