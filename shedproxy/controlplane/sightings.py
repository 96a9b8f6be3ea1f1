"""What hosts say of themselves, report by report: who is heard of, what each runs, what it did.

Pure: told which reports there are now, and what time it is. A report counts when its heartbeat has
grown, by the clock of who looks; clocks of hosts are not compared. Two reports of one boot tell
what was between them, however many were missed; what a restart hides is not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from shedproxy.controlplane.fleet import Fleet
from shedproxy.controlplane.peers import Arm, Peers
from shedproxy.core import Instant, Nanos
from shedproxy.observability.metric_labels import DURATION_BOUNDS
from shedproxy.snapshot import StatusReport

__all__ = ["UNKNOWN", "Interval", "Sighting", "Sightings", "arm_of"]

UNKNOWN = "?"
"""Stands for the release of a host that runs something else than its edition."""
_BOUNDS: Final = len(DURATION_BOUNDS)
_BLOCK_MAX: Final = 128
"""Looks in a block of the history: with one in five seconds it is an hour and a half long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What one host did while it ran one release."""

    host: str
    release: str
    requests: int
    errors: int
    sheds: int
    durations: tuple[int, ...]
    limited: int | None = None
    """None: one of the reports does not say."""
    client_errors: int | None = None
    bounded: int | None = None

    def __add__(self, other: Interval) -> Interval:
        return replace(
            other,
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            sheds=self.sheds + other.sheds,
            durations=tuple(a + b for a, b in zip(self.durations, other.durations, strict=True))
            if len(self.durations) == len(other.durations)
            else other.durations,
            limited=_both(self.limited, other.limited),
            client_errors=_both(self.client_errors, other.client_errors),
            bounded=_both(self.bounded, other.bounded),
        )


@dataclass(slots=True, kw_only=True)
class Sighting:
    """What is known of a host."""

    report: StatusReport
    heard_at: Instant
    """When its heartbeat grew last."""
    release: str
    edition: str = ""
    """Digest of what it is to run."""
    edition_at: Instant
    """Since when, as far as this was watched."""


class Sightings:
    """Every host that was ever heard of.

    Args:
        silence_ns: nobody has heard of a host whose heartbeat stood still for so long.
        take_ns: and so long a host may take to run what it is to run.
    """

    def __init__(self, *, silence_ns: Nanos, take_ns: Nanos) -> None:
        self._silence_ns = silence_ns
        self._take_ns = take_ns
        self._hosts: dict[str, Sighting] = {}
        self._releases: dict[str, str] = {}
        self.history = Peers()
        """What hosts did of late, each while it ran what it ran last: what they are like. It is
        lost with this process, and then it takes more to tell a host from a release.
        """

    def get(self, host: str) -> Sighting | None:
        """What is known of a host; None: nothing."""
        return self._hosts.get(host)

    def is_heard(self, host: str, now: Instant) -> bool:
        """Whether it is heard of now."""
        seen = self._hosts.get(host)
        return seen is not None and now - seen.heard_at <= self._silence_ns

    def take(
        self, fleet: Fleet, reports: Mapping[str, StatusReport], now: Instant
    ) -> list[Interval]:
        """Note what reports say; gives what hosts did since the ones before.

        Whoever is seen for the first time counts as heard of: its report may be old, and that
        shows when none follows.
        """
        intervals = []
        editions = {each.host: each for each in fleet.editions}
        for host in fleet.hosts:
            report, edition = reports.get(host.name), editions.get(host.name)
            if report is None:
                continue
            runs = edition is not None and edition.digest == report.snapshot_digest
            release = edition.release if edition is not None and runs else UNKNOWN
            before = self._hosts.get(host.name)
            if before is None:
                before = self._hosts[host.name] = Sighting(
                    report=report, heard_at=now, release=release, edition_at=now
                )
            elif _is_newer(before.report, report):
                if release == before.release and report.boot_id == before.report.boot_id:
                    intervals.append(_between(host.name, release, before.report, report))
                before.report, before.heard_at, before.release = report, now, release
            if edition is not None and edition.digest != before.edition:
                before.edition, before.edition_at = edition.digest, now
        for name in self._hosts.keys() - {host.name for host in fleet.hosts}:
            del self._hosts[name]
            self.history = self.history.without(name)
        self._remember(intervals)
        return intervals

    def _remember(self, intervals: list[Interval]) -> None:
        for each in intervals:
            if self._releases.get(each.host) != each.release:
                self._releases[each.host] = each.release
                self.history = self.history.without(each.host)
        if intervals:
            arms = {each.host: arm_of(each) for each in intervals}
            self.history = self.history.add(arms, block_max=_BLOCK_MAX)

    def resume(self, now: Instant) -> None:
        """Begin to wait anew: for a while nobody looked, and hosts are not to blame for that."""
        for seen in self._hosts.values():
            seen.heard_at = seen.edition_at = now

    def running(self, fleet: Fleet, now: Instant) -> dict[str, str]:
        """The release by host, of those that are heard of."""
        return {
            host.name: self._release(fleet, host.name)
            for host in fleet.hosts
            if self.is_heard(host.name, now)
        }

    def _release(self, fleet: Fleet, host: str) -> str:
        """By the edition that there is now: an order may have changed it since the report."""
        seen, edition = self._hosts[host], fleet.edition(host)
        is_it = edition is not None and edition.digest == seen.report.snapshot_digest
        return edition.release if edition is not None and is_it else UNKNOWN

    def is_overdue(self, fleet: Fleet, host: str, now: Instant) -> bool:
        """Whether a host that was heard of has not taken what it is to run in the time it has.

        That time begins when somebody has looked since it is to run this.
        """
        seen, edition = self._hosts[host], fleet.edition(host)
        is_begun = edition is not None and seen.edition == edition.digest
        is_late = is_begun and now - seen.edition_at > self._take_ns
        return is_late and self._release(fleet, host) == UNKNOWN

    def trouble(self, fleet: Fleet, host: str, now: Instant) -> str:
        """What is wrong with a host that is to run its edition; "": nothing."""
        seen, edition = self._hosts.get(host), fleet.edition(host)
        if seen is None or edition is None or seen.edition != edition.digest:
            return ""  # or nobody has looked since it is to run this
        report = seen.report
        if report.refusal and report.refused_revision == edition.revision:
            return f"host {host} refused it: {report.refusal}"
        if now - seen.heard_at > self._silence_ns:
            # One that was silent before says nothing about what came then.
            was_heard = seen.heard_at >= seen.edition_at - self._silence_ns
            return f"host {host} is not heard of since it is to run it" if was_heard else ""
        if self.is_overdue(fleet, host, now):
            return f"host {host} does not take it"
        if not report.is_live:
            return f"host {host} is not live"
        return ""


def _is_newer(before: StatusReport, after: StatusReport) -> bool:
    return after.boot_id != before.boot_id or after.heartbeat > before.heartbeat


def _between(host: str, release: str, before: StatusReport, after: StatusReport) -> Interval:
    count = max(len(before.durations), len(after.durations))
    old = before.durations + (0,) * (count - len(before.durations))
    new = after.durations + (0,) * (count - len(after.durations))
    return Interval(
        host=host,
        release=release,
        requests=max(0, after.requests - before.requests),
        errors=max(0, after.errors - before.errors),
        sheds=max(0, after.sheds - before.sheds),
        durations=tuple(max(0, b - a) for a, b in zip(old, new, strict=True)),
        limited=_grown(before.limited, after.limited),
        client_errors=_grown(before.client_errors, after.client_errors),
        bounded=_grown(before.bounded, after.bounded),
    )


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def arm_of(interval: Interval) -> Arm:
    """What a host did, as it is compared."""
    finished, durations = sum(interval.durations), interval.durations
    # By bound: those above it, nobody where there are other bounds than ours.
    slower = [finished - below for below in itertools.accumulate(durations[:-1])]
    is_timed = len(slower) == _BOUNDS
    limited, client_errors, bounded = interval.limited, interval.client_errors, interval.bounded
    return Arm(
        trials=(
            finished,
            finished if is_timed else 0,
            interval.requests,
            0 if limited is None else interval.requests + limited,
            0 if client_errors is None else finished,
            0 if bounded is None else interval.requests,
        ),
        events=(
            min(interval.errors, finished),
            min(interval.sheds, interval.requests),
            limited or 0,
            min(client_errors or 0, finished),
            min(bounded or 0, interval.requests),
            *(slower if is_timed else (0,) * _BOUNDS),
        ),
    )
