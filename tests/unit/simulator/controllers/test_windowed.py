"""Windows give the numbers of Netflix' window tests, and pass on only what is ready."""

from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_US, Instant, Outcome, Permit, RequestInfo, milliseconds, seconds
from shedproxy.simulator.controllers.windowed import (
    MeanWindow,
    PercentileWindow,
    WindowedControl,
    Windowing,
)

BIG, MODERATE, LOW = 5000, 500, 10
MS = milliseconds(1)
S = seconds(1)
START = 100 * S


def filled(window: MeanWindow, *rtts_ns: int) -> MeanWindow:
    for rtt_ns in rtts_ns:
        window.add(rtt_ns, 1, did_drop=False)
    return window


# --- ImmutableAverageSampleWindowTest, ImmutablePercentileSampleWindowTest ----------------------


def test_calculate_average() -> None:
    assert filled(MeanWindow(), BIG, MODERATE, LOW).rtt_ns() == (BIG + MODERATE + LOW) // 3


def test_a_dropped_sample_changes_the_average() -> None:
    window = filled(MeanWindow(), BIG, MODERATE, LOW)
    window.add(BIG, 1, did_drop=True)
    assert window.rtt_ns() == (BIG + MODERATE + LOW + BIG) // 4
    assert window.did_drop


def test_calculate_p50() -> None:
    assert filled(PercentileWindow(0.5, 10), BIG, MODERATE, LOW).rtt_ns() == MODERATE


def test_a_dropped_sample_changes_the_percentile() -> None:
    window = filled(PercentileWindow(0.5, 10), LOW)
    window.add(BIG, 1, did_drop=True)
    window.add(BIG, 1, did_drop=True)
    assert window.rtt_ns() == BIG


def test_p999_is_the_slowest() -> None:
    assert filled(PercentileWindow(0.999, 10), BIG, MODERATE, LOW).rtt_ns() == BIG


def test_order_does_not_matter() -> None:
    assert filled(PercentileWindow(0.999, 10), MODERATE, LOW, BIG, LOW).rtt_ns() == BIG


# --- and beyond ---------------------------------------------------------------------------------


def test_a_percentile_looks_at_no_more_than_its_size() -> None:
    window = filled(PercentileWindow(0.999, 2), LOW, MODERATE, BIG)
    assert (window.rtt_ns(), window.sample_count) == (MODERATE, 2)


def test_a_low_percentile_of_few_is_the_fastest() -> None:
    assert filled(PercentileWindow(0.01, 10), BIG, LOW, MODERATE).rtt_ns() == LOW


@pytest.mark.parametrize("window", [MeanWindow(), PercentileWindow(0.5, 10)])
def test_an_empty_window_has_no_latency(window: MeanWindow) -> None:
    assert (window.rtt_ns(), window.in_flight_max, window.did_drop) == (0, 0, False)


class Listener(WindowedControl):
    """Writes down what it hears."""

    def __init__(self, **changes: object) -> None:
        super().__init__(1000, Windowing(**changes))
        self.heard: list[tuple[int, int, bool]] = []

    def on_sample(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        self.heard.append((rtt_ns, in_flight, did_drop))

    def finish(
        self, at: int, rtt_ns: int = MS, outcome: Outcome = Outcome.SUCCESS, stalled_ns: int = 0
    ) -> None:
        permit = self.arrive(RequestInfo(), now=Instant(START + at - rtt_ns))
        assert isinstance(permit, Permit)
        self.release(permit, outcome, now=Instant(START + at), stalled_ns=stalled_ns)


def test_a_window_of_ten_is_one_sample() -> None:
    """The first window ends with its first sample, which is too few to be heard of."""
    control = Listener()
    control.finish(0, 50 * MS)
    for index in range(1, 10):
        control.finish(index * 100 * MS, index * MS)
    control.finish(S, 50 * MS)
    assert control.heard == [], "the end of a window itself belongs to it"
    control.finish(S + 1, 50 * MS)
    assert control.heard == [((45 + 50 + 50) * MS // 11, 1, False)]


def test_a_window_with_fewer_is_thrown_away() -> None:
    control = Listener()
    control.finish(0)
    for index in range(1, 9):
        control.finish(index * 100 * MS, 900 * MS)
    control.finish(S + 1, 900 * MS)
    for index in range(9):
        control.finish(S + 2 + index)
    control.finish(2 * S + 2)
    assert control.heard == [(MS, 1, False)], "nothing of the nine slow ones before"


def test_a_drop_is_a_sample_and_what_teaches_nothing_is_none() -> None:
    control = Listener()
    control.finish(0)
    for _ in range(9):
        control.finish(S, 5 * MS, Outcome.IGNORE)
        control.finish(S, 5 * MS, Outcome.ABANDONED)
        control.finish(S, 2 * MS)
    control.finish(S + 1, 12 * MS, Outcome.OVERLOAD)
    assert control.heard == [(3 * MS, 1, True)]


def test_latencies_under_100_us_are_ignored() -> None:
    control = Listener()
    control.finish(0)
    for _ in range(50):
        control.finish(S, 100 * NS_PER_US - 1)
        control.finish(S, MS, stalled_ns=MS - 1)
    for _ in range(9):
        control.finish(S, 100 * NS_PER_US)
    control.finish(S + 1, 100 * NS_PER_US)
    assert control.heard == [(100 * NS_PER_US, 1, False)]


def test_the_most_in_flight_is_heard_of() -> None:
    control = Listener()
    control.finish(0)
    permits = [control.arrive(RequestInfo(), now=Instant(START + S)) for _ in range(30)]
    for permit in permits:
        assert isinstance(permit, Permit)
        control.release(permit, Outcome.SUCCESS, now=Instant(START + S + MS))
    control.finish(3 * S)
    assert [in_flight for _, in_flight, _ in control.heard] == [30]


@pytest.mark.parametrize(
    ("rtt_ns", "length_ns"), [(10 * MS, 100 * MS), (150 * MS, 300 * MS), (S, 500 * MS)]
)
def test_a_window_lasts_twice_the_least_latency_inside_its_bounds(
    rtt_ns: int, length_ns: int
) -> None:
    control = Listener(length_min_ns=100 * MS, length_max_ns=500 * MS, sample_count_min=1)
    control.finish(0, rtt_ns)
    control.finish(length_ns, rtt_ns)
    assert len(control.heard) == 1
    control.finish(length_ns + 1, rtt_ns)
    assert len(control.heard) == 2
