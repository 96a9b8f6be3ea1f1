"""A promotion from the first instance to the last, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane.rollout import (
    Book,
    Facts,
    Instance,
    Phase,
    RolloutRefusedError,
    RolloutRules,
    Scope,
    advance,
    assigned,
    plan_stages,
    promote,
    roll_back,
    zones_in_flight,
)
from shedproxy.core import Nanos, seconds

FLEET = tuple(
    Instance(name=f"{zone}{n}", cell="cd"[n % 2], zone=zone) for zone in "pqr" for n in range(20)
)
RULES = RolloutRules(requests_min=100)
STAGES = plan_stages(FLEET)
HOUR = seconds(3600)


class Controller:
    """Instances that follow at once, and a book."""

    def __init__(self) -> None:
        self.book = Book(base="old")
        self.steps: list[tuple[str, int]] = []

    def running(self) -> dict[str, str]:
        want = assigned(self.book)
        return {one.name: want(one.name) for one in FLEET}

    def step(self, **facts: object) -> None:
        self.book = advance(self.book, Facts(running=self.running(), **facts))
        rollout = self.book.rollout
        if rollout is not None:
            self.steps.append((rollout.phase.name, rollout.moved))

    def run(self, until: int | None = None) -> None:
        """Bake well, until so many have it or all is over."""
        while self.book.rollout is not None and self.book.rollout.moved != until:
            self.step(elapsed_ns=2 * HOUR, requests=100)


@pytest.fixture
def controller() -> Controller:
    one = Controller()
    one.book = promote(one.book, "new", STAGES, RULES)
    return one


def test_it_widens_by_scope_and_one_zone_at_a_time():
    assert [(s.scope, s.zone, len(s.instances)) for s in STAGES] == [
        (Scope.INSTANCE, "p", 1), (Scope.CELL, "p", 9), (Scope.ZONE, "p", 10), (Scope.ALL, "q", 20),
        (Scope.ALL, "r", 20),
    ]  # fmt: skip
    assert plan_stages(FLEET, first="q3")[0].instances == ("q3",)
    assert [s.zone for s in plan_stages(FLEET, first="q3")] == ["q", "q", "q", "p", "r"]


def test_small_steps_forward_and_a_bake_after_each_scope(controller):
    controller.run()
    assert controller.book == Book(revision=controller.book.revision, base="new")
    moved = [count for phase, count in controller.steps if phase == "MOVING"]
    assert max(b - a for a, b in zip(moved, moved[1:], strict=False)) == 3
    baked = [count for phase, count in controller.steps if phase == "BAKING"]
    assert list(dict.fromkeys(baked)) == [1, 10, 20, 40, 60]


@pytest.mark.parametrize(
    ("elapsed", "requests", "bakes_on"),
    [(HOUR, 100, False), (HOUR - 1, 10_000, True), (100 * HOUR, 99, True)],
)
def test_a_bake_takes_its_time_and_its_requests(controller, elapsed, requests, bakes_on):
    controller.step()
    controller.step()
    assert controller.book.rollout.phase is Phase.BAKING
    controller.step(elapsed_ns=Nanos(elapsed), requests=requests)
    assert (controller.book.rollout.phase is Phase.BAKING) is bakes_on


def test_time_that_nobody_watched_does_not_count(controller):
    controller.step()
    controller.step()
    for _ in range(3):
        controller.step(elapsed_ns=Nanos(HOUR // 4), requests=50)
    assert controller.book.rollout.phase is Phase.BAKING
    assert (controller.book.rollout.watched_ns, controller.book.rollout.requests) == (
        HOUR // 4 * 3, 150,
    )  # fmt: skip


def test_an_alarm_rolls_back_zone_by_zone_in_large_steps(controller):
    controller.run(until=46)
    controller.step(alarm="p99 of zone r")
    rollout = controller.book.rollout
    assert (rollout.phase, rollout.cause) == (Phase.ROLLING_BACK, "p99 of zone r")
    controller.steps.clear()
    while controller.book.rollout is not None:
        controller.step(alarm="p99 of zone r")
    assert [count for _, count in controller.steps] == [40, 21, 20, 1, 0]
    assert controller.book.base == "old"
    assert controller.book.refused == ("new",)


def test_it_waits_for_those_who_are_heard_of(controller):
    controller.step()
    stale = {**controller.running(), "p0": "old"}
    assert advance(controller.book, Facts(running=stale)) is controller.book
    del stale["p0"]
    # Who is silent is not waited for, but proves nothing either.
    assert advance(controller.book, Facts(running=stale)) is controller.book
    silent = replace(controller.book.rollout, moved=10, stage=1)
    book = replace(controller.book, rollout=silent)
    want = assigned(book)
    heard = {one.name: want(one.name) for one in FLEET if one.name != "p2"}
    assert advance(book, Facts(running=heard)).rollout.phase is Phase.BAKING


def test_nobody_else_gets_it_until_it_is_proven(controller):
    controller.run(until=1)
    controller.step()
    book = controller.book
    assert book.rollout.phase is Phase.BAKING
    seen = Facts(running=controller.running(), elapsed_ns=seconds(9999), requests=10**6)
    doubted = advance(book, replace(seen, is_proven=False))
    assert (doubted.rollout.stage, doubted.rollout.phase) == (0, Phase.BAKING)
    assert doubted.rollout.watched_ns >= seconds(9999)
    assert advance(doubted, seen).rollout.stage == 1


def test_what_is_in_flight_is_what_changes_or_is_not_yet_proven(controller):
    zone_of = {one.name: one.zone for one in FLEET}
    assert zones_in_flight(controller.book, controller.running(), zone_of) == frozenset()
    controller.run(until=23)
    assert zones_in_flight(controller.book, controller.running(), zone_of) == {"q"}


def test_what_is_refused_and_why(controller):
    again = promote(controller.book, "new", STAGES)
    assert again.rollout == controller.book.rollout, "it is being promoted, by these rules"
    with pytest.raises(RolloutRefusedError, match="new is being promoted"):
        promote(controller.book, "newer", STAGES)
    back = roll_back(controller.book, "asked for")
    assert roll_back(back, "again") is back
    done = advance(back, Facts(running={}))
    with pytest.raises(RolloutRefusedError, match="rolled back before"):
        promote(done, "new", STAGES)
    with pytest.raises(RolloutRefusedError, match="what runs everywhere"):
        promote(done, "old", STAGES)
    with pytest.raises(RolloutRefusedError, match="nothing is being promoted"):
        roll_back(done, "")
    with pytest.raises(RolloutRefusedError, match="no instance z1"):
        plan_stages(FLEET, first="z1")
    with pytest.raises(RolloutRefusedError, match="no instances"):
        promote(done, "newer", ())
    assert advance(done, Facts(running={}, alarm="x")) is done
