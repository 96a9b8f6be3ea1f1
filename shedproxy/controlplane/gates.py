"""What a candidate is compared by, what is no matter, and what is harm. Pure.

Harm is stated before anybody looks: a release does harm at a gate when of the requests that count
there at least `harm` more have that fate than beside it, and at least twice as many. A quarter
of a percent of errors breaks an objective of 99.9 % two and a half times over, and that of 99.5 %
by half; one answer in a hundred more beyond some bound is a p99 that has left its place. What is
less than that may pass, what is no worse than `MARGIN` and `floor` say is not to be blamed, and of
what lies between either may be said.

Refusals for a bound that settings name (of a route, a class, connections) are compared by
themselves too: they do not drown in what is refused for want of capacity.

A gate may have several kinds of events: answers are slow at every bound of durations, so that it is
no matter where between two of them a percentile lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shedproxy.observability.metric_labels import DURATION_BOUNDS

__all__ = ["GATES", "KINDS", "MARGIN", "TRIALS", "Kind", "harm_at"]

MARGIN: Final = 1.25
"""As many times worse than the control is not worth a rollback."""
_HARM_RATIO: Final = 2.0
TRIALS: Final = ("finished", "timed", "decided", "read", "answered", "told")
"""Whose shares are compared, by place in `Arm.trials`: requests that ended; of hosts that tell how
long they took; that were decided on; that came, of hosts that count what was over a limit; that
ended, of hosts that count what was answered 4xx; that were decided on, of hosts that tell what was
refused for a bound.
"""
_FINISHED, _TIMED, _DECIDED, _READ, _ANSWERED, _TOLD = range(len(TRIALS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of event."""

    gate: str
    name: str
    trials: int
    """Place in `Arm.trials` of those that it may befall."""
    floor: float
    """The candidate's share is above the margin by so much, or it is no matter."""
    harm: float
    """A share of so much more is harm."""
    part: float
    """Of the false alarms that are allowed."""


GATES: Final = (
    "errors",
    "slow answers",
    "refusals",
    "over a limit",
    "client errors",
    "over a bound",
)


def _kinds() -> tuple[Kind, ...]:
    errors, slow, refusals, limits, client, bounds = GATES
    part = 1 / len(GATES)
    rare = {"floor": 0.001, "harm": 0.0025, "part": part}
    return (
        Kind(gate=errors, name=errors, trials=_FINISHED, **rare),
        Kind(gate=refusals, name=refusals, trials=_DECIDED, **rare),
        # 408, 411, 413, 414, 417 and 431: settings turn away what they used to serve.
        Kind(gate=limits, name="requests over a limit", trials=_READ, **rare),
        # Services answer 4xx all the time; one that does not know what it is asked does it more.
        Kind(gate=client, name=client, trials=_ANSWERED, floor=0.005, harm=0.01, part=part),
        # A tenant, a route or a class that settings refuse, where others are refused for capacity.
        Kind(gate=bounds, name="refusals by a bound", trials=_TOLD, **rare),
        *(
            Kind(
                gate=slow,
                name=f"answers over {bound:g} s",
                trials=_TIMED,
                floor=0.005,
                harm=0.01,
                part=part / len(DURATION_BOUNDS),
            )
            for bound in DURATION_BOUNDS
        ),
    )


KINDS: Final = _kinds()
"""By place in `Arm.events`; slow answers last, by bound."""


def harm_at(kind: Kind, beside: float) -> float:
    """How much larger a share than the control's is harm, where that is `beside`."""
    return max(kind.harm, (_HARM_RATIO - 1) * beside)
