"""einsum: sums of products over axes named by letters.

Operands are contracted in pairs, each pair as one matrix product. Of the axes that a pair shares,
those needed later become the batch; the others are summed over.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyml.core.error_context import named_in_errors
from tinyml.core.make import Tensor
from tinyml.errors import ArgumentError, ShapeError, expect
from tinyml.ops.arguments import as_size
from tinyml.ops.creation import as_tensors
from tinyml.ops.diagonal import diagonal
from tinyml.ops.matmul import matmul
from tinyml.ops.reduction import sum
from tinyml.ops.rounding import rounded_once
from tinyml.ops.views import broadcast_to, permute_dims, reshape

__all__ = ["einsum"]


Term = tuple[Any, tuple[str, ...]]  # an operand and the labels of its axes


@named_in_errors
def einsum(subscripts: Any, *operands: Any) -> Tensor:
    """Return sums of products over named axes (numpy.einsum): "ij,jk->ik" is the matrix product.

    A letter names an axis. Letters missing after `->` are summed over, a letter repeated within an
    operand takes its diagonal, and `...` stands for further axes, which broadcast. Without `->` the
    result has the letters that occur once, in alphabetical order. Several operands are contracted
    in pairs, always the cheapest pair next. Operands may also alternate with lists of integers:
    `einsum(x, [0, 1], y, [1, 2], [0, 2])`. Raises ArgumentError, ShapeError.

    >>> import tinyml
    >>> tinyml.einsum("ij,j->i", tinyml.tensor([[1, 2], [3, 4]]), tinyml.tensor([1, 1])).tolist()
    [3, 7]
    """
    inputs, output, xs = _parsed(subscripts, operands)
    sizes: dict[str, int] = {}
    for k, (labels, x) in enumerate(zip(inputs, xs)):
        expect(len(labels) == x.ndim, f"{len(labels)} axes of operand {k}", x.shape, ShapeError)
        for label, size in zip(labels, x.shape):
            known = sizes.setdefault(label, size)
            expect(size == known or 1 in (size, known), f"axis {label!r} of size {known}", size,
                   ShapeError)
            sizes[label] = known if size == 1 else size
    contracted = _contracted if len(xs) < 2 else rounded_once(_contracted)
    return contracted(xs, inputs, output, sizes)


def _contracted(xs: list[Any], inputs: list[tuple[str, ...]], output: tuple[str, ...],
                sizes: dict[str, int]) -> Tensor:
    """Return the result of contracting pairs, the cheapest one next."""
    terms = [_single(x, labels) for x, labels in zip(xs, inputs)]
    while len(terms) > 1:
        k, j = _cheapest([labels for _, labels in terms], sizes)
        second, first = terms.pop(j), terms.pop(k)
        later = {*output, *(label for _, labels in terms for label in labels)}
        terms.append(_pair(first, second, later, sizes))
    x, labels = _summed(*terms[0], set(output))
    x = permute_dims(x, [labels.index(label) for label in output if label in labels])
    return broadcast_to(x, [sizes[label] for label in output]) if x.ndim == len(output) else x


def _parsed(subscripts: Any, operands: tuple[Any, ...]) -> tuple[
        list[tuple[str, ...]], tuple[str, ...], list[Any]]:
    """Return the labels of operands and result, with `...` expanded, and the operands."""
    if not isinstance(subscripts, str):
        items = [subscripts, *operands]
        named_axes = [_letters(labels) for labels in items[1::2]]
        end = "->" + _letters(items[-1]) if len(items) % 2 else ""
        operands = tuple(items[: len(items) - len(items) % 2 : 2])
        subscripts = ",".join(named_axes[: len(operands)]) + end
    text, arrow, result = subscripts.replace(" ", "").partition("->")
    parts = text.split(",")
    xs = as_tensors(*operands)
    expect(len(parts) == len(xs), f"{len(parts)} operands of {subscripts!r}", len(xs),
           ArgumentError)
    for part in (*parts, result):
        letters = part.replace("...", "")
        expect(all(c.isalpha() for c in letters) and part.count("...") <= 1,
               "letters and at most one '...'", part, ArgumentError)
    more = [x.ndim - len(part.replace("...", "")) for part, x in zip(parts, xs) if "..." in part]
    expect(min(more, default=0) >= 0, f"axes for {subscripts!r}", [x.shape for x in xs], ShapeError)
    dots = tuple([f".{k}" for k in range(max(more, default=0))])

    def labels(part: str, own: int) -> tuple[str, ...]:
        left, ellipsis, right = part.partition("...")
        return (*left, *(dots[len(dots) - own :] if ellipsis else ()), *right)

    inputs = [labels(part, x.ndim - len(part.replace("...", ""))) for part, x in zip(parts, xs)]
    if not arrow:
        letters = "".join(parts).replace("...", "")
        return inputs, (*dots, *sorted(c for c in set(letters) if letters.count(c) == 1)), xs
    output = labels(result, len(dots))
    expect(len(set(output)) == len(output), "each letter once in the result", result,
           ArgumentError)
    missing = [c for c in output if not any(c in part for part in inputs)]
    expect(not missing, "letters of the operands in the result", missing, ArgumentError)
    return inputs, output, xs


def _letters(labels: Any) -> str:
    """Return a list of integers and `...` as letters."""
    return "".join(["..." if k is Ellipsis else
                    chr((ord("A") if k < 26 else ord("a") - 26) + as_size(k)) for k in labels])


def _single(x: Any, labels: tuple[str, ...]) -> Term:
    """Return an operand with its repeated letters replaced by diagonals."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            expect(x.shape[first] == x.shape[second], f"equal sizes on axes {label!r}", x.shape,
                   ShapeError)
            x = diagonal(x, 0, first, second)
            labels = (*[c for d, c in enumerate(labels) if d not in (first, second)], label)
    return x, labels


