"""How an exchange ends when it does not end well: refusals, faults, and clients that leave.

Whatever happens, three things follow once: the upstream's connection is free or closed, the permit
is given back, and the client has an answer, a cut, or nobody is there.
"""

from __future__ import annotations

from typing import Any, Final

from shedproxy.clock import wall_seconds
from shedproxy.core import Instant, Lane, Outcome, Permit, Rejected, RejectReason
from shedproxy.dataplane.wire.abandoned import AbandonedWork
from shedproxy.dataplane.wire.accounting import Accounting
from shedproxy.dataplane.wire.candidates import Upstream
from shedproxy.dataplane.wire.headers import CONTINUE
from shedproxy.dataplane.wire.http_date import http_date
from shedproxy.dataplane.wire.refusing import may_keep, refuse
from shedproxy.dataplane.wire.upstream_side import UpstreamConnection
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import RetryCause

__all__ = ["IDEMPOTENT", "Ending"]

IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""Methods that may be sent a second time after the first try left no answer (RFC 9110 9.2.2)."""

_IGNORE: Final = Outcome.IGNORE
_KEEPING_FAULTS = frozenset(
    (
        Fault.BODY_TOO_LARGE,
        Fault.UPSTREAM_CONNECT,
        Fault.UPSTREAM_CONNECT_TIMEOUT,
        Fault.UPSTREAM_CLOSED,
        Fault.UPSTREAM_BAD_RESPONSE,
        Fault.UPSTREAM_TIMEOUT,
    )
)
"""Faults that say nothing against the client's connection."""


