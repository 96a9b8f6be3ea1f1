"""Zones that are weighed away for a while. A shift always ends, so that nobody can forget it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import NS_PER_S, Instant, Nanos, to_seconds
from shedproxy.snapshot import Document, ProxyDocument
from shedproxy.supervisor.orders import OrderInvalidError

__all__ = ["ZoneShifts"]


class ZoneShifts:
    """Which zones get no requests that other zones can take, and until when."""

    def __init__(self, clock: Clock = monotonic_now) -> None:
        self._clock = clock
        self._until: dict[str, Instant] = {}

    @property
    def away(self) -> tuple[str, ...]:
        """Zones that are away, in order of their names."""
        return tuple(sorted(self._until))

    def begin(self, zone: str, length: Nanos, document: Document) -> None:
        """Weigh a zone away from now on, or for longer.

        Raises:
            OrderInvalidError: nobody is there, or some cell would be left with no zone.
        """
        away = {*self._until, zone}
        is_known = False
        for upstream in document.proxy.upstreams:
            zones = set(upstream.zones)
            is_known = is_known or zone in zones
            if zone in zones and zones <= away:
                raise OrderInvalidError(
                    "/zone", f"cell {upstream.cell} has upstreams in no other zone"
                )
        if not is_known:
            raise OrderInvalidError("/zone", f"no upstream is in zone {zone!r}")
        self._until[zone] = Instant(self._clock() + length)

    def follow(self, proxy: ProxyDocument, wall_s: float) -> None:
        """Do as a snapshot says, and nothing else: in managed mode there are no orders.

        Args:
            proxy: which zones are away, and until when.
            wall_s: seconds since the epoch, now.
        """
        now = self._clock()
        self._until = {
            zone: Instant(now + round((until_s - wall_s) * NS_PER_S))
            for zone, until_s in zip(proxy.zones_away, proxy.zones_away_until_s, strict=False)
            if until_s > wall_s
        }

    def end(self, zone: str) -> bool:
        """Take a zone back; whether it was away."""
        return self._until.pop(zone, None) is not None

    def expire(self) -> tuple[str, ...]:
        """The zones whose time is up; they are back."""
        now = self._clock()
        due = tuple(zone for zone, until in sorted(self._until.items()) if until <= now)
        for zone in due:
            del self._until[zone]
        return due

    def next_end_at(self) -> Instant | None:
        """When the next shift ends by itself."""
        return min(self._until.values(), default=None)

    def view(self) -> Mapping[str, Any]:
        """By zone: seconds left."""
        now = self._clock()
        return {
            zone: round(to_seconds(max(0, until - now)), 1)
            for zone, until in sorted(self._until.items())
        }
