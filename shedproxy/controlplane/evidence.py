"""Whether a candidate does worse than the concurrent control: sequential tests, pure.

**That it is worse.** Of the events of one period (errors, slow answers, refusals) a candidate that
is as good has the share that its requests have. Given how many events there were in all, how many
of them are the candidate's is binomial, whatever the rate was in that period: so drift, bursts and
the hour of the day touch both and cancel (the conditional test of two Poisson rates: Przyborowski
and Wilenski, Biometrika 1940). The likelihoods of some worse ratios over that of `MARGIN` multiply
up from period to period; their mean is a supermartingale while the true ratio is at most `MARGIN`,
so that it reaches 1/a with a probability of a at most, however often one looks (mixture SPRT:
Robbins, Ann. Math. Statist. 1970; Ville's inequality). For events that are not rare the binomial is
wider than the true, hypergeometric, law, which errs on the safe side. What false alarms are allowed
is divided over all kinds of events.

**That it is not.** Absence of evidence is none: a scope is over when harm, as `gates` states it,
would be unlikely to look like this. That is the test of non-inferiority: the best likelihood of
all over the best one in which the candidate's rate is higher by the harm (the profile likelihood of
two Poisson rates), 1/b times at least. At one look its error is well below b; the rest is left for
looking again. Harm in one kind is enough to go on, so that nothing need be divided here.

Hosts are not alike: one is older than the others. What the candidate's hosts did beside the control
before they had it is what is expected of them now, as far as it is known; what is not known of that
makes evidence count for less (`peers`). And events come in clumps: one hiccup fails a dozen
requests. How much wider that makes counts is told by the control's hosts, from block to block, and
against what was expected of each (the quasi-likelihood of Wedderburn, Biometrika 1974, with
Pearson's estimate of the dispersion). These parts are estimates, not bounds. No period counts for
more than a factor of ten. And a candidate that is no worse than the worst tenth of the hosts
without it is not blamed at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from shedproxy.controlplane.gates import KINDS, MARGIN, harm_at
from shedproxy.controlplane.peers import Arm, Likeness, Peers, drawn, sum_arms
from shedproxy.snapshot import Signed

__all__ = [
    "REQUESTS_MIN",
    "Gate",
    "Watch",
    "add_period",
    "proof",
    "verdict",
]

REQUESTS_MIN: Final = 30
"""Of each arm; with fewer nothing is said."""
_RATIOS: Final = (4 / 3 * MARGIN, 2 * MARGIN, 4 * MARGIN, 16 * MARGIN)
"""What the test looks for, with equal weights; it finds what lies between as well."""
_GAIN_MAX: Final = math.log(10)
"""No single period makes it more than ten times likelier: a hiccup of one host is over in one, what
a release does is there in the next again."""
_LOG_MAX: Final = 600.0
_WORST: Final = 10
"""One in so many hosts of the control may be sick: it excuses nobody, and is no measure of how
hosts differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one kind of event says of the candidate so far."""

    trials: int = 0
    events: int = 0
    logs: tuple[Signed, ...] = (Signed(0.0),) * len(_RATIOS)
    """Logarithm of the likelihood of each of `_RATIOS` over that of `MARGIN`, events taken to be
    independent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was seen of one scope since it began."""

    gates: tuple[Gate, ...] = field(default_factory=lambda: (Gate(),) * len(KINDS))
    """By kind of event."""
    control: Peers = field(default_factory=Peers)
    like: Likeness = field(default_factory=Likeness)
    """What all hosts of the scope together are beside the control."""
    control_like: tuple[Likeness, ...] = ()
    """What each of the control is beside the others."""

    @property
    def is_ours(self) -> bool:
        """Whether a version with these kinds of events wrote it."""
        return len(self.gates) == len(KINDS)

    def counts(self, kind: int) -> list[tuple[str, int, int]]:
        """By host of the control: trials and events of one kind, where there were any."""
        counts = ((peer.host, *peer.count(kind)) for peer in self.control.hosts)
        return [each for each in counts if each[1]]

    def dispersion(self, kind: int) -> float:
        """How many times wider than those of independent events counts of one kind are."""
        known = sorted(self.counts(kind), key=lambda each: each[2] / each[1], reverse=True)
        sick = frozenset(host for host, _, _ in known[: len(known) // _WORST])
        within = self.control.dispersion(kind, apart_from=sick)
        ratios = {like.host: like.ratios[kind] for like in self.control_like}
        counts = [(ratios.get(host, 1.0) * n, e) for host, n, e in known if host not in sick]
        total = sum(events for _, events in counts)
        if not total:
            return max(1.0, within)
        rate = total / sum(expected for expected, _ in counts)
        scatter = sum((events - n * rate) ** 2 / (n * rate) for n, events in counts)
        return max(1.0, within, drawn(scatter, len(counts) - 1, within))

    def width(self, kind: int) -> float:
        """The same, and with what is not known of the candidate's hosts."""
        counts = self.counts(kind)
        served, events = sum(n for _, n, _ in counts), sum(n for _, _, n in counts)
        expected = self.like.ratios[kind] * self.gates[kind].trials * events / max(1, served)
        return self.dispersion(kind) + expected * self.like.variances[kind]

    def evidence(self, kind: int) -> float:
        """How many times likelier it is that the candidate is worse than that it is not; 1: nothing
        speaks for either.
        """
        logs, width = self.gates[kind].logs, self.width(kind)
        return sum(_exp(each / width) for each in logs) / len(logs)


