"""Remedies help: what an error advises is written down beside it, and works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinyml
from tinyml import errors, nn, optim
from tinyml.core.error_context import named_in_errors
from tinyml.errors import as_function, line_text, owner, shown, typed, user_line
from tinyml.ops.arguments import as_axis, as_flag, as_items

pytestmark = pytest.mark.kernels(1)


def _leaf() -> Any:
    return tinyml.tensor([2.0, 3.0], requires_grad=True)


class Advice(NamedTuple):
    """A wrong call, its error, what the remedy says, and that done."""

    wrong: Callable[[], Any]
    error: type[Exception]
    says: str
    right: Callable[[], Any]


ADVICE: dict[str, Advice] = {
    "backward of several elements": Advice(
        lambda: (_leaf() * 2.0).backward(), errors.GradientError, ".sum().backward()",
        lambda: (_leaf() * 2.0).sum().backward()),
    "backward of several elements, weighted": Advice(
        lambda: (_leaf() * 2.0).backward(), errors.GradientError, ".backward(gradient)",
        lambda: (_leaf() * 2.0).backward([1.0, 5.0])),
    "sizes as several arguments": Advice(
        lambda: tinyml.zeros(5, 4), TypeError, "zeros((5, 4))", lambda: tinyml.zeros((5, 4))),
    "three sizes": Advice(
        lambda: tinyml.ones(2, 1, 4), TypeError, "ones((2, 1, 4))",  # type: ignore[call-arg]
        lambda: tinyml.ones((2, 1, 4))),
    "sizes of nothing": Advice(
        lambda: tinyml.empty(7, 2), TypeError, "empty((7, 2))", lambda: tinyml.empty((7, 2))),
    "sizes of random numbers": Advice(
        lambda: tinyml.random.uniform(tinyml.random.key(0), 2, 3), TypeError, "one tuple",
        lambda: tinyml.random.uniform(tinyml.random.key(0), (2, 3))),
    "the gradient at a number": Advice(
        lambda: tinyml.grad(lambda x: x * x)(4.5), errors.GradientError, "tinyml.tensor(4.5)",
        lambda: tinyml.grad(lambda x: x * x)(tinyml.tensor(4.5))),
    "the gradient at an integer": Advice(
        lambda: tinyml.grad(lambda x: x * x)(4), errors.GradientError, "tinyml.tensor(4.0)",
        lambda: tinyml.grad(lambda x: x * x)(tinyml.tensor(4.0))),
    "a module as parameters": Advice(
        lambda: optim.SGD(nn.Linear(2, 1), 0.1), TypeError,  # type: ignore[arg-type]
        ".parameters()", lambda: optim.SGD(nn.Linear(2, 1).parameters(), 0.1)),
    "a function of NumPy's in jit": Advice(
        lambda: tinyml.jit(lambda x: np.tanh(x))(tinyml.ones(2)), errors.ConcretizationError,
        "tinyml.sin(x) for numpy.sin(x)", lambda: tinyml.jit(lambda x: tinyml.tanh(x))(
            tinyml.ones(2))),
    "an index into nothing": Advice(
        lambda: tinyml.zeros((0, 2))[0], IndexError, "a slice may be empty",
        lambda: tinyml.zeros((0, 2))[:1]),
    "an axis of a number": Advice(
        lambda: tinyml.sum(tinyml.tensor(1.0), axis=0), IndexError, "leave the axis out",
        lambda: tinyml.sum(tinyml.tensor(1.0))),
    "an integer of 70 bits": Advice(
        lambda: tinyml.tensor([2**70, 1]), TypeError, "", lambda: tinyml.tensor([float(2**70), 1])),
    "the class": Advice(
        lambda: tinyml.Tensor([1.0]), TypeError, "tinyml.tensor(data)",
        lambda: tinyml.tensor([1.0])),
    "a list for a dict": Advice(
        lambda: tinyml.save("nowhere", [tinyml.ones(1)]), TypeError,  # type: ignore[arg-type]
        "{'name': value}", lambda: None),
}


@pytest.mark.parametrize("name", ADVICE)
def test_the_remedy_helps(name: str) -> None:
    advice = ADVICE[name]
    with pytest.raises(advice.error) as caught:
        advice.wrong()
    assert isinstance(caught.value, tinyml.TinyMLError) and caught.value.remedy is not None
    assert advice.says in caught.value.remedy
    assert "dtype('O')" not in str(caught.value) and "to -1" not in str(caught.value)
    advice.right()


def test_the_advised_code_runs() -> None:
    """Where a remedy begins with code that names all that it needs, that very text runs."""
    for wrong in (lambda: tinyml.zeros(5, 4), lambda: tinyml.ones(2, 6),
                  lambda: tinyml.empty(3, 1)):
        with pytest.raises(errors.DTypeError) as caught:
            wrong()
        code = str(caught.value.remedy).partition(":")[0]
        assert eval(f"tinyml.{code}", {"tinyml": tinyml}).shape == eval(code[code.index("("):])
    with pytest.raises(errors.GradientError) as found:
        tinyml.grad(tinyml.square)(1.5)
    code = str(found.value.remedy).partition(" in the place")[0]
    assert tinyml.grad(tinyml.square)(eval(code, {"tinyml": tinyml})).item() == 3.0


def test_epochs_below_one_are_refused_with_the_option(capsys: pytest.CaptureFixture[str],
                                                      tmp_path: Path) -> None:
    from tinyml.cli.main import main

    assert main(["train", "digits", "--epochs", "0", "--out", str(tmp_path)]) == 1
    assert "remedy: at least one epoch: --epochs 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# ---- whose line


def _run_as(filename: str, source: str, **known: Any) -> Any:
    """Run source as if it were a file's; `result` is what it gives."""
    code: CodeType = compile(source, filename, "exec")
    exec(code, known)
    return known["call"]


