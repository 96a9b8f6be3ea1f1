"""Watches the hosts of all cells: counts and checks in, deeds and weights out. Pure; time is told.

It keeps what a step of `core/ejection` needs to know: windows of counts, since when a host is bad,
out or back, and what it has answered since. Only the ledger outlives the process. A step changes
nothing until its ledger is committed, so that the owner can make it safe first; one that
cannot be kept is proposed again with the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from shedproxy.core.ejection import Act, CellFacts, Deed, HostFacts, decide
from shedproxy.core.magazine import (
    Bullet,
    BulletState,
    Errand,
    Ledger,
    OutlierReason,
    domains_of,
    needed_hosts,
)
from shedproxy.core.outlier import OutlierPolicy, Tally, is_correlated, judge
from shedproxy.core.units import Instant, Nanos

__all__ = ["FULL_WEIGHT", "CellInput", "Ejector", "HostInput"]

FULL_WEIGHT: Final = 1000
"""The weight of a host that takes its whole part; 0: none."""
_FIRST_WEIGHT: Final = FULL_WEIGHT // 10
_SURE_COUNT: Final = 2
"""Judgements in a row that make it sure."""
_DOUBLINGS: Final = 3
_MOST: Final = 0.5
"""Share of failures that is believed of few requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInput:
    """A host as all workers together see it."""

    host: str
    zone: str = ""
    total: Tally = field(default_factory=Tally)
    """Since it was first seen; never falls."""
    is_reachable: bool = True
    """Some worker can use it, or nobody has tried."""
    check: bool | None = None
    """What its health check says; None: nothing yet, or there is none."""
    is_drained: bool = False
    """Somebody took it out by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellInput:
    """A cell now."""

    cell: str
    hosts: tuple[HostInput, ...]
    policy: OutlierPolicy = field(default_factory=OutlierPolicy)
    is_enabled: bool = True
    """Nobody is taken out where it is not, whatever the policy says."""
    demand_rps: float = 0.0
    """Offered, whether refused or not."""
    host_capacity_rps: float = 0.0
    """What one host does; 0: nobody knows."""
    replace_ns: Nanos | None = None
    """How long another host may take to come when asked for; None: nobody can be asked."""


class _Watch:
    """What is remembered of one host."""

    __slots__ = (
        "answered_from",
        "back_at",
        "bad_count",
        "bad_since",
        "is_check",
        "out_at",
        "outs",
        "proven_from",
        "reason",
        "ticks",
        "unreachable_at",
    )

    def __init__(self, now: Instant) -> None:
        self.ticks: deque[tuple[Instant, Tally]] = deque()
        self.reason: OutlierReason | None = None
        """Sure."""
        self.bad_count = 0
        self.bad_since: Instant | None = None
        """When the present badness began, or the last one."""
        self.is_check = False
        """It was the check that found it."""
        self.unreachable_at: Instant | None = None
        self.out_at: Instant | None = None
        self.back_at: Instant | None = None
        self.outs = 0
        self.proven_from = now
        """From then on it has been good and under its whole load."""
        self.answered_from = 0

    def window(self, now: Instant, total: Tally, window_ns: Nanos) -> Tally:
        """What was done since the window began."""
        ticks = self.ticks
        ticks.append((now, total))
        while len(ticks) > 1 and ticks[1][0] <= now - window_ns:
            ticks.popleft()
        return _since(ticks[0][1], total)

    def lately(self, requests_min: int) -> Tally:
        """What was done last, as soon as that is so many requests."""
        total = self.ticks[-1][1]
        for _, begin in reversed(self.ticks):
            if total.requests - begin.requests >= requests_min:
                return _since(begin, total)
        return Tally()

    def forget(self) -> None:
        """What it did before says nothing of it now."""
        self.ticks.clear()
        self.bad_count = 0


def _since(begin: Tally, total: Tally) -> Tally:
    return Tally(
        total.requests - begin.requests,
        total.failed - begin.failed,
        total.timed - begin.timed,
        total.log2_sum - begin.log2_sum,
    )


class Ejector:
    """All cells of one proxy.

    Args:
        ledger: what a predecessor kept.
        now: the start, since when no bullet was given back.
    """

    def __init__(self, ledger: Ledger | None = None, *, now: Instant) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.facts: list[CellFacts] = []
        """Of the last step, to be shown."""
        self._started_at = now
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._frozen_until: dict[str, Instant] = {}
        self._reloaded_at: dict[str, Instant] = {}

    # --- a step -----------------------------------------------------------------------------

    def step(self, now: Instant, cells: Sequence[CellInput]) -> tuple[Ledger, list[Deed]]:
        """Look at everything; the ledger to be made safe and then committed, and what to do then.

        To be called about once a second.
        """
        self.facts = facts = [self._cell_facts(now, cell) for cell in cells]
        present = {(cell.cell, host.host) for cell in cells for host in cell.hosts}
        for key in self._watches.keys() - present:
            del self._watches[key]
        return decide(self.ledger, facts, reloadable=self._reloadable(now, cells))

    def commit(self, now: Instant, ledger: Ledger, deeds: Sequence[Deed]) -> None:
        """The ledger is safe: it is the one in force."""
        self.ledger = ledger
        for deed in deeds:
            watch = self._watches.get((deed.cell, deed.host))
            bullet = deed.bullet
            if deed.act is Act.RELOAD and bullet is not None:
                for domain in domains_of(bullet.cell, bullet.zone):
                    self._reloaded_at[domain] = now
            if watch is None:
                continue
            if deed.act is Act.EJECT:
                watch.out_at, watch.back_at = now, None
                watch.outs += 1
                watch.forget()
            elif deed.act is Act.RETURN:
                self._put_back(watch, now)
            elif deed.act is Act.FAIL_OPEN or (
                # Forgiven while it was out: it is back, and may be found bad again.
                deed.act is Act.RELOAD and watch.out_at is not None
            ):
                # Nothing was wrong with it: it need not begin with little.
                self._put_back(watch, Instant(0))
        for held in ledger.bullets:
            found = self._watches.get((held.cell, held.host))
            if found is not None and held.state is BulletState.BACK and found.back_at is None:
                found.back_at = now  # it is configured again, which is no deed

    @staticmethod
    def _put_back(watch: _Watch, since: Instant) -> None:
        watch.out_at, watch.back_at = None, since
        watch.reason = None
        watch.forget()

    # --- read-outs --------------------------------------------------------------------------

    def is_frozen(self, cell: str, now: Instant) -> bool:
        """Whether too much was bad at once, so that nothing is done."""
        return now < self._frozen_until.get(cell, now)

    def reason(self, cell: str, host: str) -> OutlierReason | None:
        """Why a host is bad now."""
        watch = self._watches.get((cell, host))
        return None if watch is None else watch.reason

    def out_at(self, cell: str, host: str) -> Instant | None:
        """Since when it has been out, as far as this process knows."""
        watch = self._watches.get((cell, host))
        return None if watch is None else watch.out_at

    def weight(self, cell: str, host: str, now: Instant, ramp_ns: Nanos) -> int:
        """The part that a host is to take now, of `FULL_WEIGHT`."""
        bullet = self.ledger.bullet_of(cell, host)
        if bullet is None:
            return FULL_WEIGHT
        if bullet.state is BulletState.OUT:
            return 0
        watch = self._watches.get((cell, host))
        back_at = None if watch is None else watch.back_at
        if back_at is None:
            return _FIRST_WEIGHT
        if now - back_at >= ramp_ns:
            return FULL_WEIGHT
        return _FIRST_WEIGHT + (FULL_WEIGHT - _FIRST_WEIGHT) * (now - back_at) // ramp_ns

    def overdue(self, now: Instant, replace_ns: Mapping[str, Nanos]) -> list[Bullet]:
        """Bullets whose new host was asked for and has not come in the time of the cell."""
        return [
            bullet
            for bullet in self.ledger.bullets
            if bullet.errand is Errand.ASKED
            and not bullet.newcomer
            and bullet.cell in replace_ns
            and self._has_waited(bullet, now, replace_ns[bullet.cell])
        ]

    # --- facts ------------------------------------------------------------------------------

    def _cell_facts(self, now: Instant, cell: CellInput) -> CellFacts:
        policy = cell.policy
        watches = [self._watch(now, cell.cell, host.host) for host in cell.hosts]
        windows = [
            watch.window(now, host.total, policy.window_ns)
            for watch, host in zip(watches, cell.hosts, strict=True)
        ]
        # What was good before should not hide for a whole window that most of it fails now.
        lately = [watch.lately(policy.requests_min) for watch in watches]
        quick = replace(policy, failures_above=_MOST, slower_than=0.0)
        found = zip(judge(windows, policy), judge(lately, quick), strict=True)
        for watch, host, (usual, sudden) in zip(watches, cell.hosts, found, strict=True):
            self._look(now, watch, host, sudden if usual is None else usual, policy)
        self._look_for_correlation(now, cell, watches)
        needed = bare = None
        if cell.host_capacity_rps > 0:
            needed = needed_hosts(cell.demand_rps, cell.host_capacity_rps, policy.headroom)
            bare = needed_hosts(cell.demand_rps, cell.host_capacity_rps, 0.0)
        return CellFacts(
            cell=cell.cell,
            hosts=tuple(
                self._host_facts(now, cell, host, watch)
                for host, watch in zip(cell.hosts, watches, strict=True)
            ),
            needed=needed,
            needed_without_zone=bare if policy.keeps_zone else None,
            share_max=policy.share_max,
            is_frozen=not (policy.enabled and cell.is_enabled) or self.is_frozen(cell.cell, now),
            replaces=cell.replace_ns is not None,
        )

    def _watch(self, now: Instant, cell: str, host: str) -> _Watch:
        watch = self._watches.get((cell, host))
        if watch is None:
            watch = self._watches[cell, host] = _Watch(now)
            bullet = self.ledger.bullet_of(cell, host)
            if bullet is not None and bullet.state is BulletState.OUT:
                watch.out_at, watch.outs = now, 1
            elif bullet is not None:
                watch.back_at = now
        return watch

    @staticmethod
    def _look(
        now: Instant,
        watch: _Watch,
        host: HostInput,
        found: OutlierReason | None,
        policy: OutlierPolicy,
    ) -> None:
        """Bring up to date whether a host is bad; counts have to say it twice."""
        if host.is_reachable:
            watch.unreachable_at = None
        elif watch.unreachable_at is None:
            watch.unreachable_at = now
        if host.check is False:
            found = OutlierReason.CHECK
        elif watch.out_at is not None:
            found = None
        lost_at = watch.unreachable_at
        if lost_at is not None and now - lost_at >= policy.unreachable_ns:
            found = OutlierReason.UNREACHABLE
        watch.bad_count = watch.bad_count + 1 if found is not None else 0
        is_sure = watch.bad_count >= _SURE_COUNT or found in {
            OutlierReason.CHECK,
            OutlierReason.UNREACHABLE,
        }
        before, watch.reason = watch.reason, found if is_sure else None
        if watch.reason is not None and before is None:
            watch.bad_since, watch.is_check = now, watch.reason is OutlierReason.CHECK
        if watch.reason is not None or watch.out_at is not None:
            watch.proven_from, watch.answered_from = now, host.total.requests - host.total.failed

    def _look_for_correlation(
        self, now: Instant, cell: CellInput, watches: Sequence[_Watch]
    ) -> None:
        policy = cell.policy
        recent_from = now - policy.correlated_ns
        bad = 0
        check_zones: set[str] = set()
        for watch, host in zip(watches, cell.hosts, strict=True):
            is_recent = watch.bad_since is not None and watch.bad_since > recent_from
            bad += is_recent or watch.reason is not None or watch.unreachable_at is not None
            if is_recent and watch.is_check and host.zone:
                check_zones.add(host.zone)
        total, zones = len(cell.hosts), len(check_zones)
        if is_correlated(bad, total, check_zones=zones, policy=policy):
            self._frozen_until[cell.cell] = Instant(now + policy.correlated_ns)

    def _host_facts(
        self, now: Instant, cell: CellInput, host: HostInput, watch: _Watch
    ) -> HostFacts:
        policy = cell.policy
        bullet = self.ledger.bullet_of(cell.cell, host.host)
        is_recent = watch.bad_since is not None and watch.bad_since > now - policy.correlated_ns
        if not (policy.enabled and cell.is_enabled):
            # Nobody judges any more, so that nobody would ever say that it may come back.
            is_recent = bullet is None or bullet.errand is not Errand.TOLD
        ramp_ns = policy.ramp_ns if watch.back_at is not None else 0
        good_from = max(watch.proven_from, (watch.back_at or 0) + ramp_ns)
        answered = host.total.requests - host.total.failed
        if good_from > now:
            watch.answered_from = answered
        return HostFacts(
            host=host.host,
            zone=host.zone,
            reason=watch.reason,
            is_recent=is_recent,
            may_return=bullet is not None and self._may_return(now, cell, host, watch, bullet),
            is_up=host.is_reachable and host.check is not False,
            is_proven=now - good_from >= policy.bake_ns
            and answered - watch.answered_from >= policy.bake_requests,
            is_drained=host.is_drained,
        )

    def _may_return(
        self, now: Instant, cell: CellInput, host: HostInput, watch: _Watch, bullet: Bullet
    ) -> bool:
        if watch.reason is not None or watch.out_at is None or not host.is_reachable:
            return False
        if bullet.errand is Errand.TOLD or host.check is False:
            return False
        if bullet.errand is Errand.ASKED and cell.replace_ns is not None:
            return self._has_waited(bullet, now, cell.replace_ns)
        doubled = cell.policy.out_ns << min(_DOUBLINGS, watch.outs - 1)
        return now - watch.out_at >= doubled

    def _has_waited(self, bullet: Bullet, now: Instant, replace_ns: Nanos) -> bool:
        watch = self._watches.get((bullet.cell, bullet.host))
        out_at = self._started_at if watch is None or watch.out_at is None else watch.out_at
        return now - out_at >= replace_ns

    def _reloadable(self, now: Instant, cells: Sequence[CellInput]) -> set[str]:
        """Domains that a bullet may be given back to now."""
        waits: dict[str, int] = {}
        for cell in cells:
            for zone in {host.zone for host in cell.hosts} | {
                bullet.zone for bullet in self.ledger.bullets if bullet.cell == cell.cell
            }:
                for domain in domains_of(cell.cell, zone):
                    waits[domain] = max(waits.get(domain, 0), cell.policy.reload_ns)
        return {
            domain
            for domain, wait_ns in waits.items()
            if now - self._reloaded_at.get(domain, self._started_at) >= wait_ns
        }
