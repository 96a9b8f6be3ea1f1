"""What the control listener shows and does, on the real parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import shedproxy
from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import Instant, Mode, seconds, to_seconds
from shedproxy.errors import Problem
from shedproxy.observability.build import BUILD
from shedproxy.observability.load_points import LoadPoints, load_counts
from shedproxy.observability.prometheus import render_for
from shedproxy.observability.reading import Sample, sample_of
from shedproxy.store import shown_place
from shedproxy.supervisor.configuration import Configuration, ReloadResult
from shedproxy.supervisor.drift_monitor import DriftMonitor, counts_of
from shedproxy.supervisor.explain import explain_head
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.health import Report, ShedWindow, judge_liveness, judge_readiness
from shedproxy.supervisor.inspection import Inspection
from shedproxy.supervisor.managed_mode import ManagedMode
from shedproxy.supervisor.orders import HostOrder, ModeOrder, OrderInvalidError, ZoneOrder
from shedproxy.supervisor.outlier_watch import OutlierWatch
from shedproxy.supervisor.rolling import RollingRestart

__all__ = ["LiveOperations", "show_problem"]

APPLIED_BOUND = seconds(1)
"""How long a reload waits for the workers' word; a blocked worker takes the document later."""


class LiveOperations:
    """Operations of a running supervisor."""

    def __init__(
        self,
        configuration: Configuration,
        fleet: Fleet,
        inspection: Inspection,
        rolling: RollingRestart,
        *,
        watch: OutlierWatch,
        begin_drain: Callable[[str], None],
        report: Callable[[str, dict[str, Any]], None],
        lines_dropped: Callable[[], int] = lambda: 0,
        managed: ManagedMode | None = None,
        clock: Clock = monotonic_now,
    ) -> None:
        self._configuration = configuration
        self._fleet = fleet
        self._inspection = inspection
        self._rolling = rolling
        self._watch = watch
        self._begin_drain = begin_drain
        self._report = report
        self._lines_dropped = lines_dropped
        self._managed = managed
        configuration.on_zones = self._on_zones
        self._clock = clock
        self._started_at: Instant = clock()
        self._shed = ShedWindow()
        self._drift = DriftMonitor(report)
        self._points = LoadPoints()
        self.is_draining = False
        self.listening: list[str] = []
        self.control: list[str] = []
        self.order_key: Callable[[], str] = str
        """Gives the file with the key of orders; "": there is none."""

    def sample(self) -> None:
        """Once a second: what readiness remembers, points of load, and whether profiles fit."""
        document = self._configuration.document
        served, refused = self._inspection.totals(document)
        now = self._clock()
        self._shed.feed(now, admitted=served, refused=refused)
        healthy = {cell: sum(health.values()) for cell, health in self._fleet.upstreams().items()}
        self._drift.feed(
            now,
            document,
            lambda: counts_of(self._inspection.samples(document, ())),
            healthy,
        )
        if self._points.is_due(now):
            counts = load_counts(self._inspection.samples(document, ()))
            self._points.feed(now, wall_seconds(), counts, healthy)

        if self._managed is not None:
            self._managed.sample(self.counters, self._clock())

    def counters(self) -> Iterator[Sample]:
        """The series that workers count."""
        return self._inspection.samples(self._configuration.document, ())

    def report_facts(self) -> dict[str, Any]:
        """What a status report says of the process."""
        return {"mode": self._configuration.mode.label, "is_live": self.liveness().ok}

    def liveness(self) -> Report:
        """Whether a restart is needed."""
        bound = self._configuration.loaded.settings.control.livez_bound
        return judge_liveness(self._inspection.beats(), bound=bound)

    def readiness(self) -> Report:
        """Whether to send traffic here."""
        upstreams = self._fleet.upstreams()
        return judge_readiness(
            self._inspection.beats(),
            bound=self._configuration.loaded.settings.control.livez_bound,
            is_started=self._fleet.is_started,
            is_draining=self.is_draining,
            upstreams={
                f"{cell} {url}": ok
                for cell, health in upstreams.items()
                for url, ok in health.items()
            },
            shed_everything=self._shed.verdict(),
            awaited="" if self._managed is None else self._managed.awaited(),
        )

    def samples(self) -> Iterator[Sample]:
        """Every series of the metric table, for any exporter."""
        return self._inspection.samples(self._configuration.document, self._own_samples())

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type."""
        return render_for(self.samples(), accept)

    def status(self) -> dict[str, Any]:
        """Everything `shedproxy status` shows."""
        configuration = self._configuration
        document = configuration.document
        readiness = self.readiness()
        return {
            "version": shedproxy.__version__,
            "build": BUILD,
            "uptime_s": round(to_seconds(self._clock() - self._started_at), 1),
            "state": self._state(),
            "live": self.liveness().ok,
            "ready": readiness.ok,
            "not_ready_because": [
                f"{check.name}: {check.detail}" for check in readiness.checks if not check.ok
            ],
            "listening": self.listening,
            "control": self.control,
            "order_key": self.order_key(),
            "mode": configuration.mode.label,
            "configured_mode": configuration.configured_mode.label,
            "override": self._override(),
            "zones_away": configuration.shifts.view(),
            "revision": configuration.revision,
            "config": self._config_result(configuration.last_result),
            "workers": self._inspection.workers(document),
            "restart": self._rolling.view(),
            "cells": [
                {**cell, "profile": self._drift.view(cell["name"])}
                for cell in self._inspection.cells(document)
            ],
            "upstreams": self._fleet.upstreams(),
            "hosts": self._watch.view(),
            "snapshot": None if self._managed is None else self._managed.view(),
        }

    def upstreams(self) -> dict[str, Any]:
        """Every host, and the bullets that there are."""
        return self._watch.view()

    async def order_host(self, order: HostOrder, *, who: str) -> dict[str, Any]:
        """Take a host out by hand, put it back, or write a bullet off; logged with who asked.

        Bullets are kept on this host alone, and no snapshot can write one off.
        """
        if self._configuration.is_managed and order.action != "forgive":
            raise OrderInvalidError(
                "",
                "the policy comes in signed snapshots: hosts cannot be drained here; publish"
                " settings without the host (bullets can be forgiven here)",
            )
        return await self._watch.order(order, who=who)

    def points(self) -> dict[str, Any]:
        """What the service was seen to do, for `shedproxy calibrate --from-observe`."""
        return {**self._points.view(), "version": shedproxy.__version__}

    def explain(
        self, method: str, path: str, headers: list[tuple[str, str]], refusal_id: str
    ) -> dict[str, Any]:
        """What would happen to such a request now, or what happened to the refusal."""
        document = self._configuration.document
        if refusal_id:
            record = self._inspection.find(refusal_id)
            if record is None:
                raise OrderInvalidError(
                    "?id",
                    f"{refusal_id!r} is not kept: mistyped, older than the last 4096"
                    " refusals of its worker, or of another instance",
                )
            return {"refusal": self._inspection.refusal(record, document)}
        return explain_head(
            document,
            method,
            path,
            headers,
            numbers_of=lambda cell: self._inspection.numbers(document, cell),
            is_draining=self.is_draining,
        )

    def config(self) -> dict[str, Any]:
        """Effective values, each with its source."""
        loaded = self._configuration.loaded
        return {
            "revision": self._configuration.revision,
            "file": str(self._configuration.file or ""),
            "values": {
                name: {"value": _masked(value), "source": source or "command line"}
                for name, value, source in loaded.effective()
            },
            "warnings": [show_problem(problem) for problem in loaded.warnings],
        }

    def order_mode(self, order: ModeOrder, *, who: str) -> dict[str, Any]:
        """Override the mode for a while; logged with who asked."""
        if self._configuration.is_managed and order.mode is Mode.ENFORCE:
            raise OrderInvalidError(
                "/mode",
                "the policy comes in signed snapshots: only off and observe can be set here, for"
                " a while",
            )
        if order.mode is None:
            self._configuration.clear_override(cause=f"ended by {who}")
        else:
            self._configuration.set_override(order.mode, order.length, cause=f"set by {who}")
        return {"mode": self._configuration.mode.label, "override": self._override()}

    def order_zone(self, order: ZoneOrder, *, who: str) -> dict[str, Any]:
        """Weigh a zone away for a while, or take it back; logged with who asked."""
        if self._configuration.is_managed:
            raise OrderInvalidError(
                "", "the policy comes in signed snapshots: zones cannot be weighed away here"
            )
        if order.is_away:
            self._configuration.shift_zone(order.zone, order.length, cause=f"set by {who}")
        else:
            self._configuration.return_zone(order.zone, cause=f"ended by {who}")
        return {"zones_away": self._configuration.shifts.view()}

    def _on_zones(self, zone: str, cause: str) -> None:
        away = zone in self._configuration.shifts.view()
        self._report("zone", {"zone": zone, "away": away, "cause": cause})

    async def reload(self, *, who: str) -> dict[str, Any]:
        """Read the configuration again; the result, good or bad."""
        self._report("reload requested", {"who": who})
        result = await self._configuration.request_reload("request")
        content = self._config_result(result)
        if result.ok:
            content["workers_applied"] = await self._fleet.applied(result.revision, APPLIED_BOUND)
            content["workers"] = len(self._fleet.workers)
        return content

    def restart(self, *, who: str) -> dict[str, Any]:
        """Begin to replace every worker process by a new one."""
        if not self.is_draining:
            self._rolling.begin(f"requested by {who}")
        return self._rolling.view()

    def drain(self, *, who: str) -> dict[str, Any]:
        """Begin to end."""
        self._begin_drain(f"requested by {who}")
        return {"state": self._state()}

    def _state(self) -> str:
        if self.is_draining:
            return "draining"
        return "serving" if self._fleet.is_started else "starting"

    def _override(self) -> dict[str, Any] | None:
        override = self._configuration.override
        if override is None:
            return None
        left = to_seconds(max(0, override.expires_at - self._clock()))
        return {
            "mode": override.mode.label,
            "expires_at": round(override.wall_expires, 3),
            "expires_in_s": round(left, 1),
        }

    def _config_result(self, result: ReloadResult) -> dict[str, Any]:
        return {
            "ok": result.ok,
            "cause": result.cause,
            "revision": result.revision,
            "at": round(result.wall, 3),
            "age_s": round(max(0.0, wall_seconds() - result.wall), 1),
            "problems": [show_problem(problem) for problem in result.problems],
            "needs_restart": list(result.needs_restart),
        }

    def _own_samples(self) -> Iterator[Sample]:
        for mode in Mode:
            is_in_force = mode is self._configuration.mode
            yield sample_of("shedproxy.mode", int(is_in_force), mode.label)
        if dropped := self._lines_dropped():
            yield sample_of("shedproxy.access_log.dropped", dropped)
        yield sample_of("shedproxy.config.reloads", self._configuration.reloads, "applied")
        yield sample_of("shedproxy.config.reloads", self._configuration.refusals, "refused")
        yield from self._drift.samples()
        yield from self._watch.samples()
        if self._managed is not None:
            yield from self._managed.samples()


def _masked(value: Any) -> Any:
    """Without what a URL may hold of secrets; tokens are in files and never here."""
    if isinstance(value, str):
        return shown_place(value)
    return [_masked(item) for item in value] if isinstance(value, list) else value


def show_problem(problem: Problem) -> dict[str, Any]:
    """A problem of a document as JSON."""
    return {
        "severity": problem.severity,
        "message": problem.message,
        "path": ".".join(problem.path),
        "source": problem.source,
        "line": problem.line,
        "column": problem.column,
        "note": problem.note,
        "help": problem.help,
    }
