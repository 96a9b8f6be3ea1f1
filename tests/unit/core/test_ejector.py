"""Hosts over time: what is counted, how long, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from shedproxy.core import (
    FULL_WEIGHT,
    Act,
    CellInput,
    Deed,
    Ejector,
    HostInput,
    Instant,
    Ledger,
    OutlierPolicy,
    Tally,
    seconds,
)

POLICY = OutlierPolicy()


class Fleet:
    """Hosts that answer ten requests a second each, and a clock of seconds."""

    def __init__(self, count: int = 5, ledger: Ledger | None = None, **of_cell: object) -> None:
        self.now = Instant(seconds(1000))
        self.ejector = Ejector(ledger, now=self.now)
        self.hosts = {f"h{n}": HostInput(host=f"h{n}", zone="pq"[n % 2]) for n in range(count)}
        self.of_cell = {"demand_rps": 10.0, "host_capacity_rps": 100.0, **of_cell}
        self.failing: set[str] = set()
        self.deeds: list[tuple[int, str, str]] = []

    def put(self, names: Iterable[str], **values: object) -> None:
        for name in names:
            self.hosts[name] = replace(self.hosts[name], **values)

    def cell(self) -> CellInput:
        policy = self.of_cell.pop("policy", POLICY)
        self.of_cell["policy"] = policy
        return CellInput(cell="a", hosts=tuple(self.hosts.values()), **self.of_cell)

    def run(self, count: int, *, commits: bool = True) -> list[Deed]:
        """So many seconds; the deeds of the last."""
        deeds: list[Deed] = []
        for _ in range(count):
            self.now = Instant(self.now + seconds(1))
            for name, host in self.hosts.items():
                if self.weight(name):
                    failed = 10 if name in self.failing else 0
                    total = host.total
                    self.put([name], total=Tally(
                        total.requests + 10, total.failed + failed, total.timed + 10 - failed,
                        total.log2_sum + (10 - failed) * math.log2(20e6),
                    ))  # fmt: skip
            ledger, deeds = self.ejector.step(self.now, [self.cell()])
            if commits:
                self.ejector.commit(self.now, ledger, deeds)
            self.deeds += [
                (self.second, deed.act.name.lower(), deed.host)
                for deed in deeds if deed.act is not Act.SPARE
            ]  # fmt: skip
        return deeds

    @property
    def second(self) -> int:
        return self.now // seconds(1) - 1000

    def weight(self, name: str) -> int:
        return self.ejector.weight("a", name, self.now, POLICY.ramp_ns)


def test_a_failing_host_is_out_in_seconds_and_costs_no_second_look():
    fleet = Fleet()
    fleet.run(20)
    fleet.failing = {"h1"}
    fleet.run(20)
    ((second, act, host),) = fleet.deeds
    assert (act, host) == ("eject", "h1")
    assert second - 20 <= 5
    assert fleet.weight("h1") == 0
    assert [fleet.weight(name) for name in ("h0", "h2")] == [FULL_WEIGHT] * 2


def test_it_comes_back_slowly_and_gives_the_bullet_back_after_a_bake_under_load():
    fleet = Fleet()
    fleet.failing = {"h1"}
    fleet.run(10)
    out_at = fleet.deeds[0][0]
    fleet.failing = set()
    fleet.run(out_at + 30 - fleet.second)
    assert fleet.deeds[-1] == (out_at + 30, "return", "h1")
    weights = []
    for _ in range(31):
        weights.append(fleet.weight("h1"))
        fleet.run(1)
    assert weights == sorted(weights)
    assert (weights[0], weights[15], weights[30]) == (100, 550, 1000)
    fleet.run(100)
    assert fleet.deeds[-1] == (out_at + 30 + 30 + 60, "reload", "h1")
    assert fleet.ejector.ledger.bullets == ()


def test_one_that_is_configured_again_ramps_like_any_that_comes_back():
    fleet = Fleet()
    fleet.failing = {"h1"}
    fleet.run(10)
    host = fleet.hosts.pop("h1")
    fleet.failing = set()
    fleet.run(5)
    fleet.hosts["h1"] = host
    fleet.run(1)
    assert fleet.weight("h1") == FULL_WEIGHT // 10
    fleet.run(15)
    assert fleet.weight("h1") == 550
    fleet.run(15)
    assert fleet.weight("h1") == FULL_WEIGHT


def test_without_load_nothing_is_proven():
    fleet = Fleet()
    fleet.failing = {"h1"}
    fleet.run(10)
    fleet.failing = set()
    quiet = replace(POLICY, bake_requests=10_000)
    fleet.of_cell["policy"] = quiet
    fleet.run(600)
    assert [act for _, act, _ in fleet.deeds] == ["eject", "return"]


def test_each_time_out_is_twice_as_long():
    fleet = Fleet()
    fleet.failing = {"h1"}
    fleet.run(400)
    ejects = [second for second, act, _ in fleet.deeds if act == "eject"]
    returns = [second for second, act, _ in fleet.deeds if act == "return"]
    assert [back - out for out, back in zip(ejects, returns, strict=False)] == [30, 60, 120]
    assert fleet.ejector.ledger.serial == 1


def test_a_check_that_fails_everywhere_is_not_believed():
    fleet = Fleet(20)
    fleet.run(20)
    fleet.put(["h1"], check=False)
    fleet.run(1)
    assert fleet.deeds[-1][1:] == ("eject", "h1")
    fleet.put(["h2"], check=False)
    fleet.run(1)
    assert fleet.deeds[-1][1:] == ("fail_open", "h1")
    assert fleet.weight("h1") == FULL_WEIGHT
    fleet.put(fleet.hosts, check=False)
    fleet.run(300)
    assert len(fleet.deeds) == 2
    assert fleet.ejector.is_frozen("a", fleet.now)


def test_it_thaws_a_minute_after_it_was_last_so():
    fleet = Fleet(20)
    fleet.put([f"h{n}" for n in range(10)], check=False)
    fleet.run(5)
    fleet.put(fleet.hosts, check=True)
    # A minute in which they count as recent, and another one.
    fleet.run(114)
    assert fleet.ejector.is_frozen("a", fleet.now)
    fleet.run(2)
    assert not fleet.ejector.is_frozen("a", fleet.now)


def test_a_host_that_restarts_costs_nothing_and_one_that_stays_away_does():
    fleet = Fleet()
    fleet.run(20)
    fleet.put(["h1"], is_reachable=False)
    fleet.run(29)
    fleet.put(["h1"], is_reachable=True)
    fleet.run(5)
    assert fleet.deeds == []
    fleet.put(["h1"], is_reachable=False)
    fleet.run(31)
    assert fleet.deeds[-1][1:] == ("eject", "h1")


def test_a_lost_zone_freezes_before_it_costs_anything():
    fleet = Fleet(20)
    fleet.run(20)
    fleet.put([name for name, host in fleet.hosts.items() if host.zone == "q"], is_reachable=False)
    fleet.run(600)
    assert fleet.deeds == []
    assert fleet.ejector.is_frozen("a", fleet.now)


def test_a_step_that_was_not_made_safe_has_not_happened():
    fleet = Fleet()
    fleet.failing = {"h1"}
    fleet.run(10, commits=False)
    assert fleet.weight("h1") == FULL_WEIGHT
    assert fleet.ejector.ledger == Ledger()
    fleet.run(1)
    assert fleet.weight("h1") == 0


def test_a_restart_goes_on_with_what_is_out():
    fleet = Fleet()
    fleet.failing = {"h1"}
    fleet.run(10)
    successor = Fleet(ledger=fleet.ejector.ledger)
    successor.run(1)
    assert successor.weight("h1") == 0
    successor.run(29)
    assert successor.deeds == []
    successor.run(1)
    assert successor.deeds[0][1:] == ("return", "h1")


def test_who_waits_for_another_does_not_come_back_before_that_is_overdue():
    fleet = Fleet(replace_ns=seconds(300))
    fleet.run(2)
    fleet.failing = {"h1"}
    fleet.run(10)
    fleet.failing = set()
    assert [act for _, act, _ in fleet.deeds] == ["eject", "ask"]
    fleet.run(200)
    assert fleet.ejector.overdue(fleet.now, {"a": seconds(300)}) == []
    assert fleet.weight("h1") == 0
    fleet.run(100)
    (late,) = fleet.ejector.overdue(fleet.now, {"a": seconds(300)})
    assert late.host == "h1"
    assert fleet.deeds[-1][1:] == ("return", "h1")


def test_who_is_out_when_it_is_turned_off_comes_back():
    fleet = Fleet()
    fleet.run(5)
    fleet.put(["h1"], check=False)
    fleet.run(100)
    assert fleet.weight("h1") == 0
    fleet.of_cell["policy"] = replace(POLICY, enabled=False)
    fleet.run(1)
    assert fleet.weight("h1") == FULL_WEIGHT
    assert fleet.deeds[-1][1:] == ("fail_open", "h1")
    fleet.run(100)
    assert fleet.weight("h1") == FULL_WEIGHT


def test_off_means_that_nothing_is_done():
    fleet = Fleet(policy=replace(POLICY, enabled=False))
    fleet.failing = {"h1"}
    fleet.run(100)
    assert fleet.deeds == []


def test_a_host_that_is_forgiven_while_it_is_out_may_be_found_bad_again():
    fleet = Fleet()
    fleet.run(20)
    fleet.failing = {"h1"}
    fleet.run(20)
    (bullet,) = fleet.ejector.ledger.bullets
    deed = Deed(act=Act.RELOAD, cell="a", host="h1", reason=bullet.reason, bullet=bullet)
    fleet.ejector.commit(fleet.now, fleet.ejector.ledger.reload(bullet), [deed])
    assert fleet.weight("h1") == FULL_WEIGHT
    assert fleet.ejector.out_at("a", "h1") is None
    fleet.run(40)
    assert fleet.weight("h1") == 0
