"""Says upward, once in each period, what this instance runs and how it does: `StatusReport`.

All of it every time, in one size. Nobody here waits for it or minds when it fails.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import shedproxy
from shedproxy.clock import wall_seconds
from shedproxy.core import RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric_labels import DURATION_BOUNDS
from shedproxy.observability.reading import HistogramValue, Sample, sample_of
from shedproxy.snapshot import StatusReport, encode_report
from shedproxy.store import Place, PlaceFailedError
from shedproxy.supervisor.snapshot_feed import SnapshotFeed

__all__ = ["Upward", "binary_digest", "traffic_of"]

_SUFFIXES = frozenset((".py", ".so"))
_FINISHED = frozenset(("success", "client_error", "server_error", "abandoned"))
_SERVED = frozenset(("admitted", "would_reject"))
_SHED = frozenset(("rejected", "would_reject"))
_BOUNDED = frozenset(reason.label for reason in RejectReason if reason.is_bound)
_LIMITED = frozenset(fault.label for fault in Fault if fault.is_over_limit)


def binary_digest() -> str:
    """Of the code that is installed: names and bytes of all its modules."""
    digest = hashlib.sha256()
    root = Path(shedproxy.__file__).parent
    for file in sorted(root.rglob("*")):
        if file.suffix in _SUFFIXES and file.is_file():
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


def traffic_of(samples: Iterable[Sample]) -> dict[str, Any]:
    """Requests and what became of them, of all cells, since the counters began."""
    requests = errors = sheds = bounded = limited = client_errors = 0
    durations = [0] * (len(DURATION_BOUNDS) + 1)
    for metric, labels, value in samples:
        if isinstance(value, HistogramValue):
            if metric.name == "http.server.request.duration" and labels[2] in _FINISHED:
                durations = [a + b for a, b in zip(durations, value.counts, strict=True)]
                errors += value.count if labels[2] == "server_error" else 0
                client_errors += value.count if labels[2] == "client_error" else 0
        elif metric.name == "shedproxy.decisions":
            requests += int(value) if labels[2] in _SERVED | _SHED else 0
            sheds += int(value) if labels[2] in _SHED else 0
            bounded += int(value) if labels[2] in _SHED and labels[3] in _BOUNDED else 0
        elif metric.name == "shedproxy.faults":
            limited += int(value) if labels[1] in _LIMITED else 0
    return {
        "requests": requests,
        "errors": errors,
        "sheds": sheds,
        "bounded": bounded,
        "limited": limited,
        "client_errors": client_errors,
        "durations": tuple(durations),
    }


class Upward:
    """Reports of one instance.

    Args:
        place: where they go; None: nowhere.
        feed: what is in force.
        facts: gives mode and liveness.
        samples: gives the series of now.
        report: takes an event and its facts.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        place: Place | None,
        *,
        feed: SnapshotFeed,
        facts: Callable[[], dict[str, Any]],
        samples: Callable[[], Iterable[Sample]],
        report: Callable[[str, dict[str, Any]], None],
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        self._place = place
        self._feed = feed
        self._facts = facts
        self._samples = samples
        self._report = report
        self._wall = wall
        self._boot_id = str(uuid.uuid4())
        self._binary_digest = binary_digest()
        self._heartbeat = 0
        self._durations: tuple[int, ...] = ()
        self._sent = self._failed = 0
        self._failure = ""

    def make(self) -> StatusReport:
        """The next report."""
        traffic = traffic_of(self._samples())
        feed = self._feed
        in_force = feed.in_force
        self._heartbeat += 1
        before, self._durations = self._durations, traffic["durations"]
        new = [a - b for a, b in zip(self._durations, before or (0,) * 99, strict=False)]
        return StatusReport(
            instance=feed.instance,
            boot_id=self._boot_id,
            heartbeat=self._heartbeat,
            sent_at_s=round(self._wall(), 3),
            binary_digest=self._binary_digest,
            snapshot_digest="" if in_force is None else in_force.digest,
            revision=feed.revision,
            highest_revision=feed.highest,
            refusal="" if feed.refusal is None else feed.refusal.label,
            refused_revision=feed.refused_revision,
            is_stale=feed.is_stale,
            p99_ms=_p99_ms(new),
            **self._facts(),
            **traffic,
        )

    async def send(self) -> None:
        """Put the next report where it belongs; a failure is said once, and counted."""
        if self._place is None:
            return
        try:
            await self._place.write(encode_report(self.make()))
        except PlaceFailedError as error:
            self._failed += 1
            if str(error) != self._failure:
                self._failure = str(error)
                self._report("report not sent", {"why": self._failure})
            return
        self._sent += 1
        self._failure = ""

    async def close(self) -> None:
        """Let go of connections."""
        if self._place is not None:
            await self._place.close()

    def samples(self) -> Iterator[Sample]:
        """The series of the metric table."""
        yield sample_of("shedproxy.snapshot.reports", self._sent, "sent")
        yield sample_of("shedproxy.snapshot.reports", self._failed, "failed")


def _p99_ms(counts: list[int]) -> float:
    """The bound of the bucket that 99 % of them are not above; of the last one, ten seconds."""
    total, seen = sum(counts), 0
    for count, bound in zip(counts, (*DURATION_BOUNDS, DURATION_BOUNDS[-1]), strict=False):
        seen += count
        if total and seen >= 0.99 * total:
            return bound * 1000
    return 0.0
