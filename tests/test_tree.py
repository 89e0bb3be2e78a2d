"""Pytrees: round trips, equality of structures, errors, depth."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyml import tree
from tinyml.errors import ArgumentError, ArgumentTypeError

DEEP = 100_000


class Point(NamedTuple):
    """A named tuple."""

    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Layer:
    """A dataclass with a fixed field."""

    weight: Any
    name: str = dataclasses.field(default="", metadata={"static": True})

    def __post_init__(self) -> None:
        if isinstance(self.weight, str):
            raise AssertionError("unflatten must not run __post_init__")


class Box:
    """A registered type."""

    def __init__(self, content: Any, label: Any = None) -> None:
        self.content = content
        self.label = label


tree.register(Box, lambda b: ((b.content,), b.label), lambda label, xs: Box(xs[0], label),
              lambda label: ["content"])

LEAVES = st.integers() | st.text() | st.floats(allow_nan=False)
TREES = st.recursive(
    LEAVES | st.none(),
    lambda inner: st.lists(inner)
    | st.dictionaries(st.text(), inner)
    | st.builds(Point, inner, inner)
    | st.builds(lambda xs: tuple(xs), st.lists(inner))
    | st.builds(Layer, st.lists(inner), st.text()),
)


@given(TREES)
def test_a_tree_is_what_it_was_after_a_round_trip(value: Any) -> None:
    leaves, treedef = tree.flatten(value)
    assert tree.unflatten(treedef, leaves) == value
    again = tree.flatten(value)[1]
    assert again == treedef and hash(again) == hash(treedef)
    assert tree.difference(treedef, again) is None
    assert len(tree.paths(treedef)) == treedef.leaf_count == len(leaves)


@given(TREES, TREES)
def test_structures_are_equal_exactly_when_there_is_no_difference(one: Any, two: Any) -> None:
    first, second = tree.flatten(one)[1], tree.flatten(two)[1]
    assert (first == second) is (tree.difference(first, second) is None)


def test_leaves_stand_from_left_to_right_and_dicts_by_key() -> None:
    value = {"b": [1, (2, None)], "a": Point(3, {"z": 4, "y": 5})}
    leaves, treedef = tree.flatten(value)
    assert leaves == [3, 5, 4, 1, 2]
    assert tree.paths(treedef) == ["['a'].x", "['a'].y['y']", "['a'].y['z']", "['b'][0]",
                                   "['b'][1][0]"]
    assert repr(treedef) == "TreeDef({'a': Point(x=*, y={'y': *, 'z': *}), 'b': [*, (*, None)]})"


def test_none_is_an_empty_tree() -> None:
    leaves, treedef = tree.flatten(None)
    assert leaves == [] and tree.unflatten(treedef, []) is None
    assert treedef != tree.flatten([])[1]


def test_a_single_leaf() -> None:
    leaves, treedef = tree.flatten(7)
    assert leaves == [7] and tree.unflatten(treedef, "x") == "x" and tree.paths(treedef) == [""]


def test_subclasses_of_containers_are_leaves() -> None:
    value = OrderedDict(a=1)
    assert tree.flatten([value])[0] == [value]


def test_dataclasses_keep_fixed_fields_in_the_structure_and_skip_their_init() -> None:
    leaves, treedef = tree.flatten(Layer((1, 2), "first"))
    assert leaves == [1, 2]
    assert treedef != tree.flatten(Layer((1, 2), "second"))[1]
    assert tree.unflatten(tree.flatten(Layer(0, "n"))[1], ["placeholder"]).weight == "placeholder"


@pytest.mark.parametrize(("one", "two"), [(1, True), (0.0, -0.0), (1, 1.0), ((1,), (True,))])
def test_fixed_values_count_with_type_and_bits(one: Any, two: Any) -> None:
    assert tree.flatten(Box(0, one))[1] != tree.flatten(Box(0, two))[1]
    nan = float("nan")
    assert tree.flatten(Box(0, nan))[1] == tree.flatten(Box(0, float("nan")))[1]


def test_map_takes_several_trees() -> None:
    assert tree.map(lambda a, b, c: a + b * c, [1, {"x": 2}], [3, {"x": 4}], [5, {"x": 6}]) == [
        16, {"x": 26}]


@pytest.mark.parametrize(("other", "words"), [
    ({"a": [1, 2], "b": 3}, "at ['a']: list of 3 against list of 2"),
    ({"a": [1, (2,), 3], "b": 3}, "at ['a'][1]: a leaf against tuple of 1"),
    ({"a": [1, None, 3], "b": 3}, "at ['a'][1]: a leaf against None"),
    ({"a": [1, 2, 3], "c": 3}, "only the first has the keys ['b'], only the second ['c']"),
    ([1], "at the root: dict of 2 against list of 1"),
])
def test_map_names_the_path_of_the_first_difference(other: Any, words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        tree.map(lambda a, b: a, {"a": [1, 2, 3], "b": 4}, other)
    assert words in str(caught.value)


def test_map_names_differing_fixed_values() -> None:
    with pytest.raises(ArgumentError, match=r"at \[0\]: Box with 'x' against 'y'"):
        tree.map(lambda a, b: a, [Box(1, "x")], [Box(1, "y")])


def test_keys_without_an_order_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="types int, str"):
        tree.flatten([{1: 0, "a": 1}])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_leaves_is_refused(count: int) -> None:
    with pytest.raises(ArgumentError, match=f"2 leaves, {count} given"):
        tree.unflatten(tree.flatten((0, 0))[1], range(count))


def test_a_container_in_itself_is_refused_and_a_shared_one_is_not() -> None:
    loop: list[Any] = []
    loop.append({"x": loop})
    with pytest.raises(ArgumentError, match="contains itself"):
        tree.flatten(loop)
    shared = [1]
    assert tree.flatten([shared, shared])[0] == [1, 1]


def test_unhashable_fixed_values_are_refused_when_compared() -> None:
    treedef = tree.flatten(Box(0, {1, 2}))[1]
    with pytest.raises(ArgumentTypeError, match="cannot be compared"):
        hash(treedef)


def test_registering_twice_is_refused() -> None:
    for kind in (Box, list, type(None)):
        with pytest.raises(ArgumentError, match="already"):
            tree.register(kind, lambda x: ((), None), lambda fixed, xs: None)


def test_registering_a_type_that_was_a_leaf_before() -> None:
    class Late:
        pass

    assert len(tree.flatten(Late())[0]) == 1
    tree.register(Late, lambda x: ((), None), lambda fixed, xs: Late())
    assert tree.flatten([Late()])[0] == []


def nested(depth: int, bottom: Any) -> Any:
    """A list in a list in a list."""
    value = bottom
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.slow
def test_depth_is_bounded_by_memory_only() -> None:
    leaves, treedef = tree.flatten(nested(DEEP, 1))
    again = tree.flatten(nested(DEEP, 2))[1]
    assert leaves == [1] and treedef == again and hash(treedef) == hash(again)
    value = tree.unflatten(treedef, [5])
    for _ in range(DEEP):
        (value,) = value
    assert value == 5
    assert repr(treedef) == f"TreeDef({DEEP + 1} nodes, 1 leaves)"
    words = tree.difference(treedef, tree.flatten(nested(DEEP, (1,)))[1])
    assert words is not None and "more" in words and len(words) < 300

