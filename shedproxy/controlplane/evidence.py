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

Events come in clumps: one hiccup fails a dozen requests. How clumped they are is told by how much
the hosts of the control differ among themselves, and evidence counts for so much less (the quasi-
likelihood of Wedderburn, Biometrika 1974, with Pearson's estimate of the dispersion, drawn to
`_DISPERSION_PRIOR` while there is little to tell it from). This part is an estimate, not a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = [
    "GATES",
    "MARGIN",
    "REQUESTS_MIN",
    "Arm",
    "Gate",
    "Watch",
    "add_period",
    "next_scope",
    "verdict",
]

GATES: Final = ("errors", "slow answers", "refusals")
MARGIN: Final = 1.5
"""As many times worse than the control is not worth a rollback."""
REQUESTS_MIN: Final = 30
"""Of each arm; with fewer nothing is said."""
_RATIOS: Final = (2 * MARGIN, 4 * MARGIN, 16 * MARGIN)
"""What the test looks for, with equal weights; it finds what lies between as well."""
_FLOORS: Final = (0.001, 0.01, 0.001)
"""By gate: the candidate's share of events is above the margin by so much, or it is no matter. Slow
is what takes longer than 99 in 100 of the control: 1 % more of it is a p99 that is worse."""
_DISPERSION_PRIOR: Final = 2.0
_DISPERSION_WEIGHT: Final = 4.0
"""The prior counts as much as so many hosts and periods."""
_LOG_MAX: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One host in one period. By gate: how many could have been an event, and how many were."""

    trials: tuple[int, int, int]
    events: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one kind of event says so far."""

    candidate_trials: int = 0
    candidate_events: int = 0
    control_trials: int = 0
    control_events: int = 0
    ratios: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """The likelihood of each of `_RATIOS` over that of `MARGIN`."""
    scatter: float = 0.0
    """Pearson's chi-square of the control's hosts, and its degrees of freedom."""
    freedom: int = 0

    @property
    def evidence(self) -> float:
        """How many times likelier it is that the candidate is worse than that it is not; 1: nothing
        speaks for either.
        """
        return sum(self.ratios) / len(self.ratios)

    @property
    def dispersion(self) -> float:
        """How many times wider than counts of independent events, 1 at least."""
        known = self.scatter + _DISPERSION_PRIOR * _DISPERSION_WEIGHT
        return max(1.0, known / (self.freedom + _DISPERSION_WEIGHT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was seen of one scope since it began."""

    gates: tuple[Gate, Gate, Gate] = field(default_factory=lambda: (Gate(), Gate(), Gate()))
    durations: tuple[int, ...] = ()
    """Answers of the control by duration, as in `StatusReport`."""

    @property
    def slow_from(self) -> int | None:
        """The place in `durations` from which on an answer is slow: what 99 in 100 of the control's
        have not reached. None: nothing is known of the control, or it has no such answers.
        """
        total, seen = sum(self.durations), 0
        for place, count in enumerate(self.durations[:-1]):
            seen += count
            if total and seen >= 0.99 * total:
                return place + 1
        return None


def next_scope(watch: Watch) -> Watch:
    """Begin anew: of what was seen, only how much hosts differ among themselves is kept."""
    first, second, third = (
        Gate(scatter=gate.scatter, freedom=gate.freedom) for gate in watch.gates
    )
    return Watch(gates=(first, second, third))


def add_period(watch: Watch, candidate: Sequence[Arm], control: Sequence[Arm]) -> Watch:
    """One period more.

    Args:
        watch: what was seen before.
        candidate: each host of the scope that ran the candidate for all of it.
        control: each host beside them that ran something else for all of it.
    """
    first, second, third = (
        _add(
            gate,
            [(arm.trials[kind], arm.events[kind]) for arm in candidate if arm.trials[kind]],
            [(arm.trials[kind], arm.events[kind]) for arm in control if arm.trials[kind]],
        )
        for kind, gate in enumerate(watch.gates)
    )
    return replace(watch, gates=(first, second, third))


def verdict(watch: Watch, *, false_alarm: float) -> str:
    """What is wrong with the candidate, in words with the numbers; "" for nothing.

    Args:
        watch: what was seen.
        false_alarm: probability, at most, that one of the gates speaks against a candidate that is
            no worse, over the whole time of the scope.
    """
    bound = len(GATES) / false_alarm
    for name, floor, gate in zip(GATES, _FLOORS, watch.gates, strict=True):
        if min(gate.candidate_trials, gate.control_trials) < REQUESTS_MIN:
            continue
        share = gate.candidate_events / gate.candidate_trials
        beside = gate.control_events / gate.control_trials
        if gate.evidence >= bound and share - MARGIN * beside >= floor:
            return (
                f"{name}: {share:.2%} of {gate.candidate_trials} requests, and {beside:.2%} of"
                f" {gate.control_trials} without it (evidence {gate.evidence:.3g}, alarm at"
                f" {bound:.3g})"
            )
    return ""


def _add(
    gate: Gate, candidate: Sequence[tuple[int, int]], control: Sequence[tuple[int, int]]
) -> Gate:
    served, events = (sum(each) for each in zip(*candidate, strict=True)) if candidate else (0, 0)
    others, beside = (sum(each) for each in zip(*control, strict=True)) if control else (0, 0)
    if not served or not others:
        return gate  # without either there is nothing to compare
    # By what was known before: what a period says of itself must not choose its own weight.
    weight = 1.0 / gate.dispersion
    least = _share(MARGIN, served, others)
    ratios = []
    for before, ratio in zip(gate.ratios, _RATIOS, strict=True):
        worse = _share(ratio, served, others)
        gain = events * math.log(worse / least) + beside * math.log((1 - worse) / (1 - least))
        ratios.append(_bounded(math.log(before) + weight * gain))
    return replace(
        gate,
        candidate_trials=gate.candidate_trials + served,
        candidate_events=gate.candidate_events + events,
        control_trials=gate.control_trials + others,
        control_events=gate.control_events + beside,
        ratios=(ratios[0], ratios[1], ratios[2]),
        scatter=gate.scatter + _chi_square(control, others, beside),
        freedom=gate.freedom + (len(control) - 1 if beside else 0),
    )


def _share(ratio: float, served: int, others: int) -> float:
    """Of all events, the candidate's, when its rate is `ratio` times the control's."""
    return ratio * served / (ratio * served + others)


def _bounded(log: float) -> float:
    return math.exp(min(_LOG_MAX, max(-_LOG_MAX, log)))


def _chi_square(control: Sequence[tuple[int, int]], requests: int, events: int) -> float:
    if not events:
        return 0.0
    expected = [(found, served * events / requests) for served, found in control]
    return sum((found - mean) ** 2 / mean for found, mean in expected)
