"""What is said upward: all of it, every time, in one size, and quietly."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shedproxy.core import RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Meter
from shedproxy.observability.metric_labels import DURATION_BOUNDS
from shedproxy.observability.reading import samples
from shedproxy.snapshot import STATUS_REPORT_SIZE, decode_report
from shedproxy.store import PlaceFailedError
from shedproxy.supervisor.upward import Upward, binary_digest, traffic_of

pytestmark = pytest.mark.anyio

FEED = SimpleNamespace(
    instance="edge-1",
    in_force=SimpleNamespace(digest="sha256:1"),
    revision=7,
    highest=8,
    refusal=None,
    refused_revision=0,
    is_stale=False,
)


class Bench:
    def __init__(self) -> None:
        self.meter = Meter()
        self.sent: list[bytes] = []
        self.is_gone = False
        self.events: list[str] = []
        self.upward = Upward(
            self,
            feed=FEED,
            facts=lambda: {"mode": "enforce", "is_live": True},
            samples=lambda: samples([self.meter.slots], ["default"]),
            report=lambda event, _: self.events.append(event),
            wall=lambda: 5.0,
        )

    async def write(self, data: bytes) -> None:
        if self.is_gone:
            raise PlaceFailedError("gone")
        self.sent.append(data)

    async def close(self) -> None:
        self.is_gone = True


async def test_a_report_says_what_runs_and_how_it_does():
    bench = Bench()
    for status, duration_ms in ((200, 8), (200, 30), (503, 30), (0, 30)):
        bench.meter.on_admitted(0, 2, 0)
        bench.meter.on_finished(0, 2, status, duration_ms * 1_000_000, True)
    for cell, fault in ((-1, Fault.HEAD_TOO_LARGE), (0, Fault.BODY_TOO_LARGE), (0, Fault.INTERNAL)):
        bench.meter.on_fault(cell, fault)
    bench.meter.on_admitted(0, 2, 0)
    bench.meter.on_finished(0, 2, 404, 30 * 1_000_000, True)
    bench.meter.on_rejected(0, 2, 1)
    bench.meter.on_rejected(0, 2, RejectReason.QUEUE_FULL)
    bench.meter.on_would_reject(0, 2, 1)
    bench.meter.on_bypass(0)
    await bench.upward.send()
    await bench.upward.send()
    first, second = (decode_report(data) for data in bench.sent)
    assert {len(data) for data in bench.sent} == {STATUS_REPORT_SIZE}
    assert (first.instance, first.revision, first.snapshot_digest) == ("edge-1", 7, "sha256:1")
    assert (first.heartbeat, second.heartbeat) == (1, 2)
    assert first.boot_id == second.boot_id
    assert first.boot_id != Bench().upward.make().boot_id
    assert (first.requests, first.errors, first.sheds) == (8, 1, 3)
    assert (first.limited, first.client_errors, first.bounded) == (2, 1, 2)
    assert sum(first.durations) == 5
    assert (first.p99_ms, second.p99_ms) == (50.0, 0.0)


async def test_a_failure_is_said_once_and_counted():
    bench = Bench()
    bench.is_gone = True
    for _ in range(3):
        await bench.upward.send()
    assert bench.events == ["report not sent"]
    counted = {labels: value for _, labels, value in bench.upward.samples()}
    assert counted == {("sent",): 0, ("failed",): 3}


async def test_nowhere_is_a_place_too():
    upward = Bench().upward
    upward._place = None
    await upward.send()
    await upward.close()
    assert upward.make().heartbeat == 1


async def test_nothing_served_is_zeros():
    traffic = traffic_of(samples([Meter().slots], ["default"]))
    assert traffic["requests"] == 0
    assert traffic["durations"] == (0,) * (len(DURATION_BOUNDS) + 1)


async def test_the_digest_is_that_of_the_code():
    assert binary_digest() == binary_digest()
    assert len(binary_digest()) == 71
