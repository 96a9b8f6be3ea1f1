"""Marks: an attribute beside the function, checked when it is written."""

from __future__ import annotations

import functools

import pytest

from shedproxy import Criticality, criticality
from shedproxy.core import Kind
from shedproxy.dataplane.asgi.marks import mark_of


def test_the_function_itself_is_returned():
    async def endpoint(item: int) -> None: ...

    assert criticality("critical")(endpoint) is endpoint
    assert mark_of(endpoint).criticality is Criticality.CRITICAL


def test_all_values():
    @criticality(Criticality.SHEDDABLE, cost=2, limit=8, kind="stream")
    def endpoint(): ...

    mark = mark_of(endpoint)
    assert (mark.criticality, mark.cost, mark.limit, mark.kind) == (
        Criticality.SHEDDABLE,
        2,
        8,
        Kind.STREAM,
    )


def test_the_level_may_be_left_open():
    assert mark_of(criticality(cost=2, kind=Kind.UNARY)(lambda: None)).criticality is None


def test_a_wrapper_that_copies_attributes_keeps_the_mark():
    @criticality("sheddable")
    def endpoint(): ...

    @functools.wraps(endpoint)
    def wrapper(): ...

    assert mark_of(wrapper) is mark_of(endpoint)


def test_classes_by_method():
    @criticality("sheddable")
    class Endpoint:
        @criticality("critical_plus")
        async def post(self): ...

        async def get(self): ...

    assert mark_of(Endpoint, "POST").criticality is Criticality.CRITICAL_PLUS
    assert mark_of(Endpoint, "GET").criticality is Criticality.SHEDDABLE
    assert mark_of(Endpoint).criticality is Criticality.SHEDDABLE


@pytest.mark.parametrize("endpoint", [None, 7, lambda: None, object])
def test_what_has_no_mark(endpoint):
    assert mark_of(endpoint, "GET") is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"level": "urgent"}, "critical_plus, critical, sheddable_plus, sheddable"),
        ({"cost": 0}, "1 or more"),
        ({"limit": -1}, "0 or more"),
        ({"limit": 2, "cost": 5}, "to refuse always, say 0"),
        ({"kind": "forever"}, "auto, unary, stream, longpoll"),
    ],
)
def test_a_wrong_value_is_named_where_it_is_written(values, problem):
    with pytest.raises(ValueError, match=problem):
        criticality(**values)
