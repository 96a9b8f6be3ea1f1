"""Routes without load: means with intervals, and the law of service times."""

from __future__ import annotations

import random

import pytest

from shedproxy.calibration.orders import Played, Sent
from shedproxy.calibration.routes import fit_law, fit_routes
from shedproxy.core import Instant, milliseconds
from shedproxy.workload.laws import service_law


@pytest.mark.parametrize("law", ["constant", "exponential", "lognormal", "bimodal", "uniform"])
def test_the_law_is_recognised(law: str) -> None:
    draw = service_law(law, mean_ns=milliseconds(20), rng=random.Random(3))
    found = fit_law(sorted(draw() for _ in range(600)))
    assert found is not None
    assert found.name == law
    assert found.distance < 0.1


def test_few_samples_have_no_law() -> None:
    assert fit_law([1] * 20) is None


def test_each_route_has_its_own_latency() -> None:
    rows = [
        Sent(
            Instant(n), Instant(n), Instant(n + milliseconds(10 + 90 * (n % 2) + n % 7)), 200, n % 2
        )
        for n in range(100)
    ]
    played = Played(
        rows=rows, started_at=Instant(0), stopped_at=Instant(1), ended_at=Instant(1),
        planned_count=100,
    )  # fmt: skip
    found = {fit.name: fit for fit in fit_routes(played, ("a", "b"), from_at=Instant(0))}
    assert found["a"].mean.value == pytest.approx(milliseconds(13), rel=0.03)
    assert found["b"].baseline.low <= milliseconds(103) <= found["b"].baseline.high
    assert found["*"].latency.count == 100
    assert [fit.name for fit in fit_routes(played, ("a",), from_at=Instant(0))] == ["*"]
