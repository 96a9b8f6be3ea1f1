"""A run is judged by the client's clock."""

from __future__ import annotations

import pytest

from shedproxy.core import Criticality, Instant, milliseconds, seconds
from shedproxy.workload import Row, summarise
from shedproxy.workload.results import percentile


def row(status: int, latency_ms: float, criticality: Criticality = Criticality.CRITICAL) -> Row:
    return Row(criticality, Instant(0), Instant(5), Instant(milliseconds(latency_ms)), status)


def test_a_late_success_is_no_goodput() -> None:
    """Answered after the client stopped waiting: an error to the client."""
    summary = summarise(
        [row(200, 10), row(200, 1_001), row(503, 1), row(500, 1), row(0, 1_000)],
        duration_ns=seconds(1),
        deadline_ns=seconds(1),
    )
    assert (summary.offered, summary.served, summary.refused, summary.failed) == (5, 1, 1, 3)
    assert summary.goodput_rps == 1.0
    assert summary.p99_ns == milliseconds(10)


def test_classes_are_counted_apart() -> None:
    """Only the classes that were offered appear."""
    summary = summarise(
        [row(200, 1), row(429, 1, Criticality.SHEDDABLE), row(200, 1, Criticality.SHEDDABLE)],
        duration_ns=seconds(1),
        deadline_ns=seconds(1),
    )
    assert set(summary.by_class) == {Criticality.CRITICAL, Criticality.SHEDDABLE}
    part = summary.by_class[Criticality.SHEDDABLE]
    assert (part.offered, part.served, part.refused) == (2, 1, 1)
    assert list(summary.classes_as_json()) == ["critical", "sheddable"]
    assert summary.classes_as_json()["sheddable"] == {"offered": 2, "served": 1, "refused": 1}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 10), (0.5, 20), (0.75, 30), (0.99, 40), (1.0, 40)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    """Always a value that was seen."""
    assert percentile([10, 20, 30, 40], share) == expected


def test_percentile_of_nothing_is_nothing() -> None:
    """No data, no number."""
    assert percentile([], 0.5) is None
