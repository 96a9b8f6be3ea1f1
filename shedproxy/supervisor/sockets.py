"""Listening sockets: parsed, bound once, owned by the supervisor and handed to its workers.

A worker that dies or is replaced takes no socket with it, so connections in the backlog wait for
its successor and nobody is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shedproxy.errors import StartupError
from shedproxy.supervisor.activation import handed_over

__all__ = ["BACKLOG", "Address", "Listener", "bind", "bind_all", "close_all", "parse_address"]

BACKLOG = 4096
"""Connections the kernel holds until a worker accepts; capped by net.core.somaxconn."""

_FORMS = '"host:port", ":port", "[::1]:port", "unix:/path", "systemd", "systemd:NAME" or "fd:N"'
_STREAMS_KEPT = 3
"""Standard input, output and error stay open."""
_PORT = re.compile(r"\d{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A place to listen, as configured."""

    kind: Literal["tcp", "unix", "systemd", "fd"]
    host: str = ""
    """Empty: every interface, IPv4 and IPv6."""
    port: int = 0
    """0: the kernel chooses."""
    path: str = ""
    fd: int = -1
    name: str = ""
    """Of sockets that systemd hands over; empty: all of them."""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd:{self.fd}"
        if self.kind == "systemd":
            return f"systemd:{self.name}".removesuffix(":")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True when only this host can reach it. An inherited socket is taken for public."""
        if self.kind == "unix":
            return True
        host = self.host.lower()
        return self.kind == "tcp" and (
            host in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
        )


@dataclass(slots=True)
class Listener:
    """One bound socket, and the address it was asked for."""

    address: Address
    socket: socket.socket
    owns_file: bool = False
    """The file of a unix socket is ours to remove."""

    @property
    def bound(self) -> str:
        """Where it really listens: with the port the kernel chose."""
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{self.socket.getsockname()}"
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def url(self) -> str:
        """The address as a person would open it."""
        bound = self.bound
        if bound.startswith("unix:"):
            return bound
        return "http://" + bound.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")


def parse_address(text: str) -> Address:
    """Read a listen address; StartupError names the text and the forms that exist."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Address(kind="unix", path=text.removeprefix("unix:"))
    if text.startswith("fd:") and _PORT.fullmatch(text[3:]):
        return Address(kind="fd", fd=int(text[3:]))
    if text == "systemd" or (text.startswith("systemd:") and len(text) > len("systemd:")):
        return Address(kind="systemd", name=text.removeprefix("systemd").removeprefix(":"))
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise StartupError(f"{text!r} is no listen address: write an IPv6 host in brackets")
    if not colon or not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise StartupError(f"{text!r} is no listen address: expected {_FORMS}")
    return Address(kind="tcp", host=host, port=int(port))


def bind_all(
    texts: tuple[str, ...] | list[str], *, environ: Mapping[str, str] | None = None
) -> list[Listener]:
    """Bind every address, or none: the error of one closes the others.

    `environ` says what was handed over; nothing was when it is not given.
    """
    listeners: list[Listener] = []
    try:
        for text in texts:
            listeners += bind(parse_address(text), environ=environ)
    except StartupError:
        close_all(listeners)
        raise
    return listeners


def bind(address: Address, *, environ: Mapping[str, str] | None = None) -> list[Listener]:
    """Bind and listen. A name may stand for several sockets (IPv4 and IPv6), one port for all.

    Raises:
        StartupError: taken, not allowed, unknown; says what to do about it.
    """
    if address.kind == "unix":
        return [_bind_unix(address)]
    if address.kind == "fd":
        return [_adopt(address, address.fd)]
    if address.kind == "systemd":
        return _take_over(address, environ or {})
    listeners: list[Listener] = []
    port = address.port
    failure: OSError | None = None
    for family, sockaddr in _resolve(address):
        try:
            bound = _bind_tcp(family, (sockaddr[0], port, *sockaddr[2:]))
        except OSError as error:
            # A host without IPv6 (or a name with an address of another host) still serves the rest.
            if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                failure = error
                continue
            close_all(listeners)
            raise StartupError(_explain(address, error)) from error
        port = bound.getsockname()[1]
        listeners.append(Listener(address, bound))
    if not listeners and failure is not None:
        raise StartupError(_explain(address, failure)) from failure
    return listeners


