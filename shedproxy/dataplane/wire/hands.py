"""The hands of tenants: which of a cell's upstreams the requests of one may use. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import zip_longest
from typing import Generic, TypeVar

from shedproxy.core import HandDealer
from shedproxy.dataplane.recent import Recent
from shedproxy.dataplane.wire.candidates import Upstream
from shedproxy.snapshot import UpstreamDocument, member_hash

__all__ = ["Hand", "Hands"]

C = TypeVar("C", bound=Hashable)

Hand = tuple[Upstream[C], ...]
"""The upstreams that one tenant may use."""


class Hands(Generic[C]):
    """Deals by the hash of the tenant; those that the document lists are as it says."""

    __slots__ = ("_dealer", "_kept", "_recent", "_upstreams")

    def __init__(self) -> None:
        self._dealer: HandDealer | None = None
        self._kept: dict[int, tuple[int, ...]] = {}
        self._recent: Recent[int, Hand[C]] = Recent(self._deal)
        self._upstreams: Sequence[Upstream[C]] = ()

    def apply(self, document: UpstreamDocument, upstreams: Sequence[Upstream[C]]) -> None:
        """Deal from these upstreams, one for each URL of the document, from now on."""
        self._upstreams = upstreams
        self._recent = Recent(self._deal)
        self._kept = {int(digits, 16): places for digits, places in document.hands}
        self._dealer = None
        if 0 < document.hand < len(upstreams):
            spread = zip_longest(document.urls, document.zones, document.versions, fillvalue="")
            members = {url: (member_hash(url), zone, version) for url, zone, version in spread}
            self._dealer = HandDealer(tuple(members.values()), hand_size=document.hand)

    def of(self, flow_hash: int) -> Hand[C] | None:
        """The upstreams that this tenant may use; None: all."""
        return None if self._dealer is None else self._recent[flow_hash]

    def _deal(self, flow_hash: int) -> Hand[C]:
        places = self._kept.get(flow_hash)
        if places is None:
            assert self._dealer is not None
            places = self._dealer.deal(flow_hash)
        upstreams = self._upstreams
        return tuple(upstreams[place] for place in places)
