"""Overload of a cell: when it has begun, how long the queue may be then, and who is not let in.

While demand is below capacity the queue is the buffer of bursts: long, and nobody is refused.
Overload begins when the waiters already there would take most of the longest wait (`BEGIN_SHARE`),
or the oldest have been passed by for so long while the queue swelled (`queues.swell`), because
refusals are then inevitable; with a short queue already where demand lasts that is above capacity
and not the flood of one of several tenants, or where the queue swells soon after the last overload
(`surge`). What the first ends of work say is not believed before somebody was waited for as long.
It ends when a row of arrivals met none. In between three rules hold:

1. **A short queue per level.** Overloaded by x = demand of the level and better ones over capacity,
   a queue needs only so many waiters that it hardly ever runs dry. In the diffusion limit a queue
   of length q is empty for about exp(-2 q (x - 1) / (ca^2 + cs^2)) of the time, hence

       q = theta (1 + cs^2) / (2 (x - 1))

   for Poisson arrivals (ca = 1) and service times of scatter cs^2. Demand is known as well as
   chance allows, and x is taken a standard deviation higher: in a queue too long all wait longer,
   and one too short is seen. While slots of the service are idle at such a load, as between bursts,
   q is stretched. A waiter leaves it after four times what it takes. A level with x below 1 keeps
   the long queue: its bursts are no overload, until they fill it.
2. **A cut.** Ranks below it are refused on arrival. Its share follows from two measured rates (feed
   forward), 1 - capacity / demand, so that it neither integrates nor swings, through the
   distribution of the ranks that really arrived (as in DAGOR and Cinnamon), with a fractional last
   rank. A task or user with a rank above it is served whole.
3. **An exception.** While fewer wait than would keep the slots busy, the cut refuses nobody:
   capacity is never idle because a rate was measured a moment too late.

A queue that is full gives up its lowest rank for a better one, so that what rule 2 lets in too much
falls on the ranks just above the cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from shedproxy.core.demand import LASTING_S, MEMORY_ENDS, PPM, Demand
from shedproxy.core.policy import ShedLevelPolicy
from shedproxy.core.queues import UNBOUNDED
from shedproxy.core.request import LEVELS
from shedproxy.core.surge import LOAD_MIN, Surge
from shedproxy.core.units import NS_PER_MS, NS_PER_S, Instant

__all__ = ["BEGIN_SHARE", "ShedLevel", "queue_needed"]

BEGIN_SHARE: Final = 0.75
"""Overload begins when the queue takes this share of the longest wait, or the oldest had it."""
_QUIET: Final = 64
"""Arrivals in a row without a refusal that end it, if demand is not clearly above capacity."""
_QUIET_LOAD: Final = 1.05
_THETA, _THETA_OF_EQUALS = 4.0, 3.5
"""An empty queue in exp(-theta) of the time: 1.8 %, of which the service's own queue hides most.
Where all are equals 3 %: else whoever comes then is served in the place of somebody better."""
_IDLE_SHARE: Final = 0.05
"""Slots may be idle for this part of the time; the queue is longer or shorter by the difference."""
_STRETCH_GAIN: Final = 0.5
"""By so much a period, as an exponent: idle for all of it makes it 1.6 times as long."""
_STRETCH_MAX: Final = 64.0
_LOAD_FULL: Final = 0.95
"""From this load on a level has the short queue."""
_WAITERS_MIN: Final = 2.0
_OWN_MIN: Final = 1.0
"""Of them in this queue, however many there are in the service's own."""
_LIMIT_SHARE: Final = 0.25
"""And at least this share of the limit: ends of work come in bunches."""
_RELAXED: Final = 0.75
"""With less than this share of what is needed waiting, nobody is refused by share or cut."""
_ROOMY, _ROOMY_OF_EQUALS = 0.75, 0.25
"""The cut keeps the queue near what is needed; above that there is room for its error, this share
of the slots, more for scattered service times: it costs a wait of about one service time. Where all
ask at one level, as one tenant, the error falls on equals, and less room makes waits shorter."""
_PATIENCE: Final = 4.0
"""A waiter of a short queue leaves after so many times what the queue takes at capacity: who is
passed by better ones for longer would be served late, in the place of somebody fresh."""
_SURPLUS: Final = 0.01
"""Let in by the cut beyond capacity."""
_SHARE_MAX: Final = 0.995
"""Never refuse everything: recovery must stay visible."""
_PERIOD_ENDS: Final = 32
_PERIOD_MIN_NS: Final = 2 * NS_PER_MS
_GOLDEN_PPM: Final = 618_034
"""Successive multiples of the golden ratio fill [0, 1) evenly: a fair coin without chance."""

