"""The systemd notification protocol: one datagram per message, nothing when not under systemd."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import NS_PER_US

__all__ = ["Notifier"]


class Notifier:
    """Tells the service manager how it goes. A manager that is gone is not an error."""

    def __init__(
        self, environ: Mapping[str, str] | None = None, *, clock: Clock = monotonic_now
    ) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self.watchdog_ns = _watchdog_ns(environ)
        """Longest time between two `alive` messages; 0: no watchdog is asked for."""

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock() // NS_PER_US}")

    def stopping(self, status: str) -> None:
        """The drain begins."""
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog. Only while the data loops beat: a wedged service is restarted."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        ):
            sender.sendto("\n".join(lines).encode(), address)


def _watchdog_ns(environ: Mapping[str, str]) -> int:
    text = environ.get("WATCHDOG_USEC", "")
    pid = environ.get("WATCHDOG_PID", "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0
    return int(text) * NS_PER_US
