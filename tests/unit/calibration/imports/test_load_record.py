"""What a record can be asked."""

from __future__ import annotations

from shedproxy.calibration.imports.load_record import LatencyFigures, Point
from shedproxy.core import Nanos


def test_a_percentile_is_there_or_it_is_not() -> None:
    figures = LatencyFigures(percentiles=((0.5, Nanos(1)), (0.99, Nanos(9))))
    assert figures.at(0.99) == 9
    assert figures.at(0.9) is None


def point(mean_ns: int | None) -> Point:
    return Point(
        users=10.0,
        started_at_ns=Nanos(0),
        length_ns=Nanos(1),
        request_count=1,
        failed_count=0,
        throughput_rps=200.0,
        latency=LatencyFigures(mean_ns=None if mean_ns is None else Nanos(mean_ns)),
    )


def test_in_flight_is_throughput_times_latency() -> None:
    assert point(20_000_000).in_flight == 4.0


def test_without_a_mean_in_flight_is_not_known() -> None:
    assert point(None).in_flight is None
