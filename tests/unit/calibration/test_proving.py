"""What the verification reads off a run."""

from __future__ import annotations

import pytest
from harness.calibrations import a_plan

from shedproxy.calibration.orders import Played, Sent
from shedproxy.calibration.proving import proof_length_s, proof_ratios, recovery
from shedproxy.core import Instant, milliseconds, seconds


def played(bad_until_s: float, *, length_s: float = 4.0) -> Played:
    rows = []
    for n in range(int(100 * length_s)):
        at = Instant(seconds(1) + n * milliseconds(10))
        latency = milliseconds(900 if n < 100 * bad_until_s else 20)
        rows.append(Sent(at, at, Instant(at + latency), 200))
    return Played(
        rows=rows, started_at=Instant(0), stopped_at=Instant(seconds(1)),
        ended_at=Instant(seconds(9)), planned_count=len(rows),
    )  # fmt: skip


def test_recovery_is_the_time_until_all_is_good_again() -> None:
    latency_ns = milliseconds(250)
    assert recovery(played(0), latency_ns) == 0
    assert recovery(played(1.2), latency_ns) == seconds(1.5)
    assert recovery(played(4), latency_ns) is None
    assert recovery(played(0, length_s=0), latency_ns) is None


def test_the_more_service_times_scatter_the_longer_is_a_run() -> None:
    assert proof_length_s(capacity_rps=200, cv=0, is_quick=False) == (8, 8)
    assert proof_length_s(capacity_rps=200, cv=1, is_quick=False)[0] == pytest.approx(51)
    assert proof_length_s(capacity_rps=1600, cv=1, is_quick=True)[0] == pytest.approx(7.25)
    assert proof_length_s(capacity_rps=200, cv=1, is_quick=True) == (30, 4)
    assert proof_length_s(capacity_rps=20, cv=3, is_quick=False) == (120, 8)


def test_no_load_is_above_the_cap_on_the_rate() -> None:
    assert proof_ratios(a_plan(), 100.0) == [0.8, 1.5, 3.0]
    assert proof_ratios(a_plan(rate_max_rps=150.0), 100.0) == [0.8, 1.5]
