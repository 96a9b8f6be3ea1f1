"""What a step that was played amounts to."""

from __future__ import annotations

import random

import pytest
from harness.calibrations import SLO

from shedproxy.calibration.digest import digest, percentiles_of
from shedproxy.calibration.measurement import Phase, StepState
from shedproxy.calibration.orders import GeneratorPart, Order, Played, Sent
from shedproxy.core import Criticality, Instant, milliseconds, seconds
from shedproxy.workload import poisson_arrivals

T0 = 7_000_000_000


def an_order(**changes: object) -> Order:
    values: dict[str, object] = {
        "phase": Phase.OPEN, "pass_number": 1, "length_ns": seconds(10),
        "settle_ns": seconds(1), "seed": 1, "planned_rps": 200.0,
    }  # fmt: skip
    return Order(**(values | changes))


def played(rows: list[Sent], **changes: object) -> Played:
    values: dict[str, object] = {
        "rows": rows, "started_at": Instant(T0), "stopped_at": Instant(T0 + seconds(10)),
        "ended_at": Instant(T0 + seconds(11)), "planned_count": len(rows),
    }  # fmt: skip
    return Played(**(values | changes))


def rows_of(latency_ms, *, rate: float = 200.0, lag_ns: int = 0, status: int = 200) -> list[Sent]:
    offsets = poisson_arrivals(rate_rps=rate, duration_ns=seconds(10), rng=random.Random(5))
    return [
        Sent(
            Instant(T0 + at), Instant(T0 + at + lag_ns),
            Instant(T0 + at + milliseconds(latency_ms(at / 1e9))), status, 0,
            Criticality.CRITICAL,
        )
        for at in offsets
    ]  # fmt: skip


def test_rates_and_latency_are_of_what_follows_the_cut() -> None:
    step = digest(
        an_order(), played(rows_of(lambda _: 20)), slo=SLO, index=3, origin=T0 - seconds(2)
    )
    assert (step.index, step.started_at_ns, step.cut_ns) == (3, seconds(2), seconds(1))
    assert step.state is StepState.STEADY
    assert step.offered_rps == pytest.approx(200, rel=0.06)
    assert step.throughput_rps == pytest.approx(step.offered_rps, rel=0.01)
    assert step.in_flight == pytest.approx(step.offered_rps * 0.02, rel=0.02)
    assert step.latency is not None
    assert step.latency.p99_ns == milliseconds(20)
    assert sum(window.offered_count for window in step.windows) == step.offered_count


def test_a_warm_up_longer_than_planned_is_cut_off() -> None:
    step = digest(
        an_order(),
        played(rows_of(lambda at: (120 if at < 3 else 20) + 1e9 * at % 7)),
        slo=SLO,
        index=0,
        origin=T0,
    )
    assert seconds(2.5) < step.cut_ns < seconds(4)
    assert step.latency is not None
    assert step.latency.max_ns < milliseconds(50)


def test_a_stall_shows_in_all_that_it_delayed() -> None:
    # A service that stands still from second 5 to 6: who comes meanwhile waits for its end.
    step = digest(
        an_order(),
        played(rows_of(lambda at: 20 + (1000 * (6 - at) if 5 <= at < 6 else 0))),
        slo=SLO,
        index=0,
        origin=T0,
    )
    assert step.latency is not None
    # One in nine is delayed by 0 to 1 s: the 99th percentile lies at 91 % of that.
    assert step.latency.p99_ns == pytest.approx(milliseconds(20 + 910), rel=0.05)
    assert step.goodput_rps < step.throughput_rps


def test_more_coming_than_leaving_is_overload() -> None:
    step = digest(
        an_order(), played(rows_of(lambda at: 20 + 200 * at)), slo=SLO, index=0, origin=T0
    )
    assert step.state is StepState.OVERLOADED
    assert "more in flight" in step.reasons[0]


GENERATOR = GeneratorPart(
    planned_count=1000, sent_count=1000, lag_p99_ns=milliseconds(0), cpu_ns=milliseconds(0)
)


