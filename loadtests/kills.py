"""Workers that are killed under load, and whose requests that cost.

At each kill all workers are held still, until connections lie in the accept queue that nobody has
taken. Then one worker gets SIGKILL and the others go on. What it had accepted ends with it: nobody
can save that, and its clients are told by a reset. What nobody had accepted must be served, by
another worker or by its successor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.held import accepted_by, held, in_accept_queue
from loadtests.keep_alive import Loss

__all__ = ["NEWCOMERS", "Kill", "Kills", "kill_beside_newcomers"]

NEWCOMERS = 4
"""Connections that come while nobody accepts, beside those that come by themselves."""
_ASK = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
_BOUND_S = 20.0


@dataclass(frozen=True, slots=True)
class Kill:
    """What a worker took with it, and what lay in the accept queue then."""

    at: float
    """By `time.perf_counter`."""
    accepted: frozenset[int]
    """Ports of its clients."""
    queued: int
    reset: Sequence[str] = ()
    """Of the newcomers: those that were not served."""


@dataclass(slots=True)
class Kills:
    """All of them, and what clients lost by them."""

    kills: list[Kill] = field(default_factory=list)

    def took(self, loss: Loss) -> bool:
        """Whether it was on a connection that a killed worker had accepted."""
        return self._killer(loss) is not None

    def was_served(self, loss: Loss) -> bool:
        """Whether the request was under way at the kill; else it came just after it."""
        kill = self._killer(loss)
        return kill is not None and loss.sent_at <= kill.at

    def _killer(self, loss: Loss) -> Kill | None:
        for kill in self.kills:
            if loss.port in kill.accepted and loss.opened_at <= kill.at:
                return kill
        return None


async def kill_beside_newcomers(port: int, workers: Sequence[int], victim: int) -> Kill:
    """Kill one of the workers while connections wait that nobody has accepted; see above."""
    with held(workers):
        newcomers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(NEWCOMERS)]
        for _, writer in newcomers:
            writer.write(_ASK)
        queued = in_accept_queue(port)
        accepted = frozenset(accepted_by(victim, port))
        os.kill(victim, signal.SIGKILL)
        at = time.perf_counter()
    answers = await asyncio.gather(*(_answer(*ends) for ends in newcomers))
    return Kill(at, accepted, queued, [answer for answer in answers if answer])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """What was wrong with it, or ""."""
    try:
        answer = await asyncio.wait_for(reader.read(), _BOUND_S)
    except (OSError, TimeoutError) as error:
        return f"a newcomer: {error!r}"
    finally:
        writer.close()
    return "" if answer.startswith(b"HTTP/1.1 200 ") else f"a newcomer: {answer[:100]!r}"
