"""Every controller runs by its name, within the rules, on what it is told of the backend."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.worlds import run_world, steady

from shedproxy.core import milliseconds
from shedproxy.simulator.checkers import Checkers
from shedproxy.simulator.controllers.codel import CodelControl
from shedproxy.simulator.controllers.ours import OurControl
from shedproxy.simulator.controllers.vector_arc import VectorArcControl
from shedproxy.simulator.registry import (
    CONTROLLERS,
    OURS,
    PROFILED,
    YARDSTICKS,
    controller_factory,
    oracle_factory,
)
from shedproxy.workload.scenario import (
    BackendSpec,
    ClientSpec,
    EventSpec,
    ProfileSpec,
    ProxySpec,
    Scenario,
)

MIXED = steady(
    2.0,
    arrivals=2_500,
    backend=BackendSpec(slots=8, hosts=2, service_ms=10.0, network_ms=1.0),
    criticality=(("critical", 1.0), ("sheddable_plus", 1.0), ("sheddable", 1.0)),
    tenants=20,
    attempts=2,
    backoff_ms=10.0,
    unscored_arrivals=100,
    proxy=ProxySpec(count=2),
    event=(
        EventSpec(at_s=0.3, what="pause", for_s=0.05),
        EventSpec(at_s=0.5, what="fast_failures", for_s=0.2, share=0.5),
        EventSpec(at_s=0.6, what="restart_proxy"),
    ),
)


@pytest.mark.parametrize("name", [*CONTROLLERS, "oracle"])
def test_it_keeps_the_rules(name: str) -> None:
    """Bursts of everything, watched after every event; and it answers more than nobody."""
    world = run_world(MIXED, controller_factory(name), make_checkers=Checkers)
    assert isinstance(world.checkers, Checkers)
    assert world.checkers.violations == []
    assert world.tally.calls_begun > 2_500


@pytest.mark.parametrize("name", [*CONTROLLERS, "oracle"])
def test_equal_seeds_give_equal_runs(name: str) -> None:
    scenario = replace(MIXED, duration_s=0.8)
    runs = [run_world(scenario, controller_factory(name), seed=5).tally for _ in range(2)]
    assert runs[0].latencies_ns == runs[1].latencies_ns
    assert runs[0].refused_at == runs[1].refused_at


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        controller_factory("nonsense")


def test_ours_comes_first_and_who_is_told_the_truth_takes_no_place() -> None:
    assert next(iter(CONTROLLERS)) == OURS
    assert {PROFILED, "fixed"} == YARDSTICKS
    assert set(CONTROLLERS) >= YARDSTICKS


def controllers_in(scenario: Scenario, name: str) -> list[object]:
    world = run_world(replace(scenario, duration_s=0.001), controller_factory(name))
    return [proxy.controller for proxy in world.proxies]


def test_references_are_told_their_share_of_the_slots() -> None:
    (alone,) = controllers_in(Scenario(backend=BackendSpec(slots=12)), "codel-lifo")
    assert isinstance(alone, CodelControl)
    assert alone.reading().limit == 12
    shared = controllers_in(
        Scenario(backend=BackendSpec(slots=12), proxy=ProxySpec(count=3)), "fixed"
    )
    assert [control.reading().limit for control in shared] == [4, 4, 4]


def test_only_the_profiled_one_is_given_the_profile() -> None:
    scenario = Scenario(profile=ProfileSpec(start=30, maximum=40))
    ((plain,), (profiled,)) = (controllers_in(scenario, name) for name in (OURS, PROFILED))
    assert isinstance(plain, OurControl)
    assert plain.policy.cells[0].limit.maximum == 1000
    assert isinstance(profiled, OurControl)
    assert profiled.policy.cells[0].limit.maximum == 40


def test_one_oracle_stands_before_all_proxies_of_a_run() -> None:
    scenario = Scenario(proxy=ProxySpec(count=3))
    first, second = controllers_in(scenario, "oracle"), controllers_in(scenario, "oracle")
    assert len({id(control) for control in first}) == 1
    assert first[0] is not second[0]


def test_the_oracle_shares_the_backend_of_many_proxies_as_if_there_were_one() -> None:
    scenario = steady(1.5, arrivals=6_000, unscored_arrivals=500)
    alone = run_world(scenario, oracle_factory()).tally.served
    many = run_world(replace(scenario, proxy=ProxySpec(count=5)), oracle_factory()).tally.served
    assert many == pytest.approx(alone, rel=0.01)


def test_vector_s_own_server_meets_vector_s_own_client() -> None:
    knee = BackendSpec(kind="knee", law="constant")
    fixed = ProfileSpec(start=10, minimum=10, maximum=10)
    (adaptive,) = controllers_in(Scenario(backend=knee), "vector-arc")
    (pinned,) = controllers_in(Scenario(backend=knee, profile=fixed), "vector-arc")
    assert isinstance(adaptive, VectorArcControl)
    assert adaptive.reading().limit == 1
    assert pinned.reading().limit == 10


def test_with_a_profile_ours_starts_where_the_truth_says() -> None:
    scenario = Scenario(backend=BackendSpec(slots=16), client=(ClientSpec(rate_rps=1.0),))
    for name, limit in ((PROFILED, 20), ("fixed", 16)):
        reading = run_world(scenario, controller_factory(name)).proxies[0].controller.reading()
        assert reading.limit == limit


def test_apf_has_levels_for_the_classes_that_occur() -> None:
    """What is set apart for others would be idle: nobody sets up a server so."""
    client = ClientSpec(criticality=(("critical", 1.0), ("sheddable", 1.0)))
    (alone,) = controllers_in(Scenario(backend=BackendSpec(slots=12)), "apf")
    (mixed,) = controllers_in(Scenario(backend=BackendSpec(slots=12), client=(client,)), "apf")
    assert alone.reading().limit == 12
    assert len(mixed._levels) == 2


def test_breakwater_aims_below_the_deadline() -> None:
    scenario = Scenario(backend=BackendSpec(slots=4, service_ms=1.0), deadline_ms=10.0)
    (control,) = controllers_in(scenario, "breakwater")
    assert control.target_ns == milliseconds(4)
