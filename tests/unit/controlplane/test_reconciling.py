"""A promotion from what hosts say, step by step: who is compared with whom, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane import orders
from shedproxy.controlplane.fleet import Edition, Fleet, Held, Host, MovedKey, Release, Shift
from shedproxy.controlplane.gates import KINDS
from shedproxy.controlplane.move import MoveBook, MoveRules, begin
from shedproxy.controlplane.reconciling import Seen, arms, is_progress, move_step, note, step
from shedproxy.controlplane.rollout import Book, Phase, RolloutRules
from shedproxy.controlplane.sightings import Interval, Sightings
from shedproxy.core import Instant, Nanos, seconds
from shedproxy.snapshot import StatusReport

REFUSALS = [kind.name for kind in KINDS].index("refusals")
RULES = RolloutRules(bake_ns=(seconds(10),) * 4, requests_min=100, forward_share=1, back_share=1)
HOSTS = tuple(Host(name=f"{zone}{n}", cell="c", zone=zone) for zone in "pq" for n in (1, 2))
FLEET = Fleet(
    hosts=HOSTS,
    releases=(Release(digest="sha256:old", at_s=1, by=""), Release(digest="sha256:new", at_s=2,
                                                                   by="")),
    book=Book(base="sha256:old"),
)  # fmt: skip


class World:
    """Hosts that take what they are to run, and report."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        self.fleet, self.second, self.seen = fleet, 0, Seen()
        self.sightings = Sightings(silence_ns=seconds(30), take_ns=seconds(60))
        self.stuck: set[str] = set()
        self.counts = {host.name: [0, 0, 0] for host in HOSTS}
        self.bad: dict[str, tuple[int, int]] = {}
        """Errors and refusals in a hundred requests, of hosts by the release they run."""
        self.bad_hosts: dict[str, tuple[int, int]] = {}
        """And of hosts that are worse whatever they run."""
        self.verbs: list[str] = []
        self._renew()

    def _renew(self) -> None:
        wanted = self.fleet.wanted()
        editions = tuple(
            Edition(host=name, revision=1, release=release, key="", digest=release)
            for name, release in wanted.items()
        )
        self.fleet = replace(self.fleet, editions=editions)
        self.running = getattr(self, "running", dict(wanted))

    def period(self) -> str:
        """A second of traffic and a step; gives what was written down."""
        self.second += 1
        reports = {}
        for name, count in self.counts.items():
            if name not in self.stuck:
                self.running[name] = self.fleet.wanted().get(name, "")
            bad = self.bad.get(self.running[name], (0, 0))
            errors, sheds = self.bad_hosts.get(name, bad)
            for place, each in enumerate((100, errors, sheds)):
                count[place] += each
            reports[name] = StatusReport(
                instance=name, boot_id="", heartbeat=self.second, requests=count[0],
                errors=count[1], sheds=count[2], durations=(count[0] - count[2], 0),
                snapshot_digest=self.running[name],
            )  # fmt: skip
        now = Instant(seconds(self.second))
        intervals = self.sightings.take(self.fleet, reports, now)
        note(self.fleet, self.seen, intervals, seconds(1))
        done = step(
            self.fleet, self.seen, self.sightings,
            now=now, now_s=self.second, false_alarm=0.01,
        )  # fmt: skip
        if done is None:
            return ""
        self.fleet, self.seen = done.fleet, done.seen
        self._renew()
        self.verbs.append(done.verb)
        return done.verb

    def play(self, most: int = 200) -> list[str]:
        """Until nothing is under way; what was done, without what was only watched."""
        for _ in range(most):
            self.period()
            if self.fleet.book.rollout is None:
                break
        return [verb for verb in self.verbs if verb != "watch"]


@pytest.fixture
def world():
    return World(orders.promote(FLEET, "new", rules=RULES))


def test_what_is_good_goes_from_scope_to_scope_until_all_have_it(world):
    assert world.play() == [
        "move", "bake", "next scope",
        "move", "bake", "next scope",
        "move", "bake", "promoted",
    ]  # fmt: skip
    assert world.fleet.book.base == "sha256:new"
    assert world.second > 30, "three scopes of ten seconds"
    assert world.fleet.watch.gates[0].trials == 0


