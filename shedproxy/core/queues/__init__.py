"""Where arrivals wait for a slot: strict priority, fairness between flows, bounded in every way."""

from shedproxy.core.queues.level import UNBOUNDED
from shedproxy.core.queues.priority import PriorityQueue

__all__ = ["UNBOUNDED", "PriorityQueue"]
