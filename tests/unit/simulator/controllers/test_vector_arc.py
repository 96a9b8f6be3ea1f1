"""Vector's controller passes the cases of `adaptive_concurrency/service.rs` and `EwmaVar`'s."""

from __future__ import annotations

import pytest

from shedproxy.core import (
    Instant,
    Outcome,
    Permit,
    Rejected,
    RequestInfo,
    Ticket,
    TicketState,
    milliseconds,
    seconds,
)
from shedproxy.simulator.controllers.vector_arc import EwmaVariance, VectorArcControl

MS = milliseconds(1)
S = seconds(1)


class Bench:
    """A controller and a clock."""

    def __init__(self, **changes: object) -> None:
        self.control = VectorArcControl(**changes)
        self.now = Instant(0)

    @property
    def limit(self) -> float:
        return self.control.reading().limit

    def send(self) -> Permit:
        permit = self.control.arrive(RequestInfo(), now=self.now)
        assert isinstance(permit, Permit)
        return permit

    def wait(self) -> Ticket:
        ticket = self.control.arrive(RequestInfo(), now=self.now)
        assert isinstance(ticket, Ticket)
        return ticket

    def finish(self, permit: Permit, outcome: Outcome = Outcome.SUCCESS) -> list[Ticket]:
        """Who starts because of it."""
        return [
            verdict.ticket
            for verdict in self.control.release(permit, outcome, now=self.now)
            if isinstance(verdict.decision, Permit)
        ]

    def round(self, count: int, rtt_ns: int = S, outcome: Outcome = Outcome.SUCCESS) -> float:
        """So many at once, all answered after a latency."""
        permits = [self.send() for _ in range(count)]
        self.now = Instant(self.now + rtt_ns)
        for permit in permits:
            self.finish(permit, outcome)
        return self.limit


# --- service.rs (there the ratio of a decrease is 0.5) ------------------------------------------


def test_startup_conditions() -> None:
    bench = Bench(decrease_ratio=0.5)
    assert bench.limit == 1
    bench.send()
    bench.wait()


def test_increases_limit() -> None:
    bench = Bench(decrease_ratio=0.5)
    assert bench.round(1) == 1, "until there is a measurement"
    assert bench.round(1) == 2


def test_handles_deferral() -> None:
    bench = Bench(decrease_ratio=0.5)
    assert [bench.round(1), bench.round(1)] == [1, 2]
    assert bench.round(1, outcome=Outcome.OVERLOAD) == 1


def test_rapid_decrease() -> None:
    bench = Bench(decrease_ratio=0.5)
    for count in (1, 1, 2, 3):
        assert bench.limit == count
        bench.round(count)
    assert bench.limit == 4
    assert bench.round(1, outcome=Outcome.OVERLOAD) == 2


def test_ewma_variance_update_works() -> None:
    past = EwmaVariance(0.5)
    assert past.mean is None
    means, variances = [], []
    for point in (2.0, 2.0, 1.0, 2.0):
        means.append(past.update(point))
        variances.append(past.variance)
    assert means == [2.0, 2.0, 1.5, 1.75]
    assert variances == [0.0, 0.0, 0.25, 0.1875]


# --- and beyond ---------------------------------------------------------------------------------


def test_defaults() -> None:
    """One slot at first, 200 at most; a decrease leaves nine of ten."""
    assert Bench().control.reading() == (1, 0, 0, 0.0, 0)
    bench = Bench(initial=10)
    bench.round(1)
    assert bench.round(1, outcome=Outcome.OVERLOAD) == 9
    bench = Bench(initial=200)
    bench.round(200)
    assert bench.round(200) == 180, "steady latency at the maximum counts as high, as published"


def test_a_limit_that_was_not_reached_does_not_grow() -> None:
    bench = Bench(initial=3)
    bench.round(2)
    bench.round(2, S - MS)
    assert bench.round(2, S - MS) == 3


def test_higher_latency_within_the_deviation_changes_nothing() -> None:
    """Means of 1 s, and of 1 s and 2 s: past mean 1.2 s, deviation 0.245 s, bound 1.812 s."""
    for rtt_ns, limit in ((1_300 * MS, 9), (1_812 * MS, 9), (1_813 * MS, 8)):
        bench = Bench(initial=10)
        bench.round(1)
        assert bench.round(1, 2 * S) == 9
        assert bench.round(1, rtt_ns) == limit


