"""Levels are weighted by the time they were held, rates by the time before; the rest is idle."""

from __future__ import annotations

from typing import Any

import pytest
from harness.worlds import run_world

from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.controllers.vector_arc import VectorArcControl
from shedproxy.simulator.vector_figures import VectorFigures
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, ProxySpec, Scenario


def figures(limit: int = 1, *, proxies: int = 1, **more: Any) -> dict[str, float]:
    """Of a run with so many slots on a server that always takes 100 ms."""
    backend = BackendSpec(kind="knee", law="constant", service_ms=100)
    event = more.pop("event", ())
    scenario = Scenario(
        duration_s=10,
        deadline_ms=20_000,
        backend=backend,
        client=(ClientSpec(retries_until_served=True, **more),),
        event=event,
        proxy=ProxySpec(count=proxies),
    )
    world = run_world(
        scenario,
        lambda *_: VectorArcControl(initial=limit, maximum=limit, decrease_ratio=1.0),
        make_checkers=VectorFigures,
    )
    assert isinstance(world.checkers, VectorFigures)
    return world.checkers.figures()


def test_levels_count_for_as_long_as_they_were_held() -> None:
    """Five at once on two slots: two, two, and one for the last 100 ms of 300."""
    seen = figures(2, arrivals="at_once", requests=5)
    for name in ("server_in_flight", "in_flight"):
        assert seen[f"{name}_max"] == 2
        assert seen[f"{name}_mode"] == 2
        assert seen[f"{name}_mean"] == pytest.approx(5 / 3)
    assert seen["limit_mean"] == seen["limit_max"] == seen["limit_mode"] == 2


def test_pauses_between_requests_count_and_the_time_after_the_last_does_not() -> None:
    """100 ms of work, 100 ms of rest, 100 ms of work, and then nothing for seconds."""
    seen = figures(arrivals="constant", rate_rps=5, requests=2)
    assert seen["in_flight_mean"] == pytest.approx(2 / 3)
    assert seen["in_flight_mode"] == 1


def test_of_two_levels_held_equally_long_the_mode_is_the_higher() -> None:
    """One and two requests for 100 ms each."""
    assert figures(2, arrivals="at_once", requests=3)["in_flight_mode"] == 2


def test_rate_found_at_an_event_counts_for_the_time_before_it() -> None:
    """At each answer one, two and three had been started, the next not yet."""
    seen = figures(arrivals="at_once", requests=3)
    assert seen["server_rate_max"] == 3
    assert seen["server_rate_mean"] == pytest.approx(2)


def test_rate_forgets_what_was_started_a_second_ago() -> None:
    """Ten slots, each used every 100 ms: the start at 0 is over when the answer at 1 s comes."""
    assert figures(10, arrivals="at_once", requests=300)["server_rate_max"] == 90


def test_round_trips_begin_when_the_request_is_let_through() -> None:
    """Waiting for the slot is none of it."""
    seen = figures(arrivals="at_once", requests=4)
    assert seen["rtt_min_s"] == seen["rtt_max_s"] == pytest.approx(0.1)
    assert seen["rtt_mean_s"] == pytest.approx(0.1)


def test_failures_are_no_round_trips_but_take_their_time() -> None:
    """Refused by the server at once: starts that raise the rate, and no latency of zero."""
    outage = EventSpec(at_s=0.05, what="outage", for_s=0.2)
    seen = figures(arrivals="at_once", requests=3, event=(outage,))
    assert seen["rtt_min_s"] == pytest.approx(0.1)
    assert seen["server_rate_max"] > 3


def test_proxies_are_added_up() -> None:
    """Two slots each."""
    seen = figures(2, proxies=3, arrivals="at_once", requests=60)
    assert seen["limit_max"] == 6
    assert seen["in_flight_max"] == seen["server_in_flight_max"] == 6


def test_where_nothing_happened_there_are_no_figures() -> None:
    assert figures(arrivals="constant", rate_rps=0.01) == {}


def test_watched_controller_offers_what_it_offers_unwatched() -> None:
    """A proxy asks for `on_stall` and the like by name."""
    controller = NoControl()
    controller.on_stall = "told"
    watched = VectorFigures(None).watch(controller)
    assert watched.on_stall == "told"
    assert not hasattr(watched, "memory")
