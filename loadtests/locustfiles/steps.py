"""Ten levels of load, half a minute each: what `shedproxy report --from` fits a curve to.

locust -f loadtests/locustfiles/steps.py --headless --csv run --csv-full-history --host http://127.0.0.1:8000
"""

from __future__ import annotations

from open_loop import StepShape
from service import Critical, Sheddable, SheddablePlus

__all__ = ["Critical", "Sheddable", "SheddablePlus", "Steps"]


class Steps(StepShape):
    """See `open_loop`."""

    levels = (10, 20, 40, 60, 80, 100, 120, 140, 160, 180)
