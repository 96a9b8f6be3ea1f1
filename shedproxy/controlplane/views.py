"""What the control plane shows of a fleet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shedproxy.controlplane.evidence import Watch, proof
from shedproxy.controlplane.fleet import Fleet, Host
from shedproxy.controlplane.gates import GATES, KINDS
from shedproxy.controlplane.ledger import Entry, Head
from shedproxy.controlplane.move import Said, missing
from shedproxy.controlplane.reconciling import Seen
from shedproxy.controlplane.rollout import Rollout
from shedproxy.controlplane.sightings import Sightings
from shedproxy.controlplane.tenants import key_facts
from shedproxy.core import Instant, to_seconds

__all__ = ["audit_view", "fleet_view"]

_RELEASES_SHOWN = 10


def fleet_view(
    head: Head,
    seen: Seen,
    sightings: Sightings,
    votes: Mapping[str, Said],
    *,
    now: Instant,
    now_s: float,
    trouble: str,
    clocks: Mapping[str, float],
) -> dict[str, Any]:
    """All of it, for `shedproxy control status`."""
    fleet, rollout = head.fleet, head.fleet.book.rollout
    names = {each.key: each.name for each in fleet.moved if each.name}
    return {
        "revision": head.revision,
        "store": {"ok": not trouble, "why": trouble},
        "clocks_apart": dict(clocks),
        "base": fleet.book.base,
        "promotion": None if rollout is None else _promotion(fleet, rollout, seen),
        "move": _move(fleet, votes, now_s),
        "moved": [
            {"key": key, "name": names.get(key, key), "cell": cell}
            for key, cell in fleet.moves.pins
        ],
        "move_given_up": fleet.moves.ended,
        "cells": [_cell(fleet, name) for name in fleet.cell_names],
        "zones_away": {each.zone: max(0, round(each.until_s - now_s, 1)) for each in fleet.shifts},
        "hosts": [_host(fleet, host, sightings, now) for host in fleet.hosts],
        "releases": [
            {"digest": each.digest, "at_s": each.at_s, "by": each.by, "force": each.is_forced}
            for each in fleet.releases[-_RELEASES_SHOWN:]
        ],
        "refused": list(fleet.book.refused[-_RELEASES_SHOWN:]),
    }


def audit_view(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Who did what, when and why."""
    return [
        {
            "revision": entry.revision,
            "at_s": entry.act.at_s,
            "who": entry.act.who,
            "verb": entry.act.verb,
            "why": entry.act.why,
            "refusal": entry.act.refusal,
            "facts": dict(entry.act.facts),
            "digest": entry.digest,
        }
        for entry in entries
    ]


def _promotion(fleet: Fleet, rollout: Rollout, seen: Seen) -> dict[str, Any]:
    stage, release = rollout.stages[rollout.stage], fleet.release(rollout.digest)
    watch = fleet.watch if seen.watch is None else seen.watch
    proven = proof(watch, miss=rollout.rules.miss)
    return {
        "digest": rollout.digest,
        "force": release is not None and release.is_forced,
        "phase": rollout.phase.name.lower().replace("_", " "),
        "scope": stage.scope.label,
        "zone": stage.zone,
        "step": f"{rollout.stage + 1} of {len(rollout.stages)}",
        "hosts_moved": rollout.moved,
        "hosts": len(rollout.order),
        "watched_s": round(to_seconds(rollout.watched_ns), 1),
        "bake_s": to_seconds(rollout.rules.bake_ns[stage.scope]),
        "requests": rollout.requests,
        "requests_min": rollout.rules.requests_min,
        "cause": rollout.cause,
        "evidence": [_gate(watch, gate, proven) for gate in GATES if watch.is_ours],
    }


def _move(fleet: Fleet, votes: Mapping[str, Said], now_s: float) -> dict[str, Any] | None:
    move = fleet.moves.move
    if move is None:
        return None
    return {
        **key_facts(fleet, move),
        "phase": move.step.label,
        "for_s": max(0.0, round(now_s - move.since_s, 1)),
        "waits_for": missing(move, [host.name for host in fleet.hosts], votes),
    }


def _gate(watch: Watch, gate: str, proven: list[float]) -> dict[str, Any]:
    """Of its kinds of events, the one that speaks most against the candidate."""
    evidence = {
        place: watch.evidence(place) for place, kind in enumerate(KINDS) if kind.gate == gate
    }
    place = max(evidence, key=lambda place: evidence[place])
    counts = watch.counts(place)
    return {
        "of": KINDS[place].name,
        "candidate": [watch.gates[place].events, watch.gates[place].trials],
        "control": [sum(events for _, _, events in counts), sum(n for _, n, _ in counts)],
        "times": float(f"{evidence[place]:.3g}"),
        "proven": float(f"{min(proven[place] for place in evidence):.2g}"),
    }


def _cell(fleet: Fleet, name: str) -> dict[str, Any]:
    known = fleet.cell(name)
    assert known is not None
    return {
        "name": name,
        "hosts": sum(host.cell == name for host in fleet.hosts),
        "like": known.like,
        "is_quarantined": known.is_quarantined,
    }


def _host(fleet: Fleet, host: Host, sightings: Sightings, now: Instant) -> dict[str, Any]:
    seen, edition = sightings.get(host.name), fleet.edition(host.name)
    report = None if seen is None else seen.report
    running = sightings.running(fleet, now).get(host.name, "") if seen is not None else ""
    return {
        "name": host.name,
        "cell": host.cell,
        "zone": host.zone,
        "is_heard": sightings.is_heard(host.name, now),
        "to_run": fleet.wanted()[host.name],
        "runs": running,
        "is_held": any(each.host == host.name for each in fleet.held),
        "revision": 0 if edition is None else edition.revision,
        "trouble": sightings.trouble(fleet, host.name, now),
        "requests": 0 if report is None else report.requests,
        "errors": 0 if report is None else report.errors,
        "sheds": 0 if report is None else report.sheds,
        "p99_ms": 0.0 if report is None else report.p99_ms,
        "binary_digest": "" if report is None else report.binary_digest,
    }
