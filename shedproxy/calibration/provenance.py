"""Where a calibration was made: machine, versions, and a fingerprint to compare by."""

from __future__ import annotations

import hashlib
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import shedproxy
from shedproxy.calibration.results import Provenance
from shedproxy.clock import wall_seconds

__all__ = ["machine_facts", "machine_fingerprint", "make_provenance", "timestamp"]

_PACKAGES = ("uvloop", "httptools")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFO = Path("/proc/cpuinfo")


def timestamp(at_s: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine_facts() -> tuple[tuple[str, str], ...]:
    """What a measurement depends on, as far as the machine tells."""
    facts = [
        ("cpu", _cpu_model()),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("quota", _first_line(_CPU_QUOTA) or "none"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("python", platform.python_version()),
    ]
    return tuple(facts)


def _cpu_model() -> str:
    for line in _lines(_CPU_INFO):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "").strip()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def machine_fingerprint(target_build: str = "") -> str:
    """To compare by: of this machine and the build of the service, if that is known."""
    digest = hashlib.sha256(repr((machine_facts(), target_build)).encode()).hexdigest()
    return f"sha256:{digest[:16]}"


def make_provenance(
    *,
    target: str,
    command: str,
    started_s: float,
    stopped_by: str = "",
    target_build: str = "",
    source: str = "load",
) -> Provenance:
    """Everything about where and how, now that it is finished.

    `started_s` is in seconds since the epoch. The load before is left out of the fingerprint.
    """
    fingerprint = machine_fingerprint(target_build)
    started = timestamp(started_s)
    packages = []
    for name in _PACKAGES:
        try:
            packages.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return Provenance(
        id=f"{started[:16].replace(':', '')}Z-{fingerprint.partition(':')[2][:4]}",
        target=target,
        command=command,
        started=started,
        finished=timestamp(wall_seconds()),
        version=shedproxy.__version__,
        fingerprint=fingerprint,
        machine=(*machine_facts(), ("load", f"{os.getloadavg()[0]:.2f}")),
        packages=tuple(packages),
        target_build=target_build,
        source=source,
        is_complete=not stopped_by,
        stopped_by=stopped_by,
    )
