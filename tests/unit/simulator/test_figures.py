"""Figures of runs whose outcome is known."""

from __future__ import annotations

from typing import Any

import pytest
from harness.worlds import chance_of, ours, run_world, steady

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.controllers.fixed_limit import FixedControl
from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.figures import (
    ENOUGH,
    QUEUE_ORACLE_REFUSED,
    REFUSED,
    References,
    counts,
    measure,
    recoveries_s,
)
from shedproxy.simulator.references import run_references
from shedproxy.simulator.registry import controller_factory, oracle_factory
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import (
    BackendSpec,
    ClientSpec,
    EventSpec,
    ProxySpec,
    Scenario,
)


def figures(scenario: Scenario, controller: Any) -> dict[str, float]:
    references = run_references(scenario, 1, chance_of, sample_count=100)
    return measure(run_world(scenario, controller, sample_count=100), references)


def nothing(world: World, now: Any, index: int) -> NoControl:
    return NoControl()


def test_the_oracle_beside_itself_has_no_regret() -> None:
    scenario = steady(2.0, arrivals=6_000, unscored_arrivals=500)
    found = figures(scenario, oracle_factory())
    assert (found["goodput_ratio"], found["regret"]) == (1, 0)
    assert found["goodput_rps"] == pytest.approx(200, rel=0.03)
    assert found["spare_used_ratio"] == 1
    assert found["in_flight_mean"] == pytest.approx(4, abs=0.1)
    assert found["limit_max"] == found["limit_mean"] == 4
    assert found["drift_ratio"] == 0


def test_below_capacity_all_is_served_and_every_share_says_so() -> None:
    scenario = steady(0.5, arrivals=6_000, criticality=(("critical", 1.0), ("sheddable", 1.0)))
    found = figures(scenario, nothing)
    assert found["served_ratio"] == 1
    assert found["class_served_ratio.critical"] == found["class_served_ratio.sheddable"] == 1
    assert found["client_served_ratio.users"] == 1
    assert found["client_missed.users"] == 0
    assert found["refused_ratio"] == found["false_refusal_ratio"] == found["inversion_ratio"] == 0
    assert found["wasted_ratio"] == 0
    assert found["p50_ms"] < found["p99_ms"]
    assert found["p99_ratio"] < 1
    assert "fairness" not in found
    assert "recovery_s" not in found


def test_without_control_nearly_all_work_of_an_overload_is_wasted() -> None:
    found = figures(steady(2.0, arrivals=10_000, unscored_arrivals=1_000), nothing)
    assert found["goodput_ratio"] < 0.1
    assert found["regret"] > 0.9
    assert found["wasted_ratio"] > 0.9
    assert "p99_ms" not in found, "too little was served to say"
    assert "limit_max" not in found, "there is no limit"


