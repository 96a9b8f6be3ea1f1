"""The experiment of throttled clients, small; in full: `python -m loadtests retries`."""

from __future__ import annotations

import pytest

from loadtests.retries import THROTTLES, amplifications, promises, throttled
from shedproxy.simulator.throttled_clients import ThrottleFigures, ThrottlePlan

PLAN = ThrottlePlan(
    clients=50, slots=5, calm_s=5, failing_s=10, after_s=15, overload_s=20, calm_load=0.8
)


@pytest.fixture(scope="module")
def figures() -> dict[str, ThrottleFigures]:
    return {name: throttled(name, PLAN, 1) for name in THROTTLES}


def test_unthrottled_clients_send_whatever_they_want(figures: dict[str, ThrottleFigures]) -> None:
    """And the Shedder keeps capacity busy all the same."""
    assert figures["none"].seen_load == pytest.approx(2, rel=0.05)
    assert figures["none"].goodput_ratio > 0.93
    assert figures["none"].wasted_sends == pytest.approx(0.8, rel=0.05)


def test_the_nearer_k_is_to_one_the_less_comes_to_be_refused(
    figures: dict[str, ThrottleFigures],
) -> None:
    """In steady overload about K times what is accepted is sent: 1.15 for K = 1.1 is promised."""
    assert figures["sre K = 1.1"].seen_load <= 1.15
    assert figures["sre K = 2"].seen_load > 1.5


def test_whoever_throttles_wastes_little_on_a_dead_service(
    figures: dict[str, ThrottleFigures],
) -> None:
    for name in THROTTLES:
        assert name == "none" or figures[name].wasted_sends < 0.5 * figures["none"].wasted_sends


@pytest.mark.parametrize("name", ["none", "cubic", "sre K = 2"])
def test_the_full_rate_is_back_within_ten_seconds(
    figures: dict[str, ThrottleFigures], name: str
) -> None:
    """Not with K = 1.1: of what it lets through it believes a tenth more with each window."""
    assert figures[name].regained_s <= 10


def test_what_is_not_kept_is_said(figures: dict[str, ThrottleFigures]) -> None:
    layers = amplifications(1, length_s=2)
    assert layers["naive"]["100%"] == 243
    broken = promises({"ours": {"100%": 1.2, "30%": 1.0}}, figures)
    assert "more than 1.10 attempts a request where everything fails" in broken
