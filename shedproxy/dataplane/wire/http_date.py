"""The Date field (RFC 9110 6.6.1): of what the proxy answers itself, and of answers without one."""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache

__all__ = ["http_date", "is_http_date"]

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
_DATE = re.compile(
    _DAY + rb", [0-3][0-9] " + _MONTH + rb" [0-9]{4} " + _TIME + rb" GMT"
    rb"|[A-Z][a-z]{5,8}, [0-3][0-9]-" + _MONTH + rb"-[0-9]{2} " + _TIME + rb" GMT"
    rb"|" + _DAY + rb" " + _MONTH + rb" [ 1-3][0-9] " + _TIME + rb" [0-9]{4}"
)
"""The three forms of RFC 9110 5.6.7: IMF-fixdate, that of RFC 850, that of asctime."""


def http_date(seconds: float) -> bytes:
    """The instant, in seconds since the epoch, as an IMF-fixdate. Made once a second."""
    return _format(int(seconds))


def is_http_date(value: bytes) -> bool:
    """Whether a field value has the form of a date."""
    return _DATE.fullmatch(value) is not None


@lru_cache(maxsize=2)
def _format(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")
