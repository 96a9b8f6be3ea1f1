"""Why a request would be admitted or refused now, in the order in which the core asks.

Everything is derived from the document in force, a request head, and the last published numbers of
the cell; nothing is asked of a worker. What only a worker knows (how much a route or a tenant has
in flight) is given as the bound at which the answer flips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shedproxy.core import (
    COHORTS,
    IN_PROGRESS,
    CellPolicy,
    Kind,
    Lane,
    Mode,
    RejectReason,
    RequestInfo,
    rank_of,
    to_milliseconds,
)
from shedproxy.dataplane.classify import Classified, Classifier
from shedproxy.snapshot import Document

__all__ = ["CellNumbers", "explain_head"]

RANKS = COHORTS * 4
_FOR_WANT_OF_ROOM = (RejectReason.SHED_LEVEL, RejectReason.QUEUE_FULL)
"""Refusals that another cell can help against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellNumbers:
    """A cell as it was published last."""

    in_flight: int = 0
    class_in_flight: tuple[int, ...] = (0, 0, 0, 0)
    """By Criticality, as class limits count: with waiters and streams."""
    limit: int = 0
    queue_length: int = 0
    residents: int = 0
    control_in_flight: int = 0
    shed_rank: int = 0
    shed_share: float = 0.0
    """Of the level itself."""
    upstreams: int = 0
    upstreams_healthy: int = 0
    guest_room: int = 0
    """Slots that are free for requests of other cells."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The decision and the sentence that gives the reason."""

    answer: str
    """`admit`, `queue`, `refuse` or `bypass`."""
    why: str
    reason: RejectReason | None = None


