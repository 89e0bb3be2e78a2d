"""The records' public functions, collected for `tinyml`; importing this loads every record."""

import tinyml.ops.concat as _concat
import tinyml.ops.creation as _creation
import tinyml.ops.cumulative as _cumulative
import tinyml.ops.cumulative_extrema as _cumulative_extrema
import tinyml.ops.diagonal as _diagonal
import tinyml.ops.elementwise.activation as _activation
import tinyml.ops.elementwise.arithmetic as _arithmetic
import tinyml.ops.elementwise.comparison as _comparison
import tinyml.ops.elementwise.conversion as _conversion
import tinyml.ops.elementwise.transcendental as _transcendental
import tinyml.ops.fft as _fft  # noqa: F401
import tinyml.ops.gather_scatter as _gather_scatter
import tinyml.ops.linalg as _linalg  # noqa: F401
import tinyml.ops.matmul as _matmul
import tinyml.ops.nn.convolution as _convolution
import tinyml.ops.nn.loss as _loss
import tinyml.ops.nn.normalization as _normalization
import tinyml.ops.nn.optimizer_steps as _optimizer_steps  # noqa: F401
import tinyml.ops.nn.pooling as _pooling
import tinyml.ops.nn.softmax as _softmax
import tinyml.ops.pad as _pad  # noqa: F401
import tinyml.ops.random_bits as _random_bits  # noqa: F401
import tinyml.ops.reduction as _reduction
import tinyml.ops.sorting as _sorting
import tinyml.ops.special.bessel as _bessel  # noqa: F401
import tinyml.ops.special.beta as _beta  # noqa: F401
import tinyml.ops.special.gamma as _gamma  # noqa: F401
import tinyml.ops.special.polynomials as _polynomials  # noqa: F401
import tinyml.ops.views as _views
from tinyml.ops.concat import *  # noqa: F403
from tinyml.ops.creation import *  # noqa: F403
from tinyml.ops.cumulative import *  # noqa: F403
from tinyml.ops.cumulative_extrema import *  # noqa: F403
from tinyml.ops.diagonal import *  # noqa: F403
from tinyml.ops.elementwise.activation import *  # noqa: F403
from tinyml.ops.elementwise.arithmetic import *  # noqa: F403
from tinyml.ops.elementwise.comparison import *  # noqa: F403
from tinyml.ops.elementwise.conversion import *  # noqa: F403
from tinyml.ops.elementwise.transcendental import *  # noqa: F403
from tinyml.ops.gather_scatter import *  # noqa: F403
from tinyml.ops.matmul import *  # noqa: F403
from tinyml.ops.nn.convolution import *  # noqa: F403
from tinyml.ops.nn.loss import *  # noqa: F403
from tinyml.ops.nn.normalization import *  # noqa: F403
from tinyml.ops.nn.pooling import *  # noqa: F403
from tinyml.ops.nn.softmax import *  # noqa: F403
from tinyml.ops.reduction import *  # noqa: F403
from tinyml.ops.sorting import *  # noqa: F403
from tinyml.ops.views import *  # noqa: F403

# Not __all__, which type checkers would have to read from other modules.
_NAMES = [
    *_concat.__all__,
    *_creation.__all__,
    *_cumulative.__all__,
    *_cumulative_extrema.__all__,
    *_diagonal.__all__,
    *_activation.__all__,
    *_arithmetic.__all__,
    *_comparison.__all__,
    *_conversion.__all__,
    *_transcendental.__all__,
    *_gather_scatter.__all__,
    *_matmul.__all__,
    *_convolution.__all__,
    *_loss.__all__,
    *_normalization.__all__,
    *_pooling.__all__,
    *_softmax.__all__,
    *_reduction.__all__,
    *_sorting.__all__,
    *_views.__all__,
]
