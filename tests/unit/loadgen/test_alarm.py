"""An alarm rings at its instant, not at the next millisecond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shedproxy.clock import monotonic_now
from shedproxy.core import Instant, milliseconds
from shedproxy.loadgen.alarm import Alarm


class Bell:
    """An alarm and the instants at which it rang."""

    def __init__(self) -> None:
        self.rung: asyncio.Queue[int] = asyncio.Queue()
        self.alarm = Alarm(lambda: self.rung.put_nowait(monotonic_now()))

    def set_in(self, ms: float) -> int:
        at = Instant(monotonic_now() + milliseconds(ms))
        self.alarm.set(at)
        return at


@asynccontextmanager
async def bell() -> AsyncIterator[Bell]:
    one = Bell()
    try:
        yield one
    finally:
        one.alarm.close()


@pytest.mark.anyio
async def test_it_rings_at_its_instant() -> None:
    """Never before, and ten times within 0.3 ms. What is rounded to milliseconds is 0.7 ms late
    each time; a busy machine is late as well, but not always.
    """
    late: list[int] = []
    async with bell() as one:
        while sum(ns < milliseconds(0.3) for ns in late) < 10:
            assert len(late) < 2000, sorted(late)
            at = one.set_in(1.3)
            late.append(await one.rung.get() - at)
            assert late[-1] >= 0


@pytest.mark.anyio
async def test_only_the_latest_setting_rings_and_once() -> None:
    """Set to later or to earlier than before; another alarm tells when that would have rung."""
    async with bell() as one, bell() as other:
        one.set_in(1)
        one.set_in(6)
        latest = one.set_in(3)
        other.set_in(9)
        assert await one.rung.get() >= latest
        await other.rung.get()
        assert one.rung.empty()


@pytest.mark.anyio
async def test_an_instant_that_has_passed_rings_at_once() -> None:
    """Zero and below too, which the kernel would take for never."""
    async with bell() as one:
        for at in (monotonic_now() - 1, 0, -5):
            one.alarm.set(Instant(at))
            await asyncio.wait_for(one.rung.get(), 30)


@pytest.mark.anyio
async def test_it_can_be_silenced() -> None:
    """Before its instant, after it, and when the loop has noticed but not told yet."""
    async with bell() as one, bell() as other:
        for ms in (1, -1):
            one.set_in(ms)
            one.alarm.set(None)
            other.set_in(3)
            await other.rung.get()
        one.alarm._ring()
        assert one.rung.empty()


@pytest.mark.anyio
async def test_a_refusal_of_the_kernel_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own words: here, an instant with more nanoseconds than a second has."""
    async with bell() as one:
        monkeypatch.setattr("shedproxy.loadgen.alarm.NS_PER_S", 10**10)
        with pytest.raises(OSError, match="Invalid argument"):
            one.alarm.set(Instant(9 * 10**9))
