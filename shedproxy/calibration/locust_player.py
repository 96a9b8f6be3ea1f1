"""Plays orders with Locust, which is never imported here: it runs beside, with our locustfile.

Locust patches the process that imports it. So it is a program that is started once, is given plans
as files in a folder, and leaves rows there; what comes of an order is what the built-in player
gives (`live`), and nobody after it can tell the two apart. `processes` are Locust's own workers on
this machine; with `master` they are elsewhere, started by `locust --worker` with the same file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import shedproxy
from shedproxy.calibration.orders import Order, Played, Sent
from shedproxy.clock import monotonic_now, wall_seconds
from shedproxy.core import NS_PER_S, Criticality, Instant, Nanos, seconds
from shedproxy.errors import StartupError

__all__ = ["LocustPlayer", "LocustRequest", "find_locustfile"]

_IN_TREE = Path("loadtests/locustfiles")
_SHIPPED = Path(shedproxy.__file__).parent / "locustfiles"
_FILE = "planned.py"
_DROPPED_MAX = 50
_START_S = 30.0
"""Locust, its workers and their connections are there after this at the latest."""
_LOOK_EVERY_S = 0.02
_END_S = 10.0
_LAST_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LocustRequest:
    """One kind of request of one class."""

    method: str
    path: str
    name: str
    weight: float
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    route: int = 0
    criticality: Criticality = Criticality.CRITICAL


def find_locustfile() -> Path:
    """The locustfile that plays plans: of this tree, else the one in the package.

    Raises:
        StartupError: there is none.
    """
    tree = Path(shedproxy.__file__).parents[1] / _IN_TREE
    for folder in (tree, _SHIPPED):
        if (folder / _FILE).is_file():
            return folder / _FILE
    raise StartupError(f"there is no {_FILE}: neither in {_IN_TREE} nor in the package")


class LocustPlayer:
    """One Locust for a `with` block, that plays one order after the other at `url`."""

    def __init__(
        self,
        url: str,
        requests: Sequence[LocustRequest],
        *,
        deadline_ns: Nanos,
        arrivals: str = "poisson",
        processes: int = 1,
        master: str | None = None,
        watch: Callable[[Order, float], None] | None = None,
        locustfile: str = "",
    ) -> None:
        """`master` is HOST:PORT to bind for `processes` workers that are started elsewhere.

        With a `locustfile`, requests are its tasks, in the order in which it has them.

        Raises:
            StartupError: Locust is not installed.
        """
        if importlib.util.find_spec("locust") is None:
            raise StartupError(
                "Locust is not installed: pip install 'shedproxy[calibrate]', or leave --engine out"
            )
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._requests = tuple(requests)
        self._deadline_ns = deadline_ns
        self._arrivals = arrivals
        self._users = processes
        self._master = master
        self._watch = watch
        self._locustfile = locustfile
        self._number = 0
        self._folder = tempfile.TemporaryDirectory(prefix="shedproxy-locust-")
        self._home = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        told = {
            "SHEDPROXY_LOCUST_FOLDER": str(self._home),
            "SHEDPROXY_LOCUST_TIMEOUT_S": f"{self._deadline_ns / NS_PER_S}",
            "SHEDPROXY_LOCUST_FILE": str(Path(self._locustfile).resolve())
            if self._locustfile
            else "",
        }
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **told},
            )
        return self

    def __exit__(self, *_: object) -> None:
        (self._home / "end").touch()
        process = self._process
        if process is not None:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()

    def _command(self) -> list[str]:
        command = [
            *(sys.executable, "-m", "locust", "--locustfile", str(find_locustfile())),
            *("--headless", "--users", str(self._users), "--spawn-rate", str(self._users)),
            *("--host", self._origin, "--only-summary", "--loglevel", "WARNING"),
            *("--csv", str(self._home / "locust"), "--stop-timeout", "1"),
        ]
        if self._master is not None:
            host, _, port = self._master.rpartition(":")
            command += ["--master", "--master-bind-host", host, "--master-bind-port", port]
            command += ["--expect-workers", str(self._users)]
        elif self._users > 1:
            command += ["--processes", str(self._users)]
        return command

    def play(self, order: Order) -> Played:
        """One order, from idle to idle again.

        Raises:
            StartupError: Locust ended, lost a worker, or did not answer in time; with what it said.
        """
        self._number += 1
        length_s = order.length_ns / NS_PER_S
        plan = {
            "number": self._number,
            "users": self._users,
            "rate_rps": order.planned_rps,
            "concurrency": order.concurrency,
            "rate_max_rps": order.rate_max_rps,
            "length_s": length_s,
            "then_rps": order.then_rps,
            "then_s": (order.then_ns or 0) / NS_PER_S,
            "arrivals": self._arrivals,
            "seed": order.seed,
            "timeout_s": self._deadline_ns / NS_PER_S,
            "in_flight_max": order.in_flight_max,
            "not_sent_max": _DROPPED_MAX if order.then_rps is None else None,
            "requests": [_as_plain(request) for request in self._requests],
        }
        draft = self._home / "plan.part"
        draft.write_text(json.dumps(plan))
        draft.rename(self._home / f"plan-{self._number}.json")
        return self._played(order, self._await(order))

    def _await(self, order: Order) -> dict[str, Any]:
        file = self._home / f"rows-{self._number}.json"
        begun_at = monotonic_now()
        limit_ns = order.length_ns + (order.then_ns or 0) + self._deadline_ns + seconds(_START_S)
        process = self._process
        assert process is not None
        while not file.exists():
            spent_ns = monotonic_now() - begun_at
            if spent_ns > limit_ns:
                raise self._failed("did not answer in time")
            if self._watch is not None:
                self._watch(order, min(1.0, spent_ns / order.length_ns))
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_EVERY_S)
                raise self._failed(f"ended with exit code {process.returncode}")
        body: dict[str, Any] = json.loads(file.read_text())
        file.unlink()
        if not body["is_whole"]:
            raise self._failed("lost a worker")
        return body

    def _failed(self, what: str) -> StartupError:
        said = (self._home / "log").read_text(errors="replace").strip().splitlines()
        lines = "".join(f"\n  {line}" for line in said[-_LAST_LINES:])
        return StartupError(f"Locust {what}{':' if lines else ''}{lines}")

    def _played(self, order: Order, body: dict[str, Any]) -> Played:
        # Rows are offsets from an instant that all workers were told by the wall clock.
        begun_at = monotonic_now() - round((wall_seconds() - body["begin_at"]) * NS_PER_S)
        rows: list[Sent] = []
        for part in body["parts"]:
            rows += [self._row(begun_at, *row) for row in part["rows"]]
        rows.sort(key=lambda row: row.intended_at)
        not_sent = sum(part["not_sent"] for part in body["parts"])
        stopped_ns = min(part["stopped_ns"] for part in body["parts"])
        stopped_at = Instant(begun_at + min(stopped_ns, order.length_ns))
        busiest = max(part["cpu_share"] for part in body["parts"])
        return Played(
            rows=rows,
            started_at=Instant(begun_at),
            stopped_at=stopped_at,
            ended_at=max((row.done_at for row in rows), default=stopped_at),
            planned_count=len(rows),
            not_sent_count=not_sent,
            cpu_ns=round(busiest * (stopped_at - begun_at)),
            ended_early="arrivals were dropped at the cap"
            if order.then_rps is None and not_sent > _DROPPED_MAX
            else "",
        )

    def _row(self, begun_at: int, kind: int, due: int, sent: int, done: int, status: int) -> Sent:
        request = self._requests[kind]
        if done - due > self._deadline_ns:
            done, status = due + self._deadline_ns, 0
        return Sent(
            Instant(begun_at + due),
            Instant(begun_at + sent),
            Instant(begun_at + done),
            status,
            request.route,
            request.criticality,
        )


def _as_plain(request: LocustRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.path,
        "name": request.name,
        "weight": request.weight,
        "headers": {**dict(request.headers), "x-criticality": request.criticality.label},
        "body": request.body,
    }
