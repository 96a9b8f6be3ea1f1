"""What the app is told, read when it asks."""

from __future__ import annotations

from shedproxy.core import Criticality, Outcome
from shedproxy.dataplane.asgi import ShedState
from shedproxy.testing import a_request


class Nobody:
    def on_verdict(self, decision): ...


def test_values_are_of_the_moment(a_driver):
    driver = a_driver(limit=4)
    info = a_request(criticality=Criticality.SHEDDABLE, route="reports")
    state = ShedState(driver, info)
    assert (state.criticality, state.route, state.cell) == (
        Criticality.SHEDDABLE,
        "reports",
        "default",
    )
    permits = [driver.arrive(info, Nobody()) for _ in range(3)]
    driver.publish_gauges()
    assert (state.limit, state.in_flight, state.remaining) == (4, 3, 0.25)
    before = state.pressure
    assert 0 <= before <= 1
    for permit in permits:
        driver.release(permit, Outcome.SUCCESS)
    driver.publish_gauges()
    assert (state.in_flight, state.remaining) == (0, 1.0)


def test_nothing_remains_of_nothing(a_driver):
    assert ShedState(a_driver(), a_request()).remaining == 0.0


def test_it_reads_well(a_driver):
    assert repr(ShedState(a_driver(), a_request())).startswith("ShedState('default', critical,")
