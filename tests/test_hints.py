"""What users of other libraries write: it works, or one table tells what to write."""

from __future__ import annotations

import ast
import inspect
import math
from typing import Any

import numpy as np
import pytest

import tinyml
from tinyml import linalg, nn, optim, random
from tinyml.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConcretizationError,
    TinyMLError,
    UnknownNameError,
    hints,
)
from tinyml.errors.hints import HINTS, Hint, keyword

pytestmark = pytest.mark.kernels(60)

OWNERS: dict[str, Any] = {"tinyml": tinyml, "nn": nn, "optim": optim, "random": random,
                          "linalg": linalg, "functional": nn.functional}
PUBLIC = [tinyml, nn, nn.functional, optim, linalg, tinyml.fft, tinyml.special, random, tinyml.tree,
          tinyml.io, tinyml.data, tinyml.data.digits, tinyml.extend]
CALLABLE = {("x", "size")}  # a property here: nothing of ours is asked when its int is called


def space() -> dict[str, Any]:
    """What the code of the table's rows is about."""
    x = tinyml.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    return {"tinyml": tinyml, **OWNERS, "x": x, "y": x.copy(), "mask": x > 2.0, "dtype": "int8",
            "i": tinyml.tensor([[0, 1, 0]]), "data": [1.0], "nets": [], "f": tinyml.tanh, "p": 0.5,
            "a": tinyml.eye(2), "params": [tinyml.ones(1, requires_grad=True)]}


@pytest.mark.parametrize("hint", HINTS, ids=lambda hint: hint.elsewhere)
def test_what_to_write_can_be_written(hint: Hint) -> None:
    """Its code, up to the first words of prose, runs; names of modules may stand alone."""
    code = hint.here.partition(", ")[0].partition(": ")[0] if "(" not in hint.here else hint.here
    for cut in (code, code.partition(", or")[0], code.partition(", into")[0],
                code.partition(": a ")[0]):
        try:
            tree = ast.parse(cut)
        except SyntaxError:
            continue
        break
    else:
        assert hint.elsewhere in ("input=x", "other=y", "a=x", "out=y", "tinyml.numpy"), hint
        return
    if "opencl" not in cut and hint.place[0] != "":
        exec(compile(tree, "<hint>", "exec"), space())


@pytest.mark.parametrize("hint", HINTS, ids=lambda hint: hint.elsewhere)
def test_what_is_missing_is_answered(hint: Hint) -> None:
    owner, name = hint.place
    if hint.place in CALLABLE:
        return
    if owner == "":
        with pytest.raises(ArgumentTypeError) as told:
            tinyml.squeeze(tinyml.ones((2, 1)), **{name: 1})
        assert hint.here in str(told.value)
        return
    thing = OWNERS.get(owner, tinyml.ones((2, 3)))
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    assert isinstance(caught.value, TinyMLError) and caught.value.name == name
    assert hint.here in str(caught.value.remedy) and hint.elsewhere in str(caught.value.remedy)
    assert not hasattr(thing, name) and name not in dir(thing)
    assert getattr(thing, name, 7) == 7


def test_rows_have_places_of_their_own() -> None:
    assert len({hint.place for hint in HINTS}) == len(HINTS) > 150
    assert {owner for owner, _ in hints._BY_PLACE} == {"x", "", *OWNERS}


@pytest.mark.parametrize("call", [
    lambda x: x.sum(dim=1), lambda x: tinyml.mean(x, dim=0), lambda x: x.std(dim=-1),
    lambda x: tinyml.softmax(x, dim=-1), lambda x: tinyml.concat([x, x], dim=0),
    lambda x: tinyml.stack([x, x], dim=1), lambda x: tinyml.squeeze(x, dim=0),
    lambda x: x.argmax(dim=1), lambda x: tinyml.sort(x, dim=0), lambda x: tinyml.cumsum(x, dim=0),
    lambda x: tinyml.flip(x, dim=0), lambda x: tinyml.roll(x, 1, dim=0),
    lambda x: tinyml.median(x, dim=0), lambda x: tinyml.topk(x, 1, dim=0),
])
def test_dim_is_axis(call: Any) -> None:
    with pytest.raises(TypeError, match="instead of dim=0: axis=0") as caught:
        call(tinyml.ones((2, 3)))
    assert isinstance(caught.value, ArgumentTypeError) and caught.value.line is not None


def test_other_errors_have_no_hint() -> None:
    assert keyword(TypeError("unsupported operand")) is None
    with pytest.raises(TypeError, match="nowhere"):
        tinyml.sum(tinyml.ones(2), nowhere=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="tinyml has no attribute 'nowhere'"):
        tinyml.nowhere  # noqa: B018  # type: ignore[attr-defined]


