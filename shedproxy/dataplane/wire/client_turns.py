"""What a client has sent and nobody has looked at: kept while a request is under way, or until it
is the turn of its cell (`turns`).
"""

from __future__ import annotations

from shedproxy.dataplane.wire.body import BodyReader
from shedproxy.dataplane.wire.client_place import ClientPlace
from shedproxy.dataplane.wire.turns import Party, Turns

__all__ = ["ClientTurns"]


class ClientTurns(ClientPlace):
    """Is `Held` by `turns`."""

    __slots__ = ()

    def advance(self, data: bytes | bytearray) -> None:
        """Serve what is in `data` until a request has to wait for something."""
        raise NotImplementedError

    def feed_body(self, body: BodyReader, data: bytes) -> None:
        """More of a body has come."""
        raise NotImplementedError

    def joined(self, data: bytes) -> bytes | bytearray:
        """All that has come and nobody has looked at, and this."""
        if not self._buffer:
            return data
        buffer = bytearray(self._buffer) if type(self._buffer) is bytes else self._buffer
        buffer += data
        return buffer

    @property
    def is_too_far_ahead(self) -> bool:
        return len(self._buffer) > self.server.live.proxy.head_size_max

    def keep(self, data: bytes) -> None:
        """It cannot be looked at now."""
        self._buffer = bytes(self._buffer) + data
        if not self.is_too_far_ahead:
            return
        if self.exchange is None:
            self.pause_reading()
        else:
            self.go_deaf()

    # --- turns ------------------------------------------------------------------------------

    def advance_in_turn(self, turns: Turns, data: bytes) -> None:
        """Serve this now, or when it is the turn of the cell of the last request."""
        party = self.party or turns.newcomers
        entered_at = turns.enter(party)
        if entered_at:
            self.advance(self.joined(data))
            turns.leave(party, entered_at)
            return
        self.keep(data)
        self._hold(turns, party)

    def feed_in_turn(self, turns: Turns, body: BodyReader, data: bytes) -> None:
        """Take this of a body. While nobody has decided on it, the rest comes when it is the turn
        of its cell; how many others there are is bounded by slots.
        """
        party = self.party or turns.newcomers
        entered_at = self.server.clock()
        self.feed_body(body, data)
        turns.leave(party, entered_at)
        exchange = self.exchange
        if (
            self._body is body
            and exchange is not None
            and exchange.is_collecting
            and not (self.is_held or turns.enter(party))
        ):
            self.hold_body()
            self._hold(turns, party)

    def _hold(self, turns: Turns, party: Party) -> None:
        self.is_held = True
        turns.hold(party, self)

    def on_turn(self) -> None:
        """What was held may go on."""
        self.is_held = False
        exchange = self.exchange
        if exchange is not None and exchange.is_collecting:
            self.take_body()
        elif self._can_go_on():
            self._serve_ahead()

    def go_on(self) -> None:
        """Serve what was sent ahead, now or when it is its turn."""
        if self.is_held or not self._can_go_on():
            return
        self._seen = 0
        turns = self.server.turns
        if turns is None:
            self._serve_ahead()
            return
        party = self.party or turns.newcomers
        entered_at = turns.enter(party)
        if entered_at:
            self._serve_ahead()
            turns.leave(party, entered_at)
        else:
            self._hold(turns, party)

    def _can_go_on(self) -> bool:
        return not (self.is_busy or self.is_write_blocked or self.is_closed or self.is_ending)

    def _serve_ahead(self) -> None:
        data, self._buffer = self._buffer, b""
        if data:
            self.advance(data)
        if (self._seen or not self._buffer) and not self.is_busy:
            self.resume_reading()
