"""Every state of a promotion with two controllers, and mistakes that the walk must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from harness.machines.rollout import FLEET, walk

from shedproxy.controlplane.rollout import (
    Book,
    Facts,
    Phase,
    Scope,
    Stage,
    advance,
    assigned,
    promote,
)


def test_no_state_breaks_a_promise_and_every_promotion_can_end():
    space = walk()
    print(f"promotion, two controllers: {space}")
    assert space.violation is None, space.violation
    assert space.states >= 9_000


@pytest.mark.parametrize("name", ["i1", "i4"])
def test_an_instance_that_never_takes_it_holds_no_rollback_up(name):
    space = walk(stubborn=name, controllers=1)
    print(f"promotion, {name} refuses it: {space}")
    assert space.violation is None, space.violation


# --- mistakes -----------------------------------------------------------------------------------


def before(change: Callable[[Book, Facts], tuple[Book, Facts]]) -> Callable[[Book, Facts], Book]:
    return lambda book, facts: advance(*change(book, facts))


def after(change: Callable[[Book, Book], Book]) -> Callable[[Book, Facts], Book]:
    return lambda book, facts: change(book, advance(book, facts))


def all_confirmed(book: Book, facts: Facts) -> tuple[Book, Facts]:
    want = assigned(book)
    return book, replace(facts, running={one.name: want(one.name) for one in FLEET})


def deaf_at_the_end(book: Book, facts: Facts) -> tuple[Book, Facts]:
    rollout = book.rollout
    is_last = rollout is not None and rollout.stage + 1 == len(rollout.stages)
    return book, replace(facts, alarm="") if is_last else facts


def goes_back_at_once(old: Book, new: Book) -> Book:
    rollout = new.rollout
    if rollout is not None and rollout.phase is Phase.ROLLING_BACK:
        return replace(new, rollout=replace(rollout, moved=0))
    return new


def keeps_its_counts(old: Book, new: Book) -> Book:
    if old.rollout is None or new.rollout is None or old.rollout.phase is not Phase.MOVING:
        return new
    if new.rollout.phase is Phase.BAKING:
        kept = replace(new.rollout, watched_ns=old.rollout.watched_ns,
                       requests=old.rollout.requests)  # fmt: skip
        return replace(new, rollout=kept)
    return new


def skips_a_scope(old: Book, new: Book) -> Book:
    if old.rollout is None or new.rollout is None or new.rollout.stage <= old.rollout.stage:
        return new
    stage = min(len(new.rollout.stages) - 1, new.rollout.stage + 1)
    return replace(new, rollout=replace(new.rollout, stage=stage))


def ends_without_the_last_bake(old: Book, new: Book) -> Book:
    rollout = new.rollout
    if rollout is not None and rollout.phase is Phase.BAKING and rollout.moved == len(FLEET):
        return replace(new, base=rollout.digest, rollout=None)
    return new


def one_wave(book: Book, digest: str, stages: tuple[Stage, ...], rules: object) -> Book:
    rest = tuple(name for stage in stages[1:] for name in stage.instances)
    waves = (stages[0], Stage(scope=Scope.ALL, zone="q", instances=rest))
    return promote(book, digest, waves, rules)


def with_a_short_memory(book: Book, *others: object) -> Book:
    return promote(replace(book, refused=()), *others)


def turns_round(old: Book, new: Book) -> Book:
    if old.rollout is None or new.rollout is None or old.rollout.phase is not Phase.ROLLING_BACK:
        return new
    return replace(new, rollout=replace(new.rollout, phase=Phase.MOVING))


MISTAKES = {
    "a digest that was rolled back is forgotten": (
        {"promote": with_a_short_memory},
        "promoted again",
    ),
    "time alone proves a scope": (
        {"advance": before(lambda book, facts: (book, replace(facts, requests=1)))},
        "has not served enough",
    ),
    "requests alone prove a scope": (
        {"advance": before(lambda book, facts: (book, replace(facts, elapsed_ns=1)))},
        "did not bake long enough",
    ),
    "it does not wait for those who change": (
        {"advance": before(all_confirmed)},
        "before the one before it was done",
    ),
    "the rest is one wave": ({"promote": one_wave}, "in flight"),
    "it is deaf in the last scope": (
        {"advance": before(deaf_at_the_end)},
        "an alarm does not roll back",
    ),
    "it goes back everywhere at once": (
        {"advance": after(goes_back_at_once)},
        "a step was too large",
    ),
    "a scope is left out": ({"advance": after(skips_a_scope)}, "left out"),
    "the last scope does not bake": (
        {"advance": after(ends_without_the_last_bake)},
        "has not served enough",
    ),
    "a scope is credited with the one before": (
        {"advance": after(keeps_its_counts)},
        "a scope ",
    ),
    "who comes too late writes all the same": ({"compares": False}, "a rollback turns round"),
    "a rollback turns round": ({"advance": after(turns_round)}, "a rollback turns round"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_its_shortest_trace(name: str):
    mistake, what = MISTAKES[name]
    found = walk(**mistake).violation
    assert found is not None
    print(f"{name}: {found}")
    assert what in found.what
