"""Whose word counts: the networks of trusted peers, and the client behind a chain of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from shedproxy.dataplane.recent import Recent
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import address_key

__all__ = ["ADDRESS_SIZE_MAX", "Trust"]

ADDRESS_SIZE_MAX: Final = 64
"""Characters of an address that is remembered: more than any has."""
_CHAIN_SIZE_MAX: Final = 4096
"""Bytes of X-Forwarded-For that are read, from its end: that is where our own peers write."""


class Trust:
    """Which addresses are believed: networks in CIDR, and the word `unix` for unix sockets.

    Raises:
        DocumentInvalidError: an entry is no network; all such entries are named.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._trusts_unix = "unix" in networks
        problems: list[Problem] = []
        for network in networks:
            try:
                if network != "unix":
                    self._networks.append(ipaddress.ip_network(network, strict=False))
            except ValueError as error:
                problems.append(Problem(message=str(error), path=("trusted_peers", network)))
        if problems:
            raise DocumentInvalidError(problems)
        self.is_any = bool(networks)
        self._known = Recent(self._is_in_networks)
        self._callers = Recent(_caller_at)

    def believes(self, peer: str) -> bool:
        """Whether the word of this address counts; "" is a unix socket. Remembered."""
        if not self.is_any or len(peer) > ADDRESS_SIZE_MAX:
            return False
        return self._known[peer]

    def caller_at(self, address: str) -> bytes:
        """Who is behind an address, as far as it tells: an IPv4 address, or the /64 of an IPv6 one.

        Never the name of a tenant; empty for a unix socket.
        """
        if len(address) > ADDRESS_SIZE_MAX:
            return _caller_at(address)
        return self._callers[address]

    def client_of(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The client behind a trusted peer: the right-most of X-Forwarded-For that is not ours.

        What stands further left was written by the client. Nonsense ends the chain.
        """
        lines = [value for name, value in headers if name == b"x-forwarded-for"]
        client = peer
        for hop in reversed(b",".join(lines)[-_CHAIN_SIZE_MAX:].split(b",")):
            address = hop.strip().decode("latin-1")
            if _parse_address(address) is None:
                break
            client = address
            if not self.believes(address):
                break
        return client

    def _is_in_networks(self, peer: str) -> bool:
        if not peer:
            return self._trusts_unix
        address = _parse_address(peer)
        return address is not None and any(address in network for network in self._networks)


def _caller_at(text: str) -> bytes:
    return address_key(text) or text.encode("utf-8", "replace")


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
