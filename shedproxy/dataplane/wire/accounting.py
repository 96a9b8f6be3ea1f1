"""The books of one exchange: its permit, what it counted as, and its line in the log.

A permit is given back exactly once, here, whatever ends the exchange first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shedproxy.clock import wall_seconds
from shedproxy.core import (
    Instant,
    Lane,
    Outcome,
    Permit,
    RequestInfo,
    Ticket,
)
from shedproxy.dataplane.wire.candidates import Upstream
from shedproxy.dataplane.wire.framing import RequestFraming
from shedproxy.dataplane.wire.refusing import trace_of
from shedproxy.dataplane.wire.tokens import RequestTokens
from shedproxy.observability.access_log import AccessRecord
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_side import ClientConnection
    from shedproxy.dataplane.wire.live import Live
    from shedproxy.dataplane.wire.upstream_side import UpstreamConnection
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["Accounting", "outcome_of"]

UNKNOWN_REQUEST: Final = RequestInfo()
# Before Python 3.12 a look-up of an enum's member costs more than a call: these are hot.
_CONTROL: Final = Lane.CONTROL
_SUCCESS: Final = Outcome.SUCCESS
_OVERLOAD: Final = Outcome.OVERLOAD
_IGNORE: Final = Outcome.IGNORE


def outcome_of(status: int) -> Outcome:
    """What the upstream's status teaches: a quick refusal of its own is no sign of health."""
    if status < 400:
        return _SUCCESS
    return _OVERLOAD if status in {503, 504} else _IGNORE


class Accounting:
    """What every exchange has, and how it is settled."""

    __slots__ = (
        "body_size",
        "client",
        "flow_hash",
        "framing",
        "group",
        "home",
        "home_cell",
        "info",
        "is_finished",
        "live",
        "method",
        "permit",
        "reason",
        "retries",
        "stalled_ns",
        "started_at",
        "status",
        "ticket",
        "tokens",
        "tried",
        "upstream",
        "waited_ns",
        "was_admitted",
    )

    def __init__(
        self,
        client: ClientConnection,
        live: Live,
        tokens: RequestTokens,
        framing: RequestFraming,
        now: Instant,
    ) -> None:
        self.client = client
        self.live = live
        """The configuration this request is decided and served by, from its first byte on."""
        self.tokens = tokens
        self.framing = framing
        self.method = tokens.method
        self.started_at = now
        self.info = UNKNOWN_REQUEST
        self.flow_hash = 0
        """Of its tenant."""
        self.group: UpstreamGroup | None = None
        """Whose connection it uses or waits for."""
        self.home: UpstreamGroup | None = None
        """Its own cell's upstreams, when another cell took it: its client has a place there."""
        self.home_cell = ""
        """The name of that cell; "": no other took it."""
        self.upstream: UpstreamConnection | None = None
        self.retries = 0
        self.tried: tuple[Upstream[Any], ...] = ()
        """Upstreams that earlier tries failed on."""
        self.ticket: Ticket | None = None
        self.permit: Permit | None = None
        self.was_admitted = False
        self.waited_ns = 0
        self.stalled_ns = 0
        """Time the client made the upstream wait."""
        self.status = 0
        """Of the answer once its head is written; 0 before."""
        self.body_size = 0
        """Bytes of the answer's payload passed on."""
        self.reason = ""
        self.is_finished = False

    # --- the permit -------------------------------------------------------------------------

    def hold(self, permit: Permit) -> None:
        """The request is admitted."""
        self.permit = permit
        self.was_admitted = True
        self.waited_ns = permit.admitted_at - permit.arrived_at

    def release(self, outcome: Outcome) -> None:
        """The upstream's work is done. Harmless when the permit was given back before."""
        permit = self.permit
        if permit is not None:
            self.permit = None
            self.live.driver.release(permit, outcome, stalled_ns=self.stalled_ns)

    def leave(self, outcome: Outcome = Outcome.ABANDONED) -> None:
        """Work is left behind that closing the connection does not stop."""
        permit = self.permit
        if permit is not None:
            self.permit = None
            self.note_left(permit)
            self.live.driver.leave_zombie(permit, outcome)

    def note_left(self, permit: Permit) -> None:
        """Its work goes on without it: who asks for the work of a key must still find it."""
        live = self.live
        if live.classifier.keys is not None:
            key = live.classifier.key_of(
                self.method.decode(),
                self.framing.path.partition(b"?")[0],
                self.tokens.headers,
                self.client.peer,
            )
            live.driver.moves.note_left(permit, key)

    # --- the end ----------------------------------------------------------------------------

    def note_fault(self, fault: Fault) -> None:
        """Count a fault, and remember it for the log."""
        self.reason = fault.label
        driver = self.live.driver
        driver.meter.on_fault(driver.cell_index(self.info.cell), fault)

    def leave_cell(self) -> None:
        """The client gives back the place that the request had in its own cell."""
        group = self.group if self.home is None else self.home
        if group is not None:
            self.client.leave_cell(group)

    def settle(self, expires_at: Instant | None, now: Instant) -> None:
        """Count the exchange and log it; `expires_at` is its deadline."""
        self.leave_cell()
        group, home = self.group, self.home
        live = self.live
        info = self.info
        duration_ns = now - self.started_at
        if self.was_admitted and info.lane is not _CONTROL:
            driver = live.driver
            is_good = (
                not self.reason and self.status < 500 and (expires_at is None or now <= expires_at)
            )
            if is_good and group is not None and home is None:
                group.retries.budget.earn(self.flow_hash)
            driver.meter.on_finished(
                driver.cell_index(info.cell), info.criticality, self.status, duration_ns, is_good
            )
        log = live.log
        if log.wants_refused(now) if self.reason else log.wants_admitted():
            log.append(
                AccessRecord(
                    wall_seconds(),
                    self.client.peer,
                    self.method.decode("latin-1"),
                    self.tokens.target,
                    self.status,
                    info.route,
                    info.cell,
                    info.criticality.label,
                    duration_ns,
                    self.waited_ns,
                    self.body_size,
                    self.reason,
                    trace_id=trace_of(self.tokens),
                    home=self.home_cell,
                )
            )
