"""A mix draws in proportion to its weights."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from shedproxy.core import Criticality
from shedproxy.workload import Mix


def test_shares_follow_the_weights() -> None:
    """A weight of 0 is never drawn."""
    mix = Mix({Criticality.CRITICAL: 1, Criticality.SHEDDABLE: 3, Criticality.CRITICAL_PLUS: 0})
    rng = random.Random(3)
    drawn = Counter(mix.draw(rng) for _ in range(20_000))
    assert drawn[Criticality.CRITICAL] / 20_000 == pytest.approx(0.25, abs=0.02)
    assert drawn[Criticality.CRITICAL_PLUS] == 0


@pytest.mark.parametrize("weights", [{}, {Criticality.CRITICAL: 0}, {Criticality.CRITICAL: -1}])
def test_a_mix_of_nothing_is_refused(weights: dict[Criticality, float]) -> None:
    """Weights are 0 or more, one above."""
    with pytest.raises(ValueError, match="weights"):
        Mix(weights)
