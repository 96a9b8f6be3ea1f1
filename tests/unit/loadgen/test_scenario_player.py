"""What of a scenario can be played live is played, and what cannot is named."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from shedproxy.core import Criticality, Nanos, milliseconds
from shedproxy.loadgen import PlayerHealth, StationReport
from shedproxy.loadgen.scenario_player import Intention, LiveRun, play_scenario, unplayable
from shedproxy.workload import constant_arrivals, summarise
from shedproxy.workload.scenario import (
    BackendSpec,
    ClientSpec,
    EventSpec,
    Expectation,
    ProfileSpec,
    ProxySpec,
    Scenario,
)
from shedproxy.workload.scenario_document import decode_scenario

SUITE = Path(__file__).resolve().parents[3] / "loadtests" / "scenarios"

PLAYABLE = Scenario(
    duration_s=9,
    unscored_arrivals=3,
    deadline_ms=500,
    recovers_from_s=(4,),
    backend=BackendSpec(slots=2, service_ms=5, law="lognormal", cv=0.5),
    client=(
        ClientSpec(
            load=0.5,
            schedule=((2, 3), (4, 1)),
            ramp=True,
            burst_every_ms=1000,
            burst_ms=100,
            burst_factor=3,
            criticality=(("critical", 1), ("sheddable", 2)),
        ),
        ClientSpec(name="late", rate_rps=50, arrivals="constant", start_s=3, stop_s=5),
        ClientSpec(name="burst", arrivals="at_once", requests=20),
    ),
    proxy=ProxySpec(noise_us=100),
    profile=ProfileSpec(start=2),
    expect=(Expectation(metric="goodput_ratio", at_least=0.9),),
)


def test_open_clients_before_slots_can_be_played() -> None:
    """And what is there for the simulator's eyes is no obstacle."""
    assert unplayable(PLAYABLE) == []


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ({"kind": "sharing"}, 'kind = "sharing" of backend'),
        ({"law": "recorded", "recorded_ms": (1.0,)}, 'law = "recorded" of backend'),
        ({"hosts": 2}, "hosts = 2 of backend"),
        ({"cancels": True}, "cancels = True of backend"),
        ({"network_ms": 1.0}, "network_ms = 1.0 of backend"),
        ({"queue_max": 9}, "queue_max = 9 of backend"),
    ],
)
def test_a_backend_that_is_no_station_is_refused(backend: dict[str, Any], named: str) -> None:
    problems = unplayable(replace(PLAYABLE, backend=BackendSpec(**backend)))
    assert problems[0].startswith(named)


@pytest.mark.parametrize(
    ("client", "named"),
    [
        ({"load": None, "arrivals": "closed", "users": 3}, "closed arrivals of client"),
        ({"cohort": "user"}, 'cohort = "user" of client'),
        ({"attempts": 3}, "attempts = 3 of client"),
        ({"tenants": 5}, "tenants = 5 of client"),
        ({"announces_deadline": True}, "announces_deadline = True of client"),
        ({"timeout_ms": 100.0}, "timeout_ms = 100.0 of client"),
        ({"service_factor": 2.0}, "service_factor = 2.0 of client"),
    ],
)
def test_clients_that_do_more_than_ask_are_refused_by_name(
    client: dict[str, Any], named: str
) -> None:
    clients = (PLAYABLE.client[0], ClientSpec(name="others", **{"load": 0.1, **client}))
    problems = unplayable(replace(PLAYABLE, client=clients))
    assert problems[0].startswith(f'{named} "others"')


@pytest.mark.parametrize(
    ("scenario", "named"),
    [
        ({"event": (EventSpec(at_s=2, what="outage", for_s=1),)}, "event outage at 2 s"),
        ({"proxy": ProxySpec(count=2)}, "count = 2 of proxy"),
        ({"queue_length_max": 5}, "queue_length_max"),
    ],
)
def test_what_happens_to_the_proxy_or_in_between_is_refused(
    scenario: dict[str, Any], named: str
) -> None:
    [problem] = unplayable(replace(PLAYABLE, **scenario))
    assert problem.startswith(named)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    client = replace(PLAYABLE.client[0], attempts=2, tenants=3)
    backend = replace(PLAYABLE.backend, hosts=2)
    assert len(unplayable(replace(PLAYABLE, client=(client,), backend=backend))) == 3


