"""Dataclasses as JSON values and back, strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from depthtui.data.arrays import Shape
from depthtui.data.plain import Misfit, from_plain, to_plain
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, Repeated, RunSettings, Skip
from depthtui.options import Option


@dataclass(frozen=True)
class Part:
    """A dataclass in another one."""

    name: str
    weight: float = 0.5


@dataclass
class Whole:
    """A field of every kind; most have a default."""

    parts: tuple[Part, ...]
    whole: int = 1
    number: float = 2.0
    flag: bool = False
    maybe: int | None = None
    choice: Literal["a", "b"] = "a"
    one: Literal[1] = 1
    pair: tuple[str, float] = ("x", 1.0)
    items: list[int] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    mapping: Mapping[str, float] = field(default_factory=dict)
    part: Part | None = None
    limited: Annotated[int, Option("Help.")] = 3
    anything: Any = None


@dataclass
class Arrays:
    """Arrays with and without a declared shape."""

    free: np.ndarray
    values: Annotated[np.ndarray, Shape("L", "T")]
    ends: Annotated[np.ndarray, Shape("L+1")]
    ids: Annotated[np.ndarray, Shape("T", dtype=np.int32)]
    flags: Annotated[np.ndarray, Shape("T", dtype=np.bool_)]
    lacking: Annotated[np.ndarray, Shape("L")] | None = None


WHOLE = Whole(
    parts=(Part("one"), Part("\ud800", 1e-300)),
    whole=10**30,
    maybe=3,
    choice="b",
    items=[1, 2],
    by_name={"\x1b": Part("")},
    mapping={"": 0.0},
    part=Part("p"),
    anything=[{"deep": [None, True]}],
)


def through_json(value: object) -> Any:
    return json.loads(json.dumps(to_plain(value), allow_nan=False))


def arrays() -> Arrays:
    return Arrays(
        free=np.array([[1.0, np.nan, 1e-300]]),
        values=np.array([[0.1, np.nan], [1.0, 2.0], [3.0, 4.0]]),
        ends=np.arange(4.0),
        ids=np.array([7, -1], np.int32),
        flags=np.array([True, False]),
    )


def plain(**changes: Any) -> dict[str, Any]:
    return through_json(WHOLE) | changes


def test_a_dataclass_is_the_same_again() -> None:
    assert from_plain(Whole, through_json(WHOLE)) == WHOLE
    settings = RunSettings(
        skipped=(Skip(2, "mlp"),), repeated=(Repeated(0, 1),), skip_positions=(1, 2)
    )
    assert from_plain(RunSettings, through_json(settings)) == settings


def test_arrays_are_the_same_again() -> None:
    result = from_plain(Arrays, through_json(arrays()))
    for name, values in vars(arrays()).items():
        np.testing.assert_array_equal(getattr(result, name), values, strict=True)


def test_numbers_of_any_precision_become_float64() -> None:
    narrow = arrays()
    narrow.values = narrow.values.astype(np.float32)
    result = from_plain(Arrays, through_json(narrow)).values
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, narrow.values)


def test_numpy_numbers_are_numbers() -> None:
    assert through_json([np.float32(0.5), np.int64(3), np.bool_(True)]) == [0.5, 3, True]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_unknown(number: float) -> None:
    assert math.isnan(from_plain(Part, through_json(Part("", number))).weight)
    assert from_plain(dict[str, float | None], through_json({"a": number})) == {"a": None}
    (result,) = from_plain(list[np.ndarray], through_json([np.array([number, 1])]))
    np.testing.assert_array_equal(result, [np.nan, 1])


def test_an_integer_is_a_number() -> None:
    result = from_plain(Part, {"name": "", "weight": 2}).weight
    assert (result, type(result)) == (2.0, float)


def test_what_is_missing_has_its_default() -> None:
    assert from_plain(Whole, {"parts": []}) == Whole(())


def test_a_field_may_be_left_out_where_it_is_empty() -> None:
    prompt = Prompt("1 + 1 = 2", "2")
    assert {"choices", "common_ending"}.isdisjoint(to_plain(prompt))
    asked = replace(prompt, choices=("2", "3"))
    assert to_plain(asked)["choices"] == ["2", "3"]
    assert [from_plain(Prompt, to_plain(each)) for each in (prompt, asked)] == [prompt, asked]


def test_types_need_be_no_dataclass() -> None:
    assert from_plain(tuple[Part, ...], [{"name": "a"}]) == (Part("a"),)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "it must be an object"),
        ({}, "parts is missing"),
        (plain(more=1) | {3: 4}, "it has an unknown key, 'more'"),
        (plain(parts={}), "parts must be a list"),
        (plain(parts="ab"), "parts must be a list"),
        (plain(parts=[{}]), "parts[0].name is missing"),
        (plain(parts=[{"name": "a"}, {"name": 3}]), "parts[1].name must be a text"),
        (plain(parts=[{"name": "a", "\x1b": 1}]), r"parts[0] has an unknown key, '\x1b'"),
        (plain(parts=[["name"]]), "parts[0] must be an object"),
        (plain(parts=["name"]), "parts[0] must be an object"),
        (plain(whole="3"), "whole must be a whole number"),
        (plain(whole=3.0), "whole must be a whole number"),
        (plain(whole=True), "whole must be a whole number"),
        (plain(whole=None), "whole must be a whole number"),
        (plain(number="3"), "number must be a number"),
        (plain(number=False), "number must be a number"),
        (plain(number=10**400), "number: int too large to convert to float"),
        (plain(flag=0), "flag must be true or false"),
        (plain(flag=None), "flag must be true or false"),
        (plain(maybe="3"), "maybe must be a whole number"),
        (plain(maybe=False), "maybe must be a whole number"),
        (plain(choice="c"), "choice must be 'a' or 'b'"),
        (plain(choice=["a"]), "choice must be 'a' or 'b'"),
        (plain(one=True), "one must be 1"),
        (plain(pair=["x"]), "pair must be a list of 2"),
        (plain(pair=["x", 1, 2]), "pair must be a list of 2"),
        (plain(pair=["x", "y"]), "pair[1] must be a number"),
        (plain(items=[1, None]), "items[1] must be a whole number"),
        (plain(by_name=[]), "by_name must be an object"),
        (plain(by_name={"\x1b": {}}), r"by_name['\x1b'].name is missing"),
        (plain(by_name={3: {}}), "by_name[3] must be a text"),
        (plain(mapping={"a": "b"}), "mapping['a'] must be a number"),
        (plain(part=[]), "part must be an object"),
        (plain(limited="3"), "limited must be a whole number"),
    ],
    ids=str,
)
def test_another_type_is_refused_and_named(value: Any, problem: str) -> None:
    with pytest.raises(Misfit) as caught:
        from_plain(Whole, value)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"free": None}, "free must be a list of numbers"),
        ({"free": {}}, "free must be a list of numbers"),
        ({"free": ["3"]}, "free must be an array of numbers"),
        ({"free": [True]}, "free must be an array of numbers"),
        ({"free": [[1, 2], [3]]}, "free must be an array of numbers"),
        ({"free": [[1], 2]}, "free must be an array of numbers"),
        ({"free": [{}]}, "free must be an array of numbers"),
        ({"free": [10**400]}, "free: int too large to convert to float"),
        ({"ids": [1, None]}, "ids must be an array of whole numbers"),
        ({"ids": [1, 2.0]}, "ids must be an array of whole numbers"),
        ({"ids": [1, 2**31]}, "ids: Python integer 2147483648 out of bounds"),
        ({"flags": [0, 1]}, "flags must be an array of true and false"),
        ({"values": [1, 2, 3]}, "values must be an array of L x T"),
        ({"ends": [1, 2, 3]}, "ends must be an array of L+1"),
        ({"ids": [1, 2, 3]}, "ids must be an array of T"),
        ({"lacking": [1, 2]}, "lacking must be an array of L"),
    ],
    ids=str,
)
def test_another_array_is_refused_and_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(Misfit) as caught:
        from_plain(Arrays, through_json(arrays()) | changes)
    assert str(caught.value).startswith(problem)


def test_sizes_may_be_given() -> None:
    assert from_plain(Arrays, through_json(arrays()), sizes={"L": 3}).ends.shape == (4,)
    with pytest.raises(Misfit, match="values must be an array of L x T"):
        from_plain(Arrays, through_json(arrays()), sizes={"L": 4})
    # Those of one value are not those of its neighbour.
    shorter = through_json(arrays()) | {
        "values": [[1]],
        "ends": [1, 2],
        "ids": [1],
        "flags": [True],
    }
    from_plain(list[Arrays], [through_json(arrays()), shorter])


def test_a_class_is_chosen_by_its_key() -> None:
    """As the statistics of metrics are, whose classes depend on the metric's name."""
    kinds: dict[str, type] = {"part": Part, "skip": Skip}

    def read(result: Any) -> dict[str, object]:
        return {name: from_plain(kinds[name], value) for name, value in result.items()}

    readers = {dict[str, object]: read}
    body = {"part": {"name": "a"}, "skip": {"layer": 3}}
    result = from_plain(Held, {"found": body}, readers=readers)
    assert result == Held({"part": Part("a"), "skip": Skip(3)})
    for wrong, problem in (
        ({"skip": {"layer": "3"}}, "found: layer must be a whole number"),
        ({"other": {}}, "found: 'other'"),
        ([], "found: 'list' object has no attribute 'items'"),
    ):
        with pytest.raises(Misfit) as caught:
            from_plain(Held, {"found": wrong}, readers=readers)
        assert str(caught.value) == problem


