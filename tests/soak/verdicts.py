"""What must be true of a soak when it is over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from soak.clients import GOOD, HOSTILE, Loss
from soak.stage import HEAD_S, WARM_RATIO, Soak

from shedproxy.core import NS_PER_S
from shedproxy.dataplane.wire.client_place import FIRST_WORD_NS

__all__ = ["Verdict", "verdicts"]

MIB = 1024 * 1024
GROWTH_MAX = 12 * MIB
"""Of the first worker, or the supervisor, from the end of the warm-up to the end of the soak."""
KILL_S = 2.0
"""So long after a kill a connection of the killed worker may be found to have ended."""
GOODBYE_S = FIRST_WORD_NS / NS_PER_S
"""Who has said nothing for so long is let go of by a worker that is replaced."""
OUTAGE_S = 3.0
"""So long after an upstream is back requests may fail that were on the way to it."""
OPEN_PER_KILL = 200
"""Requests that one killed worker may have had."""
_SERIES = re.compile(r'(\w+)\{.*shedproxy_outcome="(\w+)"')


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim and whether it held."""

    claim: str
    holds: bool
    shown: str


def verdicts(soak: Soak) -> Iterator[Verdict]:
    """All claims, in order."""
    tally = soak.tally
    served, refused = (
        sum(n for (kind, what), n in tally.outcomes.items() if kind in GOOD and what == told)
        for told in ("served", "refused")
    )
    shown = f"{served} served, {refused} refused; {dict(soak.deeds)}"
    yield Verdict("clients were served, and refused in bursts", bool(served and refused), shown)
    explained: Counter[str] = Counter()
    unexplained: list[Loss] = []
    for loss in tally.losses:
        why = _explanation(loss, soak)
        if why:
            explained[f"{loss.what}: {why}"] += 1
        else:
            unexplained.append(loss)
    shown = ", ".join(f"{x.kind} {x.what} at {x.at_s:.2f} s ({x.how})" for x in unexplained[:10])
    if shown:
        shown += f"; killed at {', '.join(f'{at_s:.2f}' for at_s in soak.kills)} s"
        times = (f"{from_s:.2f}-{to_s:.2f}" for from_s, to_s in soak.replacements)
        shown += f"; workers replaced at {', '.join(times)} s"
    yield Verdict(
        "no request is lost but by a killed worker, an upstream that ends or a silent client",
        not unexplained,
        shown or f"none; explained: {dict(explained)}",
    )
    lies = {
        f"{kind}: {what}": count
        for (kind, what), count in tally.outcomes.items()
        if kind in HOSTILE and (what.startswith("wrong") or what == "stuck")
    }
    yield Verdict("nonsense is refused or closed", not lies, str(lies or "all of it"))
    yield Verdict("no slot is kept", not any(soak.left.values()), str(soak.left))
    kept = soak.after.worker_descriptors - soak.before.worker_descriptors
    held = soak.after.supervisor_descriptors - soak.before.supervisor_descriptors
    more = dict(soak.after.supervisor_kinds - soak.before.supervisor_kinds)
    shown = f"workers {kept:+}, supervisor {held:+} {more or ''}"
    yield Verdict("no descriptor is kept", kept <= 0 and held <= 0, shown)
    yield from _memory(soak)
    yield _books(soak)


def _explanation(loss: Loss, soak: Soak) -> str:
    """Who but the proxy is to blame for it; "": nobody."""
    if loss.what in {"lost", "cut"} and any(
        killed_s <= loss.at_s <= killed_s + KILL_S for killed_s in soak.kills
    ):
        return "killed worker"
    # An upstream that ends takes what it was answering with it; nothing is lost without a word
    # for that reason, though, but a tunnel or a part of an answer.
    if loss.what in {"cut", "upstream"} and any(
        from_s <= loss.at_s <= to_s + OUTAGE_S for from_s, to_s in soak.outages
    ):
        return "upstream ended"
    # On a busy machine a client may be late with its own word: the proxy has let go of it then.
    is_draining = any(from_s <= loss.at_s <= to_s + KILL_S for from_s, to_s in soak.replacements)
    if loss.what == "lost" and loss.silent_s >= (GOODBYE_S if is_draining else HEAD_S):
        return "silent client"
    return ""


def _memory(soak: Soak) -> Iterator[Verdict]:
    warm = [sample for sample in soak.samples if sample.at_s >= soak.for_s * WARM_RATIO]
    series = {
        "the first worker": [(sample.at_s, sample.worker_bytes[0]) for sample in warm],
        "the supervisor": [(sample.at_s, sample.supervisor_bytes) for sample in warm],
    }
    for who, points in series.items():
        growth = _slope(points) * (points[-1][0] - points[0][0])
        minutes = (points[-1][0] - points[0][0]) / 60
        yield Verdict(
            f"{who} does not grow",
            growth <= GROWTH_MAX,
            f"{growth / MIB:+.1f} MiB in {minutes:.1f} min after the warm-up",
        )


def _slope(points: list[tuple[float, int]]) -> float:
    """Least squares: bytes per second."""
    count = len(points)
    mean_s = sum(at_s for at_s, _ in points) / count
    mean = sum(size for _, size in points) / count
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    return sum((at_s - mean_s) * (size - mean) for at_s, size in points) / spread


def _books(soak: Soak) -> Verdict:
    """Who was admitted ended, but for what killed workers had; clients saw no more than that."""
    sums: Counter[str] = Counter()
    for name, value in soak.counts.items():
        found = _SERIES.match(name)
        if found is not None:
            sums[f"{found[1]} {found[2]}"] += value
    ended = sum(
        value
        for name, value in sums.items()
        if name.startswith("http_server_request_duration_seconds_count")
        and not name.endswith("rejected")
    )
    admitted = sum(
        sums[f"shedproxy_decisions_total {what}"] for what in ("admitted", "would_reject", "bypass")
    )
    missing, kills = admitted - ended, len(soak.kills)
    return Verdict(
        "admitted = ended",
        0 <= missing <= OPEN_PER_KILL * kills,
        f"{admitted:.0f} admitted, {missing:.0f} of them lost with {kills} killed workers",
    )
