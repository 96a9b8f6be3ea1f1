"""When a flood of the control plane has left a mark."""

from __future__ import annotations

import pytest

from loadtests.control_plane import Turn, verdict


def turns(*rates_and_p99s: tuple[float, float], lost: int = 0) -> list[Turn]:
    """Quiet and flooded ones by turns."""
    return [
        Turn(is_flooded=bool(index % 2), rate_rps=rate, p99_ms=p99, lost=lost)
        for index, (rate, p99) in enumerate(rates_and_p99s)
    ]


QUIET = [(100.0, 10.0), (100.0, 10.0), (102.0, 10.5), (100.0, 10.0)]


@pytest.mark.parametrize(
    ("seen", "is_good"),
    [
        (turns(*QUIET), True),
        (turns(*QUIET, lost=1), False),
        (turns((100, 10), (80, 10), (102, 10), (80, 10)), False),
        (turns((100, 10), (100, 13), (102, 10), (100, 13)), False),
        (turns((100, 10), (80, 13), (70, 14), (80, 13)), True),
        (turns((100, 10), (130, 5), (102, 10), (130, 5)), True),
    ],
    ids=["the same", "lost", "slower", "later", "as quiet turns differ", "better"],
)
def test_a_mark_is_what_chance_does_not_explain(seen, is_good):
    good, words = verdict(seen, within=0.1)
    assert good is is_good
    assert len(words) == 3
