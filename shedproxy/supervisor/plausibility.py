"""What a policy would have refused of what was served in the last hour, at least.

Every minute is tried by itself. A class or a rule whose bound is 0 refuses all that is its. Bounds
of rules, classes and cells refuse what is above them, by the slots that were used on average
(Little's law); what bursts inside a minute would have met is not counted, nor is what an adaptive
limit might do below its maximum. So the figure is a lower bound, and a sane policy's is 0.

Requests stand for all of their cell and class, in the shares of the heads that are known. With few
heads rules are not tried. What a rule wants of headers is not known and does not match.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shedproxy.core import CellPolicy, Criticality, Lane, Mode
from shedproxy.dataplane.classify import Classifier
from shedproxy.snapshot import Document
from shedproxy.supervisor.recent_traffic import Head, Minute, Served

__all__ = ["Forecast", "forecast"]

SERVED_MIN = 100
"""Requests below which nothing is judged."""
HEADS_MIN = 30
_SECONDS = 60.0
_CLASSES = {member.label: member for member in Criticality}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of one policy."""

    served: float
    """Requests of the last hour."""
    refused: float
    """Of these, by the policy."""
    causes: tuple[str, ...] = ()
    """What refuses, and what share of all, the worst first."""

    @property
    def share(self) -> float:
        """0..1; 0 as well where there was too little traffic to tell."""
        return self.refused / self.served if self.served >= SERVED_MIN else 0.0


@dataclass(slots=True)
class _Part:
    """Requests that the policy treats alike."""

    weight: float
    slots: float
    """Used on average over the minute."""
    cell: str
    criticality: Criticality
    rule: int
    lane: Lane = Lane.DATA


def forecast(document: Document, minutes: Sequence[Minute]) -> Forecast:
    """Try a document on what was served."""
    served = sum(part.requests for minute in minutes for part in minute.served.values())
    if document.policy.mode is not Mode.ENFORCE or served < SERVED_MIN:
        return Forecast(served=served, refused=0.0)
    trial = _Trial(document, has_heads=sum(len(minute.heads) for minute in minutes) >= HEADS_MIN)
    causes: dict[str, float] = defaultdict(float)
    for minute in minutes:
        for cause, count in trial.refused(minute).items():
            causes[cause] += count
    worst = sorted(causes.items(), key=lambda item: -item[1])[:3]
    return Forecast(
        served=served,
        refused=sum(causes.values()),
        causes=tuple(f"{cause}: {count / served:.0%}" for cause, count in worst),
    )


class _Trial:
    """One document, compiled once."""

    def __init__(self, document: Document, *, has_heads: bool) -> None:
        self._rules = document.classification.rules
        self._classifier = Classifier(document.classification, document.policy)
        self._cells = {cell.name: cell for cell in document.policy.cells}
        self._has_keys = bool(document.classification.cells.key)
        self._first = document.policy.cells[0].name
        self._has_heads = has_heads

    def refused(self, minute: Minute) -> dict[str, float]:
        """How many of a minute's requests, by what refuses them."""
        parts = [part for part in self._parts(minute) if part.lane is Lane.DATA]
        slots: dict[object, float] = defaultdict(float)
        for part in parts:
            for key, _, _ in self._bounds(part):
                slots[key] += part.slots
        causes: dict[str, float] = defaultdict(float)
        for part in parts:
            share, cause = max(
                (_excess(slots[key], bound), name) for key, bound, name in self._bounds(part)
            )
            if share > 0:
                causes[cause] += part.weight * share
        return causes

    def _bounds(self, part: _Part) -> Iterator[tuple[object, int, str]]:
        """Key, slots, and name of everything that bounds a request."""
        cell: CellPolicy = self._cells[part.cell]
        yield part.cell, cell.limit.maximum, f"limit of cell {part.cell}"
        limit = cell.class_limits[part.criticality]
        if limit is not None:
            name = f"limit of class {part.criticality.label} in cell {part.cell}"
            yield (part.cell, part.criticality), limit, name
        rule = self._rules[part.rule] if part.rule >= 0 else None
        if rule is not None and rule.limit is not None:
            yield part.rule, rule.limit, f"limit of rule {rule.name or part.rule + 1}"

    def _parts(self, minute: Minute) -> Iterator[_Part]:
        heads: dict[tuple[str, str], list[Head]] = defaultdict(list)
        for head in minute.heads if self._has_heads else ():
            heads[head.cell, head.criticality].append(head)
        for (cell, label), served in minute.served.items():
            known = heads.get((cell, label), [])
            criticality = _CLASSES.get(label, Criticality.CRITICAL)
            if not known:
                at = cell if cell in self._cells else self._first
                yield _Part(served.requests, served.work_s / _SECONDS, at, criticality, -1)
            for head in known:
                yield self._place(head, criticality, served, len(known))

    def _place(self, head: Head, criticality: Criticality, served: Served, count: int) -> _Part:
        path = head.path.encode("utf-8", "surrogatepass")
        found = self._classifier.classify(head.method, path, (), "", 0)
        rule = self._rules[found.rule] if found.rule >= 0 else None
        cell = found.info.cell
        if self._has_keys and (rule is None or rule.cell is None):
            cell = head.cell  # its key is not known; the table is judged by itself
        if rule is not None and rule.criticality is not None:
            criticality = rule.criticality
        slots = served.work_s / _SECONDS / count * found.info.cost
        cell = cell if cell in self._cells else self._first
        weight = served.requests / count
        return _Part(weight, slots, cell, criticality, found.rule, found.info.lane)


def _excess(slots: float, bound: int) -> float:
    """The share of those who want so many slots that a bound refuses."""
    if bound <= 0:
        return 1.0
    return max(0.0, 1.0 - bound / slots) if slots > 0 else 0.0
