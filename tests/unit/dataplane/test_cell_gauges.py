from __future__ import annotations

from shedproxy.core import CellPolicy, Instant, LimitPolicy, Policy, RequestInfo, Shedder, seconds
from shedproxy.dataplane.cell_gauges import CellGauges
from shedproxy.observability.meter import Gauge, Meter


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
