"""Who calls a listener, by the head of a request: a token, this host, or some web page; and by
the connection: the address that was called, and who is at the other end of a unix socket.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "NOT_JSON",
    "NO_PAGES",
    "PEER_USER",
    "REBOUND",
    "Peer",
    "Refusal",
    "address_of",
    "bearer",
    "is_json",
    "is_local_name",
    "is_own_page",
    "peer_of",
]

PEER_USER = "shedproxy.peer_user"
"""Where the state of a connection has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not, and as which status."""

    status: int
    title: str
    detail: str
    order_key: str = ""
    """The file with what should have been shown."""

    @property
    def headers(self) -> dict[str, str] | None:
        """What the status requires (RFC 9110 15.5.2)."""
        return {"www-authenticate": "Bearer"} if self.status == 401 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The two ends of a connection."""

    address: str = ""
    """What was called, "127.0.0.1:9900"; "": a unix socket."""
    user: int | None = None
    """The number of the user at the other end; None: nobody knows, it is no unix socket."""


REBOUND = Refusal(
    status=403, title="Foreign host name", detail="use an address or localhost in the URL"
)
NO_PAGES = Refusal(
    status=403, title="Cross-site request", detail="a web page may not change this service"
)
NOT_JSON = Refusal(
    status=415,
    title="Unsupported media type",
    detail="send content-type: application/json (a web page cannot without asking first)",
)


def bearer(headers: Mapping[str, str]) -> bytes | None:
    """The token that is shown; None: none is."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else None


def peer_of(scope: Mapping[str, Any]) -> Peer:
    """Of a request, as `AppServer` has it."""
    host, port = scope.get("server") or ("", None)
    user = scope.get("state", {}).get(PEER_USER)
    return Peer(address="" if port is None else address_of(host, port), user=user)


def address_of(host: str, port: int) -> str:
    """An address with its port, as it is written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_json(headers: Mapping[str, str]) -> bool:
    """Whether the body says that it is JSON."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json"


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Whether it is no web page that asks, or one of this very listener."""
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    origin = headers.get("origin")
    # Older browsers say where a page is from in this one only.
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def is_local_name(host: str) -> bool:
    """Whether a Host is what no foreign name can look like: an address, localhost, or none."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.removeprefix("[").removesuffix("]").lower()
    if name in {"", "localhost"}:  # "": HTTP over a unix socket may go without
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
