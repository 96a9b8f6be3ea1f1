"""How many streams a service holds: found, bounded by what was tried, and each doubt has a name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.calibrations import SLO
from harness.streams import StreamService

from shedproxy.calibration.residents import ResidentPlan, find_residents, judge_level
from shedproxy.calibration.results import ResidentLevel
from shedproxy.core import milliseconds
from shedproxy.loadgen.requests import RequestSet, RequestSpec

PLAN = ResidentPlan(
    url="http://127.0.0.1:1", path="/events", kind="sse", most=64, slo=SLO, ordinary_rps=50.0,
    open_s=0.2, hold_s=0.1, memory_max=1_000_000,
)  # fmt: skip
GOOD = ResidentLevel(
    open_count=100, opened_count=50, failed_count=0, first_byte_p99_ns=milliseconds(5),
    ordinary_count=200, ordinary_failed_count=0, ordinary_p99_ns=milliseconds(30),
    memory_bytes=500_000, is_good=True,
)  # fmt: skip
IDLE = replace(GOOD, open_count=0, ordinary_p99_ns=milliseconds(25))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"failed_count": 1}, "1 of 100 streams were refused or broke"),
        ({"first_byte_p99_ns": milliseconds(251)}, "first byte took 251 ms"),
        ({"ordinary_failed_count": 2}, "2 of 200 ordinary requests failed"),
        ({"ordinary_p99_ns": milliseconds(260)}, "ordinary requests took 260 ms at p99"),
        ({"ordinary_p99_ns": milliseconds(60)}, "60 ms at p99 instead of 25 ms"),
        ({"memory_bytes": 900_000}, "holds 90% of the memory"),
    ],
)
def test_what_degrades_is_named(changes: dict[str, int], says: str) -> None:
    assert judge_level(GOOD, IDLE, PLAN).is_good
    judged = judge_level(replace(GOOD, **changes), IDLE, PLAN)
    assert not judged.is_good
    assert says in judged.reasons[0]


def test_what_is_not_known_is_no_reason() -> None:
    unknown = replace(GOOD, first_byte_p99_ns=None, ordinary_p99_ns=None, memory_bytes=None)
    assert judge_level(unknown, IDLE, PLAN).is_good
    assert judge_level(GOOD, None, PLAN).is_good


def test_a_service_that_bears_so_many_is_found_out() -> None:
    # On a busy machine latency may grow by itself: fewer are found then, never more.
    calm = replace(SLO, latency_ns=milliseconds(2_000))
    for _ in range(3):
        with StreamService(streams_max=13) as service:
            plan = replace(PLAN, url=service.url, slo=calm, memory_max=None)
            fit = find_residents(plan, RequestSet([RequestSpec()]))
        assert fit.limit is not None
        assert fit.limit <= 13
        if fit.limit >= 8:
            break
    assert fit.limit >= 8
    assert fit.is_bound
    assert fit.reason.startswith(f"{fit.limit} streams did no harm; with ")
    assert fit.levels[0].open_count == 0
