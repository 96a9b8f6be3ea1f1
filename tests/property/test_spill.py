"""Cells that send each other requests, in whatever order things happen: no cascade, own work first.

Three cells in a ring name each other. Beside each there is a twin that nobody spills to or from and
that is told the same of its own requests: what the cell decides for those has to be the same, until
it has more than twice what it had at its peak.
"""

from __future__ import annotations

import random

import pytest

from shedproxy.core import (
    LENT_SHARE,
    NS_PER_MS,
    WATCH_NS,
    CellPolicy,
    Criticality,
    Instant,
    LimitPolicy,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RequestInfo,
    Shedder,
    SpillBar,
    SpillPolicy,
    refusal_holds,
)

NAMES = ("a", "b", "c")
LOW, HIGH = Criticality.SHEDDABLE, Criticality.CRITICAL


def policy(limits: tuple[int, ...], *, spills: bool) -> Policy:
    def to(name: str) -> SpillPolicy:
        others = tuple(other for other in NAMES if other != name) if spills else ()
        return SpillPolicy(to=others, classes=(LOW,))

    return Policy(
        cells=tuple(
            CellPolicy(
                name=name,
                limit=LimitPolicy(algorithm="fixed", initial=limit, minimum=limit, maximum=limit),
                queue=QueuePolicy(length_max=0),
                spill=to(name),
            )
            for name, limit in zip(NAMES, limits, strict=True)
        )
    )


class Ring:
    """One Shedder that spills, one that does not, and what each cell has in flight."""

    def __init__(self) -> None:
        self.now = Instant(0)
        self.limits = (4, 12, 7)
        self.shedder = Shedder(policy(self.limits, spills=True), now=self.now)
        self.twin = Shedder(policy(self.limits, spills=False), now=self.now)
        self.own: dict[str, list[tuple[Permit, Permit]]] = {name: [] for name in NAMES}
        self.guests: dict[str, list[Permit]] = {name: [] for name in NAMES}
        self.had_guests_at = dict.fromkeys(NAMES, -WATCH_NS)
        self.sent_at = dict.fromkeys(NAMES, -WATCH_NS)
        self.pass_time(51)

    def pass_time(self, tenths: int) -> None:
        """The driver ticks ten times a second."""
        for _ in range(tenths):
            self.now = Instant(self.now + 100 * NS_PER_MS)
            for shedder in (self.shedder, self.twin):
                assert not shedder.tick(now=self.now)
            for name in NAMES:
                if self.guests[name]:
                    self.had_guests_at[name] = self.now

    def arrive(self, name: str, criticality: Criticality, count: int) -> None:
        """Some requests of one cell, one after the other."""
        for _ in range(count):
            self.arrive_once(RequestInfo(cell=name, criticality=criticality))

    def arrive_once(self, request: RequestInfo) -> None:
        name = request.cell
        limit = self.limits[NAMES.index(name)]
        own, guests = len(self.own[name]), len(self.guests[name])
        decision = self.shedder.arrive(request, now=self.now)
        if isinstance(decision, Permit) and decision.request.cell == name:
            alone = self.twin.arrive(request, now=self.now)
            assert isinstance(alone, Permit), "it is not let in because others spill"
            self.own[name].append((decision, alone))
            return
        assert own + guests >= limit, "a cell sends away, or refuses, only what it has no room for"
        if guests:
            assert 2 * own >= limit, "guests do not keep own work out below half of the limit"
        if isinstance(decision, Permit):
            self.took_a_guest(name, request, decision)
            return
        assert isinstance(decision, Rejected)
        assert refusal_holds(decision)
        assert (decision.spill_bar != SpillBar.NONE) == (request.criticality is LOW)
        assert decision.request.cell == name

    def took_a_guest(self, name: str, request: RequestInfo, permit: Permit) -> None:
        host = permit.request.cell
        limit = self.limits[NAMES.index(host)]
        assert request.criticality is LOW
        assert not self.guests[name], "never a cascade: a host sends nothing on"
        assert self.now - self.had_guests_at[name] >= WATCH_NS, "and not just after it was one"
        assert self.now - self.sent_at[host] >= WATCH_NS, "who sends takes none"
        self.guests[host].append(permit)
        own, guests = len(self.own[host]), len(self.guests[host])
        assert own + guests <= int(limit * LENT_SHARE), "half of a limit is never lent"
        self.sent_at[name] = self.now
        self.had_guests_at[host] = self.now

    def end_own(self, name: str, count: int) -> None:
        """Own work ends."""
        for _ in range(min(count, len(self.own[name]))):
            permit, alone = self.own[name].pop()
            assert not self.shedder.release(permit, Outcome.SUCCESS, self.now)
            self.twin.release(alone, Outcome.SUCCESS, self.now)

    def end_guest(self, name: str, outcome: Outcome, leaves: bool) -> None:
        """A guest's work ends, or its client leaves before."""
        if not self.guests[name]:
            return
        permit = self.guests[name].pop()
        self.had_guests_at[name] = self.now - 100 * NS_PER_MS
        if leaves:
            self.shedder.orphan(permit, now=self.now)
        self.shedder.release(permit, outcome, self.now)

    def the_books_agree(self) -> None:
        """Every slot is somebody's."""
        for cell in self.shedder.stats().cells:
            own, guests = len(self.own[cell.name]), len(self.guests[cell.name])
            assert (cell.in_flight, cell.guests) == (own + guests, guests)
            assert cell.in_flight <= cell.limit


@pytest.mark.parametrize("seed", range(4))
def test_no_cascade_and_own_work_first_whatever_happens(seed: int):
    """Quiet times, floods and work that ends, at random: cells become hosts, guests and neither."""
    rng, ring = random.Random(seed), Ring()
    for _ in range(1_500):
        name = rng.choice(NAMES)
        match rng.randrange(8):
            case 0:
                ring.pass_time(rng.choice((1, 5, 60)))
            case 1 | 2:
                ring.arrive(name, rng.choice((LOW, HIGH)), rng.randint(1, 9))
            case 3 | 4 | 5:
                ring.end_own(name, rng.randint(1, 9))
            case _:
                ring.end_guest(name, rng.choice(tuple(Outcome)), rng.random() < 0.5)
        ring.the_books_agree()
    cells = ring.shedder.stats().cells
    sent = sum(cell.sent_count for cell in cells)
    assert sent == sum(cell.taken_count for cell in cells) > 30
