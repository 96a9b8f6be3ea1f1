"""A head that differs from the one before it where that differed too: read by what is between.

Of the heads of one client mostly the same lines differ: the first, and those that name the request
(a trace, an id). Everything else is the same bytes in the same place. Once that was seen twice, a
head is compared with those bytes, and only what lies between them is read.

It says what the reading line by line says: the bytes are whole lines with their ends, as they were
read before, and what lies between them has no line's end in it (`TARGET_BYTES`, `VALUE_BYTES`), so
that it is one line each.
"""

from __future__ import annotations

from typing import Final

from shedproxy.dataplane.wire.framing import RequestFraming
from shedproxy.dataplane.wire.plain_heads import target_after
from shedproxy.dataplane.wire.tokens import PlainLines, RequestTokens

__all__ = ["NOT_ALIKE", "RequestShape", "differing_fields", "shape_of"]

NOT_ALIKE: Final = -1
"""Of two heads, more differs than a shape is worth."""
_DIFFERING_MAX: Final = 4
"""Fields that may differ: what is between them has to be worth comparing."""
_PLACES_MAX: Final = 60
"""Compiled, a number of more bits is an object of its own."""
_LINE_END: Final = b"\r\n"


def differing_fields(before: PlainLines, lines: PlainLines) -> int:
    """Which fields are not the lines that they were in the head before, a bit for each; or
    `NOT_ALIKE`.
    """
    fields, known = lines.fields, before.fields
    count = len(fields)
    if count != len(known) or count > _PLACES_MAX:
        return NOT_ALIKE
    found, left = 0, _DIFFERING_MAX
    for place in range(count):
        # A line that is repeated was found to be the very field.
        if fields[place] is not known[place]:
            found |= 1 << place
            left -= 1
            if left < 0:
                return NOT_ALIKE
    return found


def shape_of(lines: PlainLines, differing: int) -> RequestShape | None:
    """What heads are like that differ from this one in their first line and in these fields.

    None where a field that differs has to be looked at beside others.
    """
    between: list[bytes] = []
    places: list[int] = []
    told: list[int] = []
    found: dict[bytes, bytes] = {}
    told_names: set[bytes] = set()
    run = [b""]
    for place, field in enumerate(lines.fields):
        name, value = field.pair
        differs = bool(differing >> place & 1)
        if field.said:
            if name in told_names or (differs and name in found):
                return None  # which of the two counts is not told by the name
            if differs:
                told_names.add(name)
                told.append(place)
            else:
                found.setdefault(name, value)
        if not differs:
            run.append(field.raw)
            continue
        if not field.has_likes:
            return None
        run.append(b"")
        between.append(_LINE_END.join(run))
        places.append(place)
        run = [b""]
    end = _LINE_END.join(run) + b"\r\n\r\n"
    return RequestShape(between, end, places, told, found)


class RequestShape:
    """What the heads of a client have in common, and where they differ."""

    __slots__ = ("_between", "_end", "_found", "_places", "_told", "uses")

    def __init__(
        self,
        between: list[bytes],
        end: bytes,
        places: list[int],
        told: list[int],
        found: dict[bytes, bytes],
    ) -> None:
        self._between = between
        """What stands before each field that differs, from the one before it (or the first line)
        on, with the ends of lines around it."""
        self._end = end
        """What stands behind the last of them."""
        self._places = places
        self._told = told
        """Those of the places that a classifier reads."""
        self._found = found
        """What it reads of the others."""
        self.uses = 0
        """Heads that were read by it."""

    def read(
        self, head: bytes, before: tuple[RequestTokens, RequestFraming], target_size_max: int
    ) -> tuple[RequestTokens, RequestFraming] | None:
        """The reading of a head, where the one `before` it was of this shape; None: this is not."""
        tokens, framing = before
        lines = tokens.lines
        end = self._end
        if lines is None or not head.endswith(end):
            return None
        fields = lines.fields
        places = self._places
        stop = len(head) - len(end)
        if places:
            fields = fields.copy()
            for index in range(len(places) - 1, -1, -1):
                place, between = places[index], self._between[index]
                known = fields[place]
                begin = stop - len(known.raw)  # mostly it is as long as it was
                at = begin - len(between)
                if at < 0 or head[at:begin] != between:
                    begin = head.rfind(_LINE_END, 0, stop) + 2
                    at = begin - len(between)
                    if at < 0 or head[at:begin] != between:
                        return None
                field = known.like(head[begin:stop])
                if field is None:
                    return None
                fields[place] = field
                stop = at
        rest = head[:stop]
        method = tokens.method
        target = target_after(method, rest)
        if not target or len(target) > target_size_max:
            return None
        found = tokens.found
        if self._told:
            found = self._found.copy() if self._found else {}
            for place in self._told:
                name, value = fields[place].pair
                found[name] = value
        self.uses += 1
        read = PlainLines(rest, fields, lines.is_special)
        return (
            RequestTokens(method, target, 1, None, read, tokens.said, found),
            _framing_of(framing, target),
        )


def _framing_of(framing: RequestFraming, path: bytes) -> RequestFraming:
    """What the head before it meant, of another path."""
    return RequestFraming(
        framing.body,
        framing.length,
        True,
        False,
        b"",
        framing.host,
        path,
        framing.connection_names,
        False,
    )
