"""Programs that tests start: their output in a file, ended by pid with a bounded wait."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from shedproxy.testing import eventually

HERE = Path(__file__).parent
APPS = HERE / "apps"
"""Applications that real servers run."""


def accepts(port: int) -> bool:
    """Whether something listens on loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def memory_bytes(pid: int) -> int:
    """Resident memory of a process: VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS")


class Process:
    """One program for a `with` block. Its standard output and error go to `home/NAME.log`."""

    STOP_S = 20.0

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        home: Path,
        environ: Mapping[str, str] | None = None,
        stdin: bool = False,
    ) -> None:
        self.name = name
        self.log = home / f"{name}-{os.urandom(4).hex()}.log"
        self._command = [str(part) for part in command]
        self._home = home
        self._environ = {**os.environ, **(environ or {})}
        self._stdin = subprocess.PIPE if stdin else subprocess.DEVNULL
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._home,
                env=self._environ,
                stdin=self._stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that ^C reaches the tests only, which then end it
            )
        try:
            eventually(self._is_up, within_s=60, what=f"{self.name} being up")
        except BaseException as error:
            self.stop()
            error.add_note(f"{self.name} said:\n{self.text()[-4000:]}")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_up(self) -> bool:
        """True when it serves; fails the test at once when it never will."""
        if self._process is not None and self._process.poll() is not None:
            pytest.fail(f"{self.name} ended with {self._process.returncode}")
        return self.is_up()

    def is_up(self) -> bool:
        """Whether it serves. Asked again and again after the start."""
        return True

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Of the ended process; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def text(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """End it in an orderly way, then by force; returns its exit code."""
        assert self._process is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(timeout=self.STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Listening(Process):
    """A program that serves on a port of loopback which the test chose."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        port: int,
        home: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, command, home=home, environ=environ)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def is_up(self) -> bool:
        return accepts(self.port)


class Service(Process):
    """The event-driven upstream of `harness/service.py`; see there for what it answers."""

    def __init__(
        self, *, home: Path, slots: int = 4, service_ms: float = 20.0, port: int = 0
    ) -> None:
        super().__init__(
            "service",
            [
                sys.executable,
                "-P",
                HERE / "service.py",
                f"--slots={slots}",
                f"--service-ms={service_ms}",
                f"--port={port}",
            ],
            home=home,
            stdin=True,
        )
        self.capacity_rps = slots * 1000 / service_ms
        self.asked_port = port
        self.port = 0

    def is_up(self) -> bool:
        lines = self.text().splitlines()
        if lines and lines[0].startswith("port "):
            self.port = int(lines[0].split()[1])
        return bool(self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Prober(Process):
    """Asks URLs while it is entered; `end` gives, by path, what `harness/prober.py` measured.

    `pids` are those who answer: what they wait for a processor is not in the times.
    """

    def __init__(self, urls: Sequence[str], *, home: Path, pids: Sequence[int] = ()) -> None:
        command = [sys.executable, "-P", HERE / "prober.py", *urls, "--waits-of", *map(str, pids)]
        path = {"PYTHONPATH": str(HERE.parent)}
        super().__init__("prober", command, home=home, environ=path, stdin=True)

    def is_up(self) -> bool:
        return self.text().startswith("probing")

    def end(self) -> dict[str, dict[str, Any]]:
        """Stop asking; count, p99_ms, max_ms and failures of each path."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=self.STOP_S)
        return json.loads(self.text().splitlines()[-1])