def close_all(listeners: list[Listener]) -> None:
    """Close the sockets; files of unix sockets that are still ours are removed."""
    for listener in listeners:
        if listener.owns_file:
            listener.owns_file = False
            with contextlib.suppress(OSError):
                os.unlink(listener.address.path)  # noqa: PTH108
        listener.socket.close()


def _resolve(address: Address) -> list[tuple[int, tuple[str | int, ...]]]:
    if not address.host:
        return [
            (socket.AF_INET, ("0.0.0.0", 0)),  # noqa: S104 - ":port" asks for every interface
            (socket.AF_INET6, ("::", 0)),
        ]
    try:
        found = socket.getaddrinfo(
            address.host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise StartupError(
            f"cannot listen on {address}: {address.host!r} is not an address or name of this host"
        ) from error
    resolved: dict[tuple[int, tuple[str | int, ...]], None] = {}
    for family, _, _, _, sockaddr in found:
        resolved[int(family), (str(sockaddr[0]), 0, *map(int, sockaddr[2:]))] = None
    return list(resolved)


def _bind_tcp(family: int, sockaddr: tuple[str | int, ...]) -> socket.socket:
    # With the protocol named, asyncio sees TCP and turns off Nagle on what is accepted: else every
    # answer of head and body takes 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(sockaddr)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(address: Address) -> Listener:
    _remove_stale(address)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(address.path)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise StartupError(_explain(address, error)) from error
    return Listener(address, bound, owns_file=True)


def _remove_stale(address: Address) -> None:
    """Remove the file that a killed process left; one that answers, or no socket, stays."""
    try:
        is_socket = stat.S_ISSOCK(os.stat(address.path).st_mode)  # noqa: PTH116
    except OSError:
        return
    if not is_socket:
        raise StartupError(
            f"cannot listen on {address}: the file exists and is no socket; choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(address.path)  # noqa: PTH108
        except OSError:
            return  # bind says what is wrong
        else:
            taken = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise StartupError(_explain(address, taken))


def _take_over(address: Address, environ: Mapping[str, str]) -> list[Listener]:
    fds = handed_over(address.name, environ)
    if not fds:
        what = f"no socket of that name (FileDescriptorName={address.name})" if address.name else ""
        raise StartupError(
            f"cannot listen on {address}: {what or 'no socket'} was handed over by systemd; start"
            " the .socket unit of this service, or name another address"
        )
    listeners: list[Listener] = []
    try:
        listeners.extend(_adopt(address, fd) for fd in fds)
    except StartupError:
        close_all(listeners)
        raise
    return listeners


def _adopt(address: Address, fd: int) -> Listener:
    try:
        adopted = socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise StartupError(
            f"cannot listen on {address}: descriptor {fd} is no open socket; it must be"
            " handed over by systemd (a .socket unit) or by the parent process"
        ) from error
    if fd >= _STREAMS_KEPT:
        # Else it would go on listening when we do not any more.
        os.close(fd)
    try:
        adopted.listen(BACKLOG)  # of a datagram socket: not supported
        adopted.setblocking(False)
        os.set_inheritable(adopted.fileno(), False)
    except OSError as error:
        adopted.close()
        raise StartupError(_explain(address, error)) from error
    return Listener(address, adopted)


def _explain(address: Address, error: OSError) -> str:
    """What went wrong, then how to mend it."""
    where = f"cannot listen on {address}"
    match error.errno:
        case errno.EADDRINUSE:
            finder = f"`ss -ltnp 'sport = :{address.port}'`" if address.port else "`ss -lxp`"
            return (
                f"{where}: the address is taken by another process; stop that one ({finder} shows"
                " it) or choose another address"
            )
        case errno.EACCES | errno.EPERM if address.kind == "tcp":
            return (
                f"{where}: not allowed; ports below 1024 need the capability"
                " CAP_NET_BIND_SERVICE, or choose a port above 1023"
            )
        case errno.EACCES | errno.EPERM:
            return f"{where}: not allowed to write there; choose another path or its permissions"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"{where}: this host has no such address; `ip addr` lists those it has"
        case errno.ENOENT:
            return f"{where}: the folder does not exist; create it first"
    return f"{where}: {error.strerror or error}"
