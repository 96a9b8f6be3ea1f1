"""Hosts beside each other: what each did, block of time by block, and how far they lie apart. Pure.

Blocks are the same for all hosts, so that what hits all in one of them can be told from what is one
host's own. There are `_BLOCKS` at most: then every two become one, which keeps them longer than
most clumps of events once there is time for that (batch means: Conway, Management Science 1963).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import add
from typing import Final

from shedproxy.controlplane.gates import KINDS, TRIALS

__all__ = ["Arm", "Likeness", "Peer", "Peers", "drawn", "sum_arms"]

_BLOCKS: Final = 8
_DISPERSION_PRIOR: Final = 2.0
_DISPERSION_WEIGHT: Final = 4.0
"""The prior counts as much as so many hosts."""
_UNLIKE: Final = 0.2
"""Hosts of which nothing is known do so much more or less than others (standard deviation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One host, or some, for some time."""

    trials: tuple[int, ...] = (0,) * len(TRIALS)
    """As `TRIALS` says."""
    events: tuple[int, ...] = (0,) * len(KINDS)
    """As `KINDS` says."""

    def count(self, kind: int) -> tuple[int, int]:
        """Trials and events of one kind."""
        return self.trials[KINDS[kind].trials], self.events[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One host, block by block."""

    host: str
    blocks: tuple[Arm, ...]

    def count(self, kind: int) -> tuple[int, int]:
        """Trials and events of one kind."""
        place = KINDS[kind].trials
        return sum(a.trials[place] for a in self.blocks), sum(a.events[kind] for a in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """As many times as others a host, or some, are expected to have of each kind of event."""

    host: str = ""
    ratios: tuple[float, ...] = (1.0,) * len(KINDS)
    variances: tuple[float, ...] = (_UNLIKE**2,) * len(KINDS)
    """Of what is not known of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """All of them."""

    hosts: tuple[Peer, ...] = ()
    periods: int = 0
    block: int = 1
    """Periods in one block."""

    def add(self, arms: Mapping[str, Arm], *, block_max: int = 0) -> Peers:
        """One period more, of these hosts.

        Args:
            arms: by name.
            block_max: periods in a block at most; then the oldest is forgotten. 0: all is kept.
        """
        place, block, periods = self.periods // self.block, self.block, self.periods
        known = {peer.host: peer.blocks for peer in self.hosts}
        if place == _BLOCKS and block == block_max:
            place, periods = place - 1, periods - block
            known = {host: blocks[1:] for host, blocks in known.items()}
        elif place == _BLOCKS:
            place, block = place // 2, block * 2
            known = {
                host: tuple(sum_arms(blocks[at : at + 2]) for at in range(0, len(blocks), 2))
                for host, blocks in known.items()
            }
        for host in dict.fromkeys((*known, *arms)):
            blocks = known.get(host, ())
            blocks += (Arm(),) * (place + 1 - len(blocks))
            if host in arms:
                blocks = (*blocks[:-1], sum_arms((blocks[-1], arms[host])))
            known[host] = blocks
        hosts = tuple(Peer(host=host, blocks=blocks) for host, blocks in known.items())
        return Peers(hosts=hosts, periods=periods + 1, block=block)

    def without(self, host: str) -> Peers:
        """These, and what one did is forgotten."""
        return replace(self, hosts=tuple(peer for peer in self.hosts if peer.host != host))

    def dispersion(self, kind: int, *, apart_from: frozenset[str] = frozenset()) -> float:
        """How many times wider than counts of independent events, around what each host does on the
        whole and each block has for all.
        """
        table = [
            [arm.count(kind) for arm in peer.blocks]
            for peer in self.hosts
            if peer.host not in apart_from
        ]
        rates = [_rate(column) for column in zip(*table, strict=True)]
        scatter, hosts = 0.0, 0
        for row in table:
            means = [n * rate for (n, _), rate in zip(row, rates, strict=True)]
            if (mean := sum(means)) and (total := sum(events for _, events in row)):
                hosts += 1
                own = total / mean
                scatter += sum(
                    (events - each * own) ** 2 / (each * own)
                    for (_, events), each in zip(row, means, strict=True)
                    if each
                )
        freedom = (hosts - 1) * (sum(map(bool, rates)) - 1) if hosts else 0
        return drawn(scatter, max(0, freedom), _DISPERSION_PRIOR)

    def likenesses(
        self, groups: Mapping[str, frozenset[str]], beside: frozenset[str]
    ) -> tuple[Likeness, ...]:
        """What is to be expected of each group of hosts, after what they did beside those others in
        the same blocks: the mean of a gamma law, before which all were alike but for `_UNLIKE`.
        """
        wider = [self.dispersion(kind) for kind in range(len(KINDS))]
        return tuple(_likeness(self.hosts, name, of, beside, wider) for name, of in groups.items())


def drawn(scatter: float, freedom: float, prior: float) -> float:
    """Pearson's estimate of a dispersion, drawn to what was believed before."""
    return (scatter + prior * _DISPERSION_WEIGHT) / (freedom + _DISPERSION_WEIGHT)


def sum_arms(arms: Iterable[Arm]) -> Arm:
    """All of them as one."""
    trials, events = Arm().trials, Arm().events
    for arm in arms:
        trials = tuple(map(add, trials, arm.trials))
        events = tuple(map(add, events, arm.events))
    return Arm(trials=trials, events=events)


def _rate(counts: Iterable[tuple[int, int]]) -> float:
    trials = events = 0
    for n, k in counts:
        trials, events = trials + n, events + k
    return events / trials if trials else 0.0


def _blocks_of(peers: Iterable[Peer], hosts: frozenset[str]) -> list[Arm]:
    of = [peer.blocks for peer in peers if peer.host in hosts]
    return [sum_arms(column) for column in zip(*of, strict=True)]


def _likeness(
    peers: Sequence[Peer],
    name: str,
    hosts: frozenset[str],
    beside: frozenset[str],
    wider: Sequence[float],
) -> Likeness:
    ours = _blocks_of(peers, hosts)
    others = _blocks_of(peers, beside - hosts)
    alike, ratios, variances = 1 / _UNLIKE**2, [], []
    for kind in range(len(KINDS)):
        events = expected = 0.0
        for mine, theirs in zip(ours, others, strict=False):
            (trials, count), (served, there) = mine.count(kind), theirs.count(kind)
            if trials and served:
                events, expected = events + count, expected + trials * there / served
        known = alike + expected / wider[kind]
        ratios.append((alike + events / wider[kind]) / known)
        variances.append(1 / known)
    return Likeness(host=name, ratios=tuple(ratios), variances=tuple(variances))
