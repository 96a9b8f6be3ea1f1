"""Servers under load: started on a core of their own, driven by wrk, their CPU time counted.

The generator and the upstream share one core and the servers, which take turns, have the other.
What is counted is the run time that the scheduler booked for every thread of a server's process
and of its children (schedstat, in ns), over the requests that the generator saw answered.
Processes are ended by the id they were started with.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.method import NotMeasuredError

__all__ = [
    "CONNECTIONS",
    "DIFFERENT",
    "LOADS",
    "Server",
    "Values",
    "free_port",
    "is_pinned",
    "program",
    "running",
    "take_turns",
]

CONNECTIONS = 16
DIFFERENT, ALIKE = "heads differ", "heads alike"
LOADS = {
    DIFFERENT: """
        local headers = {
          ["user-agent"] = "benchmark/1.0", ["accept"] = "application/json",
          ["accept-encoding"] = "gzip, deflate", ["cookie"] = "session=0123456789abcdef"}
        local serial = 0
        request = function()
          serial = serial + 1
          headers["traceparent"] = string.format("00-%032x-%016x-01", serial, serial)
          return wrk.format("GET", "/items/" .. serial * 7919 % 100000, headers)
        end
    """,
    ALIKE: "",
}
"""Scripts of wrk. Traffic of many users has no two heads alike (paths, traces, cookies); a client
that polls, and a generator left to itself, sends the same bytes for ever. A server that remembers
what it has seen shows it in the difference."""

WARM_UP = 300
"""Requests before the first round, one after the other: caches and pools find their place."""
WRONG_MAX = 0.001
"""Share of answers with another status that is taken for noise."""
START_S = 20.0
STOP_S = 10.0

_REQUESTS = re.compile(r"(\d+) requests in ")
_OTHER_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


def program(name: str) -> str | None:
    """Where a program is; servers are not on everybody's path."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")


def free_port() -> int:
    """For programs that cannot take one from the kernel themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cores() -> tuple[set[int], set[int]]:
    """For the measured servers, and for everything else; all the same where there is one core."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[:1] and {usable[0]}, {usable[1]}) if len(usable) > 1 else (set(), set())


SERVER_CORE, OTHER_CORE = _cores()


def is_pinned() -> bool:
    """Whether there are cores enough to keep the measured apart from what measures."""
    return bool(SERVER_CORE)


@contextlib.contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What is started meanwhile runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """One program on a port of the loopback. Its output goes to a file of the given directory."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        port: int,
        home: Path,
        status: int = 200,
        is_measured: bool = True,
    ) -> None:
        self.name = name
        self.status = status
        """What it is to answer."""
        self.url = f"http://127.0.0.1:{port}/small"
        self.port = port
        self._command = [str(word) for word in command]
        self._home = home
        self._log = home / f"{name.replace(' ', '-')}.log"
        self._cores = SERVER_CORE if is_measured else OTHER_CORE
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to start; `wait` says when it has."""
        with self._log.open("wb") as log, _on(self._cores):
            self._process = subprocess.Popen(
                self._command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it gives the answer it is to give."""
        assert self._process is not None
        give_up_at = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                said = self._log.read_text(errors="replace")[-2000:]
                raise NotMeasuredError(f"{self.name} does not answer {self.status}: {said}")
            time.sleep(0.02)

    def warm_up(self) -> None:
        """Some requests that are not counted."""
        with contextlib.closing(self._connect()) as connection:
            for _ in range(WARM_UP):
                connection.request("GET", "/small")
                connection.getresponse().read()

    def signal_end(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Wait for its end; what does not end is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)

    def cpu_ns(self) -> int:
        """Run time of all threads of the process and of those it started, so far."""
        assert self._process is not None
        return sum(map(_run_time_ns, _tree(self._process.pid)))

    def memory_bytes(self) -> int:
        """Resident memory of the process and of those it started."""
        assert self._process is not None
        return sum(map(_resident_bytes, _tree(self._process.pid)))

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def _answers(self) -> bool:
        with contextlib.closing(self._connect()) as connection, contextlib.suppress(OSError):
            connection.request("GET", "/small")
            answer = connection.getresponse()
            answer.read()
            return answer.status == self.status
        return False


@contextlib.contextmanager
def running(servers: Sequence[Server]) -> Iterator[None]:
    """All of them at once; an idle one costs the others nothing worth mention."""
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in servers:
            server.signal_end()
        for server in servers:
            server.end()


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator saw in one run."""

    answered: int
    wrong: int
    """Of them, those with a status that was not wanted."""


Values = dict[str, dict[str, list[float]]]
"""By load and server: microseconds per request, one value a round."""


def _drive(server: Server, script: Path | None, seconds: int) -> Load:
    wrk = program("wrk")
    if wrk is None:
        raise NotMeasuredError("wrk is not on this machine")
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", server.url]
    if script is not None:
        command += ["-s", str(script)]
    with _on(OTHER_CORE):
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20)
    counted = _REQUESTS.search(done.stdout)
    answered = int(counted[1]) if counted else 0
    errors = _SOCKET_ERRORS.search(done.stdout)
    if not answered or (errors and any(map(int, errors.groups()))):
        raise NotMeasuredError(f"wrk against {server.name}: {done.stdout} {done.stderr}")
    other = _OTHER_STATUS.search(done.stdout)
    others = int(other[1]) if other else 0
    return Load(answered, others if server.status < 400 else answered - others)


def take_turns(
    servers: Sequence[Server],
    home: Path,
    *,
    rounds: int,
    seconds: int,
    loads: Sequence[str] = tuple(LOADS),
) -> tuple[Values, Mapping[str, int]]:
    """CPU per answered request under some of `LOADS`; and how many answers were wrong."""
    values: Values = {name: {server.name: [] for server in servers} for name in loads}
    scripts: dict[str, Path | None] = dict.fromkeys(loads)
    for name in loads:
        text = LOADS[name]
        if text:
            scripts[name] = home / f"{name.replace(' ', '-')}.lua"
            scripts[name].write_text(text)
    wrong = dict.fromkeys((server.name for server in servers), 0)
    for server in servers:
        server.warm_up()
    for _ in range(rounds):
        for name, script in scripts.items():
            for server in servers:
                before = server.cpu_ns()
                load = _drive(server, script, seconds)
                spent_ns = server.cpu_ns() - before
                values[name][server.name].append(spent_ns / load.answered / 1000)
                wrong[server.name] += load.wrong
                if load.wrong > WRONG_MAX * load.answered:
                    raise NotMeasuredError(
                        f"{server.name}: {load.wrong} of {load.answered} answers were not"
                        f" {server.status}"
                    )
    return values, wrong


def _tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name, which may hold anything) state parent ...
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _run_time_ns(pid: int) -> int:
    total = 0
    for entry in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(entry.read_text().split()[0])
    return total
