"""What this version does not know is named, and goes along."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shedproxy.snapshot.unknown_fields import carry_over, unknown_fields

RAW = {
    "mode": "enforce",
    "colour": "red",
    "cells": [{"name": "a", "limit": 1, "taste": "sour"}, {"name": "b", "limit": 2}],
    "rules": [{"cost": 1, "smell": "good"}, {"cost": 2}],
}
KNOWN = {
    "mode": "enforce",
    "cells": [{"name": "a", "limit": 1}, {"name": "b", "limit": 2}],
    "rules": [{"cost": 1}, {"cost": 2}],
}


def test_unknown_fields_are_named_by_their_place():
    assert list(unknown_fields(RAW, KNOWN)) == ["colour", "cells.0.taste", "rules.0.smell"]


def test_nothing_changed_is_nothing_lost():
    assert carry_over(RAW, KNOWN, KNOWN) == RAW


def test_a_changed_value_leaves_the_unknown_beside_it():
    wanted = {**KNOWN, "cells": [{"name": "b", "limit": 9}, {"name": "a", "limit": 7}]}
    kept = carry_over(RAW, KNOWN, wanted)
    assert kept["colour"] == "red"
    assert kept["cells"] == [{"name": "b", "limit": 9}, {"name": "a", "limit": 7, "taste": "sour"}]


def test_what_is_removed_takes_its_unknown_along():
    kept = carry_over(RAW, KNOWN, {**KNOWN, "cells": [{"name": "b", "limit": 2}]})
    assert kept["cells"] == [{"name": "b", "limit": 2}]


def test_an_object_without_a_name_keeps_its_own_only_where_it_is_the_same():
    kept = carry_over(RAW, KNOWN, {**KNOWN, "rules": [{"cost": 3}, {"cost": 2}]})
    assert kept["rules"] == [{"cost": 3}, {"cost": 2}]


VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_wholly_known_comes_back_as_it_is(value):
    assert list(unknown_fields(value, value)) == []
    assert carry_over(value, value, value) == value
