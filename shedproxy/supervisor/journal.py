"""The supervisor's own log: what happened, one line each, JSON or text; and the workers' lines.

Written by a thread, so that a full pipe stops nothing. Values are escaped in both forms, so that
nothing a client or a file says can forge a line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shedproxy.clock import wall_seconds
from shedproxy.errors import Problem
from shedproxy.observability.access_log import format_event, timestamp
from shedproxy.observability.log_writer import LogWriter
from shedproxy.settings import LogSettings, has_color, render_problems

__all__ = ["Journal"]

_LEVELS = ("debug", "info", "warning", "error")
_LEVEL_OF = {
    "worker ready": "debug",
    "worker died": "warning",
    "worker terminated": "warning",
    "event loop stalled": "warning",
    "memory short": "warning",
    "restart failed": "error",
    "worker crash loop": "error",
    "worker cannot start": "error",
    "worker refused a document": "error",
    "reload refused": "error",
    "configuration warning": "warning",
    "mode": "warning",
    "profile drift": "warning",
    "upstream out": "warning",
    "host out": "warning",
    "magazine empty": "error",
    "outlier watch failed": "error",
    "outliers frozen": "error",
    "replacement overdue": "error",
    "replacement failed": "error",
    "bullets not read": "error",
    "bullets not kept": "error",
    "bullet forgiven": "warning",
    "upstream drained": "warning",
    "check fails": "warning",
    "recording ended": "warning",
    "snapshot refused": "error",
    "snapshot not fetched": "warning",
    "snapshot not kept": "warning",
    "snapshot stale": "warning",
    "snapshot copy refused": "error",
    "no snapshot": "warning",
    "serving without snapshot": "error",
    "no order key": "warning",
    "no room for a table": "error",
    "report not sent": "warning",
    "state not read": "warning",
    "state not kept": "warning",
}
"""Events that are not `info`."""
_LEVEL_OF_PROBLEM = {"error": "error", "warning": "warning", "hint": "info"}


class Journal:
    """Says what happens on standard error."""

    def __init__(
        self,
        settings: LogSettings,
        *,
        fd: int | None = None,
        is_terminal: bool | None = None,
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        self._writer = LogWriter(sys.stderr.fileno() if fd is None else fd)
        self._is_terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._wall = wall
        self.configure(settings)

    @property
    def dropped(self) -> int:
        """Lines lost so far, ours and the workers': their consumer was too slow, or gone."""
        return self._writer.dropped

    def configure(self, settings: LogSettings) -> None:
        """Take new settings."""
        self._level = _LEVELS.index(settings.level)
        self._is_text = settings.format == "text" or (
            settings.format == "auto" and self._is_terminal
        )

    def report(self, event: str, facts: Mapping[str, Any]) -> None:
        """Say that something happened."""
        severity = str(facts.get("severity", ""))
        level = _LEVEL_OF_PROBLEM.get(severity) or _LEVEL_OF.get(event, "info")
        if _LEVELS.index(level) < self._level:
            return
        now = self._wall()
        format_line = _text if self._is_text else format_event
        self._writer.write([format_line(now, level, event, facts)])

    def show_problems(self, problems: Sequence[Problem]) -> None:
        """Say what is wrong with a document: as text with carets, or as JSON."""
        if self._is_text:
            text = render_problems(problems, color=has_color(is_terminal=self._is_terminal))
            self._writer.write(text.rstrip("\n").split("\n"))
            return
        for problem in problems:
            self.report(
                "configuration problem",
                {
                    "severity": problem.severity,
                    "message": problem.message,
                    "source": problem.source,
                    "line": problem.line,
                    "column": problem.column,
                    "note": problem.note,
                    "help": problem.help,
                },
            )

    def pass_on(self, lines: Iterable[str]) -> None:
        """Lines that a worker wrote, each complete and escaped already."""
        self._writer.write(line.replace("\n", "\\n") for line in lines)

    def close(self) -> None:
        """Write what waits, bounded."""
        self._writer.close()


def _text(now: float, level: str, event: str, facts: Mapping[str, Any]) -> str:
    shown = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in facts.items())
    return f"{timestamp(now)} {level:<7} {event} {shown}".rstrip()
