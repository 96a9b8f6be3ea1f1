"""Which tasks are under way: those of which a call has just been answered.

A task of several calls is worth nothing unless all are served, so what was done for one that loses
its third call was in vain. All that is known of a task is its cohort: its next call follows on an
answer, and comes soon. While there is not room for all it ranks before every first call of its
class and attempt: what has to be refused is refused before anything was done for it (session-based
admission: Cherkasova and Phaal, 2002).

Cohorts are shared, so that some first calls pass for later ones. It gains them a place in their
class alone: among tasks that are under way the cohort decides, as among those that are not. And
who never stops asking is not under way for ever, or the first to be let in would keep out all
others.

Each worker knows of the answers that it gave itself. A task that keeps its connection stays with
one. One that comes by several connections is at each worker as many calls as come there: the first
of them ranks as a first call, whatever was done for the task elsewhere.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.request import COHORTS, IN_PROGRESS
from shedproxy.core.units import NS_PER_MS, Instant, Nanos

__all__ = ["Progress"]

_PAUSE_SERVICES: Final = 8
_PAUSE_MIN_NS: Final = 10 * NS_PER_MS
"""So long a caller may be busy between two calls of a task, in service times and at least."""
_LENGTH_PAUSES: Final = 64
"""The longest task, in such pauses."""
_NEVER: Final = Instant(-(1 << 62))


class Progress:
    """Told of every answer; asked when there is not room for all."""

    __slots__ = ("_answered_at", "_begun_at", "_length_ns", "_pause_ns")

    def __init__(self) -> None:
        self._answered_at = [_NEVER] * COHORTS
        """By cohort, when a call of it was answered last."""
        self._begun_at = [_NEVER] * COHORTS
        """By cohort, the first answer of those that came without a pause between them."""
        self.fit(Nanos(0))

    def fit(self, service_ns: Nanos) -> None:
        """Calls take so long now, on average."""
        self._pause_ns = max(_PAUSE_MIN_NS, _PAUSE_SERVICES * service_ns)
        self._length_ns = _LENGTH_PAUSES * self._pause_ns

    def answer(self, cohort: int, now: Instant) -> None:
        """Somebody got an answer."""
        answered_at = self._answered_at
        if now - answered_at[cohort] > self._pause_ns:
            self._begun_at[cohort] = now
        answered_at[cohort] = now

    def rank(self, rank: int, cohort: int, now: Instant) -> int:
        """The rank of a call: its own, or better when its task is under way."""
        if (
            now - self._answered_at[cohort] <= self._pause_ns
            and now - self._begun_at[cohort] <= self._length_ns
        ):
            return rank | IN_PROGRESS
        return rank
