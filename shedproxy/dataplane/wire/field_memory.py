"""Field lines as they were understood before: most lines of most heads have been seen lately.

Of a client that asks again a line or two differ (a trace, a length), and clients resemble each
other. So a head is not read byte by byte but line by line, and a line that was read before costs a
look-up. What is learnt of a line depends on the line and the configuration alone; one that has to
be seen beside others (`CAREFUL`) sends its whole head the careful way.

The memory is bounded: so many lines, of at most so many bytes, in two generations. A line is kept
when it comes a second time: most that differ never do, and would only push others out. Credentials
are never kept: they belong to one client, and are no business of this process once it is answered.

A line that differs from that of the head before mostly differs in its value, and what most fields
are is said by their names alone: then only the value has to be looked at (`Field.like`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shedproxy.compiling import mypyc_attr
from shedproxy.dataplane.recent import Marks
from shedproxy.dataplane.wire import field_table
from shedproxy.dataplane.wire.field_table import RESPONSE_ACTIONS, UNKNOWN
from shedproxy.dataplane.wire.framing import is_authority, plain_length
from shedproxy.dataplane.wire.grammar import FIELD_LINE, PLAIN_STATUS_LINE, VALUE_BYTES

__all__ = [
    "CAREFUL",
    "CHUNKED",
    "DATED",
    "HOST",
    "LENGTH",
    "LINES_MAX",
    "LINE_SIZE_MAX",
    "ORDINARY",
    "OWN_PREFIXES",
    "PERSISTENT",
    "SECRETS",
    "SILENT",
    "SPECIAL",
    "AnswerFields",
    "Field",
    "FieldMemory",
    "RequestFields",
    "StatusLine",
]

ORDINARY: Final = 0
"""Goes on as it is."""
SILENT: Final = 1
"""Ends here, and means nothing for the rest of the head."""
HOST: Final = 2
"""A Host that names one host."""
LENGTH: Final = 3
"""A Content-Length that is one plain number."""
PERSISTENT: Final = 4
"""`Connection: keep-alive`, and nothing else in it."""
SPECIAL: Final = 5
"""Framing does not hang on it, but what becomes of it is decided with others."""
DATED: Final = 6
"""The Date of an answer: goes on as it is."""
CHUNKED: Final = 7
"""`Transfer-Encoding: chunked` of an answer, and nothing else in it."""
CAREFUL: Final = 8
"""The head has to be read the careful way."""

_SPACE: Final = ord(" ")
_BY_NAME: Final = (ORDINARY, SILENT, SPECIAL, DATED)
"""What a field is by its name, whatever its value; but for an answer's Content-Type."""

LINES_MAX: Final = 1024
"""Lines in a generation; there are two."""
LINE_SIZE_MAX: Final = 256
"""Longer lines are read anew each time."""
SECRETS = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))
"""Fields that HTTP has for credentials (RFC 9110 11, RFC 6265): read anew each time."""
OWN_PREFIXES = (b"shedproxy-", b"proxy-")
"""Names that nobody else's fields may have."""

_FRAMING_NAMES = frozenset(
    (b"connection", b"expect", b"max-forwards", b"te", b"transfer-encoding", b"upgrade")
)


@mypyc_attr(acyclic=True, free_list_len=1)
class Field:
    """One field line."""

    __slots__ = ("_line", "_start", "code", "length", "pair", "raw", "said")

    def __init__(
        self,
        raw: bytes,
        pair: tuple[bytes, bytes],
        code: int,
        said: int,
        length: int,
        start: bytes = b"",
    ) -> None:
        self.raw = raw
        """The line it was read from."""
        self.pair = pair
        """The lower-case name, and the value without blanks around it."""
        self.code = code
        self.said = said
        """Of a request: what the classifier reads it for, as its bits."""
        self.length = length
        """Of a LENGTH: the number."""
        self._start = start
        """The name and the colon, of one whose value says nothing but itself; else empty."""
        self._line = b""

    @property
    def line(self) -> bytes:
        """As it goes on, behind the end of the line before it. Most of who is refused never do."""
        if not self._line:
            name, value = self.pair
            self._line = b"".join((b"\r\n", name, b": ", value))
        return self._line

    @property
    def has_likes(self) -> bool:
        """Whether its name alone says what it is, so that `like` has an answer."""
        return bool(self._start)

    def like(self, line: bytes) -> Field | None:
        """The field of a line of the same name; None where that has to be looked at as a whole."""
        start = self._start
        if not start or not line.startswith(start):
            return None
        size = len(start)
        value = line[size + 1 :]
        if not value or line[size] != _SPACE or value[0] <= _SPACE or value[-1] <= _SPACE:
            value = line[size:].strip(b" \t")  # nearly all have one blank before it, and no other
        if value.translate(VALUE_BYTES) != value:
            return None
        return Field(line, (self.pair[0], value), self.code, self.said, self.length, start)


