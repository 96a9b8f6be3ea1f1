from __future__ import annotations

from dataclasses import replace

from shedproxy.core import CellPolicy, Instant, LimitPolicy, Policy, RequestInfo, Shedder, seconds
from shedproxy.dataplane.cell_gauges import CellGauges
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.metric import SpillSide


def test_the_present_of_each_cell_is_written_under_its_number() -> None:
    limit = LimitPolicy(algorithm="fixed", initial=7, minimum=7, maximum=7)
    policy = Policy(cells=(CellPolicy(limit=limit), CellPolicy(name="slow")))
    shedder = Shedder(policy, now=Instant(0))
    shedder.arrive(RequestInfo(route="r"), now=Instant(seconds(1)))
    meter = Meter()
    gauges = CellGauges(meter)
    gauges.publish(shedder.stats(), {"default": 3, "slow": 0})
    assert meter.gauge(3, Gauge.LIMIT) == 7
    assert meter.gauge(3, Gauge.IN_FLIGHT) == 1
    assert meter.gauge(0, Gauge.IN_FLIGHT) == 0


def test_what_cells_sent_and_took_is_counted_once() -> None:
    stats = Shedder(Policy(cells=(CellPolicy(), CellPolicy(name="b"))), now=Instant(0)).stats()
    first, second = stats.cells
    meter = Meter()
    gauges = CellGauges(meter)

    def publish(sent: int, taken: int, **present: int) -> tuple[int, int]:
        cells = (replace(first, sent_count=sent), replace(second, taken_count=taken, **present))
        gauges.publish(replace(stats, cells=cells), {"default": 0, "b": 1})
        return meter.spilled(0, SpillSide.SENT), meter.spilled(1, SpillSide.TAKEN)

    assert publish(3, 3, guests=2, guest_room=4) == (3, 3)
    assert (meter.gauge(1, Gauge.GUESTS), meter.gauge(1, Gauge.GUEST_ROOM)) == (2, 4)
    assert publish(3, 3) == (3, 3)
    assert publish(5, 4) == (5, 4)
    assert publish(1, 0) == (5, 4), "a cell that was removed and came back begins anew"
    assert publish(2, 1) == (6, 5)
