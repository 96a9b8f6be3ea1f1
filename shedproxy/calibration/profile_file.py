"""Writes a profile into a settings file: values in place, comments and layout kept.

Nothing but the keys named is touched. The new text is checked as a whole before it is written, and
written beside the file and renamed, so that a reader sees the old file or the new one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from shedproxy.calibration.measurement import Interval
from shedproxy.calibration.results import Calibration, Change, Findings, Thresholds
from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_settings
from shedproxy.settings.quantities import show_duration

__all__ = [
    "check_profile_file",
    "current_values",
    "for_cell",
    "profile_changes",
    "with_profile",
    "write_profile",
]

_PROFILE_VERSION = 1
_MAX = "1000"
"""What `limit.max` is where nothing is said."""
_ADAPTIVE = '"adaptive"'


def current_values(text: str) -> dict[str, str]:
    """Every value of a settings file by dotted key, as TOML shows it."""
    found: dict[str, str] = {}

    def walk(prefix: str, table: Mapping[str, Any]) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                walk(f"{prefix}{key}.", value)
            else:
                found[prefix + key] = tomlkit.item(value).as_string()

    walk("", tomllib.loads(text))
    return found


def profile_changes(calibration: Calibration, text: str) -> tuple[Change, ...]:
    """What writing the profile would change in a settings file with this text."""
    if calibration.thresholds is None:
        return ()
    return _limit_changes(calibration.thresholds, calibration.findings, current_values(text))


def for_cell(calibration: Calibration, name: str) -> Calibration:
    """The same as the calibration of the cell of that name; it has one cell."""
    thresholds = calibration.thresholds
    if thresholds is None or thresholds.cells[0].name == name:
        return calibration
    cells = (replace(thresholds.cells[0], name=name),)
    calibration = replace(calibration, thresholds=replace(thresholds, cells=cells))
    changes = profile_changes(calibration, "")
    return replace(calibration, thresholds=replace(thresholds, cells=cells, changes=changes))


def with_profile(calibration: Calibration, text: str) -> str:
    """The settings file with the profile in it.

    Raises:
        ValueError: the calibration came to no thresholds, or a place is taken by something else.
    """
    if calibration.thresholds is None:
        raise ValueError("there is nothing to write: the calibration is inconclusive")
    document = tomlkit.parse(text)
    for change in profile_changes(calibration, text):
        *tables, key = change.key.split(".")
        _table(document, tables)[key] = tomllib.loads(f"value = {change.after}")["value"]
    for cell in calibration.thresholds.cells:
        profile = _table(document, ["cell", cell.name, "profile"])
        for key, value in _profile(calibration, cell.upstream_weight).items():
            profile[key] = value
    return tomlkit.dumps(document)


def write_profile(calibration: Calibration, path: Path) -> tuple[Change, ...]:
    """Write the profile into the file, which is made if it is not there. Returns the changes.

    Raises:
        ValueError: as `with_profile`, or the file would not be valid.
        OSError: it cannot be read or written.
    """
    text = _read(path)
    changes = profile_changes(calibration, text)
    written = with_profile(calibration, text)
    _check(path, written)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(written, encoding="utf-8")
    if path.exists():
        beside.chmod(path.stat().st_mode & 0o777)
    beside.replace(path)
    return changes


def check_profile_file(path: Path) -> None:
    """Find out before anything is measured that a profile cannot go into this file.

    Raises:
        ValueError: it is no text, or no valid settings.
        OSError: it cannot be read.
    """
    _check(path, _read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error


def _check(path: Path, text: str) -> None:
    try:
        load_settings(path, text=text)
    except ConfigInvalidError as error:
        raise ValueError(str(error)) from error


def _limit_changes(
    thresholds: Thresholds, findings: Findings, before: Mapping[str, str]
) -> tuple[Change, ...]:
    """Every key that differs from `before` (value as TOML shows it by dotted key), with reasons."""
    changes: list[Change] = []
    for cell in thresholds.cells:
        limit = f"cell.{cell.name}.limit"
        wanted: list[tuple[str, str, str]] = [
            (f"{limit}.initial", str(cell.start), _knee_reason(findings.knee_in_flight)),
            (f"{limit}.min", str(cell.floor), _floor_reason(findings.knee_in_flight)),
        ]
        if limit in before or before.get(f"{limit}.algorithm", _ADAPTIVE) != _ADAPTIVE:
            reason = "it moves in the bounds below, and is what was proved"
            wanted.insert(0, (f"{limit}.algorithm", _ADAPTIVE, reason))
        if cell.ceiling is not None:
            wanted.append((f"{limit}.max", str(cell.ceiling), _ceiling_reason(findings)))
        elif int(before.get(f"{limit}.max") or _MAX) < cell.start:
            wanted.append((f"{limit}.max", str(cell.start), "no less than was carried"))
        if cell.baseline_ns is not None:
            wanted.append(
                (
                    f"{limit}.baseline",
                    f'"{show_duration(cell.baseline_ns)}"',
                    "mean latency with nothing else in flight",
                )
            )
        if cell.queue_wait_ns is not None:
            wanted.append(
                (
                    f"cell.{cell.name}.queue.wait_max",
                    f'"{show_duration(cell.queue_wait_ns)}"',
                    "what the SLO leaves, but room for the bursts of a load of 0.8",
                )
            )
        if cell.resident_limit is not None and findings.residents is not None:
            wanted.append(
                (
                    f"cell.{cell.name}.streams.limit",
                    str(cell.resident_limit),
                    findings.residents.reason,
                )
            )
        changes += [
            Change(key=key, before=before.get(key, ""), after=after, reason=reason)
            for key, after, reason in wanted
            if before.get(key, "") != after
        ]
    return tuple(changes)


def _floor_reason(knee: Interval | None) -> str:
    if knee is None:
        return "carried when it was seen; where the knee is was not"
    return "the knee at most: fewer may leave slots idle"


def _ceiling_reason(findings: Findings) -> str:
    if findings.capacity_in_flight is None:
        return "twice the knee: more in flight only wait inside the service"
    return f"saturated for sure with {findings.capacity_in_flight} in flight"


def _knee_reason(knee: Interval | None) -> str:
    if knee is None:
        return "the most that was seen in flight, and carried"
    return (
        f"knee {knee.value:.1f} [{knee.low:.1f}, {knee.high:.1f}]: capacity times latency without "
        "load, and a margin"
    )


def _table(document: Any, names: list[str]) -> Any:
    table = document
    for place, name in enumerate(names):
        if name not in table:
            # A table that only holds others needs no header of its own.
            table[name] = tomlkit.table(is_super_table=place < len(names) - 1)
        inner = table[name]
        if isinstance(inner, int) and name == "limit":
            # `limit = 64` is short for a table.
            table.remove(name)
            table[name] = tomlkit.table()
            inner = table[name]
        if not isinstance(inner, dict | Table):
            raise ValueError(f"{'.'.join(names[: place + 1])} is no table")  # noqa: TRY004 - of the file
        table = inner
    return table


def _profile(calibration: Calibration, weight: int) -> dict[str, Any]:
    findings, provenance = calibration.findings, calibration.provenance
    assert calibration.thresholds is not None
    profile: dict[str, Any] = {
        "version": _PROFILE_VERSION,
        "id": provenance.id,
        "source": provenance.source,
        "fitted_at": provenance.finished,
        "expires_after": show_duration(calibration.thresholds.expires_after_ns),
        "fingerprint": provenance.fingerprint,
        "build": provenance.target_build,
        "weight": weight,
        "slo": calibration.plan.slo.text,
    }
    for key, interval in (
        ("capacity", findings.capacity_rps),
        ("slo_rate", findings.slo_rps),
        ("knee", findings.knee_in_flight),
    ):
        if interval is not None:
            profile[key] = _rounded(interval)
    scatter = [route.law.cv for route in findings.routes if route.law is not None]
    if scatter:
        profile["scatter"] = round(scatter[0], 3)
    profile["routes"] = _routes(calibration)
    return profile


def _routes(calibration: Calibration) -> Any:
    table = tomlkit.inline_table()
    for route in calibration.findings.routes:
        table[route.name] = [
            show_duration(max(1000, round(value / 1000) * 1000))
            for value in (route.mean.value, route.mean.low, route.mean.high)
        ]
    return table


def _rounded(interval: Interval) -> list[float]:
    return [float(f"{value:.4g}") for value in (interval.value, interval.low, interval.high)]
