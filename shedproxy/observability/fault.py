"""Everything that can go wrong with one exchange that is not a refusal. The closed set.

A fault has one word for metrics and logs and one HTTP status. Several faults share a status: the
status is for the client, the label is for the operator.
"""

from __future__ import annotations

import enum

__all__ = ["Fault"]


class Fault(enum.IntEnum):
    """Why an exchange failed. The value is a slot number in the metrics: append, never reorder."""

    BAD_REQUEST = 0
    """The head or the chunked framing of the request is not HTTP/1.1 as we accept it."""
    HEAD_TIMEOUT = 1
    """The head was not complete in time."""
    BODY_TIMEOUT = 2
    """No byte of the body came in time."""
    LENGTH_REQUIRED = 3
    BODY_TOO_LARGE = 4
    TARGET_TOO_LONG = 5
    EXPECTATION = 6
    """An Expect other than 100-continue."""
    HEAD_TOO_LARGE = 7
    """Too many bytes or too many fields."""
    METHOD = 8
    """A method or a transfer coding that is not implemented."""
    VERSION = 9
    """Neither HTTP/1.1 nor HTTP/1.0."""
    UPSTREAM_CONNECT = 10
    """Refused, unreachable, or the TLS handshake failed."""
    UPSTREAM_CONNECT_TIMEOUT = 11
    UPSTREAM_CLOSED = 12
    """Closed or reset before its answer was complete."""
    UPSTREAM_BAD_RESPONSE = 13
    """The answer is not HTTP/1.1 as we accept it."""
    UPSTREAM_TIMEOUT = 14
    """No answer head, or no further byte of the answer, in time."""
    CLIENT_GONE = 15
    """The client left before the answer was complete; nobody reads the status."""
    SLOW_CLIENT = 16
    """The client sent its body below the minimum rate or did not read the answer; or it did either
    more slowly than it has to while others wait for its slot."""
    INTERNAL = 17
    """A defect of ours; logged with its traceback."""
    METHOD_NOT_ALLOWED = 18
    """CONNECT or TRACE."""

    @property
    def label(self) -> str:
        """The word used in logs and metrics."""
        return _LABELS[self]

    @property
    def status(self) -> int:
        """The HTTP status of the answer, or of the log line when nobody is left to answer."""
        return _STATUSES[self]

    @property
    def is_over_limit(self) -> bool:
        """Whether the request was more, or slower, than settings allow."""
        return self.status in _OVER_LIMIT


_STATUSES = (
    400,
    408,
    408,
    411,
    413,
    414,
    417,
    431,
    501,
    505,
    502,
    504,
    502,
    502,
    504,
    499,
    408,
    500,
    405,
)
_OVER_LIMIT = frozenset((408, 411, 413, 414, 417, 431))
_LABELS = tuple(member.name.lower() for member in Fault)
