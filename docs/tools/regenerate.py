"""Regenerate generated files: `python docs/tools/regenerate.py [NAME ...] [--measure]`.

    errors      docs/errors.md, after a change to the text of an error
    gradients   docs/gradients.md, after a new op or rule
    edges       docs/edges.md, after a change to conformance/edges/table.txt; with --measure, torch,
                jax and NumPy are measured again
    bad_input   tests/conformance/bad_input/, after a change to the messages for wrong calls

Without a name, it writes all of them. Tests compare the committed files with what would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import edges
import gallery
import gradients

ROOT = Path(__file__).resolve().parents[2]


def _page(module: ModuleType) -> Callable[[], None]:
    return lambda: module.PAGE.write_text(module.page(), encoding="utf-8")


def _bad_input() -> None:
    from tinyml.conformance.suite.bad_input import write

    write(ROOT / "tests" / "conformance" / "bad_input")


GENERATED: dict[str, Callable[[], None]] = {
    "errors": _page(gallery), "gradients": _page(gradients), "edges": _page(edges),
    "bad_input": _bad_input,
}


def main(words: Sequence[str]) -> int:
    """Write what is named, or everything; return 2 for an unknown name."""
    names = [word for word in words if word != "--measure"] or list(GENERATED)
    unknown = [name for name in names if name not in GENERATED]
    if unknown:
        print(f"no {', '.join(unknown)}: one of {', '.join(GENERATED)}", file=sys.stderr)
        return 2
    if "--measure" in words:
        edges.measure()
    for name in names:
        GENERATED[name]()
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
