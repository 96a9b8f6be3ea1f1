"""Findings beside the capacity are part of the report, and come back out of it."""

from __future__ import annotations

import json

from shedproxy.calibration.measurement import Interval
from shedproxy.calibration.side_findings import (
    ObservedLoad,
    RefusalCost,
    ResidentLevel,
    ResidentsFit,
)
from shedproxy.core import milliseconds, seconds
from shedproxy.snapshot import from_plain, to_plain

LEVEL = ResidentLevel(
    open_count=64, opened_count=32, failed_count=0, first_byte_p99_ns=milliseconds(3),
    ordinary_count=200, ordinary_failed_count=0, ordinary_p99_ns=milliseconds(30),
    memory_bytes=None, is_good=True,
)  # fmt: skip
FOUND = (
    ObservedLoad(
        point_count=1, span_ns=seconds(10), upstreams=1, highest_in_flight=1.0, highest_rps=10.0,
        points=((1.0, 10.0, 100.0),),
    ),
    RefusalCost(
        ratio=Interval(value=0.3, low=0.2, high=0.4), served_ns=milliseconds(0.1),
        refused_ns=milliseconds(0.03), best_goodput=((3.0, 0.14),), full_ratio=None,
    ),
    ResidentsFit(
        path="/events", kind="sse", limit=64, is_bound=False, ordinary_rps=20.0, levels=(LEVEL,)
    ),
)  # fmt: skip


def test_they_survive_the_report() -> None:
    for found in FOUND:
        text = json.dumps(to_plain(found))
        assert from_plain(type(found), json.loads(text)) == found
