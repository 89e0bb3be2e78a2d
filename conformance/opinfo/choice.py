"""Which of PyTorch's OpInfo entries are judged, and the rules that exclude the others.

The judged ops are elementwise, reduction, shape, indexing and sorting ops that take float64: every
entry of the classes UnaryUfuncInfo, BinaryUfuncInfo, ReductionOpInfo and ShapeFuncInfo, and every
plain OpInfo entry that no rule below excludes. The rules name what is excluded, not what is
included: an entry that a new version adds is judged until somebody writes down why not.

`python -m tinyml.conformance.opinfo.choice` regenerates the list (ops.txt) from the installed
torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

LIST = Path(__file__).with_name("ops.txt")
VERSION = "2.13.0"
WHOLE_CLASSES = ("UnaryUfuncInfo", "BinaryUfuncInfo", "ReductionOpInfo", "ShapeFuncInfo")

# For every class: rule -> names, as regular expressions that match the whole name.
RULES_FOR_ALL = {
    "compiled for CUDA at run time, no CPU": r"jiterator_\w+|bmm_triton_optimized",
    "a hash of bit patterns, no number": r"hash_tensor",
    "random in most of its samples": r"nn_functional_rrelu",
    "makes complex32, a type that neither NumPy nor the Array API standard has": r"chalf",
}
# For plain entries only.
RULES = {
    "linear algebra by factorisation or matrix norms": r"linalg_(?!cross$|diagonal$|vecdot$|vander$"
    r"|multi_dot$)\w+|cholesky\w*|lu|lu_\w+|qr|ormqr|geqrf|svd\w*|pca_lowrank|pinverse|matrix_exp"
    r"|logdet|triangular_solve|norm_nuc",
    "Fourier transforms": r"stft|istft",
    "sparse": r"sparse_\w+|to_sparse",
    "random": r"cauchy|exponential|geometric|log_normal|normal\w*|uniform|randn?\w*|randint\w*"
    r"|rand_like|multinomial|bernoulli|native_dropout_backward|nn_functional_\w*dropout\w*",
    "memory not initialised, or storage behind a tensor": r"empty\w*|new_empty\w*|resize_\w*"
    r"|as_strided_partial_views",
    "in place only": r"zero_",
    "creation: constants and ranges, without an operand to compute from": r"arange|eye|full|ones"
    r"|zeros|linspace\w*|logspace\w*|scalar_tensor|new_(zeros|ones|full)|(zeros|ones|full)_like"
    r"|signal_windows_\w+",
    "layers: convolution and pooling": r"nn_functional_(conv|adaptive|avg_pool|max_pool|max_unpool"
    r"|fractional)\w*|max_pool2d_with_indices_backward",
    "layers: normalisation": r"native_\w*norm|_native_batch_norm_legit|_batch_norm_with_update"
    r"|nn_functional_(batch|group|instance|layer|rms)_norm\w*"
    r"|nn_functional_local_response_norm",
    "layers: loss functions": r"nn_functional_\w*(loss|cross_entropy|kl_div|mse|nll)\w*",
    "layers: attention": r"nn_functional_(scaled_dot_product_attention|multi_head_attention\w*)"
    r"|torch_ops_aten__(flash|efficient)_attention\w*",
    "layers: resampling of images": r"nn_functional_(interpolate[\w-]*|upsample\w*|grid_sample)"
    r"|_upsample\w*|grid_sampler_\w+",
    "layers: with weights": r"nn_functional_(linear|bilinear|embedding|embedding_bag)",
    "quantised": r"torch__scaled_mm\w*",
}


class Entry(NamedTuple):
    """A line of the list: an OpInfo entry, its class, and the rule that excludes it, if any."""

    name: str
    kind: str
    rule: str = ""


def rule_for(name: str, kind: str, float64: bool) -> str:
    """Return the rule that excludes an entry; empty where the entry is judged.

    >>> rule_for("sin", "UnaryUfuncInfo", True), rule_for("randn", "OpInfo", True)
    ('', 'random')
    """
    if not float64:
        return "takes no float64"
    if kind == "SpectralFuncInfo":
        return "Fourier transforms"
    rules = RULES_FOR_ALL if kind in WHOLE_CLASSES else {**RULES_FOR_ALL, **RULES}
    return next((rule for rule, names in rules.items() if re.fullmatch(names, name)), "")


def choose(op_db: Iterable[Any]) -> list[Entry]:
    """Return the list for a table of OpInfo entries, in the table's order."""
    import torch

    return [
        Entry(op.formatted_name, type(op).__name__,
              rule_for(op.formatted_name, type(op).__name__, torch.float64 in op.dtypes))
        for op in op_db
    ]


def written(entries: Iterable[Entry]) -> str:
    """Return the text of the list: judged entries with class, then the others with rule."""
    entries = list(entries)
    judged = [entry for entry in entries if not entry.rule]
    lines = [
        f"# torch {VERSION}, torch.testing._internal.common_methods_invocations.op_db: made by",
        "# choice.py, where the rules are. Judged:",
        *[f"{entry.name}\t{entry.kind}" for entry in judged],
        "# Left out, with the rule:",
        *[f"{entry.name}\t{entry.kind}\t{entry.rule}" for entry in entries if entry.rule],
    ]
    return "\n".join(lines) + "\n"


def listed() -> list[Entry]:
    """Return the committed list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [Entry(*line.split("\t")) for line in lines if not line.startswith("#")]


def judged() -> tuple[str, ...]:
    """Return the names of the judged ops."""
    return tuple([entry.name for entry in listed() if not entry.rule])


def _write() -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    LIST.write_text(written(choose(op_db)), encoding="utf-8")


if __name__ == "__main__":
    _write()
