"""One request and its answer, between a client connection and an upstream connection.

Its life: screened on the head, admitted once enough of the body is in, sent, answered, settled.
It owns no socket and no timer. Both sides call it; it may end at any of their calls, and whatever
ends it first, the permit goes back once and the client is told once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shedproxy.core import (
    Decision,
    Instant,
    Lane,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    Ticket,
    TicketState,
)
from shedproxy.dataplane.classify import Read
from shedproxy.dataplane.key_moves import Present
from shedproxy.dataplane.wire.accounting import outcome_of
from shedproxy.dataplane.wire.framing import (
    LAST_CHUNK,
    BodyKind,
    Headers,
    RequestFraming,
    ResponseFraming,
    encode_chunk,
)
from shedproxy.dataplane.wire.head_memory import answer_head
from shedproxy.dataplane.wire.headers import answer_body, last_chunk
from shedproxy.dataplane.wire.tokens import RequestTokens, ResponseTokens
from shedproxy.dataplane.wire.tunnel import Tunnel
from shedproxy.dataplane.wire.upload import Upload
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_side import ClientConnection
    from shedproxy.dataplane.wire.live import Live
    from shedproxy.dataplane.wire.upstream_side import UpstreamConnection
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["Exchange"]

_NONE: Final = int(BodyKind.NONE)
_CHUNKED: Final = int(BodyKind.CHUNKED)
_UNTIL_CLOSE: Final = int(BodyKind.UNTIL_CLOSE)
_WAITING: Final = TicketState.WAITING
# Before Python 3.12 a look-up of an enum's member costs more than a call: this is hot.
_CONTROL: Final = Lane.CONTROL


class Exchange(Upload):
    """Is the `Waiter` of its own ticket, and a place in a pool's line for a connection."""

    __slots__ = (
        "_cohort",
        "_is_client_kept",
        "_left_ns",
        "_out",
        "is_upstream_kept",
        "key",
        "trailers",
    )

    def __init__(
        self,
        client: ClientConnection,
        live: Live,
        tokens: RequestTokens,
        framing: RequestFraming,
        now: Instant,
    ) -> None:
        super().__init__(client, live, tokens, framing, now)
        self._cohort = 0
        self._left_ns: int | None = None
        self.key = 0
        """The hash of its key, if that changes its cell; see `KeyMoves`."""
        self._out = _NONE
        """How the client is told where the answer ends."""
        self.is_upstream_kept = self._is_client_kept = False
        self.trailers: Headers = ()
        """What stood after a chunked answer."""

    # --- admission --------------------------------------------------------------------------

    def begin(self, read: Read, group: UpstreamGroup, decision: Decision | None, key: int) -> None:
        """The head is in, and was classified. It was decided on too, unless its body is to come or
        something may be in its way; `key` is the hash of its key, if that changes its cell.
        """
        live, framing = self.live, self.framing
        self._place(read, group)
        self.key = key
        group.clients += 1
        if decision is not None:
            self._is_arrived = True
            self._take(decision)
            return
        if group.clients > group.clients_max and self.info.lane is not _CONTROL:
            numbers = (group.clients - 1, group.clients_max)
            self.refuse(live.driver.reject(self.info, RejectReason.CELL_SHARE, numbers))
            return
        is_held = self.key != 0 and live.driver.moves.holds(self.key)
        if group.is_out and not is_held:
            self.on_no_upstream()
            return
        size_max = live.body_size_max
        if size_max and framing.length > size_max:
            self.fail(Fault.BODY_TOO_LARGE)
            return
        expecting = self.expecting
        if expecting is not None:
            expecting.is_unasked = self.is_for_upstream_to_ask
        if self._is_body_complete or self.is_unasked:
            self.arrive()
            return
        if not is_held:
            rejected = live.driver.screen(
                self.info,
                flow_hash=self.flow_hash,
                cohort=self._cohort,
                time_left_ns=self._left_ns,
            )
            if rejected is not None:
                self.refuse(rejected)
                return
        if expecting is not None:
            self.ask_for_body(expecting)

    def _place(self, read: Read, group: UpstreamGroup) -> None:
        self.info, self.flow_hash, self._cohort, self._left_ns, _ = read
        self.group = group

    def arrive(self) -> None:
        """Enough of the request is here to decide on it."""
        if self.key and not self._find_place():
            return
        left_ns = self._left_ns
        if left_ns is not None and (self.received or self._is_arrived):
            left_ns = max(0, left_ns - (self.live.clock() - self.started_at))
        self._is_arrived = True
        driver = self.live.driver
        if self.key:
            self._heed(
                driver.moves.arrive(
                    self, self.key, self.info, self.flow_hash, self._cohort, left_ns
                )
            )
            return
        now = self.live.clock()
        self._take(driver.decide(self.info, now, self.flow_hash, self._cohort, left_ns))

    def _take(self, decision: Decision) -> None:
        """What was decided on it, by nobody who knows yet who waits."""
        if type(decision) is Ticket:
            decision = self.live.driver.wait(decision, self)
        self._heed(decision)

    def _heed(self, decision: Decision) -> None:
        if type(decision) is Permit:
            self._run(decision)
        elif type(decision) is Ticket:
            # What followed from the arrival may have answered it already.
            if decision.state is _WAITING:
                self.ticket = decision
                if not self._is_body_complete:
                    self.client.hold_body()
        else:
            assert isinstance(decision, Rejected)
            self.refuse(decision)

    def on_hold(self, ticket: Ticket) -> None:
        """Its key is held: it waits for the end of that."""
        self.ticket = ticket

    def on_place(self) -> None:
        """Its key has a cell again."""
        self.ticket = None
        self.arrive()

    def _find_place(self) -> bool:
        """Its key moves, or did: ask again which cell it has, maybe one that only the present
        configuration knows. False: nobody is in service there.
        """
        live = self.client.server.live
        read = live.classify(self.tokens, self.framing, self.client.peer, live is self.live)
        self.key = live.moving_key()
        former, group = self.group, live.group_of(read[0].cell)
        assert former is not None
        former.clients -= 1
        group.clients += 1
        self._place(read, group)
        if group.is_out and not self.live.driver.moves.holds(self.key):
            self.on_no_upstream()
            return False
        return True

    def present(self, live: Live) -> Present | None:
        """What it has under way, if its key moves by this configuration."""
        path = self.framing.path.partition(b"?")[0]
        classifier = live.classifier
        key = classifier.key_of(self.method.decode(), path, self.tokens.headers, self.client.peer)
        keys = classifier.keys
        if not key or keys is None or not keys.phase_of(key):
            return None
        self.key = key
        return Present(self, key, self.permit, self.ticket)

    def on_verdict(self, decision: Permit | Rejected) -> None:
        """The queue's answer."""
        self.ticket = None
        if type(decision) is Permit:
            if self.is_finished:
                self.live.driver.release(decision, Outcome.ABANDONED)
            else:
                self._run(decision)
        elif not self.is_finished:
            assert isinstance(decision, Rejected)
            self.refuse(decision)

    def _run(self, permit: Permit) -> None:
        self.hold(permit)
        if permit.request is not self.info:
            self._be_guest(permit)
        group = self.group
        assert group is not None
        group.acquire(self, permit.admitted_at)

    def _be_guest(self, permit: Permit) -> None:
        """Another cell took it: its upstreams get it. Its client keeps its place in its own."""
        self.home, self.home_cell = self.group, self.info.cell
        self.info = permit.request
        # That was decided by the present configuration, maybe of a cell that is new in it.
        self.group = self.client.server.live.group_of(permit.request.cell)

    @property
    def is_collecting(self) -> bool:
        """Whether more of the body is needed before it can arrive."""
        return not self._is_arrived and not self.is_finished

    # --- towards the upstream ---------------------------------------------------------------

    def on_upstream(self, upstream: UpstreamConnection, now: Instant) -> None:
        """A connection is there: send what there is."""
        permit = self.permit
        assert permit is not None
        expires_at = permit.expires_at
        if expires_at is not None and now >= expires_at:
            upstream.group.give_back(upstream)
            self.fail(Fault.UPSTREAM_TIMEOUT)
            return
        self.upstream = upstream
        head = self.build_head(upstream, -1 if expires_at is None else expires_at - now)
        is_complete = self._is_body_complete
        held = self._held
        if held or (is_complete and self.framing.body == _CHUNKED):
            head = b"".join((head, *self.encode_upload(held or [], is_complete)))
            if not is_complete:
                self._held = None
        if not is_complete:
            self.await_body(now)
        upstream.begin(self, head, complete=is_complete, deadline_at=self.answer_by(now))
        if not is_complete and not upstream.is_write_blocked:
            self.client.take_body()

    # --- the answer -------------------------------------------------------------------------

    def on_interim(self, tokens: ResponseTokens, framing: ResponseFraming) -> None:
        """A 1xx answer. 100 is for who expects it; HTTP/1.0 knows none of them."""
        if tokens.status == 100:
            if self.expecting is not None and self.expecting.is_upstream_asked:
                self.ask_for_body(self.expecting)
        elif self.tokens.version_minor:
            self.client.write(self._answer_head(tokens, framing, keep_alive=True))

    def on_head(
        self,
        tokens: ResponseTokens,
        framing: ResponseFraming,
        piece: bytes,
        *,
        complete: bool,
    ) -> None:
        """The head of the answer, with as much of its body as came along."""
        permit = self.permit
        assert permit is not None
        self.live.driver.respond(permit)
        self._held = None
        self.status = tokens.status
        self.is_upstream_kept = framing.keep_alive
        if framing.is_event_stream and not permit.is_resident:
            self.live.driver.to_resident(permit)
        self._out = answer_body(framing.body, self.tokens.version_minor)
        keep_alive = self._is_client_kept = self._keeps_client()
        head = self._answer_head(tokens, framing, keep_alive=keep_alive)
        if complete:
            self._end_answer(self._encode_answer(piece, head), keep_alive=keep_alive)
            return
        self.client.write(self._encode_answer(piece, head) if piece else head)
        if self.client.is_write_blocked:
            self.on_client_blocked()

    def _answer_head(
        self, tokens: ResponseTokens, framing: ResponseFraming, *, keep_alive: bool
    ) -> bytes:
        date = b"" if tokens.is_dated else self.live.date_at(self.live.clock())
        return answer_head(tokens, framing, self.tokens.version_minor, keep_alive, date)

    def _encode_answer(self, piece: bytes, head: bytes = b"") -> bytes:
        self.body_size += len(piece)
        if self._out == _CHUNKED:
            return head + encode_chunk(piece)
        return head + piece

    @property
    def has_own_end(self) -> bool:
        """Whether the client can tell the end of the answer from that of the connection."""
        return self._out != _UNTIL_CLOSE

    def on_answer(self, piece: bytes, now: Instant) -> None:
        """More of the answer's body."""
        permit = self.permit
        if permit is not None and not permit.is_resident and permit.cost:
            responded_at = permit.responded_at
            if responded_at is not None and now - responded_at > self.live.timeouts.response_ns:
                # An answer that trickles this long is a stream by another name.
                self.live.driver.to_resident(permit)
        self.client.write(self._encode_answer(piece))

    def on_answer_complete(self, piece: bytes) -> None:
        """The last byte of the answer has been read."""
        data = self._encode_answer(piece) if piece else b""
        # As the head said, whatever has begun since: after a last answer comes no other, and who
        # was told to stay may have asked again already.
        self._end_answer(data, keep_alive=self._is_client_kept)

    def _end_answer(self, data: bytes, *, keep_alive: bool) -> None:
        """Send the last of it: the upstream's work is done.

        Its connection is in other hands: a client that blocks now must not pause it.
        """
        self.upstream = None
        if self._out == _CHUNKED:
            data += last_chunk(self.trailers) if self.framing.takes_trailers else LAST_CHUNK
        elif self._out == _UNTIL_CLOSE:
            self.client.is_until_close = True
            keep_alive = False
        if data:
            self.client.write(data)
        if self._uploads_since and not self._is_body_complete:
            self.stalled_ns += self.live.clock() - self._uploads_since
        self.finish(outcome_of(self.status), keep_alive=keep_alive)

    def _keeps_client(self) -> bool:
        """Whether the client's connection outlives this answer."""
        return (
            self.framing.keep_alive
            and self._is_body_complete
            and self.live.keeps_clients(self.client.served)
        )

    # --- switching protocols ----------------------------------------------------------------

    def may_switch(self, protocol: bytes) -> bool:
        """Whether this 101 is what the client asked for."""
        return bool(self.framing.upgrade) and protocol == self.framing.upgrade

    def on_switch(self, tokens: ResponseTokens, framing: ResponseFraming, data: bytes) -> None:
        """From here on bytes go both ways."""
        permit, upstream = self.permit, self.upstream
        assert permit is not None
        assert upstream is not None
        self.live.driver.respond(permit)
        if not permit.is_resident:
            self.live.driver.to_resident(permit)
        self.status = 101
        self.client.write(self._answer_head(tokens, framing, keep_alive=True))
        Tunnel(self, self.client, upstream).open(data)

    def on_tunnel_closed(self) -> None:
        """Both ends are closed."""
        self.upstream = None
        self.finish(Outcome.SUCCESS, keep_alive=False)
