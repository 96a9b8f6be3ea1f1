"""A service of known capacity, as a child process that reports what it was busy with.

What it does is in `loadgen.station_server`.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from shedproxy.core import Nanos

__all__ = ["REPORT_PATH", "Station", "StationReport"]

REPORT_PATH = "/-/station"
"""Where a station shows its report."""

_END_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StationReport:
    """What a station did from its first request until now."""

    elapsed_ns: Nanos
    capacity_ns: Nanos
    """Slot time there was: slots x time, pauses left out."""
    busy_ns: Nanos
    """Slot time spent on requests, whoever waited for them."""
    abandoned_ns: Nanos
    """The part of it that was spent on finished or stopped work whose client had left."""
    arrival_count: int
    departure_count: int
    """Work done to its end."""
    abandoned_count: int
    """Requests whose client left before their departure. With `cancels` they never depart."""
    in_service_count: int
    waiting_count: int
    most_waiting_count: int
    """How many waited at most."""
    waited_ns: Nanos
    """Time in which somebody waited, pauses left out: more were here than there are slots."""
    lateness_p50_ns: Nanos
    """Answered minus due, to the microsecond."""
    lateness_p99_ns: Nanos
    cpu_ns: Nanos
    """Of the station's process, its start included."""


class Station:
    """The station as a child process, for a `with` block.

    `pause_ms` is (every, for), `steps` are (seconds after the first request, mean service in ms).
    """

    def __init__(
        self,
        *,
        slots: int,
        service_ms: float,
        law: str = "constant",
        cv: float | None = None,
        seed: int = 1,
        cancels: bool = False,
        pause_ms: tuple[float, float] = (0.0, 0.0),
        steps: Sequence[tuple[float, float]] = (),
    ) -> None:
        self.capacity_rps = slots * 1000 / service_ms
        """Without pauses, before the first step."""
        self._command = [
            sys.executable,
            "-m",
            "shedproxy.loadgen.station_server",
            f"--slots={slots}",
            f"--service-ms={service_ms}",
            f"--law={law}",
            f"--seed={seed}",
            f"--pause={pause_ms[0]}/{pause_ms[1]}",
            *(f"--step={at_s}={mean_ms}" for at_s, mean_ms in steps),
        ]
        if cv is not None:
            self._command.append(f"--cv={cv}")
        if cancels:
            self._command.append("--cancels")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._last: StationReport | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self._process.communicate()
            raise RuntimeError("the station did not start")
        self._port = int(port)
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        try:
            said, _stderr = self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return
        if said:
            self._last = StationReport(**json.loads(said))

    def report(self) -> StationReport:
        """What it has done so far, or did in all once the block is over. Blocks for a round trip.

        Raises:
            OSError: when it does not answer.
            RuntimeError: when it ended without a report.
        """
        if self._process is not None and self._process.returncode is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_END_S)
            try:
                connection.request("GET", REPORT_PATH)
                return StationReport(**json.loads(connection.getresponse().read()))
            finally:
                connection.close()
        if self._last is None:
            raise RuntimeError("the station left no report")
        return self._last