def test_every_key_of_a_client_is_played_or_refused() -> None:
    """A key that is added to the language is refused until somebody says that it is played."""
    played = {
        *("name", "arrivals", "load", "rate_rps", "schedule", "ramp", "burst_every_ms"),
        *(
            "burst_ms",
            "burst_factor",
            "quiet_factor",
            "start_s",
            "stop_s",
            "requests",
            "criticality",
            "cohort",
        ),
    }
    for key in {field.name for field in fields(ClientSpec)} - played:
        client = replace(PLAYABLE.client[0], **{key: "something else"})
        assert len(unplayable(replace(PLAYABLE, client=(client,)))) == 1, key


def test_scenarios_that_say_live_can_be_played() -> None:
    suite = [decode_scenario(tomllib.loads(file.read_text())) for file in SUITE.glob("*.toml")]
    live = {scenario.name: unplayable(scenario) for scenario in suite if scenario.live}
    assert len(live) >= 8
    assert not any(live.values()), live


def run(**more: Any) -> LiveRun:
    lateness_ns = more.pop("lateness_p99_ns", Nanos(0))
    numbers = dict.fromkeys((field.name for field in fields(StationReport)), Nanos(0))
    health = {"send_lag_p99_ns": Nanos(0), "not_sent": 0, **more}
    return LiveRun(
        rows=[],
        summary=summarise([], duration_ns=Nanos(1), deadline_ns=Nanos(1)),
        capacity_rps=1,
        busy_ratio=1,
        health=PlayerHealth(**health),
        station=StationReport(**{**numbers, "lateness_p99_ns": lateness_ns}),
        late_max_ns=milliseconds(2),
    )


def test_a_run_is_void_when_generator_or_station_was_late() -> None:
    """And says by how much, and how much would have been allowed."""
    assert run(send_lag_p99_ns=milliseconds(2), lateness_p99_ns=milliseconds(2)).faults == []
    late = run(send_lag_p99_ns=milliseconds(2.5), lateness_p99_ns=milliseconds(30), not_sent=7)
    assert late.faults == [
        "the generator sent 2.5 ms late at p99 (at most 2)",
        "the station answered 30.0 ms late at p99 (at most 2)",
        "the generator could not send 7 requests",
    ]


def asked(rate_rps: float, duration_ns: Nanos, criticality: Criticality) -> list[Intention]:
    arrivals = constant_arrivals(rate_rps=rate_rps, duration_ns=duration_ns)
    return [(offset_ns, criticality) for offset_ns in arrivals]


@pytest.mark.integration
def test_a_scenario_is_played_through_the_real_proxy() -> None:
    """A calm half second: all are served, the cold start is not scored, and 100 x 5 ms were worked.

    The highest class is believed, which a stranger's is not.
    """
    scenario = Scenario(
        duration_s=0.5,
        unscored_arrivals=20,
        backend=BackendSpec(slots=4, service_ms=5, law="constant"),
    )
    intentions = asked(200, milliseconds(500), Criticality.CRITICAL_PLUS)
    played = play_scenario(scenario, intentions, seed=1)
    assert [row.status for row in played.rows] == [200] * 100
    assert played.rows == sorted(played.rows, key=lambda row: row.intended_at)
    assert (played.summary.offered, played.summary.served) == (80, 80)
    assert played.summary.offered_rps == pytest.approx(80 / 0.4)
    assert played.capacity_rps == 800
    assert played.busy_ratio == pytest.approx(0.25)
    assert played.late_max_ns == milliseconds(1)