@pytest.mark.parametrize("folder", ["/usr/lib/python3/site-packages", "C:/x/dist-packages",
                                    "/venv/lib/site-packages"])
def test_a_librarys_line_is_not_the_users(folder: str) -> None:
    import os

    place = os.path.normpath(f"{folder}/somelib/core.py")
    library = _run_as(place, "def call(f):\n    return f()\n")
    with pytest.raises(errors.ShapeError) as caught:
        library(lambda: tinyml.ones(2).reshape(3))  # my line
    assert str(caught.value.line).endswith("# my line")
    inside = _run_as(place, "def call(x):\n    return x.reshape(3)\n")
    with pytest.raises(errors.ShapeError) as found:
        inside(tinyml.ones(2))  # the line that called the library
    assert str(found.value.line).endswith("# the line that called the library")


def test_numpys_and_pythons_lines_are_not_the_users() -> None:
    import functools

    with pytest.raises(errors.ArgumentTypeError) as caught:
        functools.reduce(tinyml.add, [tinyml.ones(2), object()])  # reduced here
    assert str(caught.value.line).endswith("# reduced here")
    x = tinyml.ones(2, requires_grad=True)
    with pytest.raises(errors.GradientError) as found:
        np.linalg.norm(x)  # normed here
    assert str(found.value.line).endswith("# normed here")
    assert owner(np.linalg.__file__) == "library" and owner(functools.__file__) == "python"
    assert owner(errors.__file__) == "tinyml" and owner("<stdin>") == owner(__file__) == "user"
    assert owner("<frozen importlib._bootstrap>") == "python" and owner("<tinyml x>") == "tinyml"


def test_a_packages_line_is_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_owners", {})
    monkeypatch.setattr(errors, "_PACKAGES", (__file__,))
    monkeypatch.setattr(errors, "_STANDARD", ("",))
    assert (user_line() or "").startswith(line_text(__file__, 0).partition(":")[0])


# ---- what is said about an argument


class Unshowable:
    """An object whose repr fails."""

    def __repr__(self) -> str:
        raise KeyError("secret")


def test_a_repr_that_raises_hides_no_error() -> None:
    assert shown([1, 2, 3], 4) == "[1, " and shown(Unshowable()) == "<Unshowable>"
    endless: list[Any] = []
    for _ in range(10_000):
        endless = [endless]
    assert shown(endless) == "<list>"
    for call in (lambda bad: tinyml.sum(tinyml.ones(2), axis=bad), tinyml.flip, tinyml.zeros,
                 lambda bad: tinyml.ones(1, dtype=bad), lambda bad: tinyml.ones(1, device=bad),
                 lambda bad: optim.SGD([_leaf()], lr=bad), tinyml.load, tinyml.linalg.inv):
        with pytest.raises(TypeError) as caught:
            call(Unshowable())
        assert "Unshowable" in str(caught.value) and isinstance(caught.value, tinyml.TinyMLError)


