"""Error cases: each record's bad calls raise the declared error, and say what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyml.conformance.suite.backends import Backend
from tinyml.conformance.suite.cases import Case
from tinyml.conformance.suite.ops import Judgement
from tinyml.errors import TinyMLError
from tinyml.ops.samples.values import ErrorCase, Sample


def error_cases(op: Any) -> Iterator[tuple[Case, ErrorCase]]:
    """Return the error cases of a record, named 'op/error/number Class'."""
    for number, wrong in enumerate(op.errors() if op.errors else ()):
        sample = Sample(wrong.args, wrong.attrs, f"{number} {wrong.error.__name__}")
        yield Case(op, op.name, "error", sample), wrong


def judge(backend: Backend, case: Case, wrong: ErrorCase) -> Judgement:
    """Check that the call raises the declared class.

    The message must name the op and the shapes, and match the case's pattern.
    """
    try:
        backend.run(case.of, *wrong.args, **wrong.attrs)
    except TinyMLError as error:
        return Judgement(_complaint(case, wrong, error))
    except NotImplementedError:
        raise
    except Exception as error:
        return Judgement(f"raised {type(error).__name__}, which is no TinyMLError: {error}")
    return Judgement(f"did not raise {wrong.error.__name__}")


def _complaint(case: Case, wrong: ErrorCase, error: TinyMLError) -> str | None:
    if not isinstance(error, wrong.error):
        return f"raised {type(error).__name__} instead of {wrong.error.__name__}: {error}"
    message = str(error)
    if not re.search(wrong.match, message):
        return f"the message lacks {wrong.match!r}: {message}"
    if case.of not in message:
        return f"the message does not name the op: {message}"
    for x in wrong.args:
        if isinstance(x, np.ndarray) and x.ndim:
            sizes = ", ".join(map(str, x.shape))
            if sizes not in message:
                return f"the message lacks the shape {x.shape}: {message}"
    return None
