"""What traffic is, pure: arrivals, mixes, results. One language for simulated and live load."""

from shedproxy.workload.arrivals import RandomSource, constant_arrivals, poisson_arrivals
from shedproxy.workload.mix import Mix, drawing_by_weight
from shedproxy.workload.results import ClassSummary, Row, Summary, summarise
from shedproxy.workload.station import StationSchedule

__all__ = [
    "ClassSummary",
    "Mix",
    "RandomSource",
    "Row",
    "StationSchedule",
    "Summary",
    "constant_arrivals",
    "drawing_by_weight",
    "poisson_arrivals",
    "summarise",
]
