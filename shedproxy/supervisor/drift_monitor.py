"""Compares every calibrated cell with its profile, and says when it is no longer that service.

It tells the log, the status page and the metrics; it changes nothing, because a slower service is
not for a proxy to excuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shedproxy.clock import wall_seconds
from shedproxy.core import NS_PER_S, Instant
from shedproxy.observability.drift import Counts, DriftWatch
from shedproxy.observability.reading import HistogramValue, Sample, sample_of
from shedproxy.snapshot import CellProfile, Document

__all__ = ["DriftMonitor", "counts_of"]

_DURATION = "http.server.request.duration"
_WAIT = "shedproxy.queue.wait.duration"
_ADMITTED = frozenset(("success", "client_error", "server_error"))


def counts_of(samples: Iterator[Sample]) -> dict[str, Counts]:
    """By cell: what ended, how long it took at the upstream, and how many waited before it."""
    ended: dict[str, int] = {}
    took_s: dict[str, float] = {}
    waited: dict[str, int] = {}
    waited_s: dict[str, float] = {}
    for metric, labels, value in samples:
        if not isinstance(value, HistogramValue):
            continue
        cell, outcome = labels[0], labels[-1]
        if metric.name == _DURATION and outcome in _ADMITTED:
            ended[cell] = ended.get(cell, 0) + value.count
            took_s[cell] = took_s.get(cell, 0.0) + value.sum
        elif metric.name == _WAIT and outcome == "admitted":
            waited[cell] = waited.get(cell, 0) + value.count
            waited_s[cell] = waited_s.get(cell, 0.0) + value.sum
    return {
        cell: Counts(
            count,
            round(max(0.0, took_s[cell] - waited_s.get(cell, 0.0)) * NS_PER_S),
            waited.get(cell, 0),
            round(waited_s.get(cell, 0.0) * NS_PER_S),
        )
        for cell, count in ended.items()
    }


class DriftMonitor:
    """Fed about once a second; a new profile begins a new watch."""

    def __init__(
        self,
        report: Callable[[str, dict[str, Any]], None],
        *,
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        self._report = report
        self._wall = wall
        self._watches: dict[str, tuple[CellProfile, DriftWatch | None]] = {}
        """By cell; no watch where the profile has no curve to hold traffic against."""
        self._told: set[str] = set()
        self._expired: set[tuple[str, str]] = set()
        """Cells and profiles whose age was told."""

    def feed(
        self,
        now: Instant,
        document: Document,
        counts: Callable[[], Mapping[str, Counts]],
        healthy: Mapping[str, int],
    ) -> None:
        """Take the counts of now; `healthy` upstreams by cell, where they are known."""
        profiles = {profile.cell: profile for profile in document.profiles}
        self._watches = {
            cell: known if (known := self._watches.get(cell)) and known[0] == profile
            else (profile, DriftWatch(profile) if profile.has_curve else None)
            for cell, profile in profiles.items()
        }  # fmt: skip
        for cell, profile in profiles.items():
            self._tell_age(cell, profile)
        watched = {cell: one for cell, (_, one) in self._watches.items() if one is not None}
        by_cell = counts() if watched else {}
        for cell, watch in watched.items():
            if cell not in by_cell:
                continue
            weight = profiles[cell].weight
            ratio = healthy.get(cell, weight) / weight
            state = watch.feed(now, by_cell[cell], healthy_ratio=ratio)
            if state.is_alarm and cell not in self._told:
                self._told.add(cell)
                self._report("profile drift", {"cell": cell, "message": watch.words(self._wall())})
            elif not state.is_alarm:
                self._told.discard(cell)

    def _tell_age(self, cell: str, profile: CellProfile) -> None:
        if self._is_expired(profile) and (cell, profile.id) not in self._expired:
            self._expired.add((cell, profile.id))
            facts = {"cell": cell, "profile": profile.id, "age_days": self._age_days(profile)}
            self._report("profile expired", facts)

    def _is_expired(self, profile: CellProfile) -> bool:
        return (
            profile.fitted_at_s > 0
            and (self._wall() - profile.fitted_at_s) * NS_PER_S > profile.expires_after_ns
        )

    def _age_days(self, profile: CellProfile) -> int | None:
        if not profile.fitted_at_s:
            return None
        return max(0, int((self._wall() - profile.fitted_at_s) / 86_400))

    def view(self, cell: str) -> dict[str, Any] | None:
        """The cell's profile for the status page; None: it was not calibrated."""
        known = self._watches.get(cell)
        if known is None:
            return None
        profile, watch = known
        slowdown = None if watch is None else watch.state.ratio
        return {
            "id": profile.id,
            "age_days": self._age_days(profile),
            "is_expired": self._is_expired(profile),
            "weight": profile.weight,
            "capacity_per_second": profile.capacity_rps or None,
            "slowdown": None if slowdown is None else round(slowdown, 3),
            "alarm": None if watch is None else watch.words(self._wall()) or None,
        }

    def samples(self) -> Iterator[Sample]:
        """The gauges of all calibrated cells."""
        for cell, (profile, watch) in self._watches.items():
            if profile.fitted_at_s:
                age_s = max(0.0, self._wall() - profile.fitted_at_s)
                yield sample_of("shedproxy.calibration.age", age_s, cell)
            if watch is None:
                continue
            state = watch.state
            if state.ratio is not None:
                yield sample_of("shedproxy.calibration.drift", state.ratio, cell)
            yield sample_of("shedproxy.calibration.alarm", float(state.is_alarm), cell)
