"""How verdicts reach their waiters: each once, in order, one at a time.

A waiter may do anything when it hears: give its permit back, let a new request arrive, make another
waiter leave. It may also fail. None of that keeps a verdict from the others, because a verdict
that is not passed on is a slot lost for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from shedproxy.core import Permit, Rejected, Ticket, Verdict

__all__ = ["Delivery", "Waiter"]


class Waiter(Protocol):
    """Who waits for a ticket's verdict."""

    def on_verdict(self, decision: Permit | Rejected) -> None:
        """The answer. A waiter that has gone gives a permit back at once.

        It may call the driver: what follows from that is delivered when this call has returned.
        """


class _Arrival:
    """Stands in for a waiter that does not have its ticket yet."""

    __slots__ = ("decision",)

    def __init__(self) -> None:
        self.decision: Permit | Rejected | None = None

    def on_verdict(self, decision: Permit | Rejected) -> None:
        self.decision = decision


class Delivery:
    """Passes verdicts on to the waiters that are their tickets' `context`.

    Args:
        count: told of every decision that is passed on, just before.
        give_back: takes the permit of a waiter that left before it heard; what follows from that.
        on_failure: told of a waiter that failed, and how; False: `pass_on` raises the last one's
            error when all have heard.
    """

    __slots__ = ("_count", "_give_back", "_is_running", "_on_failure", "_verdicts")

    def __init__(
        self,
        *,
        count: Callable[[Permit | Rejected], None],
        give_back: Callable[[Permit], Sequence[Verdict]],
        on_failure: Callable[[Waiter, Exception], bool],
    ) -> None:
        self._count = count
        self._give_back = give_back
        self._on_failure = on_failure
        self._verdicts: list[Verdict] = []
        self._is_running = False

    def pass_on(self, verdicts: Sequence[Verdict]) -> None:
        """Tell each waiter. Called by a waiter that is being told, it only takes note."""
        pending = self._verdicts
        pending.extend(verdicts)
        if self._is_running:
            return
        self._is_running = True
        failure: Exception | None = None
        told = 0
        try:
            while told < len(pending):
                verdict = pending[told]
                told += 1
                ticket, decision = verdict.ticket, verdict.decision
                waiter: Waiter | None = ticket.context
                ticket.context = None
                if waiter is None:
                    # It left after it was answered, but before it heard: nothing has begun.
                    if type(decision) is Permit:
                        pending.extend(self._give_back(decision))
                    continue
                self._count(decision)
                try:
                    waiter.on_verdict(decision)
                except Exception as error:  # noqa: BLE001 - it is the waiter's, and handed on
                    if not self._on_failure(waiter, error):
                        failure = error
        finally:
            self._is_running = False
            del pending[:told]
        if failure is not None:
            raise failure

    def after_eviction(
        self, ticket: Ticket, evicted: Verdict, waiter: Waiter
    ) -> Ticket | Permit | Rejected:
        """Tell whom a new ticket evicted; the ticket, or what has become of it meanwhile.

        The evicted one may at once send its next request, which may evict the newcomer: its caller
        must not hear before it has a ticket.
        """
        # Else each ticket would keep the one it evicted, which keeps the one that it evicted.
        ticket.evicted = None
        ticket.context = arrival = _Arrival()
        self.pass_on((evicted,))
        if arrival.decision is not None:
            return arrival.decision
        ticket.context = waiter
        return ticket
