"""Lengths convert once, exactly enough."""

from __future__ import annotations

from shedproxy.core import milliseconds, seconds, to_milliseconds, to_seconds


def test_conversions_round_to_the_nanosecond() -> None:
    """0.1 s is 100 000 000 ns, not one less."""
    assert seconds(0.1) == 100_000_000
    assert milliseconds(0.1) == 100_000
    assert to_seconds(seconds(2.5)) == 2.5
    assert to_milliseconds(milliseconds(2.5)) == 2.5
