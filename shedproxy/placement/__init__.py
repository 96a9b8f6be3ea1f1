"""Who is placed where, pure: tenants in cells, cells in tables, hands of upstreams, moves, zones.

What lives here decides nothing about a request: it makes what requests are decided by, and says no
to what would not hold. What may not: clocks, loops, sockets, files, chance, logs.
"""

from shedproxy.placement.bounded_hands import BoundedHands, NoHandError
from shedproxy.placement.buckets import rebalance, spread_buckets
from shedproxy.placement.headroom import ZoneHeadroom, zone_headroom
from shedproxy.placement.overlap import Lattice, overlap_law, tenants_max
from shedproxy.placement.shard_plan import ShardPlan, plan_shards

__all__ = [
    "BoundedHands",
    "Lattice",
    "NoHandError",
    "ShardPlan",
    "ZoneHeadroom",
    "overlap_law",
    "plan_shards",
    "rebalance",
    "spread_buckets",
    "tenants_max",
    "zone_headroom",
]
