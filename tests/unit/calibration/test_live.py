"""Orders played at a real service."""

from __future__ import annotations

import pytest

from shedproxy.calibration.live import LivePlayer
from shedproxy.calibration.measurement import Phase
from shedproxy.calibration.orders import Order
from shedproxy.core import Criticality, seconds
from shedproxy.loadgen.requests import RequestSet, RequestSpec
from shedproxy.loadgen.station import Station


def order(**changes: object) -> Order:
    values: dict[str, object] = {
        "phase": Phase.CLOSED, "pass_number": 1, "length_ns": seconds(0.6),
        "settle_ns": seconds(0.1), "seed": 1,
    }  # fmt: skip
    return Order(**(values | changes))


def test_closed_and_open_orders_are_played_with_routes_and_classes() -> None:
    requests = RequestSet(
        [RequestSpec(path="/a"), RequestSpec(path="/b", criticality=Criticality.SHEDDABLE)]
    )
    told: list[float] = []
    with Station(slots=4, service_ms=10) as station:
        player = LivePlayer(
            station.url, requests, deadline_ns=seconds(2), watch=lambda _, share: told.append(share)
        )
        closed = player.play(order(concurrency=2))
        opened = player.play(
            order(phase=Phase.OPEN, planned_rps=100.0, then_rps=50.0, then_ns=seconds(0.4))
        )
        steady = LivePlayer(station.url, requests, deadline_ns=seconds(2), arrivals="constant")
        constant = steady.play(order(phase=Phase.OPEN, planned_rps=100.0))
        dropped = player.play(order(phase=Phase.OPEN, planned_rps=2000.0, in_flight_max=5))
    # Two at a time, ten milliseconds each, for 0.6 s; on a busy machine each takes longer.
    assert len(closed.rows) <= 121
    assert sum(row.done_at - row.sent_at for row in closed.rows) > seconds(0.8)
    assert {row.route for row in closed.rows} == {0, 1}
    assert {row.criticality for row in closed.rows if row.route == 1} == {Criticality.SHEDDABLE}
    assert all(row.status == 200 for row in closed.rows)
    assert any(row.intended_at > opened.stopped_at for row in opened.rows)
    assert opened.planned_count == len(opened.rows)
    assert constant.planned_count == 60
    assert dropped.ended_early
    assert dropped.stopped_at < dropped.started_at + seconds(0.6)
    assert told
    assert closed.cpu_ns > 0


def test_only_http_is_played() -> None:
    player = LivePlayer("https://127.0.0.1:1", RequestSet([RequestSpec()]), deadline_ns=seconds(1))
    with pytest.raises(ValueError, match="http://"):
        player.play(order(concurrency=1))
