"""Open-loop clients that do with a refusal what they like: take it, or ask again at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S
from shedproxy.loadgen.client import LoadConnection

__all__ = ["Crowd", "Told"]

REFUSALS = frozenset((429, 503))


@dataclass(slots=True)
class Told:
    """What one user was told in the end."""

    intended_s: float
    """Since the start of the crowd."""
    status: int = 0
    """0: nothing within the deadline."""
    tries: int = 0
    ended_s: float = 0.0


class _Connection(LoadConnection):
    retry_after = b""
    call: Told

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self.retry_after = value


class Crowd:
    """Users of one kind. They arrive at random times, whatever becomes of those before them."""

    def __init__(
        self,
        port: int,
        *,
        rate_rps: float,
        for_s: float,
        seed: int,
        retries: int = 0,
        deadline_s: float = 1.0,
        headers: Sequence[str] = (),
    ) -> None:
        self._port = port
        self._rate_rps = rate_rps
        self._for_s = for_s
        self._rng = random.Random(seed)
        self._retries = retries
        self._deadline_s = deadline_s
        self._request = "\r\n".join(["GET / HTTP/1.1", "host: crowd", *headers, "", ""]).encode()
        self._began_at = 0
        self._idle: list[_Connection] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self.told: list[Told] = []
        self.retry_after: Counter[bytes] = Counter()
        """How often each value came."""

    async def play(self) -> Crowd:
        """Let them all come, and wait for the last one's deadline."""
        self._began_at = monotonic_now()
        at_s = self._rng.expovariate(self._rate_rps)
        while at_s < self._for_s:
            await asyncio.sleep(max(0.0, at_s - self._now_s()))
            while at_s <= self._now_s():
                task = asyncio.create_task(self._visit(Told(at_s)))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)
                at_s += self._rng.expovariate(self._rate_rps)
        while self._waiting:
            await asyncio.wait(self._waiting)
        for connection in self._idle:
            connection.abort()
        return self

    def _now_s(self) -> float:
        return (monotonic_now() - self._began_at) / NS_PER_S

    async def _visit(self, call: Told) -> None:
        self.told.append(call)
        for _ in range(1 + self._retries):
            left_s = self._deadline_s - (self._now_s() - call.intended_s)
            call.tries += 1
            call.status = await self._ask(left_s) if left_s > 0 else 0
            if call.status not in REFUSALS:
                break
        call.ended_s = self._now_s()

    async def _ask(self, within_s: float) -> int:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def on_done(connection: LoadConnection, status: int) -> None:
            if not done.done():
                done.set_result(status)

        connection = None
        while self._idle and (connection is None or not connection.is_open):
            connection = self._idle.pop()
        if connection is None or not connection.is_open:
            try:
                _, connection = await loop.create_connection(
                    lambda: _Connection(on_done), "127.0.0.1", self._port
                )
            except OSError:
                return 0
        connection._on_done = on_done
        connection.send(self._request)
        try:
            status = await asyncio.wait_for(done, within_s)
        except TimeoutError:
            connection.abort()
            return 0
        if status in REFUSALS:
            self.retry_after[connection.retry_after] += 1
        if connection.is_open:
            self._idle.append(connection)
        return status

    def goodput_rps(self, from_s: float, to_s: float) -> float:
        """Users per second who were served between two instants."""
        served = sum(call.status == 200 and from_s <= call.ended_s < to_s for call in self.told)
        return served / (to_s - from_s)

    def served_ratio(self, from_s: float) -> float:
        """Share of those who came after an instant and were served."""
        came = [call.status == 200 for call in self.told if call.intended_s >= from_s]
        return sum(came) / len(came)

    @property
    def tries_per_user(self) -> float:
        """How often each asked, on average."""
        return sum(call.tries for call in self.told) / len(self.told)
