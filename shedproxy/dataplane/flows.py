"""Whose request it is: the tenant as a keyed hash.

The key is of this process and unknown to all, unless one is given: who may choose names of tenants
must not find ones that share every bucket and queue with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes
from typing import Final

from shedproxy.dataplane.hints import VALUE_SIZE_MAX, canonical_tenant
from shedproxy.dataplane.recent import Recent
from shedproxy.dataplane.trust import ADDRESS_SIZE_MAX, Trust
from shedproxy.snapshot import flow_hash

__all__ = ["Flows"]

_FLOW_KEY: Final = token_bytes(32)


class Flows:
    """Reads tenants from a header of trusted peers, or from addresses (`@client`).

    `key`: where tenants must hash alike in several processes, at most 64 bytes.
    """

    __slots__ = ("_by_client", "_callers", "_flows", "_hash", "_trust", "header")

    def __init__(self, header: str, trust: Trust, key: bytes = b"") -> None:
        self._trust = trust
        self._by_client = header == "@client"
        self.header = b"" if self._by_client else header.encode()
        """That is read, b"" for none."""
        self._hash = flow_hash(key or _FLOW_KEY)
        self._flows: Recent[bytes, int] = Recent(self._hash_flow, is_wary=True)
        self._callers: Recent[str, int] = Recent(self._hash_caller, is_wary=True)

    def read(
        self,
        found: dict[bytes, bytes],
        headers: Sequence[tuple[bytes, bytes]],
        peer: str,
        trusted: bool,
    ) -> int:
        """The keyed hash of the tenant. A stranger cannot name one, so he is his address."""
        if not trusted:
            return self._flow_of_caller(peer)
        if self._by_client:
            return self._flow_of_caller(self._trust.client_of(peer, headers))
        tenant = found.get(self.header)
        if tenant is None:
            return 0
        if len(tenant) > VALUE_SIZE_MAX:
            return self._hash_flow(tenant)
        return self._flows[tenant]

    def _flow_of_caller(self, address: str) -> int:
        if len(address) > ADDRESS_SIZE_MAX:
            return self._hash_caller(address)
        return self._callers[address]

    def _hash_caller(self, address: str) -> int:
        return self._hash(self._trust.caller_at(address))

    def _hash_flow(self, tenant: bytes) -> int:
        return self._hash(canonical_tenant(tenant))
