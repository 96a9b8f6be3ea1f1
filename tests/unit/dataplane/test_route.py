"""What a rule decides, and one RequestInfo for all requests of a kind."""

from __future__ import annotations

from dataclasses import replace

from shedproxy.core import Criticality, Kind, Lane
from shedproxy.dataplane.route import Route
from shedproxy.snapshot import Rule

CRITICAL = Criticality.CRITICAL


def test_a_rule_that_says_nothing_has_the_default_class_and_the_given_name() -> None:
    info = Route(Rule(), "rule-0", Criticality.SHEDDABLE).own_info
    assert (info.route, info.cell, info.criticality) == ("rule-0", "default", Criticality.SHEDDABLE)
    assert (info.kind, info.lane, info.is_retry) == (Kind.AUTO, Lane.DATA, False)


def test_equal_requests_share_their_info() -> None:
    route = Route(Rule(name="items", cost=2), "", CRITICAL)
    assert route.intern(CRITICAL, Kind.AUTO, is_retry=False) is route.own_info
    retry = route.intern(CRITICAL, Kind.AUTO, is_retry=True)
    assert retry.is_retry
    assert retry is route.intern(CRITICAL, Kind.AUTO, is_retry=True)
    assert retry.cost == 2


def test_a_mark_fills_the_gaps_of_a_rule_and_nothing_else() -> None:
    rule = Rule(name="items", cost=3)
    route = Route(rule, "", CRITICAL)
    route.default_timeout_ns = 7
    mark = Rule(name="GET /items", criticality=Criticality.SHEDDABLE, cost=5, kind=Kind.UNARY)
    filled = route.filled_by(mark, is_default=False, part=(0, 1))
    info = filled.own_info
    assert (info.route, info.cost) == ("items", 3)
    assert (info.criticality, info.kind) == (Criticality.SHEDDABLE, Kind.UNARY)
    assert filled.default_timeout_ns == 7
    assert route.filled_by(mark, is_default=True, part=(0, 1)).name == "GET /items"


def test_a_marks_bound_is_of_all_workers() -> None:
    """A rule's is cut where the document is."""
    mark = Rule(limit=5)
    limits = [
        Route(Rule(), "", CRITICAL).filled_by(mark, is_default=True, part=(index, 3)).rule.limit
        for index in range(3)
    ]
    assert limits == [2, 2, 1]
    route = Route(Rule(limit=4), "", CRITICAL)
    assert route.filled_by(mark, is_default=False, part=(0, 3)).rule.limit == 4


def test_worth_is_ordered_by_what_a_path_may_gain() -> None:
    """Whoever is unclear gets the least of what he may mean."""
    control = Route(Rule(lane=Lane.CONTROL), "", CRITICAL)
    stream = Route(Rule(kind=Kind.STREAM), "", CRITICAL)
    better = Route(Rule(criticality=Criticality.CRITICAL_PLUS), "", CRITICAL)
    plain = Route(Rule(), "", CRITICAL)
    dear = Route(Rule(cost=2), "", CRITICAL)
    routes = [control, stream, better, plain, dear]
    assert sorted(routes, key=lambda route: route.worth, reverse=True) == routes


def test_requests_of_a_pinned_key_say_so_and_are_the_same_besides() -> None:
    route = Route(Rule(name="items", cost=2), "", CRITICAL)
    route.default_timeout_ns = 9
    pinned = route.as_pinned()
    assert pinned is route.as_pinned()
    assert pinned.own_info == replace(route.own_info, is_pinned=True)
    assert pinned.default_timeout_ns == 9
    assert pinned.intern(CRITICAL, Kind.AUTO, is_retry=True).is_pinned
