"""How a replay by another policy looks. Plain text and JSON: equal replays are equal bytes."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from shedproxy.core import Criticality, Policy, RejectReason, to_milliseconds, to_seconds
from shedproxy.simulator.history import Fate, TraceFacts
from shedproxy.simulator.what_if import Comparison, Side

__all__ = ["comparison_as_json", "comparison_as_text"]

_SHARES = {"p50": 0.5, "p99": 0.99, "longest": 1.0}
_WIDTH = 100
"""Columns of a sentence, on whatever terminal: equal replays are equal bytes."""
_Reasons = Counter[tuple[RejectReason, Criticality]]


def comparison_as_json(
    traces: Sequence[TraceFacts], policy: Policy, comparison: Comparison, *, rules: int
) -> str:
    """One JSON object. Counts are of data requests; `rules` is how many the settings have.

    One trace is `trace`, several are the list `traces`, and all counts are of them together.
    """
    recorded, replayed = comparison.recorded, comparison.replayed
    facts = [_facts(trace) for trace in traces]
    content: dict[str, Any] = {
        **({"trace": facts[0]} if len(facts) == 1 else {"traces": facts}),
        "mode": {
            "recorded": traces[0].header.policy.mode.label,
            "replayed": policy.mode.label,
        },
        "classes": {
            criticality.label: {
                "recorded": _fates(recorded, criticality),
                "replayed": _fates(replayed, criticality),
            }
            for criticality in reversed(Criticality)
        },
        "reasons": _reasons(recorded.reasons, replayed.reasons),
        "would_refuse": _reasons(recorded.hidden, replayed.hidden),
        "changed": [
            {
                "criticality": criticality.label,
                "recorded": was.value,
                "replayed": now.value,
                "count": comparison.changed[criticality, was, now],
            }
            for was, now in _pairs(comparison)
            for criticality in reversed(Criticality)
            if comparison.changed[criticality, was, now]
        ],
        "wait_ns": {
            "recorded": {name: recorded.wait_ns(share) for name, share in _SHARES.items()},
            "replayed": {name: replayed.wait_ns(share) for name, share in _SHARES.items()},
        },
        "adjusted": comparison.adjusted,
        "borrowed": comparison.borrowed,
        "borrowed_elsewhere": comparison.borrowed_elsewhere,
        "unknown": _unknown(traces, comparison, rules),
    }
    return json.dumps(content, indent=2)


def _facts(trace: TraceFacts) -> dict[str, Any]:
    return {
        "version": trace.header.version,
        "worker": trace.header.worker,
        "workers": trace.header.workers,
        "span_ns": trace.ended_at - trace.header.started_at,
        "ended": trace.why,
    }


def _fates(side: Side, criticality: Criticality) -> dict[str, int]:
    return {fate.value: side.fates[criticality, fate] for fate in Fate}


def _reasons(recorded: _Reasons, replayed: _Reasons) -> dict[str, Any]:
    return {
        reason.label: {
            criticality.label: {
                "recorded": recorded[reason, criticality],
                "replayed": replayed[reason, criticality],
            }
            for criticality in reversed(Criticality)
            if recorded[reason, criticality] or replayed[reason, criticality]
        }
        for reason in RejectReason
        if _sum(recorded, reason) or _sum(replayed, reason)
    }


def comparison_as_text(
    traces: Sequence[TraceFacts], policy: Policy, comparison: Comparison, *, rules: int
) -> str:
    """Tables for a person, of all traces together, and what they do not show."""
    recorded, replayed = comparison.recorded, comparison.replayed
    lines = [
        *map(_recording, traces),
        f"replayed: mode {policy.mode.label}",
        "",
        *_table(_class_rows(recorded, replayed)),
    ]
    for title, before, after in (
        ("refused for", recorded.reasons, replayed.reasons),
        ("would refuse", recorded.hidden, replayed.hidden),
    ):
        rows = [
            (reason.label, _arrow(_sum(before, reason), _sum(after, reason)))
            for reason in RejectReason
            if _sum(before, reason) or _sum(after, reason)
        ]
        if rows:
            lines += ["", *_table([(title, "requests"), *rows])]
    lines += ["", *_table(_changed_rows(comparison))]
    waits = [
        (
            name,
            _arrow(_milliseconds(recorded.wait_ns(share)), _milliseconds(replayed.wait_ns(share))),
        )
        for name, share in _SHARES.items()
    ]
    lines += ["", *_table([("wait of the served", "ms"), *waits])]
    lines += ["", "what a replay cannot know:"]
    lines += [
        textwrap.fill(sentence, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        for sentence in _unknown(traces, comparison, rules)
    ]
    return "\n".join(lines)


def _recording(trace: TraceFacts) -> str:
    header = trace.header
    part = f", worker {header.worker} of {header.workers}" if header.workers > 1 else ""
    span_s = to_seconds(trace.ended_at - header.started_at)
    recording = f"mode {header.policy.mode.label}, shedproxy {header.version}{part}"
    return f"recorded: {recording}; {span_s:.3f} s, it ended: {trace.why}"


def _class_rows(recorded: Side, replayed: Side) -> list[tuple[str, ...]]:
    shown = [
        fate
        for fate in Fate
        if fate in {Fate.SERVED, Fate.REFUSED}
        or any(side.fates[each, fate] for side in (recorded, replayed) for each in Criticality)
    ]
    rows = [("class", "offered", *(fate.value for fate in shown))]
    for each in reversed(Criticality):
        offered = sum(recorded.fates[each, fate] for fate in Fate)
        changes = (_arrow(recorded.fates[each, fate], replayed.fates[each, fate]) for fate in shown)
        if offered:
            rows.append((each.label, str(offered), *changes))
    return rows


def _changed_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    changed = comparison.changed
    classes = [each for each in reversed(Criticality) if any(each is one for one, _, _ in changed)]
    rows: list[tuple[str, ...]] = [("changed", "requests", *(each.label for each in classes))]
    for was, now in _pairs(comparison):
        counts = [changed[each, was, now] for each in classes]
        rows.append((f"{was.value} -> {now.value}", *map(str, (sum(counts), *counts))))
    return rows if classes else [("changed", "requests"), ("nothing", "0")]


def _pairs(comparison: Comparison) -> list[tuple[Fate, Fate]]:
    """The changes that there are, served to refused and back first."""
    order = list(Fate)
    pairs = {(was, now) for _, was, now in comparison.changed}
    return sorted(pairs, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))


def _sum(reasons: _Reasons, reason: RejectReason) -> int:
    return sum(reasons[reason, criticality] for criticality in Criticality)


def _milliseconds(length_ns: int) -> str:
    return f"{to_milliseconds(length_ns):.1f}"


def _arrow(before: object, after: object) -> str:
    return f"{before} -> {after}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns: the first one flush left, numbers flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


_LENGTHS = """Work takes as long as it was recorded, counted from its admission, where about as
much is in flight as was then (to a factor of two), or nothing was recorded with as much."""
_UPSTREAM = """The upstream itself is not in a trace. A policy that admits more than it can do looks
better here than it is."""
_CLIENTS = """Clients come as they came. Retries that a refusal caused, or would have caused, and
requests that follow an answer, stay as recorded."""
_TIMERS = """A timer fires 5 ms late here, and fired when the loop came to it there. What is decided
at the margin multiplies that: a few requests in a hundred may change by chance."""
_OUTSIDE = """Refusals before admission (no_upstream, connection_limit, malformed requests) are not
in a trace."""
_BLIND = "No work ended in the recording: what was not recorded took no time at all here."
_WORKERS = """Each worker has its own part of the limits here, as it had while it was recorded.
Without a recording workers count against them together, and lend what one does not use."""
_RULES = """Rules are not applied again, because paths and headers are not in a trace: each request
keeps the route, class, cell, cost and bound that it was recorded with."""


def _unknown(traces: Sequence[TraceFacts], comparison: Comparison, rules: int) -> list[str]:
    """The limits of what was computed, in sentences."""
    sentences = [*_guessed(comparison), _UPSTREAM, _CLIENTS, _TIMERS, _OUTSIDE]
    header = traces[0].header
    if header.workers > 1:
        sentences.append(_WORKERS)
        missing = header.workers - len({trace.header.worker for trace in traces})
        if missing > 0:
            sentences.append(
                f"Traces of workers that are missing: {missing} of {header.workers}. What they"
                " decided is in no count."
            )
    # Workers are given a new policy together.
    policies = max(trace.policies for trace in traces)
    if policies:
        sentences.append(
            f"Policies applied while it was recorded: {policies}. The replay has one throughout."
        )
    if rules:
        sentences.append(_RULES)
    return [sentence.replace("\n", " ") for sentence in sentences]


def _guessed(comparison: Comparison) -> list[str]:
    """Whose work did not take as long as it was recorded."""
    if comparison.is_blind:
        return [_BLIND]
    sentences = [_LENGTHS]
    if comparison.adjusted:
        sentences.append(
            "Requests served with more or less in flight than in the recording:"
            f" {comparison.adjusted}. Each took as long as one of its route that had about as much,"
            " in turn."
        )
    if comparison.borrowed:
        elsewhere = comparison.borrowed_elsewhere
        sentences.append(
            "Requests served whose work was not recorded, because they were refused or left then:"
            f" {comparison.borrowed}. Each took as long as one of its route, in turn"
            + (f" (as one of any route: {elsewhere})." if elsewhere else ".")
        )
    return sentences
