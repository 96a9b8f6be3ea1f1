"""A server in a process of its own, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from shedproxy.testing.eventually import eventually

__all__ = ["ServerProcess", "free_port"]

_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 20_000
_TRIES_MAX = 100
_numbers = itertools.count(os.getpid() * 61)
"""Processes begin apart, whatever their ids."""
_STARTS_MAX = 3
_STOP_WAIT_S = 10.0


def free_port() -> int:
    """A loopback TCP port that was free a moment ago, each time another.

    Where there is room it is below those that the kernel hands out, to connections and to whoever
    asks for any port: none of them takes it before the one that it is meant for.
    """
    first_handed_out = int(_HANDED_OUT.read_text().split()[0]) if _HANDED_OUT.exists() else 0
    count = max(0, first_handed_out - _FIRST)
    candidates = [_FIRST + next(_numbers) % count for _ in range(min(count, _TRIES_MAX))]
    for port in (*candidates, 0):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return int(listener.getsockname()[1])
    raise OSError("no port of the loopback is free")


class ServerProcess:
    """Runs a command while entered, once it accepts connections.

    Args:
        command: its words; `{port}` in them becomes a free port of the loopback.
        cwd: where it runs.
        env: added to the environment.
        within_s: how long it may take to listen.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        within_s: float = 30.0,
    ) -> None:
        self.port = 0
        """The port in use."""
        self._command = command
        self._cwd = cwd
        self._env = {**os.environ, **(env or {})}
        self._within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path(tempfile.mkdtemp(prefix="shedproxy-test-")) / "output"

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it wrote so far, both streams."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Self:
        """Start it; a port that was taken meanwhile costs another try.

        Raises:
            AssertionError: it did not listen in time.
        """
        for attempt in range(_STARTS_MAX):
            self._start()
            try:
                eventually(self._is_ready, within_s=self._within_s, what="the server's start")
            except AssertionError as error:
                self.stop()
                raise AssertionError(f"{error}: {self.output}") from error
            assert self._process is not None
            if self._process.poll() is None:
                return self
            if attempt == _STARTS_MAX - 1:
                raise AssertionError(f"the server ended at once: {self.output}")
        raise AssertionError("unreachable")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
        self._log.unlink(missing_ok=True)
        self._log.parent.rmdir()

    def stop(self) -> int:
        """Terminate it, kill it if that does not help, and return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(_STOP_WAIT_S)
            self._process.kill()
        return self._process.wait(_STOP_WAIT_S)

    def _start(self) -> None:
        self.port = free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [word.replace("{port}", str(self.port)) for word in self._command],
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _is_ready(self) -> bool:
        """Listening, or ended already."""
        assert self._process is not None
        if self._process.poll() is not None:
            return True
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
