"""Derivatives composed of others: Jacobians, Hessians and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import tinyml.tree as tree
from tinyml.autodiff.grad import (
    Linearized,
    P,
    describe_value,
    grad,
    is_float,
    linearize,
    select_arguments,
)
from tinyml.autodiff.jvp import jvp
from tinyml.core.upload import upload_computed
from tinyml.errors import GradientError, as_function
from tinyml.ops.arguments import as_argnums
from tinyml.ops.concat import concat_rows
from tinyml.ops.creation import zeros_like
from tinyml.tensor import Tensor


def jacobian(f: Callable[P, Any],
             argnums: int | tuple[int, ...] = 0) -> Callable[P, Any]:
    """Return a function that returns the Jacobian of f in the arguments `argnums`.

    If y and x are tensors, the result is J of shape (*y.shape, *x.shape) and x's dtype, with
    J[i, k] = dy[i] / dx[k]. If the value or an argument is a pytree, the result is the value's tree
    with each leaf replaced by the argument's tree of such tensors; it is a tuple of these if
    `argnums` is a tuple. An argument's leaf that is not a float tensor gets None. Reverse mode: f
    runs once, with one backward pass for each element of the value. Raises GradientError if a leaf
    of the value is not a float tensor.

    >>> import tinyml
    >>> tinyml.jacobian(lambda x: x * x)(tinyml.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    as_function(f)
    argnums = as_argnums(argnums)

    def derivatives(*args: P.args, **kwargs: P.kwargs) -> Any:
        inner, primals = select_arguments(lambda *full_args: f(*full_args, **kwargs), args,
                                          argnums)
        run = linearize(inner, tuple(primals))
        for y in run.outputs:
            if not is_float(y):
                raise GradientError(f"a leaf of the function's value is {describe_value(y)}",
                                    remedy="return float tensors only")
        blocks = []
        for place, y in enumerate(run.outputs):
            columns = zip(*[run.pull(g) for g in _basis(run, place)])
            stacked = [_stack(x, y, column) for x, column in
                       zip(run.primals, columns if y.size else [()] * len(run.primals))]
            block = tree.unflatten(run.definition, stacked)
            blocks.append(block[0] if isinstance(argnums, int) else block)
        return tree.unflatten(run.shape, blocks)

    return derivatives


def hessian(f: Callable[P, Any], argnums: int | tuple[int, ...] = 0) -> Callable[P, Any]:
    """Return a function that returns the Hessian of f, whose value is a scalar.

    This is the Jacobian of the gradient. For a tensor x the result has shape
    (*x.shape, *x.shape). For a pytree it is the argument's tree with each leaf replaced by the
    argument's tree again.

    >>> import tinyml
    >>> tinyml.hessian(lambda x: (x * x * x).sum())(tinyml.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(f, argnums), argnums)


def _one_hot(y: Any, row: int) -> Any:
    one = np.zeros(y.size, y.dtype.numpy)
    one[row] = 1
    return one.reshape(y.shape)


def _basis(run: Linearized, place: int) -> Iterator[Any]:
    """Yield one-hot cotangents of the value, one for each element of output `place`."""
    cotangents = [zeros_like(y) for y in run.outputs]
    y = run.outputs[place]
    for row in range(y.size):
        cotangents[place] = upload_computed(partial(_one_hot, y, row), y.shape, y.dtype, y.device)
        yield tree.unflatten(run.shape, cotangents)


def _stack(x: Any, y: Tensor, rows: Sequence[Any]) -> Tensor | None:
    """Return the rows of a block as one tensor of shape (*y.shape, *x.shape)."""
    return (concat_rows(rows, (*y.shape, *x.shape), x.dtype, x.device) if is_float(x) else None)


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return the product of f's Hessian with `tangents`, as a tuple like them.

    This is the jvp of the gradient in all arguments, so the matrix is never formed. A primal that
    is not a float tensor has None. Raises GradientError if f's value is not a float scalar, and the
    errors of `jvp`.

    >>> import tinyml
    >>> x, v = tinyml.tensor([1.0, 2.0]), tinyml.tensor([1.0, 1.0])
    >>> tinyml.hvp(lambda x: (x * x * x).sum(), (x,), (v,))[0].tolist()
    [6.0, 12.0]
    """
    if not isinstance(primals, (tuple, list)) or not primals:
        raise GradientError("hvp differentiates f's arguments, and there are none",
                            remedy="hvp(f, (x,), (v,))")
    return jvp(grad(f, tuple(range(len(primals)))), primals, tangents)[1]
