"""The yardstick of false refusals refuses what does not fit, and follows the truth."""

from __future__ import annotations

import pytest
from harness.worlds import run_world, steady

from shedproxy.core import Instant, RejectReason
from shedproxy.simulator.queue_oracle import QueueOracleControl
from shedproxy.simulator.registry import queue_oracle_factory
from shedproxy.workload.scenario import ClientSpec, EventSpec, ProxySpec, Scenario


def test_below_capacity_hardly_anybody_is_refused() -> None:
    tally = run_world(steady(0.8, arrivals=8_000), queue_oracle_factory()).tally
    assert tally.refused <= 0.001 * tally.ended


def test_above_capacity_it_refuses_the_excess_for_lack_of_room_only() -> None:
    tally = run_world(
        steady(2.0, arrivals=10_000, unscored_arrivals=500), queue_oracle_factory()
    ).tally
    assert tally.refused / tally.ended == pytest.approx(0.5, abs=0.03)
    assert RejectReason.SHED_LEVEL not in tally.refused_by_reason


def test_the_limit_follows_the_truth_at_the_next_tick() -> None:
    best = 8.0
    control = QueueOracleControl(Scenario(), best_limit=lambda: best, now=Instant(0))
    assert control.reading().limit == 8
    best = 3.2
    control.tick(now=Instant(1))
    assert control.reading().limit == 3


def test_proxies_and_cells_have_equal_parts() -> None:
    clients = (ClientSpec(name="a", load=0.4, cell="a"), ClientSpec(name="b", load=0.4, cell="b"))
    control = QueueOracleControl(Scenario(client=clients), best_limit=lambda: 8, now=Instant(0))
    assert control.reading().limit == 8
    assert {cell.limit.initial for cell in control.policy.cells} == {4}
    scenario = steady(
        0.5,
        arrivals=500,
        proxy=ProxySpec(count=2),
        event=(EventSpec(at_s=1, what="slots", factor=0.5),),
    )
    world = run_world(scenario, queue_oracle_factory())
    assert [sample.limit for sample in world.samples][:: len(world.samples) - 1] == [4, 2]


def test_a_backend_without_a_bound_has_a_limit_all_the_same() -> None:
    control = QueueOracleControl(Scenario(), best_limit=lambda: float("inf"), now=Instant(0))
    assert control.reading().limit == 1000
