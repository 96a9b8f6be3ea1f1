"""Each worker's part of what the operator allowed the host.

Bounds in a document are for all workers together. A worker is told its part: all parts add up to
the whole, and none is zero unless the whole is (a worker that may do nothing would refuse its
share of the connections for ever), so that fewer slots than workers round up to one each.
"""

from __future__ import annotations

from dataclasses import replace

from shedproxy.core import CellPolicy, LimitPolicy
from shedproxy.snapshot.document import Document, Rule, UpstreamDocument

__all__ = ["cut_limits", "document_for_worker", "part_of"]


def part_of(whole: int, index: int, workers: int) -> int:
    """Part `index` of `workers` parts of a bound; at least 1 unless the whole is 0."""
    if whole <= 0:
        return whole
    part, rest = divmod(whole, workers)
    return max(1, part + (index < rest))


def document_for_worker(
    document: Document, index: int, workers: int, *, is_shared: bool = False
) -> Document:
    """The document with the bounds that are counted per process cut into parts.

    `is_shared`: the limits of cells stay whole; workers count against them together.
    """
    if workers == 1:
        return document
    cells = tuple(
        _cell(cell, index, workers, is_shared=is_shared) for cell in document.policy.cells
    )
    rules = tuple(_rule(rule, index, workers) for rule in document.classification.rules)
    upstreams = tuple(_upstream(each, index, workers) for each in document.proxy.upstreams)
    return replace(
        document,
        policy=replace(document.policy, cells=cells),
        classification=replace(document.classification, rules=rules),
        proxy=replace(document.proxy, upstreams=upstreams),
    )


def cut_limits(document: Document, index: int, workers: int) -> Document:
    """A worker's document in which the limits were whole, with its part of them.

    For a worker that cannot count together with the others.
    """
    cells = tuple(
        replace(cell, limit=_limit(cell.limit, index, workers)) for cell in document.policy.cells
    )
    return replace(document, policy=replace(document.policy, cells=cells))


def _cell(cell: CellPolicy, index: int, workers: int, *, is_shared: bool) -> CellPolicy:
    critical_plus, critical, sheddable_plus, sheddable = (
        None if limit is None else part_of(limit, index, workers) for limit in cell.class_limits
    )
    return replace(
        cell,
        limit=cell.limit if is_shared else _limit(cell.limit, index, workers),
        queue=replace(cell.queue, length_max=part_of(cell.queue.length_max, index, workers)),
        resident_limit=part_of(cell.resident_limit, index, workers),
        control_budget=part_of(cell.control_budget, index, workers),
        class_limits=(critical_plus, critical, sheddable_plus, sheddable),
    )


def _limit(limit: LimitPolicy, index: int, workers: int) -> LimitPolicy:
    return replace(
        limit,
        initial=part_of(limit.initial, index, workers),
        minimum=part_of(limit.minimum, index, workers),
        maximum=part_of(limit.maximum, index, workers),
    )


def _rule(rule: Rule, index: int, workers: int) -> Rule:
    if rule.limit is None:
        return rule
    return replace(rule, limit=part_of(rule.limit, index, workers))


def _upstream(upstream: UpstreamDocument, index: int, workers: int) -> UpstreamDocument:
    return replace(upstream, connections_max=part_of(upstream.connections_max, index, workers))
