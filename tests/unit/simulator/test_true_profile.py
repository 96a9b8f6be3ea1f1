"""Without a profile of its own a scenario has the one that follows from its capacity."""

from __future__ import annotations

import pytest

from shedproxy.simulator.true_profile import profile_of
from shedproxy.workload.scenario import BackendSpec, ClientSpec, ProfileSpec, ProxySpec, Scenario


def profile(**backend: object) -> ProfileSpec | None:
    return profile_of(Scenario(backend=BackendSpec(**backend)))  # type: ignore[arg-type]


def test_slots_are_the_knee_and_the_mean_is_the_baseline() -> None:
    expected = ProfileSpec(start=20, minimum=16, maximum=32, baseline_ms=40.0)
    assert profile(slots=16, service_ms=40.0) == expected
    assert profile(slots=4, hosts=4, service_ms=40.0) == expected
    assert profile(kind="sharing", slots=16, service_ms=40.0) == expected


def test_what_is_under_way_is_in_flight_too() -> None:
    """Half of the latency is network: twice as many keep the slots busy."""
    assert profile(slots=4, service_ms=20.0, network_ms=20.0) == ProfileSpec(
        start=10, minimum=8, maximum=16, baseline_ms=40.0
    )


def test_a_limit_is_not_above_the_best_concurrency() -> None:
    found = profile(kind="usl", alpha=0.05, beta=0.005, service_ms=10.0)
    assert found is not None
    assert found.minimum <= found.start <= found.maximum <= 14


def test_the_best_concurrency_may_be_reached_and_what_is_under_way_is_part_of_it() -> None:
    """One alone is best, at 100 a second, and two others are on their way there or back."""
    assert profile(kind="usl", alpha=0.9, beta=0.1, service_ms=10.0, network_ms=20.0) == (
        ProfileSpec(start=3, minimum=3, maximum=3, baseline_ms=30.0)
    )
    wide = profile(kind="usl", alpha=0.05, beta=0.0005, service_ms=10.0)
    assert wide is not None
    assert wide.maximum == 44 > 2 * wide.minimum


def test_several_proxies_have_an_equal_part_each() -> None:
    scenario = Scenario(backend=BackendSpec(slots=80), proxy=ProxySpec(count=20))
    assert profile_of(scenario) == ProfileSpec(start=5, minimum=4, maximum=8, baseline_ms=20.0)


def test_routes_of_different_length_share_no_baseline() -> None:
    clients = (ClientSpec(load=0.5), ClientSpec(name="slow", load=0.5, service_factor=4.0))
    found = profile_of(Scenario(client=clients))
    assert found is not None
    assert found.baseline_ms is None


def test_what_a_scenario_states_is_taken_and_without_a_capacity_there_is_none() -> None:
    stated = ProfileSpec(start=7)
    assert profile_of(Scenario(profile=stated)) is stated
    assert profile(kind="knee") is None


@pytest.mark.parametrize("count", [1, 7, 1_000])
def test_a_profile_is_one_that_a_policy_takes(count: int) -> None:
    from shedproxy.core import LimitPolicy

    found = profile_of(Scenario(proxy=ProxySpec(count=count)))
    assert found is not None
    policy = LimitPolicy(initial=found.start, minimum=found.minimum, maximum=found.maximum)
    assert policy.minimum <= policy.initial <= policy.maximum
