"""What is written down of refused calls, and that nobody can make that much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shedproxy.controlplane.fleet import Fleet
from shedproxy.controlplane.ledger import Act, Head
from shedproxy.controlplane.refusals import PER_PERSON, PERIOD, RefusalBook

pytestmark = pytest.mark.anyio


class Desk:
    """A book with a clock that is a number."""

    def __init__(self) -> None:
        self.now = 5
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.book = RefusalBook(
            lambda who, verb, **said: Act(id="", at_s=0.0, who=who, verb=verb, **said),
            lambda event, facts: self.events.append((event, facts)),
            lambda: self.now,
        )

    def note(self, person: str = "", why: str = "nobody has this token", caller: str = "c") -> None:
        self.book.note(person, "promote", why, status=403 if person else 401, caller=caller)

    async def written(self, *, is_last: bool = False) -> list[Act]:
        acts: list[Act] = []

        async def commit(head: Head, act: Act, fleet: Fleet) -> Head:
            acts.append(act)
            return replace(head, revision=head.revision + 1)

        head = await self.book.write(Head(revision=7), commit, is_last=is_last)
        assert head.revision == 7 + len(acts)
        return acts


@pytest.fixture
def desk():
    return Desk()


async def test_a_person_is_named_with_what_was_asked_and_why_not(desk):
    desk.note("bob", "bob is reader")
    (act,) = await desk.written()
    assert (act.who, act.verb, act.refusal) == ("bob", "promote", "bob is reader")
    assert act.facts == {"status": 403, "from": "c"}
    assert desk.events == [
        ("order refused", {"who": "bob", "verb": "promote", "why": "bob is reader", **act.facts})
    ]


async def test_a_flood_of_bad_tokens_is_one_entry_at_once_and_one_a_period(desk):
    desk.note()
    (first,) = await desk.written()
    assert (first.who, first.facts["calls"]) == ("nobody", {"nobody has this token": 1})
    for number in range(10_000):
        desk.note(caller=f"10.0.0.{number % 250}")
    assert await desk.written() == []
    desk.now += PERIOD
    (act,) = await desk.written()
    assert act.facts["calls"] == {"nobody has this token": 10_000}
    assert act.refusal == "10000 calls"
    assert len(act.facts["from"]) == 8
    assert [event for event, _ in desk.events] == ["calls refused"] * 2
    desk.now += PERIOD
    assert await desk.written() == [], "of a period with nothing there is nothing"


async def test_what_one_person_has_too_many_of_is_counted_and_others_have_theirs(desk):
    for _ in range(PER_PERSON + 5):
        desk.note("bob", "no")
    desk.note("eve", "no")
    acts = await desk.written()
    assert [act.who for act in acts] == ["bob"] * PER_PERSON + ["eve", "nobody"]
    assert acts[-1].facts["calls"] == {"bob: 403": 5}
    desk.now += PERIOD
    desk.note("bob", "no")
    assert [act.who for act in await desk.written()] == ["bob"]


async def test_with_the_store_away_only_so_much_waits(desk):
    for number in range(1000):
        desk.note(f"person {number}", "no")
    acts = await desk.written()
    assert len(acts) == 257
    assert acts[-1].facts["calls"].items() >= {"person 999: 403": 1}.items()


async def test_a_stop_waits_for_no_period(desk):
    desk.note()
    await desk.written()
    desk.note()
    assert await desk.written() == []
    assert len(await desk.written(is_last=True)) == 1


async def test_what_was_not_written_is_written_next_time(desk):
    async def slower(_head: Head, _act: Act, _fleet: Fleet) -> None:
        return None

    desk.note("bob", "no")
    head = Head(revision=7)
    assert await desk.book.write(head, slower) is head
    assert [act.who for act in await desk.written()] == ["bob"]
    assert await desk.written() == []
