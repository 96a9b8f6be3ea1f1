"""Where an upstream is: its URL taken apart, its addresses, and the connection to one of them.

Names are resolved off the request path, every few seconds whether or not there are requests; only
the very first connection waits for the resolver. An answer that fails or is empty changes nothing.
Connections are spread over all addresses, those that failed lately last.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from shedproxy.core import NS_PER_S, Instant, Nanos
from shedproxy.dataplane.wire.tls import client_context
from shedproxy.snapshot import TlsDocument, UpstreamDocument

__all__ = ["Target", "Targets", "bound_silence", "targets_of"]

RESOLVE_EVERY_NS = 5 * NS_PER_S
RESOLVE_FIRST_EVERY_NS = NS_PER_S
"""While no address is known yet."""
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))
"""An upstream that vanished without a word is noticed after 5 + 3 * 3 s."""
_SILENCE_MS = 10_000
"""What was sent and is not even acknowledged by then: the upstream has vanished (the kernel would
go on for a quarter of an hour). Keepalives end at the first check after it, too."""


class Target:
    """One upstream URL: `http://host:port`, `https://host:port` or `unix:/path`.

    `context` is one that was made for the same TLS settings: a new one takes tens of milliseconds.

    Raises:
        ValueError: the URL is none of these.
        OSError: a file of the TLS settings cannot be read.
    """

    __slots__ = (
        "_aside",
        "_asking",
        "_failure",
        "_is_literal",
        "_resolve_at",
        "addresses",
        "authority",
        "connect_ns",
        "context",
        "generation",
        "host",
        "path",
        "port",
        "server_name",
        "url",
    )

    def __init__(
        self, url: str, tls: TlsDocument | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        self.url = url
        self.path = ""
        self.host = ""
        self.port = 0
        self.context: ssl.SSLContext | None = None
        self.server_name: str | None = None
        self.authority = b"localhost"
        self.connect_ns = Nanos(NS_PER_S)
        """Time for one connection, over all addresses that are tried for it."""
        self.addresses: list[str] = []
        """Known now; the next connection begins with the first."""
        self.generation = 0
        """Grows when the set of addresses changes."""
        self._aside: set[str] = set()
        """Addresses that failed since the resolver was last asked."""
        self._resolve_at = Instant(0)
        self._failure: OSError | UnicodeError | None = None
        self._is_literal = True
        self._asking: asyncio.Task[None] | None = None
        if url.startswith("unix:"):
            self.path = url.removeprefix("unix:").removeprefix("//")
            return
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not http://host:port, https://host:port or unix:/path")
        is_tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if is_tls else 80)
        self.authority = parts.netloc.rpartition("@")[2].encode("latin-1")
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            self._is_literal = False
        else:
            self.addresses = [self.host]
        if is_tls:
            document = TlsDocument() if tls is None else tls
            self.context = client_context(document) if context is None else context
            self.server_name = document.server_name or self.host

    async def connect(
        self, factory: Callable[[], Any], *, now: Instant
    ) -> tuple[asyncio.Transport, Any]:
        """Open a connection to the first address that takes it. The caller bounds the time, of
        which each address gets its part.

        Raises:
            OSError: refused, unreachable, unknown, not in time, or the TLS handshake failed.
            UnicodeError: the host is no name that could be looked up.
        """
        loop = asyncio.get_running_loop()
        if self.path:
            return await loop.create_unix_connection(factory, self.path)
        if not self.addresses:
            self.refresh(now)
            assert self._asking is not None
            # A reload may call the question off; who waits for it must live on, to be answered.
            await asyncio.wait((self._asking,))
        failure = self._failure
        for address in self._in_turn():
            try:
                async with asyncio.timeout(self.connect_ns / NS_PER_S / len(self.addresses)):
                    transport, protocol = await loop.create_connection(
                        factory,
                        address,
                        self.port,
                        ssl=self.context,
                        server_hostname=self.server_name if self.context is not None else None,
                    )
            except OSError as error:
                failure = error
                self._aside.add(address)
                continue
            self._aside.discard(address)
            _keep_alive(transport)
            if self.context is not None:
                # uvloop drops what nobody has read when the connection ends. So its end is to stay
                # in the kernel while we do not read; but for less than a record, whose rest has
                # come, and then only where the upstream ends without a word of TLS.
                cast("Any", transport).set_read_buffer_limits(high=1)
            return transport, protocol
        raise failure or OSError(f"{self.host} has no address")

    def refresh(self, now: Instant) -> None:
        """Ask the resolver again if it is time, and wait for nothing. On the running loop."""
        if self._is_literal or now < self._resolve_at:
            return
        if self._asking is not None and not self._asking.done():
            return
        every_ns = RESOLVE_EVERY_NS if self.addresses else RESOLVE_FIRST_EVERY_NS
        self._resolve_at = Instant(now + every_ns)
        self._asking = asyncio.get_running_loop().create_task(self._look_up())

    def inherit(self, former: Target) -> None:
        """Go on from what a former target of the same URL knew of the name."""
        if former is not self:
            former.leave()
            self.addresses = former.addresses
            self.generation = former.generation
            self._resolve_at = former._resolve_at if former.addresses else Instant(0)

    def leave(self) -> None:
        """Nobody new comes: ask no more, but for the first answer, which somebody may wait for."""
        if self.addresses:
            self.close()

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def _in_turn(self) -> list[str]:
        addresses = self.addresses
        if len(addresses) < 2:
            return addresses
        addresses.append(addresses.pop(0))
        return sorted(addresses, key=self._aside.__contains__)

    async def _look_up(self) -> None:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            self._failure = error
            return
        self._aside.clear()
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if addresses and set(addresses) != set(self.addresses):
            self.addresses = addresses
            self.generation += 1


Targets = dict[str, Target]
"""By URL."""


def targets_of(document: UpstreamDocument) -> Targets:
    """What a cell connects to. All share one TLS context: to make one holds the loop up.

    Raises:
        ValueError, OSError: as `Target`.
    """
    targets: Targets = {}
    context: ssl.SSLContext | None = None
    for url in document.urls:
        target = targets[url] = Target(url, document.tls, context)
        context = context or target.context
    return targets


def bound_silence(transport: asyncio.Transport, *, is_bound: bool) -> None:
    """Let the kernel give up on a peer that acknowledges nothing, or not.

    It counts a peer that does not read as one, however often that says so: this is for what fits
    into any window, and not for uploads and tunnels.
    """
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, option, _SILENCE_MS if is_bound else 0)


def _keep_alive(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    bound_silence(transport, is_bound=True)
