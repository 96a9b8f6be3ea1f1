"""The configuration in force: loaded, watched, reloaded, overridden; the last good one is kept.

A reload reads everything again, validates all of it, and only then replaces anything. However
often it is asked for, at most one is applied per second and the newest content wins, so that a
flapping file costs the workers one swap per second and no learnt state.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import Instant, Mode, Nanos, seconds, to_seconds
from shedproxy.errors import ConfigInvalidError, DocumentInvalidError, Problem
from shedproxy.settings import Loaded, load_settings
from shedproxy.snapshot import Document, number_cells
from shedproxy.supervisor.local_settings import not_taken
from shedproxy.supervisor.rehearsal import rehearse
from shedproxy.supervisor.zone_shifts import ZoneShifts

__all__ = ["Configuration", "ModeOverride", "ReloadResult"]

APPLY_PERIOD = seconds(1)
"""Least time between two applied reloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOverride:
    """The break-glass mode. It always ends."""

    mode: Mode
    expires_at: Instant
    wall_expires: float
    """Seconds since the epoch, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadResult:
    """How the last attempt to load went."""

    ok: bool
    cause: str
    """`start`, `sighup`, `request` or `file`."""
    revision: int
    """In force afterwards."""
    wall: float
    problems: tuple[Problem, ...] = ()
    needs_restart: tuple[str, ...] = ()
    """Settings that changed but are read only at start."""


class Configuration:
    """Owns the loaded settings and the document that the workers run."""

    def __init__(
        self,
        file: Path | None,
        *,
        environ: Mapping[str, str],
        overrides: Mapping[str, object],
        check: Callable[[Loaded], None] = lambda _loaded: None,
        clock: Clock = monotonic_now,
        apply_period: Nanos = APPLY_PERIOD,
    ) -> None:
        """Load for the first time. `check` may refuse valid settings that cannot be run.

        Raises:
            ConfigInvalidError: with every problem; nothing is in force then.
        """
        self._file = file
        # The link's own folder, not that of the file it leads to.
        self._folder = None if file is None else file.absolute().parent
        self._environ = environ
        self._overrides = overrides
        self._check = check
        self._clock = clock
        self._apply_period = apply_period
        self._digest = self._read_digest()
        self.loaded: Loaded = self._load()
        self._at_start = self.loaded
        self.revision = 1
        self.override: ModeOverride | None = None
        self.reloads = 0
        """Applied since the start."""
        self.refusals = 0
        """Reloads refused since the start."""
        self.on_document: Callable[[Document], None] = lambda _document: None
        """Called with the new document after every applied reload."""
        self.on_mode: Callable[[Mode, str], None] = lambda _mode, _cause: None
        """Called with the mode in force when an override begins or ends, and why."""
        self.on_result: Callable[[ReloadResult], None] = lambda _result: None
        """Called after every attempt to reload."""
        self.localize: Callable[[Document], Document] = lambda document: document
        """Gives what is in force as it is with a new document of the settings (managed mode);
        raises DocumentInvalidError when that cannot be run."""
        self.last_result = ReloadResult(ok=True, cause="start", revision=1, wall=wall_seconds())
        self._applied_at: Instant | None = None
        self._asked: list[tuple[str, asyncio.Future[ReloadResult]]] = []
        self._is_asked = asyncio.Event()
        self._override_changed = asyncio.Event()
        self.shifts = ZoneShifts(clock)
        self.on_zones: Callable[[str, str], None] = lambda _zone, _cause: None
        """Called with a zone that went away or came back, and why."""
        self._cells: tuple[str, ...] = ()
        """By number in metrics, since the start."""
        self._managed: Document | None = None
        """Of the snapshot in force."""
        self._document = self._compile()

    @property
    def file(self) -> Path | None:
        """The file that was read, if there is one."""
        return self._file

    @property
    def is_managed(self) -> bool:
        """Whether the policy comes in snapshots: then nothing else changes it but the break-glass.

        The source is read at the start, like all that decides whom to believe.
        """
        return bool(self._at_start.settings.snapshot.source)

    @property
    def configured_mode(self) -> Mode:
        """The mode that the snapshot or the settings want."""
        return (self._managed or self.loaded.document).policy.mode

    @property
    def mode(self) -> Mode:
        """The mode in force: the override's while it lasts."""
        return self.configured_mode if self.override is None else self.override.mode

    @property
    def document(self) -> Document:
        """What the workers run: revision and mode in force included."""
        return self._document

    def adopt(self, document: Document) -> None:
        """Put the document of a snapshot in force."""
        self._managed = document
        self.shifts.follow(document.proxy, wall_seconds())
        self._override_changed.set()
        self.revision += 1
        self._document = self._compile()
        self.on_document(self._document)

    def request_reload(self, cause: str) -> asyncio.Future[ReloadResult]:
        """Ask for a reload; the future gets its result. Requests within a second share one."""
        answer: asyncio.Future[ReloadResult] = asyncio.get_running_loop().create_future()
        self._asked.append((cause, answer))
        self._is_asked.set()
        return answer

    def set_override(self, mode: Mode, length: Nanos, *, cause: str) -> ModeOverride:
        """Put `mode` in force for `length`, whatever the file says; survives reloads."""
        self.override = ModeOverride(
            mode=mode,
            expires_at=Instant(self._clock() + length),
            wall_expires=wall_seconds() + to_seconds(length),
        )
        self._mode_changed(cause)
        return self.override

    def clear_override(self, *, cause: str) -> None:
        """Go back to the configured mode."""
        if self.override is not None:
            self.override = None
            self._mode_changed(cause)

    def shift_zone(self, zone: str, length: Nanos, *, cause: str) -> None:
        """Weigh a zone away for a while; survives reloads.

        Raises:
            OrderInvalidError: the zone cannot be spared.
        """
        self.shifts.begin(zone, length, self._document)
        self._zones_changed(zone, cause)

    def return_zone(self, zone: str, *, cause: str) -> None:
        """Take a zone back before its time."""
        if self.shifts.end(zone):
            self._zones_changed(zone, cause)

    def _zones_changed(self, zone: str, cause: str) -> None:
        self.revision += 1
        self._document = self._compile()
        self._override_changed.set()
        self.on_document(self._document)
        self.on_zones(zone, cause)

    async def run(self) -> None:
        """Serve reloads, the file watch and the override's end until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve_reloads())
            tasks.create_task(self._end_overrides())
            if self._file is not None:
                tasks.create_task(self._watch())

    def _mode_changed(self, cause: str) -> None:
        self._document = self._compile()
        self._override_changed.set()
        self.on_mode(self.mode, cause)

    def _compile(self) -> Document:
        document = self._managed or self.loaded.document
        policy = dataclasses.replace(document.policy, mode=self.mode)
        self._cells = number_cells((cell.name for cell in policy.cells), self._cells)
        away = self.shifts.away
        proxy = dataclasses.replace(document.proxy, zones_away=away, zones_away_until_s=())
        return dataclasses.replace(
            document, policy=policy, proxy=proxy, revision=self.revision, cells=self._cells
        )

    def _load(self) -> Loaded:
        """Read and validate all of it, the way the workers will."""
        loaded = load_settings(self._file, environ=self._environ, overrides=self._overrides)
        self._check(loaded)
        try:
            rehearse(loaded.document)
        except DocumentInvalidError as error:
            raise ConfigInvalidError(error.problems) from error
        return loaded

    async def _serve_reloads(self) -> None:
        while True:
            await self._is_asked.wait()
            if self._applied_at is not None:
                left = self._applied_at + self._apply_period - self._clock()
                if left > 0:
                    await asyncio.sleep(to_seconds(left))
            self._is_asked.clear()
            asked, self._asked = self._asked, []
            result = await self._reload(asked[-1][0])
            for _, answer in asked:
                if not answer.done():
                    answer.set_result(result)

    async def _reload(self, cause: str) -> ReloadResult:
        self._applied_at = self._clock()
        self._digest = await asyncio.to_thread(self._read_digest)
        problems: tuple[Problem, ...] = ()
        loaded = None
        try:
            # In a thread: a large file must not hold up the health checks.
            loaded = await asyncio.to_thread(self._load)
        except DocumentInvalidError as error:
            problems = tuple(error.problems)
        except OSError as error:
            problems = (Problem(message=f"{error.filename}: {error.strerror}"),)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end what serves well
            problems = (Problem(message=f"cannot be read: {type(error).__name__}: {error}"),)
        if self.is_managed and loaded is not None:
            loaded, problems = self._localized(loaded)
        needs_restart: tuple[str, ...] = ()
        if loaded is None:
            self.refusals += 1
        else:
            needs_restart = _needs_restart(self._at_start, loaded)
            self.loaded = loaded
            self.revision += 1
            self.reloads += 1
            self._document = self._compile()
            self.on_document(self._document)
        self.last_result = ReloadResult(
            ok=loaded is not None,
            cause=cause,
            revision=self.revision,
            wall=wall_seconds(),
            problems=problems,
            needs_restart=needs_restart,
        )
        self.on_result(self.last_result)
        return self.last_result

    def _localized(self, loaded: Loaded) -> tuple[Loaded | None, tuple[Problem, ...]]:
        """What is the host's own is taken, if nothing else has changed."""
        if problems := not_taken(self.loaded, loaded):
            return None, problems
        try:
            document = self.localize(loaded.document)
        except DocumentInvalidError as error:
            return None, tuple(error.problems)
        self._managed = document if self._managed is not None else None
        return loaded, ()

    async def _end_overrides(self) -> None:
        while True:
            self._override_changed.clear()
            override = self.override
            ends = (None if override is None else override.expires_at, self.shifts.next_end_at())
            next_end = min((end for end in ends if end is not None), default=None)
            timeout = None if next_end is None else to_seconds(max(0, next_end - self._clock()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._override_changed.wait()
                continue
            if self.override is not None and self.override.expires_at <= self._clock():
                self.clear_override(cause="expired")
            for zone in self.shifts.expire():
                self._zones_changed(zone, "expired")

    async def _watch(self) -> None:
        """Reload when the content changes, however it is replaced: written, renamed, or by a link.

        The folder is watched, because a ConfigMap swaps a link next to the file and an editor
        renames over it. Content decides, so that touching the file does nothing; it is looked at
        every five seconds besides, as what changes before the folder is watched is no event.
        """
        assert self._folder is not None
        is_polling = False
        while True:
            try:
                await self._look()
                async for _ in awatch(
                    self._folder,
                    recursive=False,
                    step=50,
                    debounce=400,
                    force_polling=is_polling,
                    watch_filter=None,
                    yield_on_timeout=True,
                ):
                    await self._look()
            except (OSError, RuntimeError):  # no inotify left, or the folder was replaced
                is_polling = True
                await asyncio.sleep(1)

    async def _look(self) -> None:
        digest = await asyncio.to_thread(self._read_digest)
        if digest and digest != self._digest:
            self._digest = digest
            self.request_reload("file")

    def _read_digest(self) -> bytes:
        """Digest of the file's content; empty while there is none (between two renames)."""
        if self._file is None:
            return b""
        try:
            return hashlib.sha256(self._file.read_bytes()).digest()
        except OSError:
            return b""


def _needs_restart(before: Loaded, after: Loaded) -> tuple[str, ...]:
    """Names of settings that only a start reads and that differ from those at the start."""
    changed = []
    for section, names in _START_ONLY.items():
        old, new = getattr(before.settings, section), getattr(after.settings, section)
        changed += [
            f"{section}.{name}" for name in names if getattr(old, name) != getattr(new, name)
        ]
    if bool(before.settings.server.tls.cert) != bool(after.settings.server.tls.cert):
        changed.append("server.tls")  # other certificates are presented without a restart
    return tuple(changed)


_START_ONLY: dict[str, tuple[str, ...]] = {
    "server": ("listen", "workers", "state_file"),
    "control": ("listen",),
    "telemetry": ("service_name", "otlp", "endpoint", "interval"),
    "snapshot": (
        *("source", "keys", "folder", "period", "timeout", "size_max", "stale_after", "shed_max"),
        *("instance", "report", "token_file", "first_wait", "move_period"),
    ),
}
