"""What figures belong to: the machine, how busy it was, which build, which versions of peers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shedproxy.core import shedder as core_module

__all__ = ["Stolen", "beside", "how_it_runs", "machine", "machine_text", "program", "versions"]

PROGRAMS = {
    "nginx": ("nginx", "-v"),
    "HAProxy": ("haproxy", "-v"),
    "Envoy": ("envoy", "--version"),
    "Caddy": ("caddy", "version"),
    "wrk": ("wrk", "-v"),
}
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


def program(name: str) -> str | None:
    """Where a program is; servers are not on everybody's path."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")


def beside(name: str) -> str | Path | None:
    """From the path, or from a package that is installed in this environment."""
    here = Path(sys.executable).parent / name
    return program(name) or (here if here.exists() else None)


class Stolen:
    """The share of the machine's time that a hypervisor gave to others, since it was made."""

    def __init__(self) -> None:
        self._began_at = time.perf_counter()
        self._before_s = _stolen_s()

    def share(self) -> float:
        spent_s = (time.perf_counter() - self._began_at) * (os.cpu_count() or 1)
        return max(0.0, _stolen_s() - self._before_s) / spent_s if spent_s else 0.0


def _stolen_s() -> float:
    """Of all cores, since the machine began; 0 where the kernel does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(words[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


_STOLEN = Stolen()


def how_it_runs() -> str:
    """Which of the two builds was measured."""
    is_compiled = not str(core_module.__file__).endswith(".py")
    return f"shedproxy is {'compiled' if is_compiled else 'interpreted: nothing is compiled'}"


def machine() -> dict[str, Any]:
    """What the figures belong to, and how busy it was."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "build": how_it_runs(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "stolen_share": round(_STOLEN.share(), 4),
    }


def machine_text() -> str:
    about = machine()
    return (
        f"{about['system']}, {about['processor']}, {about['python']}, {about['cores']} cores,"
        f" load average {about['load_average']}, {about['stolen_share']:.1%} stolen"
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def versions(programs: Sequence[str], packages: Sequence[str] = ()) -> dict[str, str]:
    """Of those that are here."""
    found = {}
    for name in programs:
        binary, option = PROGRAMS[name]
        path = beside(binary)
        if path is not None:
            done = subprocess.run([path, option], capture_output=True, text=True)
            said = _VERSION.search(done.stdout + done.stderr)
            found[name] = said[0] if said else "?"
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
