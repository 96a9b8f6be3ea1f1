"""Where an upstream is: its URL taken apart, its addresses, and the connection to one of them.

Names are resolved off the request path: the first request waits for the first answer of the
resolver, later ones use the last good answer while a new one is fetched every few seconds. An
answer that fails or is empty changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from shedproxy.core import NS_PER_S
from shedproxy.dataplane.wire.tls import client_context
from shedproxy.snapshot import TlsDocument

__all__ = ["Target"]

RESOLVE_EVERY_NS = 5 * NS_PER_S
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))
"""An upstream that vanished without a word is noticed after 5 + 3 * 3 s."""


class Target:
    """One upstream URL: `http://host:port`, `https://host:port` or `unix:/path`.

    Raises:
        ValueError: the URL is none of these.
        OSError: a file of the TLS settings cannot be read.
    """

    __slots__ = (
        "_addresses",
        "_is_literal",
        "_refresh",
        "_resolved_at",
        "authority",
        "context",
        "host",
        "path",
        "port",
        "server_name",
        "url",
    )

    def __init__(self, url: str, tls: TlsDocument | None = None) -> None:
        self.url = url
        self.path = ""
        self.host = ""
        self.port = 0
        self.context: ssl.SSLContext | None = None
        self.server_name: str | None = None
        self.authority = b"localhost"
        self._addresses: list[str] = []
        self._resolved_at = 0
        self._is_literal = True
        self._refresh: asyncio.Task[None] | None = None
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
            self._addresses = [self.host]
        if is_tls:
            document = TlsDocument() if tls is None else tls
            self.context = client_context(document)
            self.server_name = document.server_name or self.host

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], *, now: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Open a connection to the first address that takes it. The caller bounds the time.

        Raises:
            OSError: refused, unreachable, unknown, or the TLS handshake failed.
        """
        loop = asyncio.get_running_loop()
        if self.path:
            return await loop.create_unix_connection(factory, self.path)
        if not self._is_literal:
            await self._resolve(now)
        failure: OSError | None = None
        for address in self._addresses:
            try:
                transport, protocol = await loop.create_connection(
                    factory,
                    address,
                    self.port,
                    ssl=self.context,
                    server_hostname=self.server_name if self.context is not None else None,
                )
            except OSError as error:
                failure = error
                continue
            _keep_alive(transport)
            return transport, protocol
        raise failure or OSError(f"{self.host} has no address")

    async def _resolve(self, now: int) -> None:
        if not self._addresses:
            await self._look_up()
            self._resolved_at = now
        elif now - self._resolved_at > RESOLVE_EVERY_NS:
            self._resolved_at = now
            self._refresh = asyncio.get_running_loop().create_task(self._look_up_again())

    async def _look_up(self) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        )
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if addresses:
            self._addresses = addresses

    async def _look_up_again(self) -> None:
        try:
            await self._look_up()
        except OSError:
            # The last good answer stays.
            return


def _keep_alive(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
