"""Several generator processes that play one program together, on one clock.

Arrivals are dealt so that their sum is the planned process still: by chance, which leaves each a
Poisson process of its part (thinning), or in turns, where gaps are equal. Every process is judged
by itself, because a late one would hide among others that are in time; one that dies is a fault of
the whole, and the next program finds a new one in its place.
"""

from __future__ import annotations

import os
import selectors
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import IO, Self

from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S, Instant, Nanos, seconds
from shedproxy.loadgen.program import (
    Performance,
    Program,
    decode_performance,
    encode_program,
)
from shedproxy.workload import RandomSource

__all__ = ["LENGTH", "READY", "Crew", "deal"]

LENGTH = struct.Struct(">Q")
"""Goes before everything that is sent, in either direction."""
READY = b"ready"
_HEAD_START_NS = seconds(0.05)
_TICK_S = 0.2
_PATIENCE_NS = seconds(20)
_END_S = 2.0
_CHUNK = 1 << 20


def deal(program: Program, count: int, rng: RandomSource, *, in_turns: bool) -> list[Program]:
    """The parts of so many processes; those that would have nothing to do are left out."""
    schedules: list[list[tuple[Nanos, int]]] = [[] for _ in range(count)]
    for place, arrival in enumerate(program.schedule):
        schedules[place % count if in_turns else int(rng.random() * count)].append(arrival)
    parts = []
    for place, schedule in enumerate(schedules):
        concurrency, rate = None, program.rate_max_rps
        if program.concurrency is not None:
            share, rest = divmod(program.concurrency, count)
            concurrency = share + (place < rest)
            rate = None if rate is None else rate * concurrency / program.concurrency
        if schedule or concurrency:
            most = program.not_sent_max
            parts.append(
                replace(
                    program,
                    schedule=schedule,
                    concurrency=concurrency,
                    rate_max_rps=rate,
                    in_flight_max=max(1, program.in_flight_max // count),
                    not_sent_max=None if most is None else max(1, most // count),
                    seed=program.seed + place,
                )
            )
    return parts


class Crew:
    """So many generators for a `with` block."""

    def __init__(self, count: int, command: Sequence[str] = ()) -> None:
        self.count = count
        self._command = command or (sys.executable, "-m", "shedproxy.loadgen.generator")
        self._members: list[_Member] = []

    def __enter__(self) -> Self:
        self._members = [_Member(self._command) for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.end()
        self._members = []

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [member.pid for member in self._members]

    def stop(self) -> None:
        """Let them send nothing more of what they play; `perform` returns with what there is."""
        for member in self._members:
            member.stop()

    def perform(
        self,
        program: Program,
        rng: RandomSource,
        *,
        in_turns: bool = False,
        watch: Callable[[float], None] | None = None,
    ) -> Performance:
        """Play it from idle to idle again. Blocks. Interrupted, it leaves nobody at work."""
        parts = deal(program, self.count, rng, in_turns=in_turns)
        for place, member in enumerate(self._members):
            if not member.is_alive:
                member.end()
                self._members[place] = _Member(self._command)
        members = self._members[: len(parts)]
        try:
            return self._perform(program, members, parts, watch)
        except BaseException:
            for member in members:
                member.end()
            raise

    def _perform(
        self,
        program: Program,
        members: Sequence[_Member],
        parts: Sequence[Program],
        watch: Callable[[float], None] | None,
    ) -> Performance:
        for member, part in zip(members, parts, strict=True):
            member.send(encode_program(part))
        until = Instant(monotonic_now() + _PATIENCE_NS)
        _gather(members, until, lambda: None)
        for member in members:
            member.take()
        begin_at = Instant(monotonic_now() + _HEAD_START_NS)
        for member in members:
            member.send(LENGTH.pack(begin_at))
        until = Instant(begin_at + program.length_ns + program.deadline_ns + _PATIENCE_NS)

        def tick() -> None:
            if watch is not None:
                share = (monotonic_now() - begin_at) / max(1, program.length_ns)
                watch(min(1.0, max(0.0, share)))

        _gather(members, until, tick)
        answers = [member.take() for member in members]
        faults = tuple(
            f"generator process {place} of {len(members)} {member.ended_by()}"
            for place, (member, answer) in enumerate(zip(members, answers, strict=True), 1)
            if answer is None
        )
        return _merged(program, begin_at, answers, faults)


def _merged(
    program: Program,
    begin_at: Instant,
    answers: Sequence[bytes | None],
    faults: tuple[str, ...],
) -> Performance:
    done = [decode_performance(answer) for answer in answers if answer is not None]
    planned_end = Instant(begin_at + program.length_ns)
    rows = [row for one in done for row in one.rows]
    is_stopped = any(one.is_stopped for one in done)
    planned_count = 0 if is_stopped else len(program.schedule)
    return Performance(
        rows=sorted(rows, key=lambda row: row.intended_at),
        started_at=begin_at,
        stopped_at=min((one.stopped_at for one in done), default=planned_end),
        ended_at=max((one.ended_at for one in done), default=planned_end),
        planned_count=planned_count or len(rows),
        not_sent_count=sum(one.not_sent_count for one in done),
        is_ended_early=any(one.is_ended_early for one in done),
        is_stopped=is_stopped,
        generators=tuple(health for one in done for health in one.generators),
        faults=faults,
    )


class _Member:
    """One process, and what it has said and nobody took yet."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A ^C of the terminal is for who leads them.
            start_new_session=True,
        )
        self._heard = bytearray()
        self._is_silent = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return not self._is_silent and self._process.poll() is None

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def is_answered(self) -> bool:
        """A whole answer is there, or none will come."""
        return self._is_silent or self._size() is not None

    def _size(self) -> int | None:
        if len(self._heard) < LENGTH.size:
            return None
        size: int = LENGTH.unpack_from(self._heard)[0]
        return size if len(self._heard) >= LENGTH.size + size else None

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._is_silent = True

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def hear(self) -> None:
        data = os.read(self.output.fileno(), _CHUNK)
        self._heard += data
        self._is_silent = not data

    def take(self) -> bytes | None:
        """What it answered; None: nothing, it is gone."""
        size = self._size()
        if size is None:
            self._is_silent = True
            return None
        answer = bytes(self._heard[LENGTH.size : LENGTH.size + size])
        del self._heard[: LENGTH.size + size]
        return answer

    def ended_by(self) -> str:
        """What became of it, for people."""
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "did not answer in time"
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def end(self) -> None:
        self._is_silent = True
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue
        self._process.wait()


def _gather(members: Sequence[_Member], until: Instant, tick: Callable[[], None]) -> None:
    """Wait until every member has answered or is gone; not longer than `until`."""
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.output, selectors.EVENT_READ, member)
        while waiting := [member for member in members if not member.is_answered]:
            left_s = (until - monotonic_now()) / NS_PER_S
            if left_s <= 0:
                return
            for key, _ in selector.select(min(_TICK_S, left_s)):
                member = key.data
                member.hear()
                if member.is_answered:
                    selector.unregister(member.output)
            if waiting:
                tick()
