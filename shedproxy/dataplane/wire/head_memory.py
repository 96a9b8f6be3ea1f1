"""The heads of one connection: read the quick way or the careful one, and the last one remembered.

Clients that poll, probe or test send the same head again and again, and many answers of a service
begin alike. Comparing bytes costs next to nothing, so each connection remembers one; and of one
that differs, the lines that do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shedproxy.dataplane.wire.field_memory import AnswerFields
from shedproxy.dataplane.wire.framing import (
    RequestFraming,
    ResponseFraming,
    check_request_head,
    check_response_head,
    request_framing,
    response_framing,
)
from shedproxy.dataplane.wire.head_shape import (
    NOT_ALIKE,
    RequestShape,
    differing_fields,
    shape_of,
)
from shedproxy.dataplane.wire.headers import HeaderContext, build_response_head
from shedproxy.dataplane.wire.plain_heads import (
    plain_tail,
    read_plain_request,
    read_plain_response,
    write_plain_request,
    write_plain_response,
)
from shedproxy.dataplane.wire.tokens import (
    RequestTokens,
    ResponseTokens,
    read_request,
    read_response,
)

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.live import Live

__all__ = ["REMEMBERED_SIZE_MAX", "RequestHeads", "ResponseHeads", "answer_head"]

REMEMBERED_SIZE_MAX: Final = 1024
"""A head of at most this size is remembered."""
_END: Final = b"\r\n\r\n"
_USES_MIN: Final = 16
"""A shape that fewer heads have was not worth making."""
_COMPARED_MAX: Final = 8
"""Without one after so many heads none is looked for: they are those of many clients."""


class RequestHeads:
    """Reads the request heads of one client connection, and writes the usual ones on."""

    __slots__ = (
        "_compared",
        "_context",
        "_criticality",
        "_differing",
        "_found",
        "_head",
        "_host",
        "_live",
        "_odd",
        "_shape",
        "_tail",
        "end",
    )

    def __init__(self) -> None:
        self._head = b""
        self._live: Live | None = None
        self._found: tuple[RequestTokens, RequestFraming] | None = None
        self._differing = NOT_ALIKE
        """The fields in which the head remembered last differed from the one before it."""
        self._shape: RequestShape | None = None
        """Of the head that is remembered."""
        self._compared = 0
        """Heads since there was a shape that was worth making."""
        self._odd = b""
        """What `recall` did not take, and the plain way therefore does not either."""
        self.end = 0
        """Where what was recalled last ends."""
        self._context: HeaderContext | None = None
        self._host = self._criticality = self._tail = b""

    def recall(self, data: bytes, live: Live) -> tuple[RequestTokens, RequestFraming] | None:
        """The usual head that was received, up to `end`, where that is all of it or as long as the
        one before; else None: its end has to be looked for.

        No empty line is a field, so that the one there is the first.
        """
        size = len(self._head)
        known = self._found if live is self._live else None
        if known is not None and data == self._head:
            self.end = size
            return known
        if data.endswith(_END):
            if len(data) > live.head_size_max:
                return None
            found = self._read_plain(data, live)
            if found is None:
                self._odd = data
            self.end = len(data)
            return found
        if known is None or data[size - 4 : size] != _END:
            return None
        head = data[:size]
        self.end = size
        return known if head == self._head else self._read_plain(head, live)

    def read(self, head: bytes, live: Live) -> tuple[RequestTokens, RequestFraming]:
        """The head by the bounds of `live`.

        Raises:
            HeadError: it is no request that is served.
        """
        known = self._found
        if known is not None and live is self._live and head == self._head:
            return known
        found = None if head is self._odd else self._read_plain(head, live)
        self._odd = b""
        if found is None:
            check_request_head(
                head, target_size_max=live.target_size_max, field_count_max=live.field_count_max
            )
            tokens = read_request(head)
            framing = request_framing(
                tokens.method, tokens.version_minor, tokens.target, tokens.headers
            )
            if framing.path != tokens.target:
                tokens.take_host(framing.host)
            found = tokens, framing
            self._differing, self._shape = NOT_ALIKE, None
            self._remember(head, found)
        return found

    def _read_plain(self, head: bytes, live: Live) -> tuple[RequestTokens, RequestFraming] | None:
        if live is not self._live:
            # What was learnt of a head holds for one configuration only, and that one may go.
            self._live = live
            self._compared = 0
            self._forget()
        shape, known = self._shape, self._found
        if shape is not None and known is not None:
            found = shape.read(head, known, live.target_size_max)
            if found is not None:
                self._remember(head, found)
                return found
            if shape.uses >= _USES_MIN:
                self._compared = 0
        found = read_plain_request(
            head,
            live.request_fields,
            target_size_max=live.target_size_max,
            field_count_max=live.field_count_max,
            before=None if known is None else known[0],
        )
        if found is not None:
            if self._compared < _COMPARED_MAX:
                self._compared += 1
                self._compare(found[0])
            else:
                self._shape = None
            self._remember(head, found)
        return found

    def _compare(self, tokens: RequestTokens) -> None:
        """See where it differs from the head before it; what differed there as well is a shape."""
        differing = NOT_ALIKE
        lines = tokens.lines
        before = None if self._found is None else self._found[0]
        self._shape = None
        if (
            before is not None
            and lines is not None
            and before.lines is not None
            and before.method == tokens.method
        ):
            differing = differing_fields(before.lines, lines)
            if differing >= 0 and self._differing >= 0 and not differing & ~self._differing:
                differing = self._differing
                self._shape = shape_of(lines, differing)
        self._differing = differing

    def _remember(self, head: bytes, found: tuple[RequestTokens, RequestFraming]) -> None:
        if len(head) <= REMEMBERED_SIZE_MAX:
            self._head, self._found = head, found
        else:
            self._forget()

    def _forget(self) -> None:
        """Keep nothing of the head before this one: it may have had credentials."""
        self._head, self._found = b"", None
        self._differing, self._shape = NOT_ALIKE, None

    def write_plain(
        self,
        context: HeaderContext,
        tokens: RequestTokens,
        framing: RequestFraming,
        *,
        peer: bytes,
        authority: bytes,
        criticality: bytes,
    ) -> bytes:
        """The head for an upstream, of a request whose lines go on as they are (`tokens.plain`).

        What is added to it differs by the host asked for and the criticality decided.
        """
        if (
            context is not self._context
            or framing.host != self._host
            or criticality != self._criticality
        ):
            self._context, self._host, self._criticality = context, framing.host, criticality
            self._tail = plain_tail(context, peer, framing.host, criticality)
        return write_plain_request(context, tokens, framing, authority, self._tail)


class ResponseHeads:
    """Reads the answer heads of one upstream connection."""

    __slots__ = ("_fields", "_found", "_head", "_method")

    def __init__(self, fields: AnswerFields) -> None:
        self._fields = fields
        self._head = b""
        self._method = b""
        self._found: tuple[ResponseTokens, ResponseFraming]

    @property
    def size(self) -> int:
        """Bytes of the head that is remembered."""
        return len(self._head)

    def recall(self, data: bytes, method: bytes) -> tuple[ResponseTokens, ResponseFraming] | None:
        """The head that `data` begins with, if it is a usual one of the same `size` as the one
        before it: then its end need not be looked for. No empty line is a field, so that the one
        there is the first.
        """
        size = len(self._head)
        if not size or data[size - 4 : size] != _END:
            return None
        return self._read_plain(data[:size], method)

    def read(self, head: bytes, method: bytes) -> tuple[ResponseTokens, ResponseFraming]:
        """The head of an answer to a request of this method.

        Raises:
            HeadError: it is no answer that can be passed on.
        """
        found = self._read_plain(head, method)
        if found is None:
            check_response_head(head)
            tokens = read_response(head)
            framing = response_framing(method, tokens.status, tokens.version_minor, tokens.headers)
            found = tokens, framing
            self._remember(head, method, found)
        return found

    def _read_plain(
        self, head: bytes, method: bytes
    ) -> tuple[ResponseTokens, ResponseFraming] | None:
        if head == self._head and method == self._method:
            return self._found
        before = self._found[0] if self._head else None
        found = read_plain_response(head, method, self._fields, before)
        if found is not None:
            self._remember(head, method, found)
        return found

    def _remember(
        self, head: bytes, method: bytes, found: tuple[ResponseTokens, ResponseFraming]
    ) -> None:
        if len(head) <= REMEMBERED_SIZE_MAX:
            self._head, self._method, self._found = head, method, found


def answer_head(
    tokens: ResponseTokens,
    framing: ResponseFraming,
    version_minor: int,
    keep_alive: bool,
    date: bytes,
) -> bytes:
    """The head for a client, built from the upstream's.

    `date` is added where the upstream gave none (RFC 9110 6.6.1); empty where it did.
    """
    if tokens.plain is not None and version_minor and keep_alive:
        return write_plain_response(tokens, tokens.plain, date)
    return build_response_head(
        tokens.status,
        tokens.reason,
        framing,
        tokens.headers,
        version_minor=version_minor,
        keep_alive=keep_alive,
        date=date if tokens.status >= 200 else b"",
    )
