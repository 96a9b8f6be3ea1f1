"""Workers that share a limit lose nothing by it: what one measures teaches all."""

from __future__ import annotations

import statistics

import pytest
from harness.host_worlds import goodput_of, run_host

SEEDS = range(5)
POINTS = 2.0
"""What several workers may lose beside one, in % of the capacity."""
PARTS = {
    "evenly": (0.25, 0.25, 0.25, 0.25),
    "most at one": (0.7, 0.1, 0.1, 0.1),
    "two and two": (0.4, 0.4, 0.1, 0.1),
}


@pytest.mark.parametrize("law", ["constant", "exponential"])
def test_four_workers_with_an_adaptive_limit_serve_as_much_as_one(law: str):
    def goodput(parts: tuple[float, ...]) -> float:
        return statistics.mean(
            goodput_of(run_host(parts, load=1.2, law=law, seconds=15, seed=seed)) for seed in SEEDS
        )

    alone = goodput((1.0,))
    for name, parts in PARTS.items():
        together = goodput(parts)
        print(f"{law}: one worker {alone:.1f} %, four, {name} {together:.1f} %")
        assert together > alone - POINTS
