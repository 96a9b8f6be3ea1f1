"""Fetches the snapshot whole in every period, has it judged whole, and puts it in force.

Changed or not, every period does the same work: that of the worst day is done every day. Nothing
waits for it: what is in force stays through every failure, and its age is said and alarmed about. A
start takes the copy on disk, and asks the source first only where there has never been one: then
nobody here knows which keys were moved, so the instance is not ready until the first snapshot is
in, or `first_wait` is over. Then it serves by the settings: no fleet may hang on its store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import NS_PER_S, Instant, Nanos, seconds, to_seconds
from shedproxy.errors import Problem
from shedproxy.observability.reading import Sample, sample_of
from shedproxy.settings import SnapshotSettings
from shedproxy.snapshot import SnapshotRefusal, SnapshotRefusedError, open_envelope
from shedproxy.store import Kept, LastGood, Place, PlaceFailedError, shown_place
from shedproxy.supervisor.snapshot_judge import Accepted, SnapshotJudge

__all__ = ["SnapshotFeed", "phase_of"]

Report = Callable[[str, dict[str, Any]], None]

_FIRST_PERIOD = seconds(1)
"""Between two fetches while the first snapshot is waited for."""


def phase_of(instance: str, period_ns: int) -> int:
    """Where in every period an instance fetches: spread over it by name, and always the same."""
    digest = blake2b(instance.encode(), digest_size=8, person=b"phase").digest()
    return int.from_bytes(digest, "big") % period_ns


class SnapshotFeed:
    """One source, and what came of it.

    Args:
        settings: periods and bounds.
        instance: name of this instance.
        place: where the snapshot is fetched.
        judge: what is to be believed.
        kept: the copies on disk.
        put_in_force: takes what was accepted; `is_new`: it is another one than before.
        report: takes an event and its facts.
        wall: seconds since the epoch.
        clock: tells the time.
    """

    def __init__(
        self,
        settings: SnapshotSettings,
        *,
        instance: str,
        place: Place,
        judge: SnapshotJudge,
        kept: LastGood,
        put_in_force: Callable[[Accepted, bool], None],
        report: Report,
        wall: Callable[[], float] = wall_seconds,
        clock: Clock = monotonic_now,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._awaited_until = Instant(0)
        """The first snapshot is waited for until then."""
        self._is_absence_said = False
        self._place = place
        self._judge = judge
        self._kept = kept
        self._put_in_force = put_in_force
        self._report = report
        self._wall = wall
        self._phase_ns = phase_of(instance, settings.period)
        self.instance = instance
        self.in_force: Accepted | None = None
        self.highest = 0
        """Highest revision that was ever in force here."""
        self.kept_table = 0
        """Version of the table of cells in the newest copy on disk; 0: it has none."""
        self._kept_digest = b""
        self.refusal: SnapshotRefusal | None = None
        """Why the last one that came was refused; None: it was not."""
        self.refused_revision = 0
        """As it said; 0 where that could not be read."""
        self._refused_at = 0.0
        self._problems: tuple[Problem, ...] = ()
        self._good_at: float | None = None
        """When a fetch was good last, by the wall: the file says so after a restart."""
        self._failure = ""
        self._is_stale = False
        self._refused_key: object = None
        self._pulls: Counter[str] = Counter()
        self._refusals: Counter[SnapshotRefusal] = Counter()

    # --- start and run --------------------------------------------------------------------------

    async def boot(self) -> None:
        """Take the newest copy on disk that is good; fetch once where there was none at all."""
        try:
            self.highest = await asyncio.to_thread(self._kept.highest)
        except (OSError, ValueError) as error:
            self._report("snapshot copy refused", {"file": "highest.json", "why": str(error)})
        found = await asyncio.to_thread(lambda: list(self._kept.read()))
        for copy in found:
            if isinstance(copy, OSError):
                self._report("snapshot copy refused", {"why": str(copy)})
                continue
            try:
                accepted = await asyncio.to_thread(
                    self._judge.judge, copy.data, highest=self.highest, is_copy=True
                )
            except SnapshotRefusedError as error:
                self._note_refusal(error, copy.data)
                facts = {"file": str(copy.file), "reason": error.refusal.label, "why": str(error)}
                self._report("snapshot copy refused", facts)
                continue
            with contextlib.suppress(OSError):
                self._good_at = copy.file.stat().st_mtime
            # Without the highest revision on disk the next fetch puts everything there again.
            self._kept_digest = accepted.copy_digest if self.highest else b""
            self.highest = max(self.highest, accepted.revision)
            if copy is not found[0]:
                await self._make_current(copy)
            self.kept_table = accepted.table_version
            self._activate(accepted)
            return
        await self.pull()
        if self.in_force is None:
            self._awaited_until = Instant(self._clock() + self._settings.first_wait)
            source = self.shown_source
            self._report("no snapshot", {"source": source, "not_ready_s": self.awaited_s})

    async def run(self, on_period: Callable[[], Any]) -> None:
        """Fetch in every period, at this instance's point of it, until cancelled.

        `on_period` is awaited after each. Traffic does not end with a bug here.
        """
        broken = ""
        while True:
            self._say_absence()
            await asyncio.sleep(self._until_next())
            why = ""
            try:
                await self.pull()
                await on_period()
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in force serves on
                why = f"{type(error).__name__}: {error}"
                if why != broken:
                    self._report("snapshot feed failed", {"why": why})
            broken = why

    async def pull(self) -> None:
        """Fetch, judge and activate once. Never raises for what comes, or does not come."""
        try:
            data = await self._place.read(self._settings.size_max)
        except PlaceFailedError as error:
            self._pulls["failed"] += 1
            if str(error) != self._failure:
                self._failure = str(error)
                self._report("snapshot not fetched", {"why": self._failure})
            self._watch_age()
            return
        self._failure = ""
        try:
            accepted = await asyncio.to_thread(
                self._judge.judge, data, highest=self.highest, in_force=self.in_force
            )
        except SnapshotRefusedError as error:
            self._pulls["refused"] += 1
            self._note_refusal(error, data)
            self._say_refusal(error)
            self._watch_age()
            return
        self._pulls["good"] += 1
        self.refusal, self.refused_revision, self._refused_key = None, 0, None
        await self._keep(accepted, data)
        self._good_at = self._wall()
        self._activate(accepted)
        self._watch_age()

    async def close(self) -> None:
        """Let go of connections."""
        await self._place.close()

    @property
    def shown_source(self) -> str:
        """The source as it may be shown."""
        return shown_place(self._settings.source)

    @property
    def is_stale(self) -> bool:
        """No good fetch for too long, or past its date."""
        return self._is_stale

    @property
    def age_s(self) -> float | None:
        """Since the last good fetch; None: there was none."""
        return None if self._good_at is None else max(0.0, self._wall() - self._good_at)

    @property
    def awaited_s(self) -> float:
        """How long the first snapshot will be waited for at most, from now; 0: it is not."""
        left_ns = 0 if self.in_force is not None else self._awaited_until - self._clock()
        return round(to_seconds(Nanos(max(0, left_ns))), 1)

    @property
    def is_absent(self) -> bool:
        """There is no good one, and the settings are served."""
        return self.in_force is None and self.awaited_s == 0

    # --- read-outs ------------------------------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """For the status page."""
        accepted = self.in_force
        snapshot = None if accepted is None else accepted.snapshot
        return {
            "source": self.shown_source,
            "instance": self.instance,
            "revision": 0 if snapshot is None else snapshot.revision,
            "awaited_s": self.awaited_s,
            "highest_revision": self.highest,
            "digest": "" if accepted is None else accepted.digest,
            "key": "" if accepted is None else accepted.key,
            "age_s": None if self.age_s is None else round(self.age_s, 1),
            "is_stale": self._is_stale,
            "is_forced": snapshot is not None and snapshot.is_forced,
            "issued_at": None if snapshot is None else snapshot.issued_at_s or None,
            "expires_at": None if snapshot is None else snapshot.expires_at_s or None,
            "unknown": [] if snapshot is None else list(snapshot.unknown),
            "failure": self._failure,
            "refusal": None
            if self.refusal is None
            else {
                "reason": self.refusal.label,
                "revision": self.refused_revision,
                "at": round(self._refused_at, 3),
                "problems": [problem.message for problem in self._problems[:20]],
                "help": next((each.help for each in self._problems if each.help), ""),
            },
        }

    def samples(self) -> Iterator[Sample]:
        """The series of the metric table."""
        yield sample_of("shedproxy.snapshot.revision", self.revision)
        if self.age_s is not None:
            yield sample_of("shedproxy.snapshot.age", self.age_s)
        yield sample_of("shedproxy.snapshot.stale", float(self._is_stale))
        yield sample_of("shedproxy.snapshot.absent", float(self.is_absent))
        for result, count in self._pulls.items():
            yield sample_of("shedproxy.snapshot.pulls", count, result)
        for refusal, count in self._refusals.items():
            yield sample_of("shedproxy.snapshot.refusals", count, refusal.label)

    @property
    def revision(self) -> int:
        """Of the snapshot in force; 0: none."""
        return 0 if self.in_force is None else self.in_force.revision

    # --- inside ---------------------------------------------------------------------------------

    def _activate(self, accepted: Accepted) -> None:
        before = self.in_force
        is_new = before is None or before.digest != accepted.digest
        self.in_force = accepted
        self._put_in_force(accepted, is_new)
        if is_new:
            snapshot = accepted.snapshot
            facts: dict[str, Any] = {
                "revision": snapshot.revision,
                "digest": accepted.digest,
                "key": accepted.key,
                "is_forced": snapshot.is_forced,
            }
            if snapshot.unknown:
                facts["unknown"] = list(snapshot.unknown[:20])
            self._report("snapshot in force", facts)

    async def _make_current(self, copy: Kept) -> None:
        """In the place of one that is damaged, which would else be the previous one next."""
        try:
            await asyncio.to_thread(self._kept.make_current, copy)
        except OSError as error:
            self._report("snapshot not kept", {"why": str(error), "file": str(copy.file)})

    async def _keep(self, accepted: Accepted, data: bytes) -> None:
        """On the disk before it is in force; a disk that fails is said, and holds nothing up."""
        self.highest = max(self.highest, accepted.revision)
        try:
            if self._kept_digest != accepted.copy_digest:
                await asyncio.to_thread(self._kept.keep, data, self.highest)
            else:
                await asyncio.to_thread(self._kept.touch)
            self.kept_table, self._kept_digest = accepted.table_version, accepted.copy_digest
        except OSError as error:
            self.kept_table, self._kept_digest = 0, b""
            self._report("snapshot not kept", {"why": str(error), "revision": accepted.revision})

    def _note_refusal(self, error: SnapshotRefusedError, data: bytes) -> None:
        self._refusals[error.refusal] += 1
        self.refusal = error.refusal
        self.refused_revision = _revision_said(data, self._settings.size_max)
        self._refused_at = self._wall()
        self._problems = tuple(error.problems)

    def _say_refusal(self, error: SnapshotRefusedError) -> None:
        """Once for each that is refused, not in every period."""
        key = (error.refusal, self.refused_revision, str(error))
        if key != self._refused_key:
            self._refused_key = key
            facts: dict[str, Any] = {
                "reason": error.refusal.label,
                "revision": self.refused_revision,
                "why": "; ".join(problem.message for problem in error.problems[:5]),
            }
            help_text = next((each.help for each in error.problems if each.help), "")
            self._report("snapshot refused", {**facts, "help": help_text} if help_text else facts)

    def _watch_age(self) -> None:
        """The alarm. Nothing else follows from it."""
        age_s = self.age_s
        expires_at_s = 0 if self.in_force is None else self.in_force.snapshot.expires_at_s
        is_expired = 0 < expires_at_s <= self._wall()
        is_old = age_s is None or age_s > to_seconds(self._settings.stale_after)
        if (is_old or is_expired) is not self._is_stale:
            self._is_stale = is_old or is_expired
            event = "snapshot stale" if self._is_stale else "snapshot fresh"
            facts: dict[str, Any] = {"revision": self.revision, "is_expired": is_expired}
            self._report(event, {**facts, "age_s": None if age_s is None else round(age_s, 1)})

    def _say_absence(self) -> None:
        if self.is_absent and not self._is_absence_said:
            self._is_absence_said = True
            facts = {
                "source": self.shown_source,
                "unknown": "limits of the fleet, keys that were moved",
            }
            self._report("serving without snapshot", facts)

    def _until_next(self) -> float:
        """Seconds; the same point of every period by the wall, whenever the process started."""
        period_ns = self._settings.period
        now_ns = round(self._wall() * NS_PER_S)
        left_ns = (self._phase_ns - now_ns) % period_ns or period_ns
        if self.in_force is not None and self.in_force.has_moves:
            left_ns = min(left_ns, self._settings.move_period)
        if self.awaited_s:
            left_ns = min(left_ns, _FIRST_PERIOD)
        return left_ns / NS_PER_S


def _revision_said(data: bytes, size_max: int) -> int:
    try:
        revision = open_envelope(data, size_max=size_max).manifest.get("revision")
    except SnapshotRefusedError:
        return 0
    return revision if type(revision) is int and 0 < revision < 1 << 53 else 0