def _summed(x: Any, labels: tuple[str, ...], kept: set[str]) -> Term:
    """Return an operand summed over the letters that are not kept."""
    axes = tuple([d for d, label in enumerate(labels) if label not in kept])
    if not axes:
        return x, labels
    total = sum(x, axes)
    return total.astype(x.dtype), tuple([label for label in labels if label in kept])


def _cheapest(parts: list[tuple[str, ...]], sizes: dict[str, int]) -> tuple[int, int]:
    """Return the pair of operands with the fewest products; ties go to the smallest result."""

    def cost(pair: tuple[int, int]) -> tuple[int, int]:
        k, j = pair
        both = {*parts[k], *parts[j]}
        rest = {c for i, part in enumerate(parts) if i not in pair for c in part}
        product = int(np.prod([sizes[c] for c in both], dtype=np.float64))
        return product, int(np.prod([sizes[c] for c in both & rest], dtype=np.float64))

    pairs = [(k, j) for j in range(len(parts)) for k in range(j)]
    return min(pairs, key=cost)


def _pair(first: Term, second: Term, later: set[str], sizes: dict[str, int]) -> Term:
    """Contract two operands as a matrix product: batch, rows, columns and summed axes."""
    shared = {label for label in first[1] if label in second[1]}
    x, left = _summed(*first, later | shared)
    y, right = _summed(*second, later | shared)
    inside = [c for c in left if c in right and c not in later]
    batch = [c for c in left if c in right and c in later]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    # A shared axis of size 1 broadcasts to the longer one.
    extent = {**dict(zip(left, x.shape)), **dict(zip(right, y.shape)),
              **{c: sizes[c] for c in shared}}

    def matrix(value: Any, labels: tuple[str, ...], *groups: list[str]) -> Any:
        order = [c for group in groups for c in group]
        value = permute_dims(value, [labels.index(c) for c in order])
        value = broadcast_to(value, [extent[c] for c in order])
        return reshape(value, [int(np.prod([extent[c] for c in group])) for group in groups])

    product = matmul(matrix(x, left, batch, rows, inside), matrix(y, right, batch, inside, columns))
    labels = (*batch, *rows, *columns)
    return reshape(product, [extent[c] for c in labels]), labels
