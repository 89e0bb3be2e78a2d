"""The methods of tensors that are the functions of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import tinyml.ops.cumulative as cumulative
import tinyml.ops.cumulative_extrema as extrema
import tinyml.ops.diagonal as diagonals
import tinyml.ops.elementwise as words
import tinyml.ops.elementwise.activation as activations
import tinyml.ops.gather_scatter as places
import tinyml.ops.matmul as contraction
import tinyml.ops.nn.softmax as normalized
import tinyml.ops.reduction as reduce
import tinyml.ops.sorting as order
import tinyml.ops.views as shapes
from tinyml.core.make import Tensor
from tinyml.core.node import Data
from tinyml.errors import ArgumentError, ArgumentTypeError, expect

Function = Callable[..., Tensor]


class Methods(Data):
    """What `Tensor` has of these."""

    __slots__ = ()

    astype = words.astype
    abs, ceil, floor, round, sign, trunc = (
        words.abs, words.ceil, words.floor, words.round, words.sign, words.trunc)
    exp, exp2, expm1, log, log10, log1p, log2 = (
        words.exp, words.exp2, words.expm1, words.log, words.log10, words.log1p, words.log2)
    sqrt, rsqrt, square, reciprocal = words.sqrt, words.rsqrt, words.square, words.reciprocal
    sin, cos, tan, asin, acos, atan = (
        words.sin, words.cos, words.tan, words.asin, words.acos, words.atan)
    sinh, cosh, tanh, asinh, acosh, atanh = (
        words.sinh, words.cosh, words.tanh, words.asinh, words.acosh, words.atanh)
    erf, erfc, conj, angle = words.erf, words.erfc, words.conj, words.angle
    clip, maximum, minimum, nan_to_num = (
        words.clip, words.maximum, words.minimum, words.nan_to_num)
    isfinite, isinf, isnan, isclose = (
        words.isfinite, words.isinf, words.isnan, words.isclose)
    logical_and, logical_or, logical_not, logical_xor = (
        words.logical_and, words.logical_or, words.logical_not, words.logical_xor)
    relu, sigmoid, gelu = activations.relu, activations.sigmoid, activations.gelu
    softmax, log_softmax = normalized.softmax, normalized.log_softmax
    sum, mean, prod = reduce.sum, reduce.mean, reduce.prod
    max, min, var, std = reduce.max, reduce.min, reduce.var, reduce.std
    all, any, argmax, argmin = reduce.all, reduce.any, reduce.argmax, reduce.argmin
    count_nonzero, logsumexp = reduce.count_nonzero, extrema.logsumexp
    cumsum, cumprod = cumulative.cumsum, cumulative.cumprod
    cummax, cummin, logcumsumexp = extrema.cummax, extrema.cummin, extrema.logcumsumexp
    sort, argsort, topk, nonzero = order.sort, order.argsort, order.topk, order.nonzero
    take, take_along_axis = places.take, places.take_along_axis
    tril, triu, diagonal = diagonals.tril, diagonals.triu, diagonals.diagonal
    matmul, broadcast_to = contraction.matmul, shapes.broadcast_to

    # Functions of a room above, which sets them.
    allclose: ClassVar[Callable[..., Any]]
    diff: ClassVar[Function]
    expand_dims: ClassVar[Function]
    flatten: ClassVar[Function]
    flip: ClassVar[Function]
    median: ClassVar[Function]
    moveaxis: ClassVar[Function]
    quantile: ClassVar[Function]
    ravel: ClassVar[Function]
    roll: ClassVar[Function]
    squeeze: ClassVar[Function]
    swapaxes: ClassVar[Function]
    tile: ClassVar[Function]

    def __format__(self: Any, spec: str) -> str:
        if not spec:
            return str(self)
        expect(self.ndim == 0, f"a 0-d tensor for the format {spec!r}", f"shape {self.shape}",
               ArgumentTypeError, remedy="x.item() of one element, str(x) of all")
        try:
            return format(self.item(), spec)
        except ValueError as error:
            raise ArgumentError(f"{error}, for {self.dtype.name}",
                                remedy="a format of Python's numbers, such as '.3f'") from None
