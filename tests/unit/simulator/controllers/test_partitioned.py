"""The cases of `AbstractPartitionedLimiterTest`."""

from __future__ import annotations

from random import Random

from shedproxy.core import Instant, Outcome, Permit, Rejected, RequestInfo
from shedproxy.simulator.controllers.partitioned import PartitionedControl

NOW = Instant(0)
BATCH, LIVE, ASIDE = (RequestInfo(route=name) for name in ("batch", "live", "aside"))


def partitioned(limit: int = 10) -> PartitionedControl:
    return PartitionedControl(
        limit,
        shares={"batch": 0.3, "live": 0.7},
        partition_of=lambda request: None if request.route == "aside" else request.route,
    )


def permits(control: PartitionedControl, request: RequestInfo, count: int) -> list[Permit]:
    answers = [control.arrive(request, now=NOW) for _ in range(count)]
    return [answer for answer in answers if isinstance(answer, Permit)]


def test_shares_of_ten_are_three_and_seven() -> None:
    control = partitioned()
    assert (control.share_of("batch"), control.share_of("live")) == (3, 7)


def test_one_alone_may_have_all() -> None:
    control = partitioned()
    assert len(permits(control, BATCH, 20)) == 10
    assert control.busy == {"batch": 10, "live": 0}


def test_the_other_gets_its_share_all_the_same() -> None:
    """Seventeen in all."""
    control = partitioned()
    permits(control, BATCH, 20)
    assert len(permits(control, LIVE, 20)) == 7
    assert control.in_flight == 17
    assert isinstance(control.arrive(BATCH, now=NOW), Rejected)


def test_both_are_refused_at_their_shares_while_the_limit_is_reached() -> None:
    control = partitioned()
    assert len(permits(control, BATCH, 3)) == 3
    assert len(permits(control, LIVE, 7)) == 7
    assert isinstance(control.arrive(BATCH, now=NOW), Rejected)
    assert isinstance(control.arrive(LIVE, now=NOW), Rejected)


def test_what_is_given_back_may_be_had_again() -> None:
    control = partitioned()
    held = permits(control, LIVE, 7)
    permits(control, BATCH, 3)
    assert not control.release(held[0], Outcome.SUCCESS, now=NOW)
    assert control.busy == {"batch": 3, "live": 6}
    assert isinstance(control.arrive(LIVE, now=NOW), Permit)
    assert isinstance(control.arrive(LIVE, now=NOW), Rejected)


def test_shares_follow_the_limit() -> None:
    control = partitioned()
    control.limit = 20
    assert control.share_of("batch") == 6


def test_who_passes_by_is_let_through_and_not_counted() -> None:
    control = partitioned()
    permits(control, BATCH, 10)
    permit = control.arrive(ASIDE, now=NOW)
    assert isinstance(permit, Permit)
    assert control.in_flight == 10
    control.release(permit, Outcome.SUCCESS, now=NOW)
    assert control.in_flight == 10
    assert control.busy == {"batch": 10, "live": 0}


def test_in_any_order_shares_and_books_hold() -> None:
    """Shares 0.5, 0.3, 0.2 of 20; 2 500 rounds in random order. Nobody holds more than all, and in
    all at most what the shares above the limit may add.
    """
    rng = Random(1)
    control = PartitionedControl(
        20, shares={"a": 0.5, "b": 0.3, "c": 0.2}, partition_of=lambda request: request.route
    )
    infos = [RequestInfo(route=name) for name in "abc"]
    held: list[Permit] = []
    succeeded = refused = 0
    for _ in range(2_500):
        answer = control.arrive(rng.choice(infos), now=NOW)
        if isinstance(answer, Permit):
            succeeded += 1
            held.append(answer)
        else:
            refused += 1
        if held and rng.random() < 0.55:
            control.release(held.pop(rng.randrange(len(held))), Outcome.SUCCESS, now=NOW)
        assert max(control.busy.values()) <= 20
        assert sum(control.busy.values()) == control.in_flight <= 20 + 10
    assert succeeded + refused == 2_500
    assert refused
