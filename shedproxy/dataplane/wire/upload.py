"""The request on its way to the upstream: its head, and its body as it comes.

`Exchange` adds admission and the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shedproxy.core import NS_PER_MS, Instant
from shedproxy.dataplane.wire.ending import IDEMPOTENT, Ending
from shedproxy.dataplane.wire.framing import LAST_CHUNK, BodyKind, RequestFraming, encode_chunk
from shedproxy.dataplane.wire.headers import CONTINUE, build_request_head
from shedproxy.dataplane.wire.tokens import RequestTokens
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_side import ClientConnection
    from shedproxy.dataplane.wire.live import Live
    from shedproxy.dataplane.wire.upstream_side import UpstreamConnection

__all__ = ["Expectation", "Upload"]

_NONE: Final = int(BodyKind.NONE)
_CHUNKED: Final = int(BodyKind.CHUNKED)


class Expectation:
    """What has become of a client's `Expect: 100-continue`."""

    __slots__ = ("continue_at", "has_continued", "is_unasked", "is_upstream_asked")

    def __init__(self) -> None:
        self.is_unasked = False
        """The client waits for the upstream's word before it begins its body."""
        self.is_upstream_asked = False
        """The present upstream was asked whether it wants the body."""
        self.continue_at = 0
        """When the client is told to send it if nobody says anything; 0: it was told."""
        self.has_continued = False
        """It was told."""


