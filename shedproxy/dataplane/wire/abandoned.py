"""Work that goes on after its client has left, or its time was up: watched to its true end.

Closing a connection proves nothing: sync workers and thread pools do not notice, and a slot that is
freed while they work puts more work in front of them than they have room for. So only the sending
side is closed. A service that can stop does so, and closes; one that cannot answers in the end, and
that answer, thrown away, is the exact end of its work. Only where the service closes without an
answer nobody can tell (an event loop drops the connection while a thread of it works on), and the
slot stays for the expected rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.core import Instant, Outcome, Permit
from shedproxy.dataplane.wire.accounting import outcome_of
from shedproxy.dataplane.wire.framing import Headers, ResponseFraming
from shedproxy.dataplane.wire.tokens import ResponseTokens
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.driver import Driver
    from shedproxy.dataplane.wire.upstream_side import UpstreamConnection

__all__ = ["AbandonedWork"]

DISCARD_SIZE_MAX = 256 * 1024
"""More of an answer that nobody takes is not read: a service that is cut while it writes stops."""


class AbandonedWork:
    """Takes the place of an exchange on its upstream connection, with its permit, until the end."""

    __slots__ = (
        "_discarded",
        "_driver",
        "_outcome",
        "_was_told",
        "is_upstream_kept",
        "method",
        "permit",
        "stalled_ns",
        "trailers",
        "upstream",
    )

    def __init__(
        self, driver: Driver, upstream: UpstreamConnection, permit: Permit, method: bytes
    ) -> None:
        self._driver = driver
        self.upstream: UpstreamConnection | None = upstream
        self.permit: Permit | None = permit
        self.method = method
        self.stalled_ns = 0
        self.trailers: Headers = ()
        self.is_upstream_kept = False
        self._discarded = 0
        self._outcome = Outcome.ABANDONED
        self._was_told = not upstream.group.is_never_cancelled
        driver.orphan(permit)
        # The time that the client gave is over or means nothing now.
        permit.expires_at = None
        upstream.exchange = self
        if self._was_told:
            upstream.end_sending()

    def _settle(self, *, was_seen_to_end: bool, outcome: Outcome = Outcome.ABANDONED) -> None:
        """Give the permit back: now, or when the work should be over."""
        self.upstream = None
        permit, self.permit = self.permit, None
        if permit is None:
            return
        if was_seen_to_end:
            self._driver.release(permit, outcome)
        else:
            self._driver.leave_zombie(permit, outcome)

    def _cut(self) -> None:
        upstream = self.upstream
        if upstream is not None:
            upstream.close()
        self._settle(was_seen_to_end=False)

    # --- what the upstream's connection tells ----------------------------------------------

    def on_interim(self, tokens: ResponseTokens, framing: ResponseFraming) -> None:
        """A 1xx answer."""

    def on_head(
        self, tokens: ResponseTokens, framing: ResponseFraming, piece: bytes, *, complete: bool
    ) -> None:
        """The head of the answer: the work is done, or its rest is too long to wait for."""
        self._outcome = outcome_of(tokens.status)
        if complete:
            self.on_answer_complete(piece)
        elif framing.is_event_stream or framing.length > DISCARD_SIZE_MAX:
            self._cut()
        else:
            self.is_upstream_kept = framing.keep_alive
            self._discard(piece)

    def on_answer(self, piece: bytes, now: Instant) -> None:
        """More of the answer."""
        self._discard(piece)

    def _discard(self, piece: bytes) -> None:
        self._discarded += len(piece)
        if self._discarded > DISCARD_SIZE_MAX:
            self._cut()

    def on_answer_complete(self, piece: bytes) -> None:
        """The end of the work, which teaches what it would have taught with its client there."""
        self._settle(was_seen_to_end=True, outcome=self._outcome)

    def on_upload_blocked(self) -> None:
        """The whole request was sent before: there is no more of it to hold back."""

    def on_upload_ready(self) -> None:
        """As above."""

    def may_switch(self, protocol: bytes) -> bool:
        """Nobody is there to be connected with."""
        return False

    def on_switch(self, tokens: ResponseTokens, framing: ResponseFraming, data: bytes) -> None:
        """Never: see `may_switch`."""
        raise NotImplementedError

    def outlast(self, now: Instant, upstream: UpstreamConnection) -> bool:
        """No longer than this: the operator's own bound is over."""
        return False

    def on_upstream_failed(self, fault: Fault, upstream: UpstreamConnection) -> None:
        """The connection is closed. It tells the end of the work unless we asked for it."""
        if fault is Fault.UPSTREAM_TIMEOUT:
            self._settle(was_seen_to_end=False, outcome=Outcome.OVERLOAD)
        else:
            self._settle(was_seen_to_end=not self._was_told)

    def on_broken(self, error: Exception) -> None:
        """A bug of ours: no slot is lost to it."""
        upstream = self.upstream
        if upstream is not None:
            upstream.group.loop.call_exception_handler(
                {"message": "abandoned work failed", "exception": error, "protocol": upstream}
            )
        self._cut()
