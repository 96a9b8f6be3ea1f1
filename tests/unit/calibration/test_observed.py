"""What live points bear out is claimed, and nothing beyond the loads that were there."""

from __future__ import annotations

import json
import math
import random

import pytest
from harness.observed import seen

from shedproxy.calibration.observed import POINTS_MIN, fit_points, read_points
from shedproxy.errors import StartupError
from shedproxy.observability.load_points import LoadPoint, LoadPoints


@pytest.mark.parametrize(
    ("slots", "service_ms", "law"), [(4, 20.0, "exponential"), (8, 20.0, "constant")]
)
def test_a_service_that_was_seen_busy_has_its_capacity_found(
    slots: int, service_ms: float, law: str
) -> None:
    fit = fit_points(seen(slots, service_ms, law, upto=0.95))
    assert fit.capacity_rps is not None
    assert fit.knee is not None
    assert fit.service_ns is not None
    truth = 1000 * slots / service_ms
    assert fit.capacity_rps.low <= truth <= fit.capacity_rps.high
    assert fit.capacity_rps.value == pytest.approx(truth, rel=0.08)
    assert fit.service_ns.value == pytest.approx(service_ms * 1e6, rel=0.08)
    assert fit.missing == ()
    assert fit.changed_ratio is None


def test_a_service_that_was_never_busy_has_a_floor_only() -> None:
    fit = fit_points(seen(16, 40.0, "exponential", upto=0.6))
    assert fit.is_enough
    assert fit.capacity_rps is None
    assert fit.knee is None
    assert 7 <= fit.highest_in_flight <= 11
    (missing,) = fit.missing
    assert missing.startswith("highest in-flight seen was ")
    assert missing.endswith(": floor only")


def test_latency_that_load_does_not_move_is_no_knee() -> None:
    points = [
        LoadPoint(10.0 * n, 10.0, 1000 * n, 0, 0, 0, 2.5 * n, 25.0 * (1 + n % 3 / 100), 1)
        for n in range(1, 60)
    ]
    fit = fit_points(points)
    assert fit.knee is None
    assert "no knee seen: floor only" in fit.missing[0]


def test_few_points_are_not_enough_data() -> None:
    points = seen(4, 20.0, "exponential", upto=0.95, count=POINTS_MIN - 1)
    fit = fit_points(points)
    assert not fit.is_enough
    assert fit.missing[0].startswith("not enough data: 29 sound points")
    assert fit_points([]).missing[0].startswith("not enough data: 0 ")