class Upload(Ending):
    """What of the request is here, and what of it is gone."""

    __slots__ = (
        "_held",
        "_is_arrived",
        "_is_body_complete",
        "_uploads_since",
        "expecting",
        "received",
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
        self._is_arrived = False
        self._is_body_complete = framing.body == _NONE
        self._held: list[bytes] | None = []
        """The body so far; None once a byte of it is gone and cannot be sent again."""
        self._uploads_since = 0
        self.received = 0
        """Bytes of the request body that have come."""
        self.expecting = Expectation() if framing.expect_continue else None

    def take_body(self, body: bytes) -> None:
        """The whole body came with the head."""
        self._held = [body]
        self.received = len(body)
        self._is_body_complete = True

    def arrive(self) -> None:
        """Enough of the request is here to decide on it."""
        raise NotImplementedError

    @property
    def is_replayable(self) -> bool:
        """Whether it may be sent again: it changes nothing twice, and all of it is still here, or
        its body was not begun.
        """
        return (
            self.method in IDEMPOTENT
            and self._held is not None
            and (self._is_body_complete or not self.received)
        )

    def build_head(self, upstream: UpstreamConnection, left_ns: int) -> bytes:
        """The head for this upstream; `left_ns` until the deadline, -1 without one."""
        live, info, tokens, client = self.live, self.info, self.tokens, self.client
        worth: int = info.criticality
        criticality = live.criticality_labels[worth]
        is_plain = left_ns < 0 and not (self.retries or live.forwards_pressure or self.home_cell)
        if is_plain and tokens.plain is not None:
            return client.heads.write_plain(
                live.header_context,
                tokens,
                self.framing,
                peer=client.peer_bytes,
                authority=upstream.authority,
                criticality=criticality,
            )
        added: list[bytes] = []
        if live.forwards_pressure:
            added.append(b"shedproxy-pressure: %.2f" % live.driver.pressure(info.cell))
        if self.home_cell:
            added.append(b"shedproxy-spilled-from: " + self.home_cell.encode())
        expecting = self.expecting
        if expecting is not None:
            expecting.is_upstream_asked = expecting.is_unasked
            if expecting.is_unasked:
                added.append(b"expect: 100-continue")
        return build_request_head(
            live.header_context,
            tokens.method,
            self.framing,
            tokens.headers,
            version_minor=tokens.version_minor,
            peer=client.peer_bytes,
            is_trusted=client.is_trusted_by(live),
            authority=upstream.authority,
            criticality=criticality,
            retries=self.retries,
            time_left_ms=left_ns // NS_PER_MS if left_ns >= 0 else -1,
            added=b"\r\n".join(added),
        )

    def answer_by(self, now: Instant) -> int:
        """When the head of the answer must be here."""
        at = now + self.live.response_ns
        permit = self.permit
        if permit is not None and permit.expires_at is not None:
            return min(at, permit.expires_at)
        return at

    def outlast(self, now: Instant, upstream: UpstreamConnection) -> bool:
        """As before; and no answer is late while the client takes its time with the body."""
        if not upstream.is_request_sent and self.client.is_body_awaited:
            idle_ns = self.live.timeouts.upstream_idle_ns
            at = now + idle_ns if self.status else self.answer_by(now)
            if at > now:
                upstream.deadline_at = at
                upstream.group.wheel.watch(upstream)
                return True
        return super().outlast(now, upstream)

    def encode_upload(self, pieces: list[bytes], is_complete: bool) -> list[bytes]:
        """Pieces of the body as they go on; with the last of it, its end."""
        if self.framing.body != _CHUNKED:
            return pieces
        data = b"".join(pieces)
        return [encode_chunk(data), LAST_CHUNK] if is_complete else [encode_chunk(data)]

    def on_body(self, piece: bytes, *, complete: bool) -> None:
        """More of the request body."""
        self.received += len(piece)
        self._is_body_complete = complete
        proxy = self.live.proxy
        if proxy.body_size_max and self.received > proxy.body_size_max:
            self.fail(Fault.BODY_TOO_LARGE)
            return
        upstream, expecting = self.upstream, self.expecting
        if upstream is not None:
            now = self.live.clock()
            self._held = None
            if expecting is not None and expecting.is_unasked:
                self._begin_upload(now)
            if complete:
                self.stalled_ns += now - self._uploads_since
            data = self.encode_upload([piece], complete)
            upstream.send(
                b"".join(data) if len(data) > 1 else data[0],
                complete=complete,
                deadline_at=self.answer_by(now),
            )
            return
        if expecting is not None:
            expecting.is_unasked = False
        if self._held is not None and piece:
            self._held.append(piece)
        if not self._is_arrived:
            if complete or self.received >= proxy.permit_body_size:
                self.arrive()
        elif not complete:
            self.client.hold_body()

    # --- Expect: 100-continue ---------------------------------------------------------------

    @property
    def is_unasked(self) -> bool:
        """Whether the client waits for a 100 and has not begun its body: nobody waits for it."""
        return self.expecting is not None and self.expecting.is_unasked

    @property
    def is_for_upstream_to_ask(self) -> bool:
        """Whether a body is so large that its request takes its slot first: then the upstream may
        say whether it wants it. A smaller one is in before anybody works on it.
        """
        live = self.live
        size_max = self.framing.length if self.framing.length >= 0 else live.body_size_max
        is_small = 0 < size_max <= live.proxy.permit_body_size
        return live.timeouts.expect_continue_ns > 0 and not is_small

    def await_body(self, now: Instant) -> None:
        """The head goes to an upstream, and the body does not end here."""
        expecting = self.expecting
        if expecting is not None and not expecting.has_continued:
            # Who has sent a part of it may wait with the rest.
            patience_ns: int = self.live.timeouts.expect_continue_ns
            permit = self.permit
            if permit is not None and permit.expires_at is not None:
                # Body and answer have to come in what is left, too.
                patience_ns = min(patience_ns, max(0, permit.expires_at - now) // 2)
            expecting.continue_at = now + patience_ns
            self.client.wake_at(expecting.continue_at)
        if not self.is_unasked:
            self._begin_upload(now)

    def ask_for_body(self, expecting: Expectation) -> None:
        """Send a 100: the body is wanted, or nobody says that it is not."""
        expecting.has_continued = True
        expecting.continue_at = 0
        self.client.write(CONTINUE)
        upstream = self.upstream
        if expecting.is_unasked and upstream is not None:
            now = self.live.clock()
            # What the upstream thought about does not count against the client, nor the other way.
            upstream.send(b"", complete=False, deadline_at=self.answer_by(now))
            self.client.restart_body(now)
            self._begin_upload(now)

    def _begin_upload(self, now: Instant) -> None:
        """From now on it is the client that the upstream waits for."""
        if self.expecting is not None:
            self.expecting.is_unasked = False
        self._uploads_since = now
        self.client.watch_rate(self.received, now)
        self.client.watch_stall(now)

    # --- flow -------------------------------------------------------------------------------

    def on_upload_blocked(self) -> None:
        """The upstream does not take more of the body."""
        if not self._is_body_complete:
            self.client.hold_body()

    def on_upload_ready(self) -> None:
        """It does again."""
        self.client.take_body()