def test_what_contains_itself_is_refused() -> None:
    items: list[Any] = [1]
    items.append(items)
    table: dict[str, Any] = {}
    table["again"] = table
    calls: tuple[Callable[[Any], Any], ...] = (
        tinyml.tensor, tinyml.stack, tinyml.exp, tinyml.zeros, tinyml.tree.flatten,
        lambda bad: tinyml.permute_dims(tinyml.ones((1, 1)), bad), lambda bad: tinyml.ones(2)[bad],
        lambda bad: tinyml.grad(tinyml.sum)(bad), lambda bad: tinyml.jit(tinyml.exp)(bad))
    for call in calls:
        for bad in (items, table):
            with pytest.raises(tinyml.TinyMLError):
                call(bad)


# ---- errors of others


def test_others_errors_become_typed_and_keep_their_cause() -> None:
    @named_in_errors
    def count(items: Any, at: int = 0) -> Any:
        return len(items) + 10**at // at

    for bad, own in (((3, 1), TypeError), (([], 0), ZeroDivisionError)):
        with pytest.raises(own) as caught:
            count(*bad)
        assert not isinstance(caught.value, tinyml.TinyMLError)  # the user's code raised it
    ours = _run_as(f"{errors._HOUSE}/made_up.py",
                   "def call(items, at=0):\n    return len(items) + 10**at // at\n")
    for bad, kind in (((3, 1), TypeError), (([], 0), ValueError), ((), TypeError)):
        with pytest.raises(kind) as caught:
            named_in_errors(ours)(*bad)
        error = caught.value
        assert isinstance(error, tinyml.TinyMLError) and error.op == "call"
        assert error.__cause__ is not None and error.remedy == "call(items, at=0)"


@pytest.mark.parametrize(("error", "kind"), [
    (RecursionError(), errors.ArgumentError), (MemoryError(), errors.AllocationError),
    (KeyError("a"), errors.ArgumentError), (IndexError(), errors.OutOfRangeError),
    (OverflowError("large"), errors.ArgumentError), (AttributeError(), errors.ArgumentTypeError),
    (UnicodeError("half"), errors.ArgumentError), (OSError("disk"), None),
    (RuntimeError("ours"), None), (KeyboardInterrupt(), None), (DeprecationWarning(), None),
])
def test_kinds_of_errors(error: Any, kind: type[Exception] | None) -> None:
    found = typed(error)
    assert (None if found is None else type(found)) is kind


def test_what_the_callers_code_raises_passes() -> None:
    class Mine(Exception):
        pass

    class Array:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise Mine

        def __index__(self) -> int:
            raise ZeroDivisionError

    def fails(*_: Any) -> Any:
        raise Mine

    for call in (lambda: tinyml.exp(Array()), lambda: tinyml.flip(Array()), lambda: tinyml.grad(
            fails)(tinyml.ones(1)), lambda: tinyml.jit(fails)(tinyml.ones(1)),
            lambda: tinyml.tree.map(fails, [1])):
        with pytest.raises(Mine):
            call()
    with pytest.raises(ZeroDivisionError):
        tinyml.zeros(Array())


def test_the_function_that_the_user_called_is_named() -> None:
    for call, name in ((lambda: tinyml.vstack([None]), "vstack"),
                       (lambda: tinyml.fliplr(object()), "fliplr"),
                       (lambda: tinyml.linalg.outer(1, "a"), "outer"),
                       (lambda: tinyml.expand_dims({}), "expand_dims"),
                       (lambda: tinyml.ones_like(tinyml), "ones_like")):
        with pytest.raises(errors.ArgumentTypeError) as caught:
            call()
        assert caught.value.op == name


# ---- arguments


def test_composed_functions_take_lists_and_arrays() -> None:
    rows, array = [[1.0, 2.0], [3.0, 4.0]], np.array([[5.0, 6.0], [7.0, 8.0]], np.float32)
    for data in (rows, array):
        x = np.asarray(data, np.float32)
        pairs: tuple[tuple[Any, Any], ...] = (
            (tinyml.expand_dims(data, 1), x[:, None]), (tinyml.flip(data), x[::-1, ::-1]),
            (tinyml.squeeze([data], 0), x), (tinyml.moveaxis(data, 0, 1), x.T),
            (tinyml.stack([data, rows]), np.stack([x, np.array(rows)])),
            (tinyml.roll(data, 1), np.roll(x, 1)), (tinyml.tile(data, 2), np.tile(x, 2)),
            (tinyml.repeat(data, 2), np.repeat(x, 2)), (tinyml.diff(data), np.diff(x)),
            (tinyml.matmul(data, rows), x @ np.array(rows)), (tinyml.matrix_transpose(data), x.T),
            (tinyml.tensordot(data, rows, axes=1), x @ np.array(rows)),
            (tinyml.unstack(data)[1], x[1]), (tinyml.meshgrid([1.0, 2.0], x[0])[1],
                                              np.meshgrid([1.0, 2.0], x[0])[1]),
            (tinyml.broadcast_arrays(data, 3.0)[1], np.full((2, 2), 3.0)),
            (tinyml.zeros_like(data), x * 0), (tinyml.argmax(data), np.argmax(x)),
            (nn.functional.linear(data, tinyml.tensor(rows)), x @ np.array(rows).T),
        )
        for have, want in pairs:
            np.testing.assert_array_equal(have.numpy(), want)


