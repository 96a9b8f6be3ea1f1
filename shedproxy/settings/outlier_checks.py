"""Contradictions in how hosts are checked and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath

from shedproxy.errors import Problem
from shedproxy.settings.located import Check
from shedproxy.settings.models import Settings
from shedproxy.settings.quantities import show_duration

__all__ = ["check_outliers"]


def check_outliers(settings: Settings, check: Check) -> Iterator[Problem]:
    """Every such contradiction."""
    for name, cell in settings.cell.items():
        asked = cell.check
        if asked.timeout > asked.interval:
            yield from check.error(
                ("cell", name, "check", "timeout"),
                f'cell "{name}": check.timeout must not be longer than check.interval',
                note=f"{show_duration(asked.timeout)} is longer than"
                f" {show_duration(asked.interval)}",
                related=("cell", name, "check", "interval"),
            )
    yield from _check_replacement(settings, check)


def _check_replacement(settings: Settings, check: Check) -> Iterator[Problem]:
    asked = settings.replacement
    used = "url" if asked.url else "command"
    if asked.url and asked.command:
        yield from check.error(
            ("replacement", "command"),
            "replacement.url and replacement.command are both given",
            note="one of them is asked, not both",
            related=("replacement", "url"),
        )
    if (asked.url or asked.command) and not settings.server.state_file:
        yield from check.error(
            ("replacement", used),
            f"replacement.{used} needs server.state_file",
            note="a restart would forget which hosts are being replaced",
            help_text='add state_file = "/var/lib/shedproxy/state" to [server]',
        )
    if asked.secret_file and not FilePath(asked.secret_file).is_file():
        yield from check.error(
            ("replacement", "secret_file"),
            "replacement.secret_file: no such file",
            help_text=f"looked for {asked.secret_file}",
        )
    if asked.url and not asked.secret_file:
        yield from check.error(
            ("replacement", "url"),
            "replacement.url needs secret_file beside it",
            note="whoever receives it could not tell who asks",
        )