_UNBOUNDED_LEVELS: Final = [UNBOUNDED] * LEVELS


def queue_needed(*, load: float, scatter: float, limit: int, is_of_equals: bool = False) -> float:
    """Waiters that keep the slots filled at an overload of `load` (demand over capacity).

    `scatter` is the squared coefficient of variation of service times, `limit` the slots. A load
    nearer to 1 than `LOAD_MIN` would ask for an endless queue.
    """
    theta = _THETA_OF_EQUALS if is_of_equals else _THETA
    needed = theta * (1.0 + scatter) / (2.0 * (max(LOAD_MIN, load) - 1.0))
    return max(needed, _WAITERS_MIN, limit * _LIMIT_SHARE)


class ShedLevel:
    """The state of overload. Its attributes are read on the hot path; `update` moves them."""

    __slots__ = (
        "_filled_at",
        "_phase",
        "_policy",
        "_refused_at",
        "_short_to",
        "_stretch",
        "_surge",
        "ahead_max",
        "begin_length",
        "busy_slots",
        "cut_rank",
        "cut_share_ppm",
        "demand",
        "due_at",
        "full_from",
        "is_overloaded",
        "is_shared",
        "largest_part",
        "relapse_length",
        "relaxed_below",
        "share",
        "turn_ns",
        "wait_max_ns",
    )

    def __init__(self, policy: ShedLevelPolicy, *, now: Instant) -> None:
        self._policy = policy
        self._phase = 0
        self._refused_at = 0
        """`demand.arrivals` when somebody was refused last."""
        self._stretch = 1.0
        """How much longer than for Poisson arrivals the queues are."""
        self._short_to = -1
        """The best level that has filled a long queue: it and worse ones exceed capacity."""
        self._filled_at = 0
        """`demand.arrivals` when it did so last."""
        self._surge = Surge(now=now)
        self.demand = Demand(now=now)
        self.is_overloaded = False
        self.is_shared = False
        """Several tenants ask: they are no equals."""
        self.largest_part = 1.0
        """None of them has a larger part of what is in the system."""
        self.busy_slots = 0
        """Of all workers, those that the service works on; the caller knows."""
        self.share = 0.0
        """Share of demand the cut refuses, 0..1."""
        self.cut_rank = 0
        self.cut_share_ppm = 0
        self.ahead_max: Sequence[int] = _UNBOUNDED_LEVELS
        """Per level: most waiters of it and better ones."""
        self.relaxed_below: Sequence[int] = _UNBOUNDED_LEVELS
        """Per level: with fewer of them waiting nobody is refused by share or cut."""
        self.wait_max_ns: Sequence[int] = _UNBOUNDED_LEVELS
        """Per level: the longest wait that is still worth while."""
        self.turn_ns = 0
        """What the longest of the short queues takes at capacity; 0: there is none."""
        self.begin_length = UNBOUNDED
        """Waiters at which overload begins."""
        self.relapse_length = UNBOUNDED
        """And those of a queue that swells."""
        self.full_from = 0
        """In flight, of all workers, from which on no slot of the service is idle, in overload."""
        self.due_at = Instant(now + _PERIOD_MIN_NS)
        """When `update` has something to do; a plain attribute, read for every request."""

    def apply(self, policy: ShedLevelPolicy) -> None:
        """Take a new policy; what was measured stays."""
        self._policy = policy
        if not policy.enabled:
            self._end()

    def on_refusal(self) -> None:
        """An arrival or a waiter was refused for want of capacity: overload goes on."""
        self._refused_at = self.demand.arrivals

    def refusal(self, rank: int) -> tuple[int, int, int, int] | None:
        """The numbers by which the cut refuses this rank, or None.

        The caller looks at `relaxed_below` first.
        """
        cut = self.cut_rank
        if rank > cut:
            return None
        if rank < cut:
            return (rank, cut, self.cut_share_ppm, 0)
        if not self.cut_share_ppm:
            return None
        self._phase = (self._phase + _GOLDEN_PPM) % PPM
        if self._phase < self.cut_share_ppm:
            return (rank, cut, self.cut_share_ppm, self._phase)
        return None

    def begin(self, *, limit: int, standing: float, scatter: float, wait_max_ns: int) -> None:
        """Refusals are inevitable from now on. Arguments are those of `update`."""
        if self._policy.enabled:
            self.is_overloaded = True
            self._surge.begin(self.demand.updated_at)
            # Of several tenants it may be one, from whom the long queue keeps the others meanwhile.
            if not self.is_shared:
                self.demand.recount()
            self.on_refusal()
            self._aim(limit, standing, scatter, wait_max_ns)

    def fill(
        self, level: int, *, limit: int, standing: float, scatter: float, wait_max_ns: int
    ) -> None:
        """Those of a level that seemed to be within capacity have filled its long queue.

        Rates are measured over a while, and what is asked of each level over longer: it is
        overloaded now, and has the short queue until rates must know. Other arguments are those of
        `update`.
        """
        self._short_to = max(self._short_to, level)
        self._filled_at = self.demand.arrivals
        self._aim(limit, standing, scatter, wait_max_ns)

    def update(
        self,
        *,
        limit: int,
        waiting: int,
        standing: float,
        scatter: float,
        wait_max_ns: int,
        now: Instant,
    ) -> None:
        """Close a period and move the level.

        Args:
            limit: slots now.
            waiting: slots that are waited for.
            standing: how many of them are held by work that waits inside the service.
            scatter: squared coefficient of variation of service times.
            wait_max_ns: the longest wait of the queue.
            now: the instant.
        """
        demand = self.demand
        asked = demand.asked
        demand.update(now, limit)
        capacity_rps, pace_rps = demand.capacity_rps, demand.pace_rps
        self.begin_length = self.relapse_length = UNBOUNDED
        # Of several tenants those above their share pay for a pace that is believed too early.
        is_known = self.is_shared or demand.is_known(wait_max_ns * BEGIN_SHARE)
        if pace_rps > 0 and is_known:
            length = int(pace_rps * wait_max_ns * BEGIN_SHARE / NS_PER_S)
            short = math.ceil(queue_needed(load=LOAD_MIN, scatter=scatter, limit=limit))
            surge = self._surge
            surge.add(asked, waiting=waiting, pace_rps=pace_rps, limit=limit, now=now)
            if surge.lasts and not self.is_overloaded and self._is_of_many(pace_rps):
                length = min(length, short)
            if surge.is_wary(now):
                self.relapse_length = short
            self.begin_length = max(2, length)
        # Until somebody has waited there is nothing to follow closely.
        rate = capacity_rps or demand.offered_rps
        period_ns = int(_PERIOD_ENDS * NS_PER_S / rate) if rate > 0 else 0
        period_ns = min(max(_PERIOD_MIN_NS, period_ns), self._policy.period_ns)
        self.due_at = Instant(now + period_ns)
        if not self.is_overloaded:
            return
        quiet = demand.arrivals - self._refused_at
        # Capacity that was measured before, with fewer slots say, is no reason to go on where
        # nobody had to wait for as long as demand is remembered.
        is_served = demand.arrivals - demand.waited_at >= MEMORY_ENDS
        if quiet >= _QUIET and (demand.offered_rps < _QUIET_LOAD * capacity_rps or is_served):
            self._end()
        else:
            if demand.arrivals - self._filled_at >= MEMORY_ENDS:
                self._short_to = -1
            if not self.is_shared:
                demand.recount(LASTING_S)  # at the beginning there may have been too few to count
            self._fit_to_bursts()
            self._aim(limit, standing, scatter, wait_max_ns)

    def _is_of_many(self, pace_rps: float) -> bool:
        """Whether it were overload without the largest tenant too, or all ask as one.

        Of several tenants one may ask for all of it. The long queue keeps it from the others, as
        they take turns there; a short one is full of it.
        """
        others_rps = self.demand.offered_rps * (1.0 - self.largest_part)
        return not self.is_shared or others_rps > LOAD_MIN * pace_rps

    def _fit_to_bursts(self) -> None:
        """Stretch the queues while slots are idle although more than enough is asked for."""
        demand = self.demand
        idle = 0.0
        if demand.offered_rps > LOAD_MIN * demand.capacity_rps:
            idle = demand.starved_share
        # What a longer queue does is seen some ends of work later.
        ends = min(1.0, demand.period_s * demand.capacity_rps / _PERIOD_ENDS)
        stretch = self._stretch * math.exp(_STRETCH_GAIN * ends * (idle - _IDLE_SHARE))
        self._stretch = min(_STRETCH_MAX, max(1.0, stretch))

    def _end(self) -> None:
        if self.is_overloaded:
            self._surge.end(self.demand.updated_at)
        self.is_overloaded = False
        self._short_to = -1
        self.share = 0.0
        self._stretch = 1.0
        self.cut_rank = self.cut_share_ppm = self.full_from = 0
        self.ahead_max = self.relaxed_below = self.wait_max_ns = _UNBOUNDED_LEVELS
        self.turn_ns = 0

    def _aim(self, limit: int, standing: float, scatter: float, wait_max_ns: int) -> None:
        demand = self.demand
        by_level = demand.by_level()
        capacity_rps, offered_rps = demand.capacity_rps, demand.offered_rps
        load, longest = 2.0, math.inf
        if capacity_rps > 0:
            load = offered_rps / capacity_rps
            longest = capacity_rps * wait_max_ns / NS_PER_S
        is_mixed = self.is_shared or LEVELS - by_level.count(0) > 1
        roomy = limit * (_ROOMY if is_mixed else _ROOMY_OF_EQUALS) * (1.0 + scatter)
        # Equals may as well wait inside the service; there nobody better can pass them. The more
        # its times scatter, the less is known of how many do.
        spared = 0.0 if is_mixed else standing * max(0.0, 1.0 - scatter)
        self.full_from = self.busy_slots
        ahead_max, relaxed_below = list(_UNBOUNDED_LEVELS), list(_UNBOUNDED_LEVELS)
        longest_ns = list(_UNBOUNDED_LEVELS)
        self.turn_ns = 0
        load_per_slot = load / (sum(by_level) or 1)
        surely = 1.0 + demand.offered_error
        asked = 0
        for level in reversed(range(LEVELS)):
            asked += by_level[level]
            load_from = load_per_slot * asked
            if load_from >= _LOAD_FULL or level <= self._short_to:
                total = queue_needed(
                    load=load_from * surely, scatter=scatter, limit=limit, is_of_equals=not is_mixed
                )
                needed = max(_OWN_MIN, min(total * self._stretch - spared, longest))
                relaxed_below[level] = math.ceil(needed * _RELAXED)
                most = max(needed, min(roomy - spared, longest))
                ahead_max[level] = math.ceil(most) if is_mixed else round(most)
                if capacity_rps > 0:
                    turn_ns = int((ahead_max[level] + spared) * NS_PER_S / capacity_rps)
                    self.turn_ns = max(self.turn_ns, turn_ns)
                    longest_ns[level] = int(turn_ns * _PATIENCE)
        self.ahead_max, self.relaxed_below = ahead_max, relaxed_below
        self.wait_max_ns = longest_ns
        refused = 0.0
        if capacity_rps > 0 and offered_rps > 0:
            refused = 1.0 - (1.0 + _SURPLUS) * capacity_rps / offered_rps
        self.share = min(_SHARE_MAX, max(0.0, refused))
        self.cut_rank, self.cut_share_ppm = 0, 0
        if self.share:
            self.cut_rank, self.cut_share_ppm = demand.cut(self.share, by_level)