def test_too_few_requests_give_levels_only() -> None:
    found = figures(steady(0.5, arrivals=ENOUGH // 2), ours)
    assert {"goodput_ratio", "p99_ms", "false_refusal_ratio"}.isdisjoint(found)
    assert found["refused_ratio"] == 0
    assert found["client_missed.users"] == 0, "a number of requests is no share"
    assert found["completions"] == pytest.approx(ENOUGH // 2, rel=0.1)
    assert "in_flight_mean" in found


def test_refusing_half_for_nothing_is_false_refusals() -> None:
    class Half(NoControl):
        turn = 0

        def arrive(self, request: Any, *, now: Any, **more: Any) -> Any:
            from shedproxy.core import RejectReason

            self.turn += 1
            if self.turn % 2:
                return self.reject(request, RejectReason.SHED_LEVEL, now=now)
            return super().arrive(request, now=now, **more)

    found = figures(steady(0.5, arrivals=6_000), lambda *_: Half())
    assert found["false_refusal_ratio"] == pytest.approx(0.5, abs=0.01)
    assert found["goodput_ratio"] == pytest.approx(0.5, abs=0.01)
    assert found["refusal_wait_p99_ms"] == 0


def test_fairness_is_over_what_each_tenant_may_have() -> None:
    """A noisy tenant sends twice the capacity; without classes of tenants it gets most of it."""
    clients = (
        ClientSpec(name="noisy", load=2.0, tenant="noisy"),
        ClientSpec(name="quiet", load=0.4, tenants=8),
    )
    scenario = Scenario(duration_s=30, unscored_arrivals=1_000, client=clients)
    blind, fair = (figures(scenario, controller_factory(name)) for name in ("fixed", "shedproxy"))
    assert blind["fairness"] < 0.98 < fair["fairness"]
    assert fair["client_served_ratio.quiet"] > 0.9 > blind["client_served_ratio.quiet"]


def test_tasks_are_compared_with_the_best_that_can_be() -> None:
    """Twice the calls that are possible: half of the tasks at best, which the oracle misses."""
    scenario = steady(1.0, arrivals=8_000, calls_per_task=2, unscored_arrivals=500)
    found = figures(scenario, oracle_factory())
    assert 0.5 < found["task_optimum_ratio"] < 0.9
    assert found["goodput_ratio"] == pytest.approx(found["task_optimum_ratio"])
    alone = figures(steady(0.2, arrivals=6_000, calls_per_task=2), nothing)
    assert alone["task_optimum_ratio"] == pytest.approx(1, abs=0.005)


def test_sessions_and_proxies_are_compared() -> None:
    scenario = steady(0.3, arrivals=3_000, session_pages=3, think_ms=50.0, proxy=ProxySpec(count=2))
    found = figures(scenario, nothing)
    assert found["sessions_ratio"] == pytest.approx(1, abs=0.005)
    assert found["proxy_fairness"] == pytest.approx(1, abs=0.005)


def test_drift_is_the_last_tenth_over_the_second() -> None:
    scenario = steady(0.5, arrivals=4_000, event=(EventSpec(at_s=20, what="slots", factor=2.0),))
    assert figures(scenario, oracle_factory())["drift_ratio"] == 1


def answers(*stretches: tuple[float, float, float]) -> list[int]:
    """Instants from second to second at a rate."""
    return [
        int((begin + index / rate) * NS_PER_S)
        for begin, end, rate in stretches
        for index in range(int((end - begin) * rate))
    ]


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ([(0, 30, 1000)], 0.0),
        ([(0, 10, 1000), (12, 30, 1000)], 2.0),
        ([(0, 10, 1000)], 20.0),
        # Well for less than a second in between.
        ([(0, 10, 1000), (12, 12.6, 1000), (15, 30, 1000)], 5.0),
        # Not well at 90 %, which over 100 answers is within chance and over 1 000 is not.
        ([(0, 10, 1000), (10, 14, 400), (14, 30, 1000)], 4.0),
    ],
)
def test_recovery_lasts_until_a_whole_second_is_well(
    served: list[tuple[float, float, float]], expected: float
) -> None:
    scenario = Scenario(duration_s=30, recovers_from_s=(10.0,))
    oracle = answers((0, 30, 1000))
    assert recoveries_s(scenario, answers(*served), oracle) == [pytest.approx(expected, abs=0.06)]


def test_recovery_is_of_each_trigger_and_ends_with_the_next() -> None:
    scenario = Scenario(duration_s=30, recovers_from_s=(10.0, 20.0))
    oracle = answers((0, 30, 1000))
    served = answers((0, 10, 1000), (13, 20, 1000), (21, 30, 1000))
    assert recoveries_s(scenario, served, oracle) == pytest.approx([3, 1], abs=0.06)
    never = answers((0, 10, 1000), (21, 30, 1000))
    assert recoveries_s(scenario, never, oracle) == pytest.approx([10, 1], abs=0.06)
    assert recoveries_s(Scenario(duration_s=30), never, oracle) == []


def test_a_slow_service_is_judged_over_longer_windows() -> None:
    """Ten answers a second: a window takes ten seconds, or chance would decide."""
    scenario = Scenario(duration_s=100, recovers_from_s=(20.0,))
    oracle = answers((0, 100, 10))
    gaps = answers((0, 30, 10), (31, 60, 10), (61, 100, 10))
    assert recoveries_s(scenario, gaps, oracle) == [0]


def test_allowed_latency_is_twice_the_calm_or_ten_milliseconds_more() -> None:
    scenario = steady(0.5, arrivals=3_000, backend=BackendSpec(service_ms=2.0, law="constant"))
    world = run_world(scenario, nothing)
    references = run_references(scenario, 1, chance_of, sample_count=10)
    for calm_ms, allowed_ms in ((2, 12), (30, 60)):
        given = References(
            oracle=references.oracle,
            queue_oracle=references.queue_oracle,
            p99_calm_ns=calm_ms * NS_PER_MS,
        )
        found = measure(world, given)
        assert found["p99_ratio"] == pytest.approx(found["p99_ms"] / allowed_ms)


def test_recovery_has_a_figure_for_each_trigger_and_one_for_the_slowest() -> None:
    scenario = steady(0.5, arrivals=6_000, recovers_from_s=(10.0, 20.0))
    found = figures(scenario, nothing)
    assert found["recovery_s"] == found["recovery_s.1"] == found["recovery_s.2"] == 0


def test_a_share_of_few_is_left_out_and_its_counts_are_kept() -> None:
    """A tenth of 6 000 arrivals is too few for a share; over the seeds it may be enough."""
    mix = (("critical", 0.9), ("sheddable", 0.1))
    scenario = steady(0.5, arrivals=6_000, criticality=mix)
    references = run_references(scenario, 1, chance_of, sample_count=10)
    world = run_world(scenario, nothing)
    found = measure(world, references)
    assert "class_served_ratio.critical" in found
    assert "class_served_ratio.sheddable" not in found
    served, ended = counts(world, references.queue_oracle)["class_served_ratio.sheddable"]
    assert served == ended == pytest.approx(600, rel=0.2)


def test_refusals_are_counted_beside_those_of_our_queue() -> None:
    scenario = steady(2.0, arrivals=6_000)
    references = run_references(scenario, 1, chance_of, sample_count=10)
    found = counts(run_world(scenario, nothing), references.queue_oracle)
    assert found[REFUSED][0] == 0
    refused, ended = found[QUEUE_ORACLE_REFUSED]
    assert refused / ended == pytest.approx(0.5, abs=0.05)


def test_filling_is_over_what_keeps_the_backend_busy() -> None:
    held = figures(steady(2.0, arrivals=6_000, unscored_arrivals=500), oracle_factory())
    assert held["inside_max_ratio"] == 1
    assert held["inside_mean_ratio"] == pytest.approx(1, abs=0.02)
    assert held["uncounted_max_ratio"] == 0
    let_in = figures(steady(2.0, arrivals=6_000, unscored_arrivals=500), nothing)
    assert let_in["inside_max_ratio"] > 10


def test_work_that_a_controller_does_not_count_any_more_is_seen() -> None:
    """Clients leave after 30 ms, and a controller that thinks their slots free fills them again."""

    class Forgets(FixedControl):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            self.gone: list[Any] = []

        def orphan(self, permit: Any, *, now: Any) -> None:
            self.gone.append(permit)
            self.give_back(permit)

        def release(self, permit: Any, outcome: Any, **more: Any) -> Any:
            return () if permit in self.gone else super().release(permit, outcome, **more)

    scenario = steady(2.0, arrivals=6_000, timeout_ms=30.0)
    assert figures(scenario, lambda *_: Forgets(4))["uncounted_max_ratio"] >= 1
    assert figures(scenario, lambda *_: FixedControl(4))["uncounted_max_ratio"] == 0


def test_growth_is_of_the_limit_during_an_event_over_the_one_before() -> None:
    def growth(**event: Any) -> float | None:
        scenario = steady(0.5, arrivals=3_000, event=(EventSpec(**event),))
        return figures(scenario, oracle_factory()).get("limit_growth")

    assert growth(at_s=10, what="slots", factor=2.0) is None, "it has no end"
    assert growth(at_s=10, what="pause", for_s=2) == 0
    assert growth(at_s=0.0, what="pause", for_s=2) is None, "nothing was seen before it"


def test_the_worst_baseline_is_of_one_proxy_and_not_of_all() -> None:
    """Of two proxies one takes three times the latency for its own after a restart."""

    class Knows(NoControl):
        def __init__(self, baseline_ns: int) -> None:
            super().__init__()
            self.baseline_ns = baseline_ns

        def reading(self) -> Any:
            return super().reading()._replace(baseline_ns=self.baseline_ns)

    def make(world: World, now: int, index: int) -> Knows:
        return Knows(60 if now else 20)

    restart = EventSpec(at_s=15, what="restart_proxy", count=1)
    scenario = steady(0.5, arrivals=3_000, proxy=ProxySpec(count=2), event=(restart,))
    assert figures(scenario, make)["baseline_worst_ratio"] == 3
    alone = steady(0.5, arrivals=3_000, event=(restart,))
    assert "baseline_worst_ratio" not in figures(alone, make)