class StatusLine:
    """The first line of a usual answer: HTTP/1.1, not interim, and neither 204 nor 304 nor 426."""

    __slots__ = ("line", "reason", "status")

    def __init__(self, status: int, reason: bytes) -> None:
        self.status = status
        self.reason = reason
        self.line = b"HTTP/1.1 %d %b" % (status, reason)


class FieldMemory:
    """What lines were found to be. `find` is what it is for."""

    __slots__ = ("_marks", "_older", "_recent")

    def __init__(self) -> None:
        self._recent: dict[bytes, Field] = {}
        self._older: dict[bytes, Field] = {}
        self._marks = Marks()

    def find(self, line: bytes) -> Field | None:
        """The field of a line (without its end); None where it is none by the grammar."""
        field = self._recent.get(line)
        if field is None:
            field = self._look_up(line)
        return field

    def _look_up(self, line: bytes) -> Field | None:
        field = self._older.get(line)
        if field is None:
            match = FIELD_LINE.fullmatch(line)
            if match is None:
                return None
            name, value = match.groups()
            field = self._understand(line, name.lower(), value.rstrip(b" \t"))
            if len(line) > LINE_SIZE_MAX:
                return field
            if field.pair[0] in SECRETS or not self._marks.knows(line):
                return field
        if len(self._recent) >= LINES_MAX:
            self._older, self._recent = self._recent, {}
        self._recent[line] = field
        return field

    def _understand(self, line: bytes, name: bytes, value: bytes) -> Field:
        raise NotImplementedError


class RequestFields(FieldMemory):
    """Of requests, by one configuration.

    Args:
        actions: what becomes of fields, by name; `field_table` has the codes.
        wanted: what the classifier reads fields for, by name, as bits.
    """

    __slots__ = ("_actions", "_wanted")

    def __init__(self, actions: Mapping[bytes, int], wanted: Mapping[bytes, int]) -> None:
        super().__init__()
        self._actions = dict(actions)
        self._wanted = dict(wanted)

    def wants(self, name: bytes) -> bool:
        """Whether the classifier reads fields of this name, in lower case."""
        return name in self._wanted

    def _understand(self, line: bytes, name: bytes, value: bytes) -> Field:
        length = plain_length(value) if name == b"content-length" else -1
        code = self._code(name, value, length)
        start = line[: len(name) + 1] if code in _BY_NAME else b""
        return Field(line, (name, value), code, self._wanted.get(name, 0), length, start)

    def _code(self, name: bytes, value: bytes, length: int) -> int:
        if name == b"host":
            return HOST if is_authority(value) else CAREFUL
        if name == b"content-length":
            return LENGTH if length >= 0 else CAREFUL
        if name == b"connection" and value.lower() == b"keep-alive":
            return PERSISTENT
        if name in _FRAMING_NAMES:
            return CAREFUL
        action = self._actions.get(name, UNKNOWN)
        if action == UNKNOWN:
            return SILENT if b"_" in name or name.startswith(OWN_PREFIXES) else ORDINARY
        if action == field_table.PASS:
            return ORDINARY
        return SILENT if action == field_table.DROP else SPECIAL


class AnswerFields(FieldMemory):
    """Of answers, and their first lines."""

    __slots__ = ("_statuses",)

    def __init__(self) -> None:
        super().__init__()
        self._statuses: dict[bytes, StatusLine | None] = {}

    def find_status(self, line: bytes) -> StatusLine | None:
        """The first line of an answer; None where the head has to be read the careful way."""
        if line in self._statuses:
            return self._statuses[line]
        status = None
        match = PLAIN_STATUS_LINE.fullmatch(line)
        if match is not None:
            code = int(match[1])
            status = None if code in {204, 304, 426} else StatusLine(code, match[2])
        if len(line) <= LINE_SIZE_MAX:
            if len(self._statuses) >= LINES_MAX:
                self._statuses.clear()
            self._statuses[line] = status
        return status

    def _understand(self, line: bytes, name: bytes, value: bytes) -> Field:
        length = plain_length(value) if name == b"content-length" else -1
        code = self._code(name, value, length)
        is_by_name = code in _BY_NAME and name != b"content-type"
        start = line[: len(name) + 1] if is_by_name else b""
        return Field(line, (name, value), code, 0, length, start)

    def _code(self, name: bytes, value: bytes, length: int) -> int:
        if name == b"content-length":
            return LENGTH if length >= 0 else CAREFUL
        if name == b"connection":
            return PERSISTENT if value.lower() == b"keep-alive" else CAREFUL
        if name == b"transfer-encoding":
            return CHUNKED if value.lower() == b"chunked" else CAREFUL
        if name == b"content-type":
            return CAREFUL if value[:17].lower() == b"text/event-stream" else ORDINARY
        action = RESPONSE_ACTIONS.get(name, UNKNOWN)
        if action == UNKNOWN:
            return SILENT if name.startswith(OWN_PREFIXES) else ORDINARY
        if action == field_table.PASS:
            return ORDINARY
        if action == field_table.DATE:
            return DATED
        return SILENT if action == field_table.DROP else CAREFUL
