"""The type stub of the elementwise functions, derived from their rows.

`python -m tinyml.ops.stub` writes `elementwise.pyi`; a test compares it with what stands there.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import tinyml.ops.elementwise as front
from tinyml.ops.rows import FUNCTIONS

HEAD = '''"""Elementwise functions, with types: written by `python -m tinyml.ops.stub`, not by hand."""

from typing import Any
'''


def stub() -> str:
    """Imports that the front passes on, then every public function with its first sentence."""
    passed = sorted((home.__name__, name) for name, home in front.PASSED_ON.items())
    lines = [HEAD, *[f"from {home} import {name} as {name}" for home, name in passed]]
    lines += ["from tinyml.ops.rows import Operand", "from tinyml.tensor import Tensor", "",
              "__all__ = ["]
    lines += [*[f'    "{name}",' for name in sorted(FUNCTIONS)], "]", ""]
    for name, function in sorted(FUNCTIONS.items()):
        signature = str(inspect.signature(function)).replace("'", "")
        sentence = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        lines += [f"def {name}{signature}:", f'    """{sentence}"""', ""]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(front.__file__).with_suffix(".pyi").write_text(stub(), encoding="utf-8")
