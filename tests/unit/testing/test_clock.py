"""The manual clock stands still until it is told to move."""

from __future__ import annotations

import pytest

from shedproxy.testing import ManualClock


def test_stands_still_and_advances():
    clock = ManualClock(5)
    assert [clock(), clock(), clock.advance(10), clock()] == [5, 5, 15, 15]


def test_does_not_run_backwards():
    clock = ManualClock()
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
