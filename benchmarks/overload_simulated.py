"""`overload` in virtual time: the real Shedder beside nginx and HAProxy, tuned for each service.

No sockets, no processor, no chance but that of the seeds: what a change of the core does to
goodput and latency is told apart from what the machine does. Peers are rebuilt here
(`overload_shapes`); live cells have the programs themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean, median
from typing import Any

from benchmarks.method import check_known
from benchmarks.overload_shapes import (
    REACHES,
    SHAPES,
    TUNED,
    Outcomes,
    QueueControl,
    play,
    play_ours,
)
from shedproxy.simulator.controllers.fixed_limit import FixedControl

__all__ = ["Comparison", "SimulatedReport", "simulate"]

LOADS = (1.5, 2.0, 3.0, 5.0, 10.0)
SEEDS = 5
P99_WITHIN = 1.5
"""The budget of `overload`."""
SECONDS, COMPLETIONS = 60.0, 2000
"""Cells last so long, or until the service can have given so many answers."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours beside the best peer at one shape and load: one ratio per seed."""

    shape: str
    load: float
    seconds: float
    goodput_ratios: Sequence[float]
    p99_ratios: Sequence[float]
    own_p99_ms: float
    """The median of all seeds, as is that of the peer."""
    peer_p99_ms: float

    @property
    def is_met(self) -> bool:
        """On average of the seeds in goodput, at their median in p99."""
        return fmean(self.goodput_ratios) >= REACHES and median(self.p99_ratios) <= P99_WITHIN

    def as_text(self) -> str:
        return (
            f"  {self.shape:<15} {self.load:>4g}x {self.seconds:>5g} s"
            f" {fmean(self.goodput_ratios):>8.3f} {min(self.goodput_ratios):>6.3f}"
            f" {median(self.p99_ratios):>8.2f} {max(self.p99_ratios):>6.2f}"
            f" {self.own_p99_ms:>8.1f} {self.peer_p99_ms:>8.1f}"
            f"  {'met' if self.is_met else 'MISSED'}"
        )


@dataclass(frozen=True, slots=True)
class SimulatedReport:
    """All places, and how many of them keep both budgets."""

    places: Sequence[Comparison]
    seeds: int

    def as_text(self, command: str) -> str:
        met = sum(place.is_met for place in self.places)
        heads = f"{'goodput':>8} {'least':>6} {'p99':>8} {'most':>6} {'ours ms':>8} {'peer ms':>8}"
        lines = [
            f"$ {command}",
            f"virtual time, {self.seeds} seeds",
            f"goodput over the best of a peer (mean, least) >= {REACHES:g}",
            f"p99 over the least of peers that reach it (median, most) <= {P99_WITHIN:g}",
            "",
            f"  {'service':<15} {'load':>5} {'cell':>7} {heads}",
        ]
        lines += [place.as_text() for place in self.places]
        return "\n".join([*lines, "", f"{met} of {len(self.places)} met"])

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "quick": quick,
            "seeds": self.seeds,
            "places": [asdict(place) | {"is_met": place.is_met} for place in self.places],
        }


def simulate(
    *,
    quick: bool = False,
    shapes: Sequence[str] = (),
    loads: Sequence[float] = (),
    seconds: float | None = None,
    rounds: int = 0,
    seed: int = 1,
) -> SimulatedReport:
    """Every shape at every load, in cells of `seconds`, or of both lengths above.

    Raises:
        NotMeasuredError: there is no such shape.
    """
    check_known(shapes, SHAPES)
    count = rounds or (1 if quick else SEEDS)
    seeds = range(seed, seed + count)
    places = [
        (name, load, length)
        for name in shapes or SHAPES
        for load in loads or LOADS
        for length in ([seconds] if seconds else _lengths(name, quick=quick))
    ]
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        found = pool.map(partial(_compare, seeds=seeds), places)
        return SimulatedReport(list(found), count)


def _lengths(name: str, *, quick: bool) -> list[float]:
    long_s = max(SECONDS, COMPLETIONS / SHAPES[name].capacity_rps)
    return [1.0] if quick else sorted({SECONDS, long_s})


def _compare(place: tuple[str, float, float], *, seeds: Sequence[int]) -> Comparison:
    name, load, seconds = place
    runs = [_beside_peers(name, load, seconds, seed) for seed in seeds]
    return Comparison(
        name,
        load,
        seconds,
        [own.goodput / best for own, best, _ in runs],
        [own.p99_ms / p99_ms for own, _, p99_ms in runs],
        median(own.p99_ms for own, _, _ in runs),
        median(p99_ms for _, _, p99_ms in runs),
    )


def _beside_peers(
    name: str, load: float, seconds: float, seed: int
) -> tuple[Outcomes, float, float]:
    """Ours, the best goodput of a peer, and the least p99 of those that reach it."""
    shape, tuning = SHAPES[name], TUNED[name]
    makers: tuple[Callable[[], FixedControl | QueueControl], ...] = (
        lambda: FixedControl(tuning.nginx_limit),
        lambda: QueueControl(tuning.haproxy_limit, tuning.haproxy_queue_ms),
    )
    peers = [play(shape, load, make, seconds=seconds, seed=seed) for make in makers]
    own = play_ours(shape, load, seconds=seconds, seed=seed)
    best = max(peer.goodput for peer in peers)
    return own, best, min(peer.p99_ms for peer in peers if peer.goodput >= REACHES * best)