def test_protocols_see_nothing() -> None:
    """NumPy, copy, IPython and others ask for names; they get the standard answer, unlike rows."""
    x = tinyml.ones((2, 2))
    for name in ("__torch_function__", "__cuda_array_interface__", "__array_ufunc__",
                 "__array_struct__", "_repr_html_", "_ipython_display_", "iloc", "__wrapped__"):
        assert not hasattr(x, name)
        assert not hasattr(tinyml, name)
    with pytest.raises(AttributeError) as caught:
        tinyml.__wrapped__  # noqa: B018  # type: ignore[attr-defined]
    assert not isinstance(caught.value, UnknownNameError)
    assert dict(inspect.getmembers(x))["ndim"] == 2
    assert np.asarray(x).tolist() == [[1.0, 1.0]] * 2


# ---- names


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_dir_shows_what_is_public(module: Any) -> None:
    shown = [name for name in dir(module) if not name.startswith("__")]
    assert shown and not [name for name in shown if name.startswith("_")]
    assert {name for name in module.__all__ if not name.startswith("__")} <= set(shown)
    for name in shown:
        thing = getattr(module, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__module__.startswith("tinyml"), name
        assert not inspect.ismodule(thing) or thing.__name__ == f"{module.__name__}.{name}"


def test_the_front_door_shows_its_rooms() -> None:
    rooms = {"nn", "optim", "linalg", "fft", "special", "random", "data", "io", "tree", "train",
             "errors", "extend"}
    assert {"grad", "jit", "vjp", "trace", "save", *rooms} <= set(dir(tinyml))
    assert not {"annotations", "words", "ops", "kernels", "core"} & set(dir(tinyml))


# ---- methods


def test_functions_are_methods_too() -> None:
    table = np.random.default_rng(2).normal(size=(2, 1, 3)).astype(np.float32)
    x = tinyml.tensor(table)
    assert x.flatten().shape == (6,) and x.flatten(1).shape == (2, 3)
    assert x.flatten(0, 1).shape == (2, 3) and tinyml.tensor(4.0).flatten().tolist() == [4.0]
    assert x.squeeze().shape == (2, 3) == x.squeeze(1).shape
    assert tinyml.ones((1, 2, 1)).squeeze().shape == (2,)
    np.testing.assert_array_equal(x.clip(-0.5, 0.5).numpy(), table.clip(-0.5, 0.5))
    np.testing.assert_array_equal(x.clip(max=0.25).numpy(), table.clip(max=0.25))
    np.testing.assert_array_equal(x.swapaxes(0, 2).numpy(), table.swapaxes(0, 2))
    np.testing.assert_array_equal(x.flip(0).numpy(), table[::-1])
    np.testing.assert_array_equal(x.sort(axis=0).numpy(), np.sort(table, axis=0))
    np.testing.assert_array_equal(x.argsort(axis=2).numpy(), table.argsort(axis=2))
    np.testing.assert_array_equal(x.maximum(0.1).numpy(), np.maximum(table, np.float32(0.1)))
    np.testing.assert_array_equal(x.floor().numpy(), np.floor(table))
    assert x.cumsum(axis=0).shape == x.roll(1, 0).shape == x.tril().shape == (2, 1, 3)


def test_every_method_is_the_function_of_its_name() -> None:
    from tinyml.ops.methods import Methods

    x = tinyml.ones((2, 2))
    names = [name for name in (*vars(Methods), *Methods.__annotations__) if name[0] != "_"]
    assert len(names) > 70
    for name in names:
        assert getattr(tinyml.Tensor, name) is not None
        method = getattr(x, name)
        assert method.__self__ is x and method.__name__ == name
        public = getattr(tinyml, name, None)
        assert public is None or method.__func__ is public or name == "astype"


# ---- formats


@pytest.mark.parametrize(("value", "spec"), [
    (0.123456, ".3f"), (-2.5, "+08.2f"), (1e-9, "e"), (math.nan, ".1f"), (math.inf, "8"), (7, "d"),
    (255, "#x"), (7, ">6"), (True, "d"), (False, ""), (12345, ","), (0.5, ".0%"),
])
def test_a_number_is_formatted_as_python_does(value: Any, spec: str, device: str) -> None:
    x = tinyml.tensor(value, device=device)
    assert format(x, spec) == (format(x.item(), spec) if spec else str(x))
    assert f"{x:{spec}}" == format(x, spec)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64", "float8_e5m2", "int4"])
def test_every_type_is_formatted(name: str) -> None:
    assert f"{tinyml.tensor(3.0).astype(name):5.1f}" == "  3.0"
    assert f"{tinyml.tensor(1 + 2j):.1f}" == "1.0+2.0j"


def test_formats_that_do_not_fit_are_typed_errors() -> None:
    x = tinyml.ones((1,))
    assert f"{x}" == str(x)
    with pytest.raises(ArgumentTypeError, match="0-d tensor"):
        f"{x:.3f}"
    with pytest.raises(ArgumentError, match="'d'"):
        f"{x[0]:d}"
    with pytest.raises(ConcretizationError):
        tinyml.jit(lambda v: (f"{v.sum():.2f}", v)[1])(x)
    leaf = tinyml.tensor(2.0, requires_grad=True)
    assert f"{leaf * 2:.1f}" == "4.0"