class Ending(Accounting):
    """The ways out of an exchange."""

    __slots__ = ()

    @property
    def has_own_end(self) -> bool:
        """Whether the client can tell the end of the answer from that of the connection."""
        raise NotImplementedError

    @property
    def is_replayable(self) -> bool:
        """Whether the request may be sent a second time."""
        raise NotImplementedError

    def on_upstream(self, upstream: UpstreamConnection, now: Instant) -> None:
        """The connection that was asked for."""
        raise NotImplementedError

    def finish(self, outcome: Outcome, *, keep_alive: bool) -> None:
        """The answer is written, or there is none to write: settle and tell the client's side."""
        if self.is_finished:
            return
        self.is_finished = True
        permit, self.permit = self.permit, None
        now = self.live.clock()
        expires_at: Instant | None = None
        if permit is not None:
            expires_at = permit.expires_at
            self.live.driver.release_at(permit, outcome, self.stalled_ns, now)
        self.settle(expires_at, now)
        self.client.finish_exchange(keep_alive=keep_alive, now=now)

    # --- no ---------------------------------------------------------------------------------

    def refuse(self, rejected: Rejected) -> None:
        """Answer with the refusal, in canned bytes."""
        self.is_finished = True
        keep_alive = refuse(
            self.client, self.live, rejected, self.tokens, self.framing, self.started_at
        )
        self.release(_IGNORE)
        self.leave_cell()
        self.client.finish_exchange(keep_alive=keep_alive, now=rejected.at)

    def on_no_upstream(self) -> None:
        """None of the cell's upstreams is in service."""
        group = self.group
        assert group is not None
        healthy, total = group.health()
        live, info, was_admitted = self.live, self.info, self.was_admitted
        driver = live.driver
        rejected = driver.reject(
            info, RejectReason.NO_UPSTREAM, (healthy, total), was_admitted=was_admitted
        )
        if was_admitted and info.lane is not Lane.CONTROL:
            duration_ns = rejected.at - self.started_at
            status = live.rejections.status(rejected.reason)
            index = driver.cell_index(info.cell)
            driver.meter.on_finished(index, info.criticality, status, duration_ns, goodput=False)
        self.refuse(rejected)

    def fail(self, fault: Fault, outcome: Outcome = Outcome.IGNORE) -> None:
        """Something went wrong: answer the fault, or cut the answer that has begun."""
        if self.is_finished:
            return
        self._let_go_of_upstream()
        self.note_fault(fault)
        if self.status:
            self._cut(outcome)
            return
        self.status = fault.status
        keep_alive = fault in _KEEPING_FAULTS and may_keep(
            self.client, self.live, self.tokens, self.framing
        )
        self.client.write(
            self.live.rejections.fault_wire(
                fault,
                head=self.method == b"HEAD",
                keep_alive=keep_alive,
                date=http_date(wall_seconds()),
            )
        )
        self.finish(outcome, keep_alive=keep_alive)

    def on_bad_body(self, fault: Fault) -> None:
        """The framing of the request body is broken."""
        self.fail(fault)

    def on_broken(self, error: Exception) -> None:
        """A bug of ours: the client is told, the slot is free, and the loop's handler hears."""
        client = self.client
        client.server.loop.call_exception_handler(
            {"message": "an exchange failed", "exception": error, "protocol": client}
        )
        if self.is_finished:
            client.cut()  # nobody knows how much of the answer it has
        else:
            self.fail(Fault.INTERNAL)

    def _cut(self, outcome: Outcome) -> None:
        """The client must see that its answer is not whole."""
        self.is_finished = True
        permit = self.permit
        self.release(outcome)
        now = self.live.clock()
        self.settle(None if permit is None else permit.expires_at, now)
        if self.has_own_end and self.client.sends_ahead:
            # The answers before it may be on their way, and a reset would take them along.
            self.client.finish_exchange(keep_alive=False, now=now)
        else:
            self.client.cut(reset=True)

    def _let_go_of_upstream(self) -> None:
        """Leave the queue, the line for a connection, or the connection."""
        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            self.live.driver.abandon(ticket)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        elif self.permit is not None and self.group is not None:
            self.group.withdraw(self)

    # --- the upstream fails -----------------------------------------------------------------

    def on_upstream_failed(self, fault: Fault, upstream: UpstreamConnection) -> None:
        """The connection is gone (or was closed for what it said) before the answer was whole."""
        self.upstream = None
        if not self.status and fault is Fault.UPSTREAM_CLOSED and not upstream.has_answered:
            is_reused = upstream.was_idle
            if is_reused or upstream.has_vanished:
                pass  # it closed what was idle, or is counted
            elif upstream.is_request_sent:
                upstream.group.on_dead(upstream)
            else:
                # It may not want the body: no sign of death that a client could give it, but it
                # must not look idle either.
                upstream.entry.spoil(self.live.clock())
            cause = RetryCause.REUSED if is_reused else RetryCause.CLOSED
            if self._try_again(cause, upstream.entry):
                return
        if fault is Fault.UPSTREAM_TIMEOUT:
            self._on_time_up(upstream)
        else:
            self.fail(fault)

    def outlast(self, now: Instant, upstream: UpstreamConnection) -> bool:
        """The time is up. True when it is the client's only, and the work is watched to its end."""
        permit = self.permit
        if permit is None or permit.expires_at is None or now < permit.expires_at:
            return False
        if now >= self._bound_at(permit):
            return False
        self._leave_work()
        if self.upstream is not None:
            return False
        self.fail(Fault.UPSTREAM_TIMEOUT)
        return True

    def _on_time_up(self, upstream: UpstreamConnection) -> None:
        """No answer in time; that the connection is closed does not prove that the work stopped."""
        permit = self.permit
        outcome = Outcome.OVERLOAD
        if permit is not None:
            expires_at = permit.expires_at
            if expires_at is not None and self.live.clock() >= expires_at:
                # The time that clients give is no measure of the service: short deadlines of a
                # few must not pull the limit down for all. That it took longer is one.
                outcome = Outcome.ABANDONED
            if upstream.is_request_sent and not upstream.group.is_cancelled_by_close:
                self.leave(outcome)
        self.fail(Fault.UPSTREAM_TIMEOUT, outcome)

    def on_connect_failed(self, fault: Fault, avoid: Upstream[Any]) -> None:
        """No connection: nothing was sent, so another upstream may be tried, once."""
        if not self._try_again(RetryCause.CONNECT, avoid):
            self.fail(fault, Outcome.OVERLOAD)

    def _try_again(self, cause: RetryCause, avoid: Upstream[Any]) -> bool:
        """Send the request once more, rather to another upstream, if the rules allow it."""
        group, permit = self.group, self.permit
        assert group is not None
        if self.home_cell and (cause is not RetryCause.REUSED or self.retries):
            return False  # what others saved is not a guest's to spend
        is_unsent = cause is RetryCause.CONNECT
        if permit is None or not group.has_other(self, avoid if is_unsent else None):
            return False
        now = self.live.clock()
        if not group.retries.pay(self, cause, now=now):
            return False
        self.retries += 1
        # What the try before took is no latency of the upstream that answers.
        self.stalled_ns = now - permit.admitted_at
        self.tried = (*self.tried, avoid)
        group.acquire(self, now, is_fresh=not is_unsent)
        return True

    # --- the client fails -------------------------------------------------------------------

    def on_client_gone(self, fault: Fault = Fault.CLIENT_GONE) -> None:
        """Nobody waits for the answer any more.

        The upstream is told at once. Whether that stops the work is the upstream's matter: where
        its end can be seen, the permit stays until then, else for the expected rest of it. A
        request that was never whole, or never sent, leaves no work behind.
        """
        if self.is_finished:
            return
        self.is_finished = True
        self.note_fault(fault)
        self._leave_work()
        permit, upstream = self.permit, self.upstream
        # It waits for somebody to read what it has: what it writes next fails, and it is done.
        was_held_back = upstream is not None and upstream.is_paused
        self._let_go_of_upstream()
        if permit is not None:
            if upstream is None or not upstream.is_request_sent:
                self.release(Outcome.IGNORE)
            elif permit.is_resident or upstream.group.is_cancelled_by_close or was_held_back:
                self.release(Outcome.ABANDONED)
            else:
                self.leave()
        self.status = Fault.CLIENT_GONE.status
        self.settle(None, self.live.clock())

    def _leave_work(self) -> None:
        """Hand the upstream's connection and the permit to whoever sees the work end."""
        permit, upstream = self.permit, self.upstream
        if (
            permit is not None
            and upstream is not None
            and not self.status
            and not permit.is_resident
            and permit.cost
            and upstream.can_be_watched
            and not upstream.group.is_cancelled_by_close
        ):
            self.permit = self.upstream = None
            self.note_left(permit)
            AbandonedWork(self.live.driver, upstream, permit, self.method)
            # What it had was the client's time, if that was shorter: it says nothing of the work.
            upstream.deadline_at = max(upstream.deadline_at, self._bound_at(permit))
            upstream.group.wheel.watch(upstream)

    def _bound_at(self, permit: Permit) -> int:
        """When the operator's bound is over, in ns: what came before all was sent is not in it."""
        return permit.admitted_at + self.stalled_ns + self.live.response_ns

    @property
    def is_streaming(self) -> bool:
        """Whether a stream is being sent that may be silent for ever.

        Other answers that take long are not: they end, or their next byte shows who has left.
        """
        upstream = self.upstream
        return bool(self.status) and upstream is not None and upstream.may_be_silent

    def on_client_stalled(self) -> None:
        """The client does not read its answer."""
        self.on_client_gone(Fault.SLOW_CLIENT)

    def on_client_blocked(self) -> None:
        """The client does not take what is written.

        The rest of an answer is still read when it is known to fit: that frees the slot, and who
        is slow then holds memory only. Holding a part of a larger one would free nothing.
        """
        upstream = self.upstream
        if upstream is None or not self.status:
            return
        rest = upstream.rest
        held = self.client.transport.get_write_buffer_size()
        if rest < 0 or rest + held > self.client.server.held_max:
            upstream.pause()

    def on_client_ready(self) -> None:
        """The client has caught up."""
        if self.upstream is not None:
            self.upstream.resume()

    def probe(self) -> None:
        """Make a client that is gone show it."""
        if not self.status and self.tokens.version_minor:
            self.client.write(CONTINUE)
