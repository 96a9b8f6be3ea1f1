"""How many streams a service holds: residents are opened in doubling numbers beside ordinary load.

A number is good when streams open and stay, their first bytes and the ordinary requests keep the
objective, ordinary latency is not doubled by them, and the service has memory left. Between the
last good number and the first bad one it is halved. What was good last is the limit, and whether
more did harm, or was not tried, is said with it.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import uvloop

from shedproxy.calibration.measurement import Slo
from shedproxy.calibration.results import ResidentLevel, ResidentsFit
from shedproxy.core import Criticality, Nanos, seconds, to_milliseconds
from shedproxy.loadgen.player import Player
from shedproxy.loadgen.requests import RequestSet
from shedproxy.loadgen.residents import ResidentPool
from shedproxy.workload import poisson_arrivals
from shedproxy.workload.results import percentile

__all__ = ["ResidentPlan", "find_residents", "judge_level"]

_FIRST = 8
_HALVINGS = 3
_MEMORY_MAX = 0.8
_WORSE_RATIO, _WORSE_NS = 2.0, 5_000_000
_WHOLE = 100
"""Requests below which a 99th percentile is that of few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentPlan:
    """What is to be found out."""

    url: str
    path: str
    kind: str
    most: int
    """No more are opened."""
    slo: Slo
    ordinary_rps: float
    """Of requests that are no streams, all along."""
    open_s: float = 1.5
    """In which the streams of a level are opened."""
    hold_s: float = 3.0
    memory: Callable[[], int | None] = lambda: None
    """Bytes that the service holds."""
    memory_max: int | None = None


