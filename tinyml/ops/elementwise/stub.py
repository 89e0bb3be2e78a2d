"""The type stub of the elementwise functions, derived from their rows.

`python -m tinyml.ops.stub` writes `elementwise.pyi`; a test compares it with what stands there.
"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import tinyml.ops.elementwise as front
from tinyml.ops.elementwise.define import FUNCTIONS

HEAD = '"""Types of the elementwise functions: written by `python -m tinyml.ops.stub`."""\n'


def stub() -> str:
    """Imports that the front passes on, then every public function with its first sentence."""
    passed = sorted(  # constants, classes, functions: as linters want imports
        ((home.__name__, name) for name, home in vars(front)["PASSED_ON"].items()),
        key=lambda pair: (pair[0], not pair[1].isupper(), pair[1].islower(), pair[1]))
    lines = [HEAD, *[f"from {home} import {name} as {name}" for home, name in passed]]
    lines += ["from tinyml.tensor import Tensor", "", "__all__ = ["]
    lines += [*[f'    "{name}",' for name in sorted(FUNCTIONS)], "]", ""]
    for name, function in sorted(FUNCTIONS.items()):
        signature = str(inspect.signature(function)).replace("'", "")
        sentence = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        text = textwrap.fill(f'"""{sentence}"""', 96)
        head = textwrap.fill(f"def {name}{signature}:", 100, subsequent_indent=" " * 8)
        lines += [head, textwrap.indent(text, "    "), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(front.__file__).with_suffix(".pyi").write_text(stub(), encoding="utf-8")
