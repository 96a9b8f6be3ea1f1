"""Random scenarios are valid, different, the same again, and of a size that can be run."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest

from shedproxy.simulator.generator import generate_scenario
from shedproxy.simulator.suite import expected_requests
from shedproxy.workload.scenario import Scenario
from shedproxy.workload.scenario_document import decode_scenario

COUNT = 300


def generated(number: int) -> Scenario:
    return generate_scenario(number, random.Random(f"test {number}"))


SCENARIOS = [generated(number) for number in range(COUNT)]


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def test_each_is_what_a_file_may_say() -> None:
    for scenario in SCENARIOS:
        assert decode_scenario(plain(asdict(scenario))) == scenario


def test_equal_chance_gives_equal_scenarios() -> None:
    assert [generated(number) for number in range(20)] == SCENARIOS[:20]
    assert len({(s.backend, s.client) for s in SCENARIOS}) == COUNT
    assert [s.name for s in SCENARIOS[:2]] == ["generated-0000", "generated-0001"]


def test_each_has_requests_enough_to_be_scored_and_not_too_many() -> None:
    counts = [expected_requests(scenario) - scenario.unscored_arrivals for scenario in SCENARIOS]
    assert min(counts) > 19_000
    assert max(counts) < 61_000
    assert sorted(counts)[COUNT // 2] == pytest.approx(20_000, rel=0.02)
    assert min(scenario.duration_s for scenario in SCENARIOS) >= 4


def test_all_kinds_of_things_occur() -> None:
    backends = [scenario.backend for scenario in SCENARIOS]
    assert {backend.kind for backend in backends} == {"slots", "sharing", "usl"}
    assert len({backend.law for backend in backends}) == 5
    assert min(b.slots for b in backends) == 1
    assert max(b.slots for b in backends) > 50
    assert min(b.service_ms for b in backends) < 2
    assert max(b.service_ms for b in backends) > 300
    loads = [scenario.client[0].load or 0 for scenario in SCENARIOS]
    assert min(loads) < 0.4
    assert max(loads) > 8
    happenings = {event.what for scenario in SCENARIOS for event in scenario.event}
    assert happenings == {
        "service", "pause", "pauses", "outage", "fast_failures", "cold_cache",
    }  # fmt: skip
    clients = [scenario.client[0] for scenario in SCENARIOS]
    assert {len(client.criticality) for client in clients} == {1, 2, 4}
    assert {client.attempts for client in clients} == {1, 2, 3}
    assert any(client.tenants for client in clients)
    assert any(client.schedule for client in clients)
    assert any(client.burst_every_ms for client in clients)


def test_recovery_is_measured_from_the_end_of_what_happens() -> None:
    for scenario in SCENARIOS:
        assert len(scenario.recovers_from_s) <= len(scenario.event)
        assert all(at_s < 0.9 * scenario.duration_s for at_s in scenario.recovers_from_s)
