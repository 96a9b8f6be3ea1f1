"""What ends in the scored window is counted, once, for what it was."""

from __future__ import annotations

import pytest
from harness.worlds import make_call

from shedproxy.core import NS_PER_MS, Criticality, Instant, Rejected, RejectReason
from shedproxy.simulator.tally import INVERSION_WINDOW_NS, End, Tally

LOW, HIGH = Criticality.SHEDDABLE, Criticality.CRITICAL
DEADLINE_NS = 100 * NS_PER_MS


def make_tally(*, unscored: int = 0, keeps_tenants: bool = False) -> Tally:
    return Tally(
        deadline_ns=DEADLINE_NS,
        unscored=unscored,
        keeps_tenants=keeps_tenants,
        has_classes=True,
    )


def refuse(tally: Tally, criticality: Criticality, at: int, reason: RejectReason) -> None:
    call = make_call()
    call.info = call.info.__class__(criticality=criticality)
    tally.refuse(call, Rejected(call.info, reason, Instant(at), ()), Instant(at))


@pytest.mark.parametrize(
    ("end", "took_ns", "place"),
    [
        (End.SERVED, DEADLINE_NS, "served"),
        (End.SERVED, DEADLINE_NS + 1, "late"),
        (End.REFUSED, 0, "refused"),
        (End.FAILED, 5, "failed"),
        (End.LEFT, DEADLINE_NS, "left"),
    ],
)
def test_an_intention_ends_in_one_of_five_ways(end: End, took_ns: int, place: str) -> None:
    tally = make_tally()
    tally.begin(tally.client("a"), HIGH, 0, Instant(0))
    tally.end(tally.client("a"), HIGH, 0, Instant(0), end, Instant(took_ns))
    assert tally.offered == tally.ended == 1
    assert getattr(tally, place) == 1
    client = tally.clients["a"]
    assert (client.offered, client.ended, client.served) == (1, 1, place == "served")
    assert client.latency_max_ns == (took_ns if place == "served" else 0)
    assert tally.class_ended[HIGH] == 1
    assert tally.class_served[HIGH] == client.served


def test_the_cold_start_is_not_scored_and_what_ends_after_it_is() -> None:
    tally = make_tally(unscored=1)
    tally.begin(tally.client("a"), HIGH, 0, Instant(1))
    tally.end(tally.client("a"), HIGH, 0, Instant(1), End.REFUSED, Instant(2))
    assert (tally.offered, tally.ended, tally.scored_from) == (0, 0, None)
    tally.begin(tally.client("a"), HIGH, 0, Instant(3))
    assert (tally.offered, tally.scored_from) == (1, 3)
    # Begun in the cold start, ended after it.
    tally.end(tally.client("a"), HIGH, 0, Instant(1), End.SERVED, Instant(4))
    assert tally.served == 1


def test_calls_keep_latency_and_useful_work() -> None:
    tally = make_tally()
    call = make_call()
    call.arrived_at, call.spent_ns = Instant(5), 7
    tally.end_call(call, End.SERVED, Instant(30))
    tally.end_call(call, End.LEFT, Instant(31))
    assert (tally.calls, tally.calls_served, tally.calls_ended) == (2, 1, 2)
    assert (list(tally.latencies_ns), list(tally.served_at)) == ([25], [30])
    assert tally.useful_ns == 7


def test_tenants_are_counted_apart() -> None:
    tally = make_tally(keeps_tenants=True)
    for tenant in (1, 1, 2):
        tally.begin(tally.client("a"), HIGH, tenant, Instant(0))
    tally.end(tally.client("a"), HIGH, 1, Instant(0), End.SERVED, Instant(1))
    tally.end(tally.client("a"), HIGH, 2, Instant(0), End.REFUSED, Instant(1))
    assert tally.tenants == {1: [2, 1, 0], 2: [1, 0, 1]}


def test_an_inversion_is_a_better_class_refused_while_a_lesser_one_was_let_in() -> None:
    tally = make_tally()
    tally.admit(LOW, Instant(1))
    for _ in range(2):
        refuse(tally, HIGH, 2, RejectReason.SHED_LEVEL)
    tally.admit(HIGH, Instant(INVERSION_WINDOW_NS))
    assert tally.inverted == 1, "one was let in that could have waited"


def test_no_inversion_across_windows_nor_downwards_nor_for_a_fair_share() -> None:
    tally = make_tally()
    tally.admit(LOW, Instant(1))
    refuse(tally, HIGH, 2, RejectReason.FAIR_SHARE)
    refuse(tally, HIGH, INVERSION_WINDOW_NS, RejectReason.SHED_LEVEL)
    tally.admit(HIGH, Instant(INVERSION_WINDOW_NS + 1))
    refuse(tally, LOW, INVERSION_WINDOW_NS + 2, RejectReason.SHED_LEVEL)
    tally.admit(HIGH, Instant(3 * INVERSION_WINDOW_NS))
    assert tally.inverted == 0
    assert tally.refused_by_reason == {RejectReason.FAIR_SHARE: 1, RejectReason.SHED_LEVEL: 2}