@pytest.mark.parametrize("bad", [(5, 0), (0, 10)])
def test_what_is_bad_is_rolled_back_by_itself_at_one_instance(world, bad):
    world.bad["sha256:new"] = bad
    verbs = world.play()
    assert verbs[:2] == ["move", "bake"]
    assert verbs[-2:] == ["alarm", "move"] or verbs[-1] == "rolled back"
    assert world.fleet.book.refused == ("sha256:new",)
    assert set(world.running.values()) == {"sha256:old"}
    assert world.second < 15


def test_what_is_bad_everywhere_is_nobodys_fault(world):
    world.bad = {"sha256:old": (5, 30), "sha256:new": (5, 30)}
    assert world.play()[-1] == "promoted"


def test_the_last_scope_is_compared_with_those_before_it():
    world = World(orders.promote(FLEET, "new", rules=RULES))
    while world.fleet.book.rollout.stage < 2 or world.fleet.book.rollout.moved < 4:
        world.period()
    assert arms(world.fleet) == ({"q1", "q2"}, {"p1", "p2"})


def test_those_of_the_same_zone_are_compared_first(world):
    assert arms(world.fleet) == (frozenset(), {"p1", "p2"}), "nobody has it yet"
    world.period()
    assert arms(world.fleet) == ({"p1"}, {"p2"})
    assert arms(FLEET) == (frozenset(), frozenset())


def test_a_host_that_does_not_take_it_rolls_it_back(world):
    world.stuck = {"p1"}
    assert world.play() == ["move", "alarm", "move", "rolled back"]
    assert world.second > 60


def test_who_takes_nothing_holds_no_way_back_up_for_long(world):
    """Its copy is damaged, say, so that it runs its settings, and it cannot fetch another."""
    while world.period() != "bake":
        pass
    world.stuck, world.running["q2"] = {"q2"}, "its own"
    world.bad = {"sha256:new": (50, 0)}
    for _ in range(80):
        world.period()
    assert world.verbs[-1] == "rolled back"
    assert world.running["p1"] == "sha256:old"


def test_who_was_not_looked_at_since_it_is_to_go_back_is_not_late():
    slow = replace(RULES, bake_ns=(seconds(100),) * 4)
    world = World(orders.promote(FLEET, "new", rules=slow))
    while world.second < 90:
        world.period()
    world.bad["sha256:new"] = (50, 0)
    while world.verbs[-2:] != ["alarm", "move"]:
        world.period()
    at = {"now": Instant(seconds(world.second)), "now_s": world.second, "false_alarm": 0.01}
    assert step(world.fleet, world.seen, world.sightings, **at) is None


def test_while_somebody_changes_nothing_is_stepped(world):
    world.period()
    world.stuck = {"p1"}
    world.running["p1"] = "sha256:old"
    assert [world.period() for _ in range(5)] == [""] * 5


def test_only_time_that_was_watched_counts_as_progress(world):
    while world.fleet.book.rollout.phase is not Phase.BAKING:
        world.period()
    before = world.fleet
    assert world.period() == "watch"
    assert is_progress(before, world.fleet)
    assert not is_progress(FLEET, before)
    assert world.fleet.book.rollout.watched_ns == seconds(1)
    assert world.fleet.book.rollout.requests == 100
    assert not is_progress(before, orders.shift_zone(world.fleet, "p", seconds(9), now_s=0))


def test_what_was_seen_waits_until_there_is_something_beside_it(world):
    world.period()
    seen = Seen()
    one = Interval(host="p1", release="sha256:new", requests=9, errors=0, sheds=9, durations=(0,))
    other = replace(one, host="p2", release="sha256:old", sheds=0, durations=(9,))
    note(world.fleet, seen, [one], Nanos(5))
    assert (seen.watch, seen.elapsed_ns, seen.requests) == (None, 5, 9)
    note(world.fleet, seen, [one, other, replace(other, host="q1")], Nanos(5))
    gate = seen.watch.gates[REFUSALS]
    assert (gate.trials, gate.events) == (18, 18)
    assert seen.watch.counts(REFUSALS) == [("p2", 9, 0)]
    assert seen.candidate == seen.control == {}
    note(world.fleet, seen, [replace(one, release="?")], Nanos(0))
    assert seen.candidate == {}, "it runs something else"


def test_what_waits_for_something_beside_it_outlives_a_step(world):
    """Hosts report at different moments; every one of them counts."""
    world.period()
    world.period()
    assert world.fleet.book.rollout.phase is Phase.BAKING
    seen = Seen()
    other = Interval(host="p2", release="sha256:old", requests=9, errors=0, sheds=0, durations=(9,))
    note(world.fleet, seen, [other], seconds(1))
    done = step(
        world.fleet, seen, world.sightings, now=Instant(seconds(world.second)), now_s=0,
        false_alarm=0.01,
    )  # fmt: skip
    assert done.verb == "watch"
    assert (done.seen.control, done.seen.elapsed_ns) == ({"p2": other}, 0)


