"""Sockets that the service manager hands over: systemd's protocol of `sd_listen_fds`.

`LISTEN_FDS` descriptors from 3 on belong to the process `LISTEN_PID`; `LISTEN_FDNAMES` names them,
separated by colons. They stay open while the service is away, so that its clients wait.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["handed_over"]

_FIRST_FD = 3
_NAMELESS = "unknown"
"""What systemd calls a socket that has no name."""


def handed_over(name: str, environ: Mapping[str, str]) -> tuple[int, ...]:
    """Descriptors of that name, or of all names for ""; none when they are for another process."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID", "") != str(os.getpid()) or not count.isdecimal():
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":") if "LISTEN_FDNAMES" in environ else []
    named = enumerate([*names, *[_NAMELESS] * int(count)][: int(count)], _FIRST_FD)
    return tuple(fd for fd, found in named if not name or found == name)