def test_points_of_errors_or_of_another_number_of_upstreams_do_not_count() -> None:
    points = seen(4, 20.0, "exponential", upto=0.95)
    broken = [point._replace(failed=point.ended, latency_ms=1.0) for point in points]
    lost = [point._replace(upstreams=2) for point in points[: len(points) // 2]]
    assert fit_points([*points, *broken, *lost]).point_count == len(points)


def behind_a_limit(
    slots: int, service_s: float, *, limit: int, room: int, shares: tuple[float, ...]
) -> list[LoadPoint]:
    """Exact means of a service that gets at most `limit` at once, with `room` to wait before it."""
    rng, points = random.Random(1), []
    for n in range(120):
        offered_rps = shares[n % len(shares)] * rng.uniform(0.95, 1.05) * slots / service_s
        chances = [1.0]
        for count in range(1, limit + room + 1):
            chances.append(chances[-1] * offered_rps * service_s / min(count, slots, limit))
        chances = [chance / math.fsum(chances) for chance in chances]
        rate_rps = offered_rps * (1 - chances[-1])
        in_flight = math.fsum(min(count, limit) * chance for count, chance in enumerate(chances))
        points.append(
            LoadPoint(
                at_s=1e6 + 10 * n,
                length_s=10.0,
                ended=round(10 * rate_rps),
                failed=0,
                waited=round(10 * offered_rps * math.fsum(chances[limit:-1])),
                refused=round(10 * offered_rps * chances[-1]),
                in_flight=in_flight,
                latency_ms=1e3 * in_flight / rate_rps,
                upstreams=1,
            )
        )
    return points


def test_no_knee_is_made_of_points_that_a_limit_cut_off() -> None:
    shares = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.5)
    fit = fit_points(behind_a_limit(10, 0.05, limit=20, room=20, shares=shares))
    assert fit.is_enough
    assert fit.capacity_rps is None
    assert 5 < fit.highest_in_flight < 10
    assert "no knee seen" in fit.missing[0] or "of what it might carry" in fit.missing[0]
    assert "points more were left out, in which the limit made requests wait" in fit.missing[1]


@pytest.mark.parametrize(("limit", "carried"), [(6, 6), (12, 10), (200, 10)])
def test_a_limit_that_held_requests_back_mostly_leaves_a_floor(limit: int, carried: int) -> None:
    """Ten slots: no limit, however far beyond them, makes the floor higher than that."""
    shares = (0.15, *[1.5, 2.0, 3.0] * 4)
    fit = fit_points(behind_a_limit(10, 0.05, limit=limit, room=20, shares=shares))
    assert fit.is_enough
    assert fit.capacity_rps is None
    assert fit.highest_in_flight == pytest.approx(carried, rel=0.03)
    assert fit.highest_rps == pytest.approx(carried / 0.05, rel=0.03)
    (missing,) = fit.missing
    assert f"the service carried {fit.highest_rps:.0f}/s" in missing
    assert missing.endswith("floor only")


def test_a_limit_that_held_requests_back_all_the_time_leaves_not_enough_data() -> None:
    fit = fit_points(behind_a_limit(10, 0.05, limit=200, room=20, shares=(2.0,)))
    assert not fit.is_enough
    assert fit.missing[0].startswith("not enough data: 0 sound points")
    assert fit.missing[1].startswith("120 points more were left out")
    assert "mode observe" in fit.missing[1], "what to do"


def test_a_limit_that_held_nothing_back_costs_no_knee() -> None:
    shares = (0.3, 0.5, 0.7, 0.8, 0.9)
    fit = fit_points(behind_a_limit(10, 0.05, limit=200, room=20, shares=shares))
    assert fit.capacity_rps is not None
    assert fit.capacity_rps.value == pytest.approx(200, rel=0.02)


def test_a_service_that_changed_is_told() -> None:
    before = seen(4, 20.0, "exponential", upto=0.6)
    after = [
        point._replace(at_s=point.at_s + 1e6) for point in seen(4, 30.0, "exponential", upto=0.6)
    ]
    changed = fit_points([*before, *after]).changed_ratio
    assert changed is not None
    assert changed > 1.12


def test_a_mix_that_fits_no_curve_claims_no_knee() -> None:
    rng = random.Random(1)
    points = [
        LoadPoint(10.0 * n, 10.0, 2000, 0, 0, 0, 200 * latency_s, 1e3 * latency_s, 1)
        for n in range(80)
        for latency_s in [math.exp(3 * rng.random()) / 200]
    ]
    points = [point._replace(ended=round(point.ended * (1 + 3 * rng.random()))) for point in points]
    fit = fit_points(points)
    assert fit.knee is None
    assert fit.missing[0].endswith(": floor only")


def test_points_are_read_as_the_listener_shows_them() -> None:
    text = json.dumps(LoadPoints().view())
    assert read_points(text, "default") == []
    row = [1.0, 10.0, 200, 0, 0, 0, 2.0, 100.0, 1]
    shown = LoadPoints().view() | {"cells": {"a": [row]}}
    assert read_points(json.dumps(shown), "a") == [LoadPoint(*row)]
    with pytest.raises(StartupError, match="no points of cell 'b'; there are: a"):
        read_points(json.dumps(shown), "b")


def test_points_of_a_newer_schema_are_not_taken_for_few() -> None:
    newer = LoadPoints().view() | {"schema": 99}
    with pytest.raises(StartupError, match="schema 99.* newer"):
        read_points(json.dumps(newer), "default")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "shedproxy-points"}',
     '{"format": "shedproxy-points", "schema": 1, "columns": [], "cells": {}}'],
)  # fmt: skip
def test_what_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(StartupError, match="points"):
        read_points(text, "default")