def test_a_scope_knows_what_its_hosts_were_like_before_they_had_it():
    world = World()
    world.bad_hosts = {"p1": (0, 30)}
    world.bad = {"sha256:old": (0, 10)}
    for _ in range(40):
        world.period()
    world.fleet = orders.promote(world.fleet, "new", rules=RULES)
    world.period()
    like = world.fleet.watch.like
    assert like.ratios[REFUSALS] > 2
    assert like.variances[REFUSALS] < 0.04
    assert [each.host for each in world.fleet.watch.control_like] == ["p2"]


def test_a_shift_ends_when_its_time_is_up():
    world = World(replace(FLEET, shifts=(Shift(zone="p", until_s=3),)))
    assert [world.period() for _ in range(4)] == ["", "", "end shift", ""]
    assert world.fleet.shifts == ()


def test_after_a_quarantine_hosts_follow_one_after_the_other():
    held = tuple(Held(host=host.name, release="sha256:old") for host in HOSTS[:2])
    world = World(replace(FLEET, book=Book(base="sha256:new"), held=held))
    assert [world.period() for _ in range(3)] == ["catch up", "catch up", ""]
    assert world.fleet.held == ()
    assert set(world.running.values()) == {"sha256:new"}


def test_a_cell_is_held_when_what_was_rolled_back_has_left_it(world):
    world.period()
    world.fleet = orders.quarantine_cell(world.fleet, "c")
    assert world.play()[-2:] == ["move", "rolled back"]
    assert [each.host for each in world.fleet.held] == ["p1", "p2", "q1", "q2"]
    assert world.period() == "", "nobody follows while it lasts"


def test_who_is_in_quarantine_with_nothing_under_way_is_held():
    world = World(replace(FLEET, cells=orders.quarantine_cell(FLEET, "c").cells))
    assert world.period() == "hold"


# --- a key that changes its cell ----------------------------------------------------------------


def told(version: int, **fields) -> StatusReport:
    fields = {"instance": "h", "boot_id": "", "heartbeat": 1, "is_settled": True, **fields}
    return StatusReport(table_version=version, **fields)


def test_a_key_changes_its_cell_step_by_step_and_the_audit_says_how_long_each_took():
    moved = (MovedKey(key="0f", name="acme"),)
    book = begin(MoveBook(), "0f", owner="a", target="b", now_s=10.0)
    fleet = replace(FLEET, moves=book, moved=moved)
    assert move_step(fleet, {}, now_s=10.0) is None
    facts = {"key": "0f", "name": "acme", "from": "a", "to": "b"}
    for version, verb in ((1, "hold tenant"), (2, "flip tenant"), (3, "tenant moved")):
        votes = {host.name: told(version) for host in fleet.hosts}
        late = {**votes, "q2": told(version - 1)}
        assert move_step(fleet, late, now_s=10.0) is None
        found = move_step(fleet, votes, now_s=10.0 + version)
        assert (found.verb, found.facts) == (verb, {**facts, "after_s": 1.0})
        fleet = found.fleet
    assert fleet == replace(FLEET, moves=MoveBook(version=3, pins=(("0f", "b"),)), moved=moved)
    assert move_step(fleet, {}, now_s=99.0) is None


def test_a_move_that_takes_too_long_is_given_up_and_the_audit_says_why():
    book = begin(MoveBook(), "0f", owner="a", target="b", now_s=10.0, rules=MoveRules(mark_s=5.0))
    votes = {host.name: told(1) for host in HOSTS[1:]}
    found = move_step(replace(FLEET, moves=book), votes, now_s=16.0)
    assert found.verb == "tenant not moved"
    assert found.facts["cause"].startswith("after 5 s marked: p1: has not taken table 1 yet")
    assert (found.fleet.moves.move, found.fleet.moves.pins) == (None, ())


def test_a_move_is_nothing_that_is_only_watched(world):
    while world.fleet.book.rollout.phase is not Phase.BAKING:
        world.period()
    book = begin(MoveBook(), "0f", owner="a", target="b", now_s=10.0)
    assert not is_progress(world.fleet, replace(world.fleet, moves=book))
