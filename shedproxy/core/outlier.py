"""Which hosts of a cell are worse than their peers. Pure: counts in, reasons out.

A host is judged against the others of its cell, by median and median absolute deviation (Rousseeuw
and Croux 1993: half of them may be bad before these move), so that what all of them suffer (a slow
database, an overload) is nobody's fault. Envoy's success-rate detection compares with the mean,
which a bad host moves with it. A fast failure is a failure, never a good latency; an answer with
which an upstream sheds load is no failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shedproxy.core.magazine import OutlierReason
from shedproxy.core.units import Nanos, seconds

__all__ = ["OutlierPolicy", "Tally", "is_correlated", "judge"]

_MAD = 1.4826
"""Makes a median absolute deviation comparable with a standard deviation."""
_SIGMAS = 3.0
_PEERS_MIN = 2
"""Peers that a latency is compared with at least: of two hosts nobody knows which one is odd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierPolicy:
    """When a host is bad, what may be done about it, and what gives trust back."""

    enabled: bool = True
    window_ns: Nanos = field(default_factory=lambda: seconds(10))
    requests_min: int = 20
    """In the window; of fewer nothing is said."""
    failures_above: float = 0.2
    """Share of failed requests above that of the peers."""
    slower_than: float = 3.0
    """Latency as a multiple of that of the peers; 0: not judged."""
    unreachable_ns: Nanos = field(default_factory=lambda: seconds(30))
    """How long nobody got an answer of it, before that costs a bullet: restarts are no failures."""
    headroom: float = 0.1
    """Share of the demand that must be free beside it."""
    share_max: float = 0.1
    """Most of the hosts that may be out, one at least."""
    keeps_zone: bool = True
    """What is left must carry the demand without any one zone."""
    out_ns: Nanos = field(default_factory=lambda: seconds(30))
    """Shortest time out; twice as long each time, up to eight times."""
    ramp_ns: Nanos = field(default_factory=lambda: seconds(30))
    """From a tenth of its part to all of it, once back."""
    bake_ns: Nanos = field(default_factory=lambda: seconds(60))
    """How long it must then be healthy before its bullet is given back."""
    bake_requests: int = 100
    """And how many requests it must answer in that time."""
    reload_ns: Nanos = field(default_factory=lambda: seconds(60))
    """Least time between two bullets given back to one magazine."""
    correlated_share: float = 0.3
    """More of the hosts bad at once than this (and more than one): it is not the hosts."""
    correlated_ns: Nanos = field(default_factory=lambda: seconds(60))
    """What counts as at once; and how long nothing is done after it was last so."""


class Tally(NamedTuple):
    """What a host did in the window."""

    requests: int = 0
    """Attempts that ended, however, but those answered with an explicit overload."""
    failed: int = 0
    timed: int = 0
    """Answers whose latency counts."""
    log2_sum: float = 0.0
    """Of their latencies in nanoseconds: its mean is not moved by a few that are huge."""


def judge(tallies: Sequence[Tally], policy: OutlierPolicy) -> list[OutlierReason | None]:
    """Each host's fault in the eyes of its peers."""
    suspects = _suspects(tallies, policy)
    return [
        _judge_one(index, tallies, policy) if index in suspects else None
        for index in range(len(tallies))
    ]


def is_correlated(
    bad: int, total: int, *, check_zones: int = 0, policy: OutlierPolicy | None = None
) -> bool:
    """Whether so many bad hosts are too many to be the hosts' own fault.

    Args:
        bad: hosts that are bad, or were a while ago.
        total: hosts there are.
        check_zones: zones in which the same health check began to fail a while ago.
        policy: the defaults when None.
    """
    share = (OutlierPolicy() if policy is None else policy).correlated_share
    return bad > max(1, math.floor(round(share * total, 6))) or check_zones > 1


def _suspects(tallies: Sequence[Tally], policy: OutlierPolicy) -> set[int]:
    """Who could be bad at all: most often nobody, which saves comparing all with all."""
    suspects = {
        index
        for index, tally in enumerate(tallies)
        if tally.failed > policy.failures_above * tally.requests
    }
    if policy.slower_than:
        means = {
            index: tally.log2_sum / tally.timed
            for index, tally in enumerate(tallies)
            if tally.timed >= policy.requests_min
        }
        slow = min(means.values(), default=0.0) + math.log2(policy.slower_than)
        suspects |= {index for index, mean in means.items() if mean > slow}
    return suspects


def _judge_one(index: int, tallies: Sequence[Tally], policy: OutlierPolicy) -> OutlierReason | None:
    own = tallies[index]
    peers = [
        tally
        for other, tally in enumerate(tallies)
        if other != index and tally.requests >= policy.requests_min
    ]
    if own.requests < policy.requests_min or not peers:
        return None
    if _is_failing(own, peers, policy):
        return OutlierReason.FAILING
    return OutlierReason.SLOW if _is_slow(own, peers, policy) else None


def _is_failing(own: Tally, peers: Sequence[Tally], policy: OutlierPolicy) -> bool:
    usual, spread = _centre([peer.failed / peer.requests for peer in peers])
    # So far away may a share of so many be by chance (rule of succession: never 0).
    chance = (usual * own.requests + 1) / (own.requests + 2)
    error = math.sqrt(chance * (1 - chance) / own.requests)
    excess = own.failed / own.requests - usual
    return excess > max(policy.failures_above, _SIGMAS * spread, _SIGMAS * error)


def _is_slow(own: Tally, peers: Sequence[Tally], policy: OutlierPolicy) -> bool:
    if not policy.slower_than or own.timed < policy.requests_min:
        return False
    means = [peer.log2_sum / peer.timed for peer in peers if peer.timed >= policy.requests_min]
    if len(means) < _PEERS_MIN:
        return False
    usual, spread = _centre(means)
    excess = own.log2_sum / own.timed - usual
    return excess > max(math.log2(policy.slower_than), _SIGMAS * spread)


def _centre(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the spread around it as a standard deviation."""
    middle = _median(values)
    return middle, _MAD * _median([abs(value - middle) for value in values])


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
