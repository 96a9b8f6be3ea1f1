"""A table becomes a dataclass, or a list of everything that does not fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from shedproxy.workload.table_decoder import Findings, TableInvalidError, decode_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    at: float
    word: Literal["on", "off"] = "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str = "x"
    is_big: bool = False
    count: int = 1
    share: float | None = None
    pairs: tuple[tuple[str, float], ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    names: tuple[str, ...] = ()
    one: Inner = field(default_factory=lambda: Inner(at=0.0))
    many: tuple[Inner, ...] = ()


BOUNDS = {("Outer", "share"): (0.0, 1.0, True), ("Outer", "count"): (0.0, math.inf, False)}


def decoded(table: Any) -> Outer:
    findings = Findings()
    value: Outer = decode_table(Outer, table, (), findings, BOUNDS)
    findings.raise_any()
    return value


def problems_of(table: Any) -> list[tuple[str, str, str]]:
    """(path, message, note) of each."""
    with pytest.raises(TableInvalidError) as caught:
        decoded(table)
    return [(".".join(p.path), p.message, p.note) for p in caught.value.problems]


def test_what_is_not_written_has_its_default() -> None:
    assert decoded({}) == Outer()


def test_every_form_of_value_is_read() -> None:
    table = {
        "name": "y",
        "is_big": True,
        "count": 3,
        "share": 1,
        "pairs": [["a", 1], ["b", 2.5]],
        "points": [[0, 1.5]],
        "names": ["a", "b"],
        "one": {"at": 2},
        "many": [{"at": 1, "word": "off"}],
    }
    assert decoded(table) == Outer(
        name="y",
        is_big=True,
        count=3,
        share=1.0,
        pairs=(("a", 1.0), ("b", 2.5)),
        points=((0.0, 1.5),),
        names=("a", "b"),
        one=Inner(at=2.0),
        many=(Inner(at=1.0, word="off"),),
    )


def test_pairs_may_be_a_table_and_one_name_stands_for_a_list_of_it() -> None:
    assert decoded({"pairs": {"a": 1}, "names": "a"}) == Outer(pairs=(("a", 1.0),), names=("a",))


def test_an_unknown_key_is_told_with_the_nearest_and_marked_as_a_key() -> None:
    with pytest.raises(TableInvalidError) as caught:
        decoded({"cuont": 2, "one": {"at": 1, "zzz": 1}})
    first, second = caught.value.problems
    assert (first.message, first.note) == (
        'unknown key "cuont" in the scenario',
        'did you mean "count"?',
    )
    assert second.message == 'unknown key "zzz" in one'
    assert second.help == "known here: at, word"
    assert caught.value.unknown_keys == {("cuont",), ("one", "zzz")}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"name": 3}, ("name", "name must be text", "this is 3")),
        ({"is_big": 1}, ("is_big", "is_big must be true or false", "this is 1")),
        ({"count": 1.5}, ("count", "count must be a whole number", "this is 1.5")),
        ({"count": True}, ("count", "count must be a whole number", "this is true")),
        ({"count": 0}, ("count", "count must be above 0", "")),
        ({"share": "1"}, ("share", "share must be a number", "this is text")),
        ({"share": 1.5}, ("share", "share must be at most 1", "")),
        ({"share": -1}, ("share", "share must be at least 0", "")),
        ({"share": math.nan}, ("share", "share must be a finite number", "this is nan")),
        ({"pairs": 3}, ("pairs", "pairs must be a list", "this is 3")),
        ({"pairs": {"a": "b"}}, ("pairs.a", "a of pairs must be a number", "this is text")),
        ({"pairs": [["a"]]}, ("pairs.0", "pairs 1 must be [text, a number]", "this is a list")),
        ({"points": [[1, {}]]}, ("points.0.1", "points 1 must be a number", "this is a table")),
        ({"one": []}, ("one", "one must be a table", "this is a list")),
        ({"one": {}}, ("one", "one needs at", "")),
        ({"many": {"at": 1}}, ("many", "many must be a list", "this is a table")),
        ({"many": [{"at": 1, "word": "onn"}]},
         ("many.0.word", "word of many 1 must be one of on, off", 'did you mean "on"?')),
        ({"many": [{"at": 1}, {"at": 1, "word": 2}]},
         ("many.1.word", "word of many 2 must be one of on, off", "this is 2")),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_with_its_path(
    table: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert problems_of(table) == [expected]


def test_all_problems_are_told_at_once() -> None:
    table = {"name": 3, "count": -1, "one": {"word": "x"}, "many": [{"at": "now"}]}
    assert [path for path, *_ in problems_of(table)] == [
        "name",
        "count",
        "one",
        "one.word",
        "many.0.at",
    ]


def test_soundness_is_of_a_path_and_what_is_below_it() -> None:
    findings = Findings()
    findings.add(("many", "1", "at"), "broken")
    assert not findings.is_sound(("many",))
    assert not findings.is_sound(("many", "1"))
    assert findings.is_sound(("many", "0"))
