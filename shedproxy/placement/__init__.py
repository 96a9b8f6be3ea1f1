"""Who is placed where, pure: tenants in cells, cells in tables, hands of upstreams, moves, zones.

What lives here decides nothing about a request: it makes what requests are decided by, and says no
to what would not hold. What may not: clocks, loops, sockets, files, chance, logs.
"""

from shedproxy.placement.buckets import rebalance, spread_buckets

__all__ = ["rebalance", "spread_buckets"]