def test_it_moves_once_per_past_latency() -> None:
    """Answers within the second after the first one are judged together."""
    bench = Bench(initial=4)
    bench.round(4)
    assert [bench.round(4, 100 * MS) for _ in range(10)] == [4] * 9 + [5]


def test_what_teaches_nothing_lets_time_pass() -> None:
    """The first interval ends with the latencies it had; then there are none to judge."""
    bench = Bench(initial=4)
    bench.round(4)
    assert bench.round(4, 9 * S, Outcome.IGNORE) == 5
    assert bench.round(5, 9 * S, Outcome.ABANDONED) == 5
    assert bench.control.reading().baseline_ns == S


def test_a_push_back_without_a_latency_before_is_kept() -> None:
    bench = Bench(initial=4)
    assert bench.round(4, outcome=Outcome.OVERLOAD) == 4
    assert bench.round(1) == 4
    assert bench.round(1) == 3


def test_time_that_the_client_stalled_is_not_latency() -> None:
    bench = Bench()
    bench.control.release(bench.send(), Outcome.SUCCESS, now=Instant(9 * S), stalled_ns=2 * S)
    assert bench.control.reading().baseline_ns == 7 * S


def test_the_source_waits_in_order() -> None:
    bench = Bench(initial=2)
    permits = [bench.send() for _ in range(2)]
    tickets = [bench.wait() for _ in range(3)]
    assert bench.control.reading().queue_length == 3
    assert bench.finish(permits[1], Outcome.IGNORE) == [tickets[0]]
    assert tickets[0].state is TicketState.ADMITTED
    assert bench.finish(permits[0], Outcome.IGNORE) == [tickets[1]]
    assert bench.control.reading() == (2, 2, 1, 0.0, 0)


def test_a_limit_that_grew_admits_two() -> None:
    """And who waited reaches the limit again."""
    bench = Bench()
    bench.round(1)
    permit = bench.send()
    tickets = [bench.wait() for _ in range(3)]
    bench.now = Instant(2 * S)
    assert bench.finish(permit) == tickets[:2]
    assert bench.limit == 2


def test_a_limit_that_shrank_admits_none_until_there_is_room() -> None:
    bench = Bench(initial=4, decrease_ratio=0.5)
    bench.round(4)
    permits = [bench.send() for _ in range(4)]
    ticket = bench.wait()
    bench.now = Instant(3 * S)
    assert bench.finish(permits[0], Outcome.OVERLOAD) == []
    assert bench.limit == 2
    assert [bench.finish(permits[index]) for index in (1, 2)] == [[], [ticket]]


def test_who_went_away_is_passed_over() -> None:
    bench = Bench()
    permit = bench.send()
    first, second = bench.wait(), bench.wait()
    bench.control.abandon(first, now=bench.now)
    assert first.state is TicketState.ABANDONED
    assert bench.finish(permit) == [second]
    bench.control.abandon(second, now=bench.now)
    assert second.state is TicketState.ADMITTED, "too late"


def test_latency_begins_when_the_wait_is_over() -> None:
    bench = Bench()
    permit = bench.send()
    ticket = bench.control.arrive(RequestInfo(), now=bench.now, time_left_ns=9 * S, flow_hash=5)
    assert isinstance(ticket, Ticket)
    bench.now = Instant(S)
    (verdict,) = bench.control.release(permit, Outcome.IGNORE, now=bench.now)
    admitted = verdict.decision
    assert isinstance(admitted, Permit)
    assert (admitted.arrived_at, admitted.admitted_at, admitted.expires_at) == (0, S, 9 * S)
    assert admitted.flow_hash == 5
    bench.now = Instant(3 * S)
    bench.finish(admitted)
    assert bench.control.reading().baseline_ns == 2 * S


def test_as_a_proxy_it_refuses() -> None:
    bench = Bench(is_client=False)
    bench.send()
    refused = bench.control.arrive(RequestInfo(), now=bench.now)
    assert isinstance(refused, Rejected)
    assert (refused.limit, refused.in_flight) == (1, 1)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_limit_can_be_fixed(outcome: Outcome) -> None:
    """What Vector does when `concurrency` is a number."""
    bench = Bench(initial=10, maximum=10, decrease_ratio=1.0)
    bench.round(10)
    assert bench.round(10, 5 * S, outcome) == 10
