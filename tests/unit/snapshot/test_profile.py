"""What is known of a cell, with a knee and without."""

from __future__ import annotations

from shedproxy.snapshot import CellProfile


def test_a_curve_takes_a_capacity_and_a_knee() -> None:
    assert CellProfile(capacity_rps=200.0, knee_in_flight=4.0).has_curve
    assert not CellProfile(capacity_rps=200.0).has_curve
    assert not CellProfile(knee_in_flight=4.0).has_curve