@dataclass(frozen=True)
class Held:
    """Values of which a reader knows the classes."""

    found: dict[str, object]


def test_a_model_has_no_claim_of_trust() -> None:
    values = to_plain(ModelSpec("own"))
    with pytest.raises(Misfit, match="it has an unknown key, 'trust_remote_code'"):
        from_plain(ModelSpec, values | {"trust_remote_code": True})
    with pytest.raises(Misfit, match="name must be a text"):
        from_plain(ModelSpec, values | {"name": 5})


def test_a_class_may_refuse_its_values() -> None:
    with pytest.raises(Misfit, match=r"^\[1\]: too light$"):
        from_plain(list[Heavy], [{"weight": 2}, {"weight": 1}])


@dataclass(frozen=True)
class Heavy:
    """A class that looks at its values."""

    weight: int

    def __post_init__(self) -> None:
        if self.weight < 2:
            raise ValueError("too light")


@pytest.mark.parametrize("kind", [Whole, Part, list[int], dict[str, int], np.ndarray, ModelSpec])
def test_deep_nesting_is_refused_as_well(kind: Any) -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Misfit):
        from_plain(kind, deep)
    with pytest.raises(Misfit):
        from_plain(Whole, {"parts": deep})
    with pytest.raises(Misfit):
        from_plain(Arrays, {"free": deep})
