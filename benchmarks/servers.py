"""Servers: started on a core of their own, their CPU time and memory read.

The generator and the upstream share one core and the servers, which take turns, have the other.
What is counted is the run time that the scheduler booked for every thread of a server's process
and of its children (schedstat, in ns), over the requests that the generator saw answered (`load`).
Processes are ended by the id they were started with.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.environment import program
from benchmarks.method import NotMeasuredError
from shedproxy.testing import free_port

__all__ = [
    "OTHER_CORE",
    "Server",
    "free_port",
    "is_pinned",
    "on_other_core",
    "program",
    "running",
    "task_times_ns",
]

START_S = 20.0
STOP_S = 10.0


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


def on_other_core() -> contextlib.AbstractContextManager[None]:
    """What is started meanwhile runs beside the generator and the upstream."""
    return _on(OTHER_CORE)


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
        is_tls: bool = False,
    ) -> None:
        self.name = name
        self.status = status
        """What it is to answer."""
        self.port = port
        self._is_tls = is_tls
        self._command = [str(word) for word in command]
        self._home = home
        self._log = home / f"{name.replace(' ', '-')}.log"
        self._cores = SERVER_CORE if is_measured else OTHER_CORE
        self._process: subprocess.Popen[bytes] | None = None
        self.partners: Sequence[Server] = ()
        """Asked for equal parts at the same time; what they take counts as its own."""

    @property
    def url(self) -> str:
        """Of its root."""
        return f"http{'s' if self._is_tls else ''}://127.0.0.1:{self.port}/"

    @property
    def urls(self) -> list[str]:
        """The same, and those of its partners."""
        return [self.url, *(partner.url for partner in self.partners)]

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        """The processes that it started to serve."""
        return [pid for pid in _tree(self.pid)[1:] if not _is_tracker(pid)]

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

    def warm_up(self, count: int) -> None:
        """Some requests that are not counted."""
        with contextlib.closing(self._connect()) as connection:
            for _ in range(count):
                connection.request("GET", "/small")
                connection.getresponse().read()
        for partner in self.partners:
            partner.warm_up(count)

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
        """Run time of all threads of the process and of those it started, so far; and of its
        partners'.
        """
        return self.times_ns()[0]

    def times_ns(self) -> tuple[int, int]:
        """The same, and how long they waited for a core."""
        all_ = (self, *self.partners)
        times = [task_times_ns(pid) for server in all_ for pid in _tree(server.pid)]
        return sum(ran for ran, _ in times), sum(waited for _, waited in times)

    def memory_bytes(self) -> int:
        """Resident memory of the process and of those it started."""
        return sum(self.memories_bytes())

    def memories_bytes(self) -> list[int]:
        """Of the process, and of each of those it started."""
        return [_resident_bytes(pid) for pid in _tree(self.pid)]

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            unverified = ssl._create_unverified_context()  # noqa: SLF001 - no other way in short
            return http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=5, context=unverified
            )
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


def _is_tracker(pid: int) -> bool:
    """Whether it is the process by which multiprocessing keeps count of its resources."""
    with contextlib.suppress(OSError):
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def task_times_ns(pid: int) -> tuple[int, int]:
    """Of all threads of a process: how long they ran, and how long they waited for a core."""
    ran = waited = 0
    for entry in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            words = entry.read_text().split()
            ran, waited = ran + int(words[0]), waited + int(words[1])
    return ran, waited