@pytest.mark.parametrize(
    ("rows", "changes", "says"),
    [
        (rows_of(lambda _: 20, lag_ns=milliseconds(3)), {}, "sent 3.0 ms late"),
        (rows_of(lambda _: 20), {"cpu_ns": seconds(9)}, "starved"),
        (rows_of(lambda _: 20), {"planned_count": 3000}, "of what was planned"),
        (rows_of(lambda _: 20), {"faults": ("generator process 2 of 2 died",)}, "died"),
        (
            rows_of(lambda _: 20),
            {"generators": (GENERATOR, GENERATOR._replace(lag_p99_ns=milliseconds(4)))},
            "generator process 2 sent 4.0 ms late",
        ),
    ],
)
def test_a_starved_generator_voids_its_step_and_says_so(rows, changes, says: str) -> None:
    step = digest(an_order(), played(rows, **changes), slo=SLO, index=0, origin=T0)
    assert step.state is StepState.VOID
    assert says in step.reasons[0]


def test_a_step_that_was_ended_is_overloaded_and_few_requests_are_too_short() -> None:
    ended = played(rows_of(lambda _: 20), ended_early="arrivals were dropped at the cap")
    step = digest(an_order(), ended, slo=SLO, index=0, origin=T0)
    assert step.state is StepState.OVERLOADED
    assert step.ended_early
    short = digest(
        an_order(planned_rps=2.0), played(rows_of(lambda _: 20, rate=2)), slo=SLO, index=0,
        origin=T0,
    )  # fmt: skip
    assert short.state is StepState.SHORT


def test_errors_refusals_and_routes_are_counted_apart() -> None:
    rows = rows_of(lambda _: 20)
    mixed = [
        row._replace(status=(200, 503, 500, 0)[n % 4], route=n % 2) for n, row in enumerate(rows)
    ]
    step = digest(an_order(), played(mixed), slo=SLO, index=0, origin=T0, routes=("a", "b"))
    assert step.served_count == pytest.approx(step.offered_count / 4, abs=1)
    assert step.refused_count == pytest.approx(step.offered_count / 4, abs=1)
    assert {error.name for error in step.errors} == {"503", "500", "no answer"}
    assert [route.name for route in step.routes] == ["a", "b"]
    assert step.routes[0].refused_count == 0
    assert [part.name for part in step.classes] == ["critical"]


def test_arrivals_scatter_as_they_were_planned() -> None:
    def dispersion(rows: list[Sent], **order: object) -> float | None:
        return digest(
            an_order(**order), played(rows), slo=SLO, index=0, origin=T0
        ).health.dispersion_ratio

    poisson = rows_of(lambda _: 20)
    found = dispersion(poisson)
    assert found is not None
    assert 0.4 < found < 2
    even = [Sent(at := Instant(T0 + n * 5_000_000), at, at, 200) for n in range(2000)]
    found = dispersion(even)
    assert found is not None
    assert found < 0.05
    assert dispersion(poisson[::50]) is None, "too few to tell"
    assert dispersion(poisson, planned_rps=None, concurrency=1, phase=Phase.CLOSED) is None


def test_a_step_in_which_nothing_was_due_is_not_the_generators_fault() -> None:
    empty = played([], stopped_at=Instant(T0), cpu_ns=50_000)
    step = digest(an_order(planned_rps=0.4), empty, slo=SLO, index=0, origin=T0)
    assert step.state is StepState.VOID
    assert step.reasons == ("no request was due in it at 0.4/s: play longer, or more",)


def test_closed_steps_are_read_by_what_ended() -> None:
    rows = [
        Sent(Instant(T0 + n * 10**7), Instant(T0 + n * 10**7), Instant(T0 + (n + 1) * 10**7), 200)
        for n in range(1000)
    ]
    order = an_order(phase=Phase.CLOSED, planned_rps=None, concurrency=1)
    step = digest(order, played(rows), slo=SLO, index=0, origin=T0)
    assert step.throughput_rps == pytest.approx(100, rel=0.002)
    assert step.in_flight == pytest.approx(1, rel=0.002)


def test_a_histogram_holds_every_sample_in_narrow_buckets() -> None:
    ordered = sorted(random.Random(1).randrange(10_000, 10**9) for _ in range(5000))
    found = percentiles_of(ordered)
    assert found is not None
    assert sum(count for _, count in found.histogram) == 5000
    assert all(bound <= ordered[-1] * 1.03 for bound, _ in found.histogram)
    assert percentiles_of([]) is None
