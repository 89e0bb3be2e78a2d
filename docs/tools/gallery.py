"""docs/errors.md, a gallery of errors, by running its snippets.

The page is its own source. An entry holds three blocks: Python that raises (or warns), the text of
what it raised, and the Python to write instead. This runs the first, in a namespace of its own with
`tinyml` in it, and writes the second; a test runs the third too. The file of a snippet is called
example.py, so lines and places are the same on every machine.
"""

from __future__ import annotations

import linecache
import re
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).parents[1] / "errors.md"
FILE = "example.py"

_TITLE = re.compile(r"^### (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Entry(NamedTuple):
    """One error: its title, the snippet that raises it, its text, and what to write instead.

    `place` is where the text stands in the page.
    """

    title: str
    wrong: str
    text: str
    right: str
    place: tuple[int, int]

    @property
    def devices(self) -> set[str]:
        """The devices that its snippets name, but for the CPU."""
        return set(re.findall(r'"(opencl(?::\d+)?)"', self.wrong + self.right))


def entries(page: str) -> list[Entry]:
    """The entries of a page, in order; ValueError where one has not its three blocks."""
    found = []
    titles = list(_TITLE.finditer(page))
    for title, after in zip(titles, [*[t.start() for t in titles[1:]], len(page)]):
        blocks = list(_BLOCK.finditer(page, title.end(), after))
        if [block["kind"] for block in blocks] != ["python", "text", "python"]:
            raise ValueError(f"{title[1]!r} has not the blocks python, text, python")
        wrong, text, right = [block["body"] for block in blocks]
        found.append(Entry(title[1], wrong, text, right, blocks[1].span("body")))
    return found


def outcome(code: str) -> str:
    """What a snippet raises, as the end of a traceback shows it, or what it warns; '' for nothing.

    Each snippet is a file of its own: lines are counted from its top.
    """
    import tinyml

    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
    space: dict[str, Any] = {"tinyml": tinyml, "__name__": "example"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(compile(code, FILE, "exec", dont_inherit=True), space)
        except tinyml.TinyMLError as error:
            text = "".join(traceback.format_exception_only(error))
            return re.sub(r"\bn\d+<=", "n<=", text)  # unknown sizes are numbered as they come
    return "".join(f"{w.category.__module__}.{w.category.__name__}: {w.message}\n" for w in caught)


def written(page: str) -> str:
    """The page with every text as it comes out now."""
    for entry in reversed(entries(page)):  # from the end, so that places stay right
        start, end = entry.place
        page = page[:start] + outcome(entry.wrong) + page[end:]
    return page


def page() -> str:
    """Return the page."""
    return written(PAGE.read_text(encoding="utf-8"))