@pytest.mark.parametrize("bad", ["cpus", "opencl:²", "opencl:٣", 0, 1.5, b"cpu", None.__class__,
                                 ["cpu"], tinyml.ones(1)], ids=repr)
def test_devices_of_other_names_and_types(bad: Any) -> None:
    for call in (lambda: tinyml.ones(1).to(bad), lambda: tinyml.zeros(1, device=bad),
                 lambda: tinyml.tensor_spec((1,), device=bad)):
        with pytest.raises(errors.DeviceError) as caught:
            call()
        assert isinstance(caught.value, TypeError) is not isinstance(bad, str)


@pytest.mark.parametrize("text", ["²", "-1", "0x4", "1.5", "many", "٣x"])
def test_a_wrong_number_of_threads_is_told(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyml.kernels.cpu.device import default_threads

    monkeypatch.setenv("TINYML_NUM_THREADS", text)
    with pytest.warns(UserWarning, match=re.escape(f"TINYML_NUM_THREADS is {text!r}")):
        assert default_threads() >= 1


def test_limits_of_eight_bit_floats() -> None:
    """The formats of OCP 8-bit floating point (2023): e5m2 follows IEEE 754, e4m3fn has no inf."""
    for name, eps, most, least in (("float8_e5m2", 2**-2, 57344.0, 2.0**-14),
                                   ("float8_e4m3fn", 2**-3, 448.0, 2.0**-6)):
        found = tinyml.finfo(name)
        assert found == (8, eps, most, -most, least, getattr(tinyml, name))


def test_small_normalisers() -> None:
    assert as_items((1, 2)) == [1, 2] and as_flag(0, "f") is False
    for bad in ("ab", {"a": 1}, 3, np.array(1), None):
        with pytest.raises(errors.ArgumentTypeError):
            as_items(bad)
    with pytest.raises(errors.ArgumentTypeError, match="flag"):
        as_flag(np.ones(2), "flag")
    with pytest.raises(errors.AxisError, match="axis 0 of a tensor of shape"):
        as_axis(0, 0)
    with pytest.raises(errors.ArgumentTypeError, match="a function as g"):
        as_function(3, "g")


@pytest.mark.parametrize("size", [2**31, 2**62, 2**63, 2**64, -(2**63), 10**30, -(10**30)])
def test_huge_diagonals(size: int) -> None:
    x = tinyml.ones((2, 3))
    for function in (tinyml.triu, tinyml.tril, tinyml.diagonal, tinyml.linalg.diagonal):
        try:
            found = (function(x, offset=size) if function is tinyml.linalg.diagonal
                     else function(x, size))
        except errors.ArgumentError:
            assert abs(size) > 2**60
        else:
            assert abs(size) <= 2**60
            full = function in (tinyml.triu, tinyml.tril)
            want = np.triu(np.ones((2, 3)), 9 if size > 0 else -9) if function is tinyml.triu else (
                np.tril(np.ones((2, 3)), 9 if size > 0 else -9))
            assert found.numpy().tolist() == (want.tolist() if full else [])


def test_autodiff_refuses_what_is_no_function_at_once() -> None:
    for make in (tinyml.grad, tinyml.value_and_grad, tinyml.jacobian, tinyml.hessian,
                 tinyml.checkpoint, tinyml.custom_gradient, tinyml.trace, tinyml.jit):
        for bad in (3, "f", [abs], tinyml.ones(1)):
            with pytest.raises(errors.ArgumentTypeError):
                make(bad)  # type: ignore[operator]
    for argnums in ("a", 1.0, None, (0, "b"), tinyml.ones(1)):
        with pytest.raises(errors.ArgumentTypeError):
            tinyml.grad(abs, argnums)  # type: ignore[arg-type]
    with pytest.raises(errors.GradientError, match="a pair from f"):
        tinyml.grad(tinyml.sum, has_aux=True)(tinyml.ones(2))