def find_residents(
    plan: ResidentPlan,
    requests: RequestSet,
    on_level: Callable[[ResidentLevel], None] = lambda _: None,
) -> ResidentsFit:
    """Open and hold them. Blocks; everything is let go at its end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    levels = uvloop.run(_levels(plan, requests, on_level))
    return _fit(plan, levels)


async def _levels(
    plan: ResidentPlan, requests: RequestSet, on_level: Callable[[ResidentLevel], None]
) -> list[ResidentLevel]:
    pool = ResidentPool(plan.url, plan.path, plan.kind)
    levels: list[ResidentLevel] = []
    try:
        good, bad, wanted = 0, 0, 0
        for _ in range(64):
            idle = levels[0] if levels else None
            level = await _level(plan, requests, pool, wanted, idle)
            levels.append(level)
            on_level(level)
            good, bad = (wanted, bad) if level.is_good else (good, wanted)
            if (not level.is_good and not wanted) or (good >= plan.most and not bad):
                break
            if bad and (bad - good <= max(1, bad >> _HALVINGS)):
                break
            wanted = (good + bad) // 2 if bad else min(plan.most, max(_FIRST, 2 * good))
    finally:
        await pool.close()
    return levels


async def _level(
    plan: ResidentPlan,
    requests: RequestSet,
    pool: ResidentPool,
    wanted: int,
    idle: ResidentLevel | None,
) -> ResidentLevel:
    await pool.shrink(wanted)
    pool.first_byte_ns, pool.failed_count = [], 0
    opened = wanted - pool.open_count
    growing = asyncio.create_task(pool.grow(opened, max(1.0, opened / plan.open_s)))
    player = Player(
        plan.url,
        deadline_ns=Nanos(max(seconds(1), 4 * plan.slo.latency_ns)),
        requests=requests.messages(plan.url.partition("://")[2].partition("/")[0]),
    )
    rng = random.Random(wanted)  # noqa: S311 - a repeatable workload, not a secret
    draw = requests.drawing(rng)
    offsets = poisson_arrivals(
        rate_rps=plan.ordinary_rps, duration_ns=seconds(plan.open_s + plan.hold_s), rng=rng
    )
    await player.play((offset, cast("Criticality", draw())) for offset in offsets)
    await growing
    took = sorted(row.done_at - row.intended_at for row in player.rows if 200 <= row.status < 400)
    first = sorted(pool.first_byte_ns)
    is_timed = plan.kind != "longpoll"
    silent = max(0, opened - len(first) - pool.failed_count) if is_timed else 0
    level = ResidentLevel(
        open_count=wanted,
        opened_count=opened,
        failed_count=pool.failed_count + silent,
        first_byte_p99_ns=_p99(first) if is_timed else None,
        ordinary_count=len(player.rows),
        ordinary_failed_count=len(player.rows) - len(took),
        ordinary_p99_ns=_p99(took),
        memory_bytes=plan.memory(),
        is_good=True,
    )
    return judge_level(level, idle, plan)


def _p99(ordered: list[int]) -> Nanos | None:
    value = percentile(ordered, 0.99)
    return None if value is None else Nanos(value)


def judge_level(
    level: ResidentLevel, idle: ResidentLevel | None, plan: ResidentPlan
) -> ResidentLevel:
    """The level with its verdict; `idle` is the one without streams."""
    slo = plan.slo
    reasons = []
    if level.failed_count > slo.error_ratio * max(1, level.open_count):
        reasons.append(f"{level.failed_count} of {level.open_count} streams were refused or broke")
    first_ns = level.first_byte_p99_ns
    if first_ns is not None and first_ns > slo.latency_ns:
        reasons.append(f"their first byte took {_ms(first_ns)} at p99")
    if level.ordinary_failed_count > slo.error_ratio * level.ordinary_count:
        reasons.append(
            f"{level.ordinary_failed_count} of {level.ordinary_count} ordinary requests failed"
        )
    p99_ns = level.ordinary_p99_ns
    if p99_ns is not None and p99_ns > slo.latency_ns:
        reasons.append(f"ordinary requests took {_ms(p99_ns)} at p99")
    elif p99_ns is not None and idle is not None and idle.ordinary_p99_ns is not None:
        before = idle.ordinary_p99_ns
        if p99_ns > _WORSE_RATIO * before and p99_ns > before + _WORSE_NS:
            reasons.append(f"ordinary requests took {_ms(p99_ns)} at p99 instead of {_ms(before)}")
    if (
        plan.memory_max
        and level.memory_bytes
        and (level.memory_bytes > _MEMORY_MAX * plan.memory_max)
    ):
        share = level.memory_bytes / plan.memory_max
        reasons.append(f"the service holds {share:.0%} of the memory that there is")
    return replace(level, is_good=not reasons, reasons=tuple(reasons))


def _ms(length_ns: int) -> str:
    return f"{to_milliseconds(Nanos(length_ns)):.0f} ms"


def _fit(plan: ResidentPlan, levels: list[ResidentLevel]) -> ResidentsFit:
    good = max((level.open_count for level in levels if level.is_good), default=0)
    bad = [level for level in levels if not level.is_good]
    first_bad = min(bad, key=lambda level: level.open_count, default=None)
    if not good:
        why = first_bad.reasons[0] if first_bad is not None else "none was opened"
        reason = f"not enough for a limit of streams: {why}"
    elif first_bad is None:
        reason = f"{good} streams did no harm, the most that was tried: a floor"
    else:
        reason = f"{good} streams did no harm; with {first_bad.open_count} {first_bad.reasons[0]}"
    return ResidentsFit(
        path=plan.path,
        kind=plan.kind,
        limit=good or None,
        is_bound=first_bad is not None,
        ordinary_rps=plan.ordinary_rps,
        levels=tuple(levels),
        bytes_per_stream=_bytes_per_stream(levels),
        reason=reason,
    )


def _bytes_per_stream(levels: list[ResidentLevel]) -> int | None:
    """By the least and the most streams that were held well."""
    seen = sorted(
        (level.open_count, level.memory_bytes)
        for level in levels
        if level.is_good and level.memory_bytes is not None
    )
    if len(seen) < 2 or seen[-1][0] - seen[0][0] < _WHOLE // 4:
        return None
    return max(0, (seen[-1][1] - seen[0][1]) // (seen[-1][0] - seen[0][0]))