def add_period(watch: Watch, candidate: Sequence[Arm], control: Mapping[str, Arm]) -> Watch:
    """One period more.

    Args:
        watch: what was seen before.
        candidate: each host of the scope that ran the candidate for all of it.
        control: by name each host beside them that ran something else for all of it.
    """
    if not watch.is_ours:
        watch = Watch()  # a version with other kinds wrote it
    if not candidate or not control:
        return watch  # there is nothing to compare
    ours, others = sum_arms(candidate), sum_arms(control.values())
    gates = tuple(
        _added(watch, place, ours.count(place), others.count(place)) for place in range(len(KINDS))
    )
    return replace(watch, gates=gates, control=watch.control.add(control))


def verdict(watch: Watch, *, false_alarm: float) -> str:
    """What is wrong with the candidate, in words with the numbers; "" for nothing.

    Args:
        watch: what was seen.
        false_alarm: probability, at most, that one of the gates speaks against a candidate that is
            no worse, over the whole time of the scope.
    """
    if not watch.is_ours:
        return ""
    for place, (kind, gate) in enumerate(zip(KINDS, watch.gates, strict=True)):
        bound = 1 / (false_alarm * kind.part)
        if max(gate.logs) < math.log(bound):
            continue  # counts are never narrower than independent ones
        counts = watch.counts(place)
        others = sum(trials for _, trials, _ in counts)
        if min(gate.trials, others) < REQUESTS_MIN:
            continue
        share = gate.events / gate.trials
        beside = sum(events for _, _, events in counts) / others
        shares = sorted((events / trials for _, trials, events in counts), reverse=True)
        if share <= shares[len(shares) // _WORST] or share - MARGIN * beside < kind.floor:
            continue
        evidence = watch.evidence(place)
        if evidence >= bound:
            return (
                f"{kind.name}: {share:.2%} of {gate.trials} requests, and {beside:.2%} of {others}"
                f" without it (evidence {evidence:.3g}, alarm at {bound:.3g})"
            )
    return ""


def proof(watch: Watch, *, miss: float) -> list[float]:
    """By kind, how much of what it takes is known that there is no harm; 1: all of it.

    Where one of both has nothing to compare, there is nothing to wait for.

    Args:
        watch: what was seen.
        miss: probability, about, that this is said of a candidate that does harm.
    """
    if not watch.is_ours:
        return [0.0] * len(KINDS)
    enough = -math.log(miss)
    return [
        1.0 if not enough else min(1.0, _unlike_harm(watch, place) / enough)
        for place in range(len(KINDS))
    ]


def _unlike_harm(watch: Watch, place: int) -> float:
    """Logarithm of the best likelihood over the best one with harm in it."""
    gate, counts = watch.gates[place], watch.counts(place)
    events, beside = gate.events, sum(n for _, _, n in counts)
    others = sum(n for _, n, _ in counts)
    if not gate.trials or not others:
        return _LOG_MAX
    like = watch.like.ratios[place]
    # As many as would be expected to have as many events as the control's.
    ours = gate.trials * like
    harm = harm_at(KINDS[place], beside / others) / like
    if events / ours >= beside / others + harm:
        return 0.0
    # Where the derivative by the control's rate is nothing, the candidate's being higher by harm.
    both = ours + others
    half = (both * harm - events - beside) / 2
    rate = (math.sqrt(half * half + both * beside * harm) - half) / both
    best = _log(events, events / ours) + _log(beside, beside / others) - events - beside
    harmed = _log(events, rate + harm) + _log(beside, rate) - ours * (rate + harm) - others * rate
    return max(0.0, best - harmed) / watch.dispersion(place)


def _added(watch: Watch, place: int, candidate: tuple[int, int], control: tuple[int, int]) -> Gate:
    (served, events), (others, beside), gate = candidate, control, watch.gates[place]
    if not served or not others:
        return gate
    if not events and not beside:
        return replace(gate, trials=gate.trials + served)
    expected = served * watch.like.ratios[place]
    least = _share(MARGIN, expected, others)
    gains = []
    for ratio in _RATIOS:
        worse = _share(ratio, expected, others)
        gains.append(
            events * math.log(worse / least) + beside * math.log((1 - worse) / (1 - least))
        )
    if max(gains) > _GAIN_MAX:
        # By what was known before: what a period says must not choose its own weight.
        most = _GAIN_MAX * watch.width(place)
        gains = [min(most, gain) for gain in gains]
    logs = tuple(Signed(before + gain) for before, gain in zip(gate.logs, gains, strict=True))
    return Gate(trials=gate.trials + served, events=gate.events + events, logs=logs)


def _share(ratio: float, served: float, others: float) -> float:
    """Of all events, the candidate's, when its rate is `ratio` times the control's."""
    return ratio * served / (ratio * served + others)


def _log(count: int, rate: float) -> float:
    return count * math.log(rate) if count else 0.0


def _exp(log: float) -> float:
    return math.exp(min(_LOG_MAX, log))
