"""Live and simulated figures agree within what was said beforehand, and not beyond it."""

from __future__ import annotations

import pytest

from shedproxy.core import Criticality, Instant, Nanos, milliseconds, seconds
from shedproxy.loadgen.comparison import Comparison, Figure, goodput_ratio
from shedproxy.workload import Row, Summary, summarise


def summary(*, offered: int = 2000, served: int = 1000, p99_ms: float = 50.0) -> Summary:
    """One second in which so many came, and so many were answered after `p99_ms` each."""
    rows = [
        Row(Criticality.CRITICAL, Instant(0), Instant(0), Instant(milliseconds(p99_ms)), 200)
    ] * served
    rows += [Row(Criticality.CRITICAL, Instant(0), Instant(0), Instant(0), 503)] * (
        offered - served
    )
    return summarise(rows, duration_ns=seconds(1), deadline_ns=seconds(1))


def compare(live: Summary, *simulated: Summary) -> list[str]:
    comparison = Comparison(live=live, simulated=simulated, capacity_rps=1000)
    return comparison.disagreements


def test_goodput_is_of_what_was_possible() -> None:
    """Of the capacity in overload, of what was asked for below it."""
    assert goodput_ratio(summary(offered=2000, served=900), 1000) == pytest.approx(0.9)
    assert goodput_ratio(summary(offered=500, served=490), 1000) == pytest.approx(0.98)
    nothing = summarise([], duration_ns=Nanos(1), deadline_ns=Nanos(1))
    assert goodput_ratio(nothing, 1000) == 1


def test_a_figure_shows_where_live_stands() -> None:
    figure = Figure(live=5.0, simulated=[4.0, 1.0, 2.0])
    assert (figure.least, figure.median, figure.most, figure.difference) == (1, 2, 4, 3)


@pytest.mark.parametrize(
    ("served", "agrees"), [(971, True), (1029, True), (969, False), (1031, False)]
)
def test_goodput_agrees_within_three_points_of_the_median(served: int, agrees: bool) -> None:
    """Whatever the range of the simulated runs."""
    simulated = [summary(served=count) for count in (800, 1000, 1200)]
    assert compare(summary(served=served), *simulated) == ([] if agrees else ["goodput"])


@pytest.mark.parametrize(("p99_ms", "agrees"), [(30, True), (29, False), (90, True), (91, False)])
def test_p99_agrees_within_a_fifth_of_the_median_beyond_the_range(
    p99_ms: float, agrees: bool
) -> None:
    """A range of 40 to 80 around 50: from 30 to 90."""
    simulated = [summary(p99_ms=value) for value in (40, 50, 80)]
    assert compare(summary(p99_ms=p99_ms), *simulated) == ([] if agrees else ["p99"])


def test_a_live_run_without_answers_agrees_with_no_other() -> None:
    assert compare(summary(served=0), summary(), summary()) == ["goodput", "p99"]
