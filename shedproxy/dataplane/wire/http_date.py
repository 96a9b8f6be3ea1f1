"""The Date field (RFC 9110 6.6.1): of what the proxy answers itself, and of answers without one."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

__all__ = ["http_date"]


def http_date(seconds: float) -> bytes:
    """The instant, in seconds since the epoch, as an IMF-fixdate. Made once a second."""
    return _format(int(seconds))


@lru_cache(maxsize=2)
def _format(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")
