"""Whether a candidate does worse than the concurrent control: a sequential test, pure.

Of the events of one period (errors, slow answers, refusals) a candidate that is as good has the
share that its requests have. Given how many events there were in all, how many of them are the
candidate's is binomial, whatever the rate was in that period: so drift, bursts and the hour of the
day touch both and cancel (the conditional test of two Poisson rates: Przyborowski and Wilenski,
Biometrika 1940). The likelihoods of some worse ratios over that of `MARGIN` multiply up from period
to period; their mean is a supermartingale while the true ratio is at most `MARGIN`, so that it
reaches 1/a with a probability of a at most, however often one looks (mixture SPRT: Robbins, Ann.
Math. Statist. 1970; Ville's inequality). For events that are not rare the binomial is wider than
the true, hypergeometric, law, which errs on the safe side.

Events come in clumps, and hosts are not alike: one hiccup fails a dozen requests, one host is older
than the others. How much so is told by how far the control's hosts lie apart, all periods together,
and evidence counts for so much less (the quasi-likelihood of Wedderburn, Biometrika 1974, with
Pearson's estimate of the dispersion, drawn to `_DISPERSION_PRIOR` while there is little to tell it
from). This part is an estimate, not a bound. No period counts for more than a factor of ten, which
leaves a supermartingale one. And a candidate that is no worse than some host
without it is not blamed at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = [
    "GATES",
    "MARGIN",
    "REQUESTS_MIN",
    "Arm",
    "Gate",
    "Peer",
    "Watch",
    "add_period",
    "verdict",
]

GATES: Final = ("errors", "answers slower than p99", "answers slower than p90", "refusals")
MARGIN: Final = 1.25
"""As many times worse than the control is not worth a rollback."""
REQUESTS_MIN: Final = 30
"""Of each arm; with fewer nothing is said."""
_RATIOS: Final = (4 / 3 * MARGIN, 2 * MARGIN, 4 * MARGIN, 16 * MARGIN)
"""What the test looks for, with equal weights; it finds what lies between as well."""
_FLOORS: Final = (0.001, 0.01, 0.02, 0.001)
"""By gate: the candidate's share of events is above the margin by so much, or it is no matter."""
_SLOW: Final = (0.99, 0.9)
"""Of the control's answers so many are not slow. Bounds of durations lie far apart: where p99 stays
between two of them, p90 tells that everything got slower."""
_DISPERSION_PRIOR: Final = 2.0
_DISPERSION_WEIGHT: Final = 4.0
"""The prior counts as much as so many hosts."""
_GAIN_MAX: Final = math.log(10)
"""No single period makes it more than ten times likelier: a hiccup of one host is over in one, what
a release does is there in the next again."""
_LOG_MAX: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One host in one period. By gate: how many could have been an event, and how many were."""

    trials: tuple[int, ...]
    events: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A host of the control, all periods together."""

    host: str
    trials: tuple[int, ...]
    events: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one kind of event says of the candidate so far."""

    trials: int = 0
    events: int = 0
    ratios: tuple[float, ...] = (1.0,) * len(_RATIOS)
    """The likelihood of each of `_RATIOS` over that of `MARGIN`."""

    @property
    def evidence(self) -> float:
        """How many times likelier it is that the candidate is worse than that it is not; 1: nothing
        speaks for either.
        """
        return sum(self.ratios) / len(self.ratios)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was seen of one scope since it began."""

    gates: tuple[Gate, ...] = field(default_factory=lambda: (Gate(),) * len(GATES))
    peers: tuple[Peer, ...] = ()
    durations: tuple[int, ...] = ()
    """Answers of the control by duration, as in `StatusReport`."""

    @property
    def slow_from(self) -> tuple[int | None, ...]:
        """For each gate of slow answers the place in `durations` from which on one is slow. None:
        nothing is known of the control, or there is no such place.
        """
        return tuple(self._slow_from(share) for share in _SLOW)

    def _slow_from(self, share: float) -> int | None:
        total, seen = sum(self.durations), 0
        for place, count in enumerate(self.durations[:-1]):
            seen += count
            if total and seen >= share * total:
                return place + 1
        return None

    def control(self, kind: int) -> list[tuple[int, int]]:
        """By host of the control: trials and events of one gate, where there were any."""
        return [(each.trials[kind], each.events[kind]) for each in self.peers if each.trials[kind]]

    def dispersion(self, kind: int) -> float:
        """How many times wider than counts of independent events of hosts that are alike; 1 at
        least.
        """
        control = self.control(kind)
        requests, events = sum(n for n, _ in control), sum(n for _, n in control)
        scatter = freedom = 0.0
        if events:
            means = [served * events / requests for served, _ in control]
            scatter = sum((n - m) ** 2 / m for (_, n), m in zip(control, means, strict=True))
            freedom = len(control) - 1
        known = scatter + _DISPERSION_PRIOR * _DISPERSION_WEIGHT
        return max(1.0, known / (freedom + _DISPERSION_WEIGHT))


