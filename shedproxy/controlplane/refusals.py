"""Calls that were refused before they were orders, for the audit: who is nobody, who may not, and
what makes no sense.

Whoever can reach the listener can make these, as many as they like, and an entry of the ledger is
an object of the store. So each person has a few entries of their own in a period, and of all else
there is one entry with counts: the first at once, and then one in a period.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

from shedproxy.clock import Clock
from shedproxy.controlplane.fleet import Fleet
from shedproxy.controlplane.ledger import Act, Head
from shedproxy.core import Instant, Nanos, seconds

__all__ = ["PERIOD", "PER_PERSON", "RefusalBook"]

PERIOD: Nanos = seconds(600)
PER_PERSON = 16
"""Entries that one person has in a period, at most."""
_WAITING_MAX = 256
"""Entries that wait for a store that is away, at most."""
_CALLERS_MAX = 8
"""Addresses that an entry with counts has, at most."""
_REFUSAL_MAX = 500

_NOBODY = "nobody"
Commit = Callable[[Head | None, Act, Fleet], Awaitable[Head | None]]


class RefusalBook:
    """What is to be written down of refusals.

    Args:
        act: makes an entry, of now.
        report: takes an event and its facts; as seldom as there are entries.
        clock: tells the time.
    """

    def __init__(
        self,
        act: Callable[..., Act],
        report: Callable[[str, dict[str, Any]], None],
        clock: Clock,
    ) -> None:
        self._act = act
        self._report = report
        self._clock = clock
        self._acts: deque[Act] = deque()
        self._used: Counter[str] = Counter()
        self._used_from: Instant | None = None
        self._counts: Counter[str] = Counter()
        self._callers: dict[str, None] = {}
        self._counted_from: Instant | None = None
        """When the last entry with counts was made."""

    def note(self, person: str, verb: str, why: str, *, status: int, caller: str) -> None:
        """Something was refused.

        Args:
            person: whose token it was; "": nobody's.
            verb: what was asked for.
            why: as the caller was told; of nobody's calls one of a few texts.
            status: of the answer.
            caller: address it came from.
        """
        if person and self._has_room(person):
            facts = {"status": status, "from": caller}
            act = self._act(person, verb, facts=facts, refusal=why[:_REFUSAL_MAX])
            self._acts.append(act)
            self._report("order refused", {"who": person, "verb": verb, "why": why, **facts})
            return
        self._counts[f"{person}: {status}" if person else why] += 1
        if len(self._callers) < _CALLERS_MAX:
            self._callers[caller] = None

    async def write(self, head: Head, commit: Commit, *, is_last: bool = False) -> Head:
        """Write down what is due; what is not written, because the store fails or somebody else was
        faster, is for the next time.

        Args:
            head: the newest revision.
            commit: makes the next one.
            is_last: do not wait for a period to end.

        Returns:
            the newest revision.
        """
        self._close_period(is_last=is_last)
        while self._acts:
            after = await commit(head, self._acts[0], head.fleet)
            if after is None:
                break
            self._acts.popleft()
            head = after
        return head

    def _close_period(self, *, is_last: bool) -> None:
        now = self._clock()
        is_due = self._counted_from is None or now - self._counted_from >= PERIOD
        if not self._counts or not (is_due or is_last):
            return
        self._counted_from = now
        facts = {"calls": dict(self._counts), "from": list(self._callers)}
        total = self._counts.total()
        refusal = f"{total} call{'s' if total > 1 else ''}"
        self._acts.append(self._act(_NOBODY, "refused", facts=facts, refusal=refusal))
        self._report("calls refused", facts)
        self._counts.clear()
        self._callers.clear()

    def _has_room(self, person: str) -> bool:
        now = self._clock()
        if self._used_from is None or now - self._used_from >= PERIOD:
            self._used_from = now
            self._used.clear()
        self._used[person] += 1
        return self._used[person] <= PER_PERSON and len(self._acts) < _WAITING_MAX
