"""A program of load: everything a generator has to know, and what becomes of it.

The player that runs it may be in this process or in others (`loadgen.crew`): a program goes there,
and a performance comes back, as bytes. Instants are those of the machine's monotonic clock, which
all of its processes share.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from shedproxy.clock import monotonic_now
from shedproxy.core import Criticality, Instant, Nanos
from shedproxy.loadgen.player import Player, PlayerHealth
from shedproxy.workload import drawing_by_weight

__all__ = [
    "GeneratorHealth",
    "Performance",
    "Program",
    "SentRow",
    "decode_performance",
    "decode_program",
    "encode_performance",
    "encode_program",
    "perform",
]

_TICK_S = 0.2
_WIDTH = 5


class SentRow(NamedTuple):
    """A request by the number of its message; `status` is 0 where no answer came."""

    number: int
    intended_at: Instant
    sent_at: Instant
    done_at: Instant
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to play: a schedule (open), or so many at a time (`concurrency`)."""

    url: str
    messages: Mapping[int, bytes]
    deadline_ns: Nanos
    length_ns: Nanos
    in_flight_max: int = 4_000
    not_sent_max: int | None = None
    """More arrivals beyond the cap end it."""
    schedule: Sequence[tuple[Nanos, int]] = ()
    """(offset from the start, number of the message), rising."""
    concurrency: int | None = None
    rate_max_rps: float | None = None
    """Closed: never more than so many a second."""
    seed: int = 1
    """Of what a closed program sends."""
    below: tuple[float, ...] = ()
    """Running sums of the messages' weights."""


class GeneratorHealth(NamedTuple):
    """How one process kept its schedule."""

    planned_count: int
    sent_count: int
    lag_p99_ns: Nanos
    """Sent minus intended."""
    cpu_ns: Nanos
    """While it was to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What became of a program."""

    rows: list[SentRow]
    started_at: Instant
    stopped_at: Instant
    """When sending ended, or should have."""
    ended_at: Instant
    planned_count: int
    not_sent_count: int
    is_ended_early: bool
    is_stopped: bool
    """It was asked to send nothing more before its time; what was planned ends there, too."""
    generators: tuple[GeneratorHealth, ...]
    faults: tuple[str, ...] = ()
    """Sentences: why the generators did not do what they should."""


async def perform(
    program: Program,
    *,
    begin_at: Instant | None = None,
    watch: Callable[[float], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Performance:
    """Play it in this process; `watch` is told a few times a second which share is over.

    When `is_stopped` says so, nothing more is sent, and what is in flight is waited for.
    """
    player = Player(
        program.url,
        deadline_ns=program.deadline_ns,
        requests=program.messages,
        in_flight_max=program.in_flight_max,
        not_sent_max=program.not_sent_max,
        is_stopped=is_stopped,
    )
    if begin_at is not None:
        await asyncio.sleep(max(0.0, (begin_at - monotonic_now()) / 1e9))
    cpu_ns, started_at = time.process_time_ns(), begin_at or monotonic_now()
    if program.concurrency is None:
        arrivals = cast("Iterable[tuple[Nanos, Criticality]]", program.schedule)
        run = player.play(arrivals, begin_at=started_at)
    else:
        # Numbers of messages go where the player otherwise has classes.
        rng = random.Random(program.seed)  # noqa: S311 - a repeatable workload, not a secret
        draw = cast("Callable[[], Criticality]", drawing_by_weight(program.below, rng))
        run = player.play_closed(
            program.concurrency,
            length_ns=program.length_ns,
            draw=draw,
            rate_max_rps=program.rate_max_rps,
            begin_at=started_at,
        )
    watching = asyncio.create_task(_tell(watch, started_at, program.length_ns))
    try:
        health = await run
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return _performance(program, player, health, started_at, time.process_time_ns() - cpu_ns)


def _performance(
    program: Program, player: Player, health: PlayerHealth, started_at: Instant, used_ns: int
) -> Performance:
    ended_at = monotonic_now()
    ended_before = player.ended_early_at or player.stopped_at
    stopped_at = ended_before or Instant(started_at + program.length_ns)
    is_cut_short = player.stopped_at is not None
    planned = len(player.rows) if is_cut_short else len(program.schedule) or len(player.rows)
    return Performance(
        rows=[SentRow(*row) for row in player.rows],
        started_at=started_at,
        stopped_at=stopped_at,
        ended_at=ended_at,
        planned_count=planned,
        not_sent_count=health.not_sent,
        is_ended_early=player.ended_early_at is not None,
        is_stopped=is_cut_short,
        generators=(
            GeneratorHealth(
                planned_count=planned,
                sent_count=len(player.rows) - health.not_sent,
                lag_p99_ns=health.send_lag_p99_ns,
                # Until the last answer it works, too; only sending time is compared with.
                cpu_ns=Nanos(used_ns * (stopped_at - started_at) // max(1, ended_at - started_at)),
            ),
        ),
    )


async def _tell(
    watch: Callable[[float], None] | None, started_at: Instant, length_ns: Nanos
) -> None:
    while watch is not None:
        watch(min(1.0, (monotonic_now() - started_at) / max(1, length_ns)))
        await asyncio.sleep(_TICK_S)


# --- between processes -------------------------------------------------------------------------


def encode_program(program: Program) -> bytes:
    """As one text line and what follows it in bytes."""
    sizes = {number: len(message) for number, message in program.messages.items()}
    head = {
        "url": program.url,
        "deadline_ns": program.deadline_ns,
        "length_ns": program.length_ns,
        "in_flight_max": program.in_flight_max,
        "not_sent_max": program.not_sent_max,
        "concurrency": program.concurrency,
        "rate_max_rps": program.rate_max_rps,
        "seed": program.seed,
        "below": program.below,
        "sizes": list(sizes.items()),
    }
    numbers = array("q", (value for arrival in program.schedule for value in arrival))
    return _packed(head, b"".join(program.messages.values()) + numbers.tobytes())


def decode_program(data: bytes) -> Program:
    """The program of `encode_program`."""
    head, body = _unpacked(data)
    messages, at = {}, 0
    for number, size in head.pop("sizes"):
        messages[number] = body[at : at + size]
        at += size
    values = array("q", body[at:])
    pairs = [(Nanos(values[i]), values[i + 1]) for i in range(0, len(values), 2)]
    head["below"] = tuple(head["below"])
    return Program(messages=messages, schedule=pairs, **head)


def encode_performance(performance: Performance) -> bytes:
    """As one text line and what follows it in bytes."""
    head = {
        "started_at": performance.started_at,
        "stopped_at": performance.stopped_at,
        "ended_at": performance.ended_at,
        "planned_count": performance.planned_count,
        "not_sent_count": performance.not_sent_count,
        "is_ended_early": performance.is_ended_early,
        "is_stopped": performance.is_stopped,
        "generators": performance.generators,
        "faults": performance.faults,
    }
    return _packed(head, array("q", (value for row in performance.rows for value in row)).tobytes())


def decode_performance(data: bytes) -> Performance:
    """The performance of `encode_performance`."""
    head, body = _unpacked(data)
    values = array("q", body)
    head["generators"] = tuple(GeneratorHealth(*each) for each in head["generators"])
    head["faults"] = tuple(head["faults"])
    rows = [
        SentRow(*map(Instant, values[at : at + _WIDTH])) for at in range(0, len(values), _WIDTH)
    ]
    return Performance(rows=rows, **head)


def _packed(head: Mapping[str, Any], body: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + body


def _unpacked(data: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, body = data.partition(b"\n")
    return json.loads(line), body
