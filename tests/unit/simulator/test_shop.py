"""The shop in a surge, short; in full: `python -m loadtests shop`."""

from __future__ import annotations

import pytest

from loadtests.shop import MAKERS, OPTIMUM_RPS, play, promises
from shedproxy.simulator.shop import APIS, HOSTS, SERVICE_MS, SERVICES, ShopFigures, ShopPlan

PLAN = ShopPlan(calm_s=5, surge_s=15)


@pytest.fixture(scope="module")
def surge() -> dict[str, ShopFigures]:
    return {name: play(name, PLAN, 1) for name in MAKERS}


def test_before_the_surge_every_service_is_at_ease_and_in_it_five_are_not() -> None:
    """Checkout goes through all six; payment alone carries its surge."""
    assert APIS[0].services == SERVICES
    assert len(APIS) == 5
    for service in SERVICES:
        capacity = HOSTS[service] * 1000 / SERVICE_MS
        users = [api for api in APIS if service in api.services]
        assert sum(api.rate_rps for api in users) < 0.61 * capacity
        assert sum(api.rate_rps * api.surge for api in users) > 1.4 * capacity or (
            service == "payment"
        )


def test_without_control_the_shop_is_down(surge: dict[str, ShopFigures]) -> None:
    """Work is done for callers that have left."""
    assert surge["none"].goodput_rps < 0.2 * OPTIMUM_RPS
    assert surge["none"].wasted_ratio > 0.8


def test_ours_serves_most_and_wastes_least(surge: dict[str, ShopFigures]) -> None:
    ours = surge["shedproxy"]
    for name in ("dagor", "breakwater", "none"):
        assert ours.goodput_rps > 1.15 * surge[name].goodput_rps, name
        assert ours.wasted_ratio < surge[name].wasted_ratio, name
    assert ours.goodput_rps <= OPTIMUM_RPS
    assert ours.p99_ms <= 1000


def test_no_api_has_less_than_before_the_surge(surge: dict[str, ShopFigures]) -> None:
    ours = surge["shedproxy"]
    for name, rate_rps in ours.api_goodput_rps.items():
        assert rate_rps >= 0.95 * ours.api_before_rps[name], name


def test_an_autoscaler_is_told_no_later_and_its_workers_are_of_use() -> None:
    """They come three seconds after they were ordered here, not sixty."""
    plan = ShopPlan(calm_s=5, surge_s=20, has_autoscaler=True, lag_s=3)
    ours, alone = play("shedproxy", plan, 1), play("none", plan, 1)
    assert ours.scaled_at_s <= alone.scaled_at_s
    assert ours.goodput_rps > 3.9 * alone.goodput_rps


def test_what_is_not_kept_is_said(surge: dict[str, ShopFigures]) -> None:
    swapped = {**surge, "shedproxy": surge["none"], "none": surge["shedproxy"]}
    assert "the autoscaler reacts later" not in promises(surge, surge)
    assert any("DAGOR" in what for what in promises(swapped, swapped))
