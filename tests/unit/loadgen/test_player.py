"""The player sends what is due, whatever became of what it sent before."""

from __future__ import annotations

import asyncio
import gc

import pytest

from shedproxy.clock import monotonic_now
from shedproxy.core import Criticality, Instant, milliseconds, seconds
from shedproxy.loadgen import Player
from shedproxy.loadgen.alarm import Alarm
from shedproxy.workload import constant_arrivals


class Server:
    """Answers each request after `wait_s`, or never."""

    def __init__(self, wait_s: float | None) -> None:
        self.wait_s = wait_s
        self.requests = 0
        self.handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/x?y=1"

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for handler in self.handlers:
            handler.cancel()
        await asyncio.gather(*self.handlers, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.handlers.add(task)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                if self.wait_s is None:
                    continue
                await asyncio.sleep(self.wait_s)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


def arrivals(rate: float, length_s: float):
    for offset in constant_arrivals(rate_rps=rate, duration_ns=seconds(length_s)):
        yield offset, Criticality.CRITICAL


@pytest.mark.anyio
async def test_every_arrival_becomes_one_row() -> None:
    """All served by a quick server."""
    async with Server(0.0) as url:
        player = Player(url, deadline_ns=seconds(2))
        health = await player.play(arrivals(200, 0.25))
    assert [row.status for row in player.rows] == [200] * 50
    assert health.not_sent == 0
    assert all(row.done_at >= row.sent_at >= row.intended_at for row in player.rows)


@pytest.mark.anyio
async def test_the_player_wakes_at_the_very_instant_of_each_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at the next millisecond; and the collector, which would delay it, is back afterwards."""
    set_to: list[int | None] = []
    collects: list[bool] = []

    class Watched(Alarm):
        def set(self, at: Instant | None) -> None:
            set_to.append(at)
            collects.append(gc.isenabled())
            super().set(at)

    monkeypatch.setattr("shedproxy.loadgen.player.Alarm", Watched)
    async with Server(0.0) as url:
        player = Player(url, deadline_ns=seconds(2))
        await player.play(arrivals(200, 0.1))
    intended = {row.intended_at for row in player.rows}
    # Arrivals that became due while the machine was busy need no waking for.
    assert len(intended & set(set_to)) >= 10
    assert not any(collects)
    assert gc.isenabled()


@pytest.mark.anyio
async def test_a_silent_server_does_not_slow_the_schedule() -> None:
    """Open loop: all are sent, none answered, each given up at its deadline, which leaves a machine
    that pauses meanwhile ten times the schedule to send what it owes."""
    server = Server(None)
    async with server as url:
        player = Player(url, deadline_ns=seconds(2))
        await player.play(arrivals(200, 0.2))
    assert server.requests == 40
    assert [row.status for row in player.rows] == [0] * 40
    assert all(row.latency_ns >= seconds(2) for row in player.rows)


@pytest.mark.anyio
async def test_arrivals_over_the_cap_are_counted_not_hidden() -> None:
    """Ten fit; the rest are rows without an answer, and said to be unsent."""
    async with Server(None) as url:
        player = Player(url, deadline_ns=milliseconds(300), in_flight_max=10)
        health = await player.play(arrivals(500, 0.1))
    assert len(player.rows) == 50
    assert health.not_sent == 40


@pytest.mark.anyio
async def test_a_refused_connection_is_a_failed_request() -> None:
    """Nobody listens: rows with status 0, and the run ends."""
    async with Server(0.0) as url:
        pass
    player = Player(url, deadline_ns=seconds(1))
    health = await player.play(arrivals(50, 0.1))
    assert [row.status for row in player.rows] == [0] * 5
    assert health.not_sent == 5


def test_only_http_urls_are_played() -> None:
    """A clear error names the URL."""
    with pytest.raises(ValueError, match="ftp://x"):
        Player("ftp://x", deadline_ns=seconds(1))


@pytest.mark.anyio
@pytest.mark.parametrize("ended_s", [0.0, 0.05])
async def test_a_closed_loop_ends_when_its_time_is_over_however_late_it_began(
    ended_s: float,
) -> None:
    """What the machine took between the beginning and the first request is not appended."""
    async with Server(0.0) as url:
        player = Player(url, deadline_ns=seconds(2))
        await player.play_closed(
            2,
            length_ns=seconds(0.2),
            draw=lambda: Criticality.CRITICAL,
            begin_at=Instant(monotonic_now() - seconds(0.2 + ended_s)),
        )
    assert player.rows == []
