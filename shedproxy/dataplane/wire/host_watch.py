"""What one worker sees of the hosts of a cell, counted; and the part of the requests each may have.

Nothing is decided here: the supervisor adds up what all workers saw, and says who is out. What a
client did (it left, it was slow, it gave too little time) is nobody's failure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shedproxy.core import FULL_WEIGHT, NS_PER_S, Instant
from shedproxy.dataplane.wire.candidates import Upstream
from shedproxy.dataplane.wire.health import Health
from shedproxy.dataplane.wire.tokens import ResponseTokens
from shedproxy.observability.fault import Fault
from shedproxy.snapshot import UpstreamDocument

__all__ = ["HostWatch", "is_shed"]

_MARKS: Final = (b"retry-after", b"shedproxy-reason", b"x-envoy-overloaded")
"""Fields by which a 503 says that it is for want of capacity: that host is well."""
_LINES: Final = tuple(b"\r\n" + name + b":" for name in _MARKS)
_TIMEOUT: Final = Fault.UPSTREAM_TIMEOUT
_PATIENCE_NS: Final = NS_PER_S
"""Who got no answer for so long may complain, whoever set the time."""


def is_shed(tokens: ResponseTokens) -> bool:
    """Whether an answer is an explicit refusal for want of capacity."""
    if tokens.status != 503:
        return False
    plain = tokens.plain
    if plain is not None:
        lines = plain.lower()
        return any(line in lines for line in _LINES)
    return any(name in _MARKS for name, _ in tokens.headers)


class HostWatch:
    """Of one cell. Off, it costs a comparison per request."""

    __slots__ = ("_hosts", "_weights", "is_on")

    def __init__(self) -> None:
        self._hosts: Sequence[Upstream[Any]] = ()
        self._weights: Mapping[str, int] = {}
        self.is_on = False

    def apply(self, document: UpstreamDocument, hosts: Sequence[Upstream[Any]]) -> None:
        """Watch these hosts."""
        self._hosts = hosts
        self.is_on = document.outliers.enabled and len(hosts) > 1
        self.weigh(self._weights)

    def on_head(self, host: Health, tokens: ResponseTokens, took_ns: int) -> None:
        """The head of an answer came, so long after the request was sent."""
        if is_shed(tokens):
            return
        host.requests += 1
        if tokens.status >= 500:
            host.spoilt += 1
            return
        host.timed += 1
        host.log2_sum += math.log2(took_ns) if took_ns > 0 else 0.0

    def on_no_connection(self, host: Health) -> None:
        """It could not be connected to."""
        host.requests += 1
        host.spoilt += 1

    def on_failure(
        self, host: Health, fault: Fault, now: Instant, sent_at: Instant, *, has_head: bool
    ) -> None:
        """An exchange on it failed; `has_head`: after the head of its answer had come."""
        if fault is _TIMEOUT and now - sent_at < _PATIENCE_NS:
            return
        host.spoilt += 1
        if not has_head:
            host.requests += 1

    def weigh(self, weights: Mapping[str, int]) -> None:
        """Take the part, of `FULL_WEIGHT`, that each host may have; who is not named has all."""
        self._weights = weights
        for host in self._hosts:
            host.weight = weights.get(host.key, FULL_WEIGHT)

    def in_service(self) -> int:
        """The weights of the hosts that can be used, `FULL_WEIGHT` each at most."""
        return sum(host.weight for host in self._hosts if host.out_until is None)

    def tallies(self) -> dict[str, list[float]]:
        """Counts by host since the start of the process, in the order of `core.Tally`, and 1 for
        one that can be used; empty when nobody wants to know.
        """
        if not self.is_on:
            return {}
        return {
            host.key: [
                host.requests,
                host.spoilt,
                host.timed,
                round(host.log2_sum, 3),
                int(host.out_until is None),
            ]
            for host in self._hosts
        }
