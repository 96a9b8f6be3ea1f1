"""Looks for the most that keeps an objective: `p99` within 250 ms, at most 0.5 % errors.

    locust -f loadtests/locustfiles/search.py --headless --host http://127.0.0.1:8000

It prints the last level that was good and the first that was bad, in users of 1 request/s.
`shedproxy calibrate` measures the same with an interval, and writes it down.
"""

from __future__ import annotations

from open_loop import SearchShape
from service import Critical, Sheddable, SheddablePlus

__all__ = ["Critical", "Search", "Sheddable", "SheddablePlus"]


class Search(SearchShape):
    """See `open_loop`."""
