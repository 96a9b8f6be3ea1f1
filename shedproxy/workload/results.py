"""What became of requests: rows, and what a row of them amounts to.

Latency counts from the *intended* send time, so that a stalled server or generator cannot hide the
wait it caused. Goodput is what was answered with success before the client stopped waiting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shedproxy.core import NS_PER_S, Criticality, Instant, Nanos

__all__ = ["ClassSummary", "Row", "Summary", "percentile", "summarise"]


class Row(NamedTuple):
    """One request. `status` is 0 where no answer came (timeout, reset); times are instants."""

    criticality: Criticality
    intended_at: Instant
    sent_at: Instant
    done_at: Instant
    status: int

    @property
    def latency_ns(self) -> Nanos:
        """From the intended send time to the end of the answer."""
        return Nanos(self.done_at - self.intended_at)


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """One criticality: requests offered, and served with success in time."""

    offered: int
    served: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run. Ratios are 0..1, latencies None where nothing was served."""

    offered: int
    served: int
    refused: int
    failed: int
    """No answer in time, or an error that is no refusal."""
    offered_rps: float
    goodput_rps: float
    p50_ns: Nanos | None
    p99_ns: Nanos | None
    refusal_p99_ns: Nanos | None
    by_class: dict[Criticality, ClassSummary]

    def classes_as_json(self) -> dict[str, dict[str, int]]:
        """What became of each class, the most important first."""
        return {
            criticality.label: {
                "offered": part.offered,
                "served": part.served,
                "refused": part.refused,
            }
            for criticality, part in sorted(self.by_class.items(), reverse=True)
        }


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """The nearest-rank percentile of sorted values; None of none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def summarise(rows: Iterable[Row], *, duration_ns: Nanos, deadline_ns: Nanos) -> Summary:
    """Count a run of `duration_ns` in which clients waited `deadline_ns` each."""
    counts = {criticality: [0, 0, 0] for criticality in Criticality}
    served: list[int] = []
    refused: list[int] = []
    for row in rows:
        count = counts[row.criticality]
        count[0] += 1
        latency_ns = row.latency_ns
        if 200 <= row.status < 400 and latency_ns <= deadline_ns:
            count[1] += 1
            served.append(latency_ns)
        elif row.status in {429, 503}:
            count[2] += 1
            refused.append(latency_ns)
    served.sort()
    refused.sort()
    offered = sum(count[0] for count in counts.values())
    p50, p99 = percentile(served, 0.50), percentile(served, 0.99)
    refusal_p99 = percentile(refused, 0.99)
    return Summary(
        offered=offered,
        served=len(served),
        refused=len(refused),
        failed=offered - len(served) - len(refused),
        offered_rps=offered * NS_PER_S / duration_ns,
        goodput_rps=len(served) * NS_PER_S / duration_ns,
        p50_ns=None if p50 is None else Nanos(p50),
        p99_ns=None if p99 is None else Nanos(p99),
        refusal_p99_ns=None if refusal_p99 is None else Nanos(refusal_p99),
        by_class={
            criticality: ClassSummary(*count) for criticality, count in counts.items() if count[0]
        },
    )