def add_period(watch: Watch, candidate: Sequence[Arm], control: Mapping[str, Arm]) -> Watch:
    """One period more.

    Args:
        watch: what was seen before.
        candidate: each host of the scope that ran the candidate for all of it.
        control: by name each host beside them that ran something else for all of it.
    """
    if len(watch.gates) != len(GATES):
        watch = Watch()  # a version with other gates wrote it
    if not candidate or not control:
        return watch  # there is nothing to compare
    gates = tuple(
        _add(
            gate,
            (sum(a.trials[kind] for a in candidate), sum(a.events[kind] for a in candidate)),
            (sum(a.trials[kind] for a in control.values()),
             sum(a.events[kind] for a in control.values())),
            # By what was known before: what a period says must not choose its own weight.
            weight=1.0 / watch.dispersion(kind),
        )
        for kind, gate in enumerate(watch.gates)
    )  # fmt: skip
    peers = {each.host: each for each in watch.peers}
    for host, arm in control.items():
        before = peers.get(host)
        peers[host] = Peer(
            host=host,
            trials=arm.trials if before is None else _sum(before.trials, arm.trials),
            events=arm.events if before is None else _sum(before.events, arm.events),
        )
    return replace(watch, gates=gates, peers=tuple(peers.values()))


def verdict(watch: Watch, *, false_alarm: float) -> str:
    """What is wrong with the candidate, in words with the numbers; "" for nothing.

    Args:
        watch: what was seen.
        false_alarm: probability, at most, that one of the gates speaks against a candidate that is
            no worse, over the whole time of the scope.
    """
    bound = len(GATES) / false_alarm
    if len(watch.gates) != len(GATES):
        return ""
    for kind, (name, floor) in enumerate(zip(GATES, _FLOORS, strict=True)):
        gate, control = watch.gates[kind], watch.control(kind)
        others = sum(served for served, _ in control)
        if min(gate.trials, others) < REQUESTS_MIN:
            continue
        share = gate.events / gate.trials
        beside = sum(events for _, events in control) / others
        worst = max(events / served for served, events in control)
        is_worse = share > worst and share - MARGIN * beside >= floor
        if is_worse and gate.evidence >= bound:
            return (
                f"{name}: {share:.2%} of {gate.trials} requests, and {beside:.2%} of {others}"
                f" without it (evidence {gate.evidence:.3g}, alarm at {bound:.3g})"
            )
    return ""


def _add(gate: Gate, candidate: tuple[int, int], control: tuple[int, int], weight: float) -> Gate:
    (served, events), (others, beside) = candidate, control
    if not served or not others:
        return gate
    least = _share(MARGIN, served, others)
    ratios = []
    for before, ratio in zip(gate.ratios, _RATIOS, strict=True):
        worse = _share(ratio, served, others)
        gain = events * math.log(worse / least) + beside * math.log((1 - worse) / (1 - least))
        ratios.append(_bounded(math.log(before) + min(_GAIN_MAX, weight * gain)))
    return Gate(trials=gate.trials + served, events=gate.events + events, ratios=tuple(ratios))


def _share(ratio: float, served: int, others: int) -> float:
    """Of all events, the candidate's, when its rate is `ratio` times the control's."""
    return ratio * served / (ratio * served + others)


def _bounded(log: float) -> float:
    return math.exp(min(_LOG_MAX, max(-_LOG_MAX, log)))


def _sum(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