def explain_head(
    document: Document,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    *,
    peer: str = "127.0.0.1",
    numbers_of: Callable[[str], CellNumbers] | None = None,
    is_draining: bool = False,
) -> dict[str, Any]:
    """Everything that follows from a request's head.

    Args:
        document: the one in force, with the mode in force.
        method: as sent.
        path: as sent; a query is ignored.
        headers: lower-case names and values.
        peer: the address it would come from; decides whether its headers are believed.
        numbers_of: gives the numbers of a cell by its name; None: nothing runs (offline).
        is_draining: data requests are refused.
    """
    classifier = Classifier(document.classification, document.policy)
    raw = [(name.lower().encode("latin-1", "replace"), value.encode()) for name, value in headers]
    raw_path = path.partition("?")[0].encode()
    found = classifier.classify(method, raw_path, raw, peer=peer, serial=0)
    other = classifier.classify(method, raw_path, raw, peer=peer, serial=COHORTS // 2 + 1)
    is_cohort_known = found.cohort == other.cohort
    cell = cell_of(document, found.info)
    numbers = None if numbers_of is None else numbers_of(cell.name)
    rule = document.classification.rules[found.rule] if found.rule >= 0 else None
    content: dict[str, Any] = {
        "request": {"method": method, "path": path, "peer": peer},
        "rule": None
        if rule is None
        else {
            "index": found.rule,
            "name": rule.name or f"rule-{found.rule}",
            "path": list(rule.match.path),
        },
        "route": found.info.route,
        "cell": cell.name,
        "criticality": found.info.criticality.label,
        "lane": found.info.lane.name.lower(),
        "kind": found.info.kind.name.lower(),
        "cost": found.info.cost,
        "is_retry": found.info.is_retry,
        "time_left_ms": None if found.time_left_ns is None else to_milliseconds(found.time_left_ns),
        "is_peer_trusted": classifier.is_trusted(peer),
        "rank": rank_of(found.info, found.cohort) if is_cohort_known else None,
        "mode": document.policy.mode.label,
    }
    if numbers is not None:
        answer = _decide(cell, found, numbers, is_draining=is_draining, known=is_cohort_known)
        assert numbers_of is not None
        answer = _spill(cell, found.info, answer, numbers_of)
        content["now"] = _show_numbers(numbers, found.info)
        content["decision"] = _show_answer(answer, document.policy.mode)
    content["flips"] = _flips(cell, found.info, numbers)
    return content


def cell_of(document: Document, info: RequestInfo) -> CellPolicy:
    """The cell that takes the request: the one it names, else the first."""
    for cell in document.policy.cells:
        if cell.name == info.cell:
            return cell
    return document.policy.cells[0]


def _decide(
    cell: CellPolicy, found: Classified, numbers: CellNumbers, *, is_draining: bool, known: bool
) -> _Answer:
    info = found.info
    if info.lane is Lane.CONTROL:
        return _decide_control(cell, numbers)
    bounded = _bounded(cell, found, numbers, is_draining=is_draining)
    if bounded is not None:
        return bounded
    if info.kind in {Kind.STREAM, Kind.LONGPOLL}:
        if numbers.residents >= cell.resident_limit:
            why = f"{numbers.residents} of {cell.resident_limit} streams are open"
            return _Answer("refuse", why, RejectReason.RESIDENT_LIMIT)
        why = f"a stream takes no slot; {numbers.residents} of {cell.resident_limit} are open"
        return _Answer("admit", why)
    return _shed(found, numbers, known=known) or _slot(cell, info, numbers)


def _decide_control(cell: CellPolicy, numbers: CellNumbers) -> _Answer:
    counts = f"{numbers.control_in_flight} of {cell.control_budget}"
    if numbers.control_in_flight >= cell.control_budget:
        why = f"{counts} control requests are in flight"
        return _Answer("refuse", why, RejectReason.CONTROL_BUDGET)
    return _Answer("bypass", f"control requests bypass admission; {counts} are in flight")


def _bounded(
    cell: CellPolicy, found: Classified, numbers: CellNumbers, *, is_draining: bool
) -> _Answer | None:
    info = found.info
    if is_draining:
        return _Answer("refuse", "this instance is draining", RejectReason.DRAINING)
    if numbers.upstreams and not numbers.upstreams_healthy:
        why = f"none of {numbers.upstreams} upstreams is healthy"
        return _Answer("refuse", why, RejectReason.NO_UPSTREAM)
    if info.route_limit is not None and info.cost > info.route_limit:
        why = f"the route's limit is {info.route_limit}; this one takes {info.cost}"
        return _Answer("refuse", why, RejectReason.ROUTE_LIMIT)
    class_limit = cell.class_limit(info.criticality)
    held = numbers.class_in_flight[info.criticality]
    if class_limit is not None and held + info.cost > class_limit:
        why = f"class {info.criticality.label} has {held} of {class_limit} in flight"
        return _Answer("refuse", f"{why}; this one takes {info.cost}", RejectReason.CLASS_LIMIT)
    if found.time_left_ns is not None and found.time_left_ns <= 0:
        return _Answer("refuse", "no time is left", RejectReason.DEADLINE)
    return None


def _shed(found: Classified, numbers: CellNumbers, *, known: bool) -> _Answer | None:
    """The shed level. Without a task header the cohort differs from request to request."""
    if numbers.shed_rank <= 0 and numbers.shed_share <= 0:
        return None
    info = found.info
    level = (
        f"the shed level is {numbers.shed_rank} of {RANKS}"
        f" (for nobody while few wait; a later call of a task ranks {IN_PROGRESS} higher)"
    )
    if known:
        rank = rank_of(info, found.cohort)
        if rank < numbers.shed_rank:
            return _Answer("refuse", f"rank {rank}: {level}", RejectReason.SHED_LEVEL)
        return None
    lowest, highest = rank_of(info, 0), rank_of(info, COHORTS - 1)
    if highest < numbers.shed_rank:
        return _Answer("refuse", f"ranks up to {highest}: {level}", RejectReason.SHED_LEVEL)
    if lowest < numbers.shed_rank:
        share = (numbers.shed_rank - lowest) / (highest - lowest + 1)
        why = f"{share:.0%} of such requests: {level} and this class has {lowest}..{highest}"
        return _Answer("refuse", why, RejectReason.SHED_LEVEL)
    return None


def _slot(cell: CellPolicy, info: RequestInfo, numbers: CellNumbers) -> _Answer:
    counts = f"{numbers.in_flight} of {numbers.limit} are in flight"
    if not numbers.queue_length and numbers.in_flight + info.cost <= numbers.limit:
        return _Answer("admit", counts)
    if numbers.queue_length < cell.queue.length_max:
        wait = to_milliseconds(cell.queue.wait_max_ns)
        why = f"{counts} and {numbers.queue_length} wait; it waits up to {wait:g} ms"
        if numbers.shed_rank:
            why += ", if there is room in the short queues of overload"
        return _Answer("queue", why)
    return _Answer(
        "refuse",
        f"{counts} and the queue is full ({numbers.queue_length}): only a more important request"
        " takes a place",
        RejectReason.QUEUE_FULL,
    )


def _spill(
    cell: CellPolicy, info: RequestInfo, answer: _Answer, numbers_of: Callable[[str], CellNumbers]
) -> _Answer:
    """A refusal for want of room may become another cell's work."""
    if answer.reason not in _FOR_WANT_OF_ROOM or info.criticality not in cell.spill.classes:
        return answer
    if info.is_pinned or not info.is_plain:
        return replace(answer, why=f"{answer.why}; no other cell may take it")
    rooms = {name: numbers_of(name).guest_room for name in cell.spill.to}
    taker = next((name for name, room in rooms.items() if room >= info.cost), None)
    if taker is None:
        return replace(answer, why=f"{answer.why}; {', '.join(rooms)} has no room for it now")
    why = f"{answer.why}; {taker} has room for {rooms[taker]} such guests and may take it"
    return replace(answer, why=why)


def _show_answer(answer: _Answer, mode: Mode) -> dict[str, Any]:
    said, why = answer.answer, answer.why
    is_forced = said in {"refuse", "queue"} and mode is not Mode.ENFORCE
    if is_forced and answer.reason not in {RejectReason.DRAINING, RejectReason.NO_UPSTREAM}:
        why = f"mode is {mode.label}, so it runs at once; enforce would {said}: {why}"
        said = "admit"
    return {
        "answer": said,
        "reason": None if answer.reason is None else answer.reason.label,
        "would": answer.answer,
        "why": why,
    }


def _show_numbers(numbers: CellNumbers, info: RequestInfo) -> dict[str, Any]:
    return {
        "in_flight": numbers.in_flight,
        "class_in_flight": numbers.class_in_flight[info.criticality],
        "limit": numbers.limit,
        "queue_length": numbers.queue_length,
        "residents": numbers.residents,
        "shed_rank": numbers.shed_rank,
        "upstreams_healthy": numbers.upstreams_healthy,
        "upstreams": numbers.upstreams,
    }


def _flips(
    cell: CellPolicy, info: RequestInfo, numbers: CellNumbers | None
) -> list[dict[str, Any]]:
    """Where the answer changes: which count, at what number, to what."""
    if info.lane is Lane.CONTROL:
        return [_flip("control_in_flight", cell.control_budget, "refuse", "control_budget")]
    flips = []
    if info.route_limit is not None:
        flips.append(
            _flip("route_in_flight", info.route_limit - info.cost + 1, "refuse", "route_limit")
        )
    class_limit = cell.class_limit(info.criticality)
    if class_limit is not None:
        flips.append(_flip("class_in_flight", class_limit - info.cost + 1, "refuse", "class_limit"))
    if info.kind in {Kind.STREAM, Kind.LONGPOLL}:
        return [*flips, _flip("residents", cell.resident_limit, "refuse", "resident_limit")]
    limit = cell.limit.initial if numbers is None else numbers.limit
    flips.append(_flip("in_flight", limit - info.cost + 1, "queue", "limit"))
    flips.append(_flip("queue_length", cell.queue.length_max, "refuse", "queue_full"))
    if cell.shed_level.enabled:
        flips.append(_flip("shed_rank", rank_of(info, 0) + 1, "refuse", "shed_level"))
    return flips


def _flip(count: str, at: int, to: str, because: str) -> dict[str, Any]:
    return {"count": count, "at": max(0, at), "becomes": to, "because": because}
