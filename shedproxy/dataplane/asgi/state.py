"""What the app is told of the present load, so that it can answer cheaper before it must refuse."""

from __future__ import annotations

from shedproxy.core import Criticality, RequestInfo
from shedproxy.dataplane.driver import Driver
from shedproxy.observability.meter import Gauge

__all__ = ["ShedState"]


class ShedState:
    """`scope["state"]["shedproxy"]`, in Starlette and FastAPI `request.state.shedproxy`.

    Every value is read when it is asked for, so that an app that does not ask pays nothing, and
    one that asks late hears of the present.
    """

    __slots__ = ("_driver", "_info")

    def __init__(self, driver: Driver, info: RequestInfo) -> None:
        self._driver = driver
        self._info = info

    @property
    def pressure(self) -> float:
        """0 idle to 1 saturated: the cell's, now."""
        return self._driver.pressure(self._info.cell)

    @property
    def criticality(self) -> Criticality:
        """The class that was decided for this request."""
        return self._info.criticality

    @property
    def route(self) -> str:
        """Name of the rule or marked endpoint."""
        return self._info.route

    @property
    def cell(self) -> str:
        """Name of the cell."""
        return self._info.cell

    @property
    def limit(self) -> int:
        """Slots of the cell, of all workers that share it; at most a tenth of a second old."""
        return self._gauge(Gauge.HOST_LIMIT)

    @property
    def in_flight(self) -> int:
        """Slots taken, by all of these workers; at most a tenth of a second old."""
        return self._gauge(Gauge.HOST_IN_FLIGHT)

    @property
    def remaining(self) -> float:
        """Share of the slots that is free: 0 full to 1 empty."""
        limit = self.limit
        return max(0.0, 1.0 - self.in_flight / limit) if limit > 0 else 0.0

    def _gauge(self, gauge: Gauge) -> int:
        driver = self._driver
        return driver.meter.gauge(driver.cell_index(self._info.cell), gauge)

    def __repr__(self) -> str:
        return f"ShedState({self.route!r}, {self.criticality.label}, pressure {self.pressure:.2f})"
