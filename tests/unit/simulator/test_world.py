"""A run agrees with queueing theory, and is the same whenever and wherever it is run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.worlds import erlang_c, oracle, ours, run_world, steady

from shedproxy.core import NS_PER_MS
from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, ProxySpec, Scenario

TESTS = Path(__file__).resolve().parents[2]


def nothing(world: World, now: Any, index: int) -> NoControl:
    return NoControl()


def mean_ms(world: World) -> float:
    latencies = world.tally.latencies_ns
    return sum(latencies) / len(latencies) / NS_PER_MS


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (4, 0.8), (16, 0.8)])
def test_waiting_in_front_of_exponential_slots_is_as_erlang_says(slots: int, load: float) -> None:
    """M/M/c: mean wait C(c, a) / (c mu (1 - load)), within three standard errors or so."""
    backend = BackendSpec(slots=slots, service_ms=20.0)
    world = run_world(steady(load, arrivals=60_000, backend=backend, deadline_ms=1e6), nothing)
    wait_ms = erlang_c(slots, load) * 20 / (slots * (1 - load))
    assert mean_ms(world) - 20 == pytest.approx(wait_ms, rel=0.12, abs=0.3)


def test_constant_service_waits_half_as_long() -> None:
    """M/D/1 by Pollaczek and Khinchine."""
    backend = BackendSpec(slots=1, service_ms=20.0, law="constant")
    world = run_world(steady(0.8, arrivals=60_000, backend=backend, deadline_ms=1e6), nothing)
    assert mean_ms(world) - 20 == pytest.approx(0.8 / 2 / 0.2 * 20, rel=0.08)


@pytest.mark.parametrize("law", ["exponential", "bimodal"])
def test_a_shared_core_answers_in_the_same_mean_time_whatever_the_law(law: str) -> None:
    """M/G/1 under processor sharing: 1 / (mu - lambda), insensitive to the law."""
    backend = BackendSpec(kind="sharing", slots=1, service_ms=20.0, law=law)
    world = run_world(steady(0.7, arrivals=60_000, backend=backend, deadline_ms=1e6), nothing)
    assert mean_ms(world) == pytest.approx(20 / 0.3, rel=0.08)


def test_too_many_at_once_lower_the_throughput_as_gunther_says() -> None:
    """30 users without pauses on a machine that is best with 10: X(30) = 30 / (1 + 0.01 x 870)."""
    scenario = Scenario(
        duration_s=60,
        backend=BackendSpec(kind="usl", service_ms=20.0, beta=0.01),
        client=(ClientSpec(arrivals="closed", users=30),),
        deadline_ms=1e6,
    )
    world = run_world(scenario, nothing)
    assert world.tally.served / 60 == pytest.approx(50 * 30 / 9.7, rel=0.03)
    assert world.tally.served < 60 * 50 * 10 / 1.9 / 1.6


def test_closed_users_keep_to_the_interactive_law() -> None:
    """Users = throughput x (response + think time)."""
    scenario = Scenario(
        duration_s=100,
        client=(ClientSpec(arrivals="closed", users=20, think_ms=200, think_law="exponential"),),
    )
    world = run_world(scenario, nothing)
    rps = world.tally.served / 100
    assert rps * (mean_ms(world) + 200) / 1000 == pytest.approx(20, rel=0.02)


def test_in_overload_without_control_nobody_is_served_in_time_and_work_is_wasted() -> None:
    world = run_world(steady(2.0, arrivals=20_000), nothing)
    tally = world.tally
    assert tally.served < 0.1 * tally.ended
    assert tally.useful_ns < 0.1 * world.backend.busy_ns


def digest(world: World) -> str:
    tally = world.tally
    text = repr((
        tally.offered, tally.served, tally.refused, tally.left, tally.inverted,
        tally.latencies_ns.tobytes(), tally.refused_at.tobytes(), sorted(tally.tenants or {}),
        [(s.at_ns, s.limit, s.in_flight, s.queue_length, s.refused_share) for s in world.samples],
    ))  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()


def eventful() -> Scenario:
    return steady(
        1.5,
        arrivals=4_000,
        backend=BackendSpec(slots=4, hosts=2, service_ms=10.0, law="lognormal", network_ms=1.0),
        criticality=(("critical", 1.0), ("sheddable", 1.0)),
        tenants=30,
        attempts=2,
        backoff_ms=20.0,
        unscored_arrivals=100,
        proxy=ProxySpec(count=2, noise_us=100.0),
        event=(
            EventSpec(at_s=0.5, what="pause", for_s=0.1),
            EventSpec(at_s=1.0, what="lose_hosts"),
            EventSpec(at_s=1.5, what="restart_proxy"),
            EventSpec(at_s=2.0, what="fast_failures", for_s=0.5, share=0.3),
            EventSpec(at_s=2.2, what="stall_proxy", for_s=0.05),
        ),
    )


def test_equal_seeds_give_equal_runs_and_others_do_not() -> None:
    first, second = (digest(run_world(eventful(), ours, seed=3)) for _ in range(2))
    assert first == second
    assert digest(run_world(eventful(), ours, seed=4)) != first


def test_the_order_of_hashes_decides_nothing() -> None:
    """The same run in processes whose sets and dicts of strings are ordered differently."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from unit.simulator.test_world import digest, eventful, ours, run_world; "
        "print(digest(run_world(eventful(), ours, seed=3)))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code, str(TESTS)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert printed == {digest(run_world(eventful(), ours, seed=3)) + "\n"}


def test_every_controller_meets_the_same_work() -> None:
    """What is asked for, and how long it takes, does not depend on who decides."""
    scenario = eventful()
    worlds = [run_world(scenario, controller, seed=5) for controller in (ours, oracle, nothing)]
    assert len({world.tally.offered for world in worlds}) == 1
    assert len({world.tally.begun_at.tobytes() for world in worlds}) == 1
    assert len({tuple(world.tally.class_offered) for world in worlds}) == 1


def test_samples_are_taken_evenly_and_none_when_none_are_wanted() -> None:
    scenario = steady(0.5, arrivals=2_000)
    world = run_world(scenario, ours, sample_count=50)
    assert len(world.samples) == 50
    assert world.samples[-1].at_ns == pytest.approx(scenario.duration_s * 1e9, rel=0.001)
    assert world.samples[0].capacity_rps == 200
    assert run_world(scenario, ours, sample_count=0).samples == []


def test_a_restarted_proxy_has_a_new_controller_and_nothing_is_lost() -> None:
    made = []

    def make(world: World, now: Any, index: int) -> Any:
        made.append((now, index))
        return ours(world, now, index)

    scenario = steady(
        0.5,
        arrivals=2_000,
        event=(
            EventSpec(at_s=5, what="restart_proxy"),
            EventSpec(at_s=8, what="churn_proxies", every_s=1, until_s=9.5),
        ),
    )
    world = run_world(scenario, make)
    assert made == [(0, 0), (5 * 10**9, 0), (8 * 10**9, 0), (9 * 10**9, 0)]
    assert world.tally.failed == 0
    assert world.tally.served + 10 > world.tally.offered


def test_calls_are_dealt_evenly_to_proxies() -> None:
    counts = [0, 0, 0]

    class Counting(NoControl):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

        def arrive(self, *args: Any, **more: Any) -> Any:
            counts[self.index] += 1
            return super().arrive(*args, **more)

    scenario = steady(0.5, arrivals=9_000, proxy=ProxySpec(count=3))
    run_world(scenario, lambda world, now, index: Counting(index))
    assert counts == pytest.approx([3_000] * 3, rel=0.05)
