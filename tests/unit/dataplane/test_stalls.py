from __future__ import annotations

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.stalls import LOOK_NS, STALL_NS, Stalls

RATE_MIN = 240
CONTENDED = 16 * 1024
LOOK_SIZE = CONTENDED * LOOK_NS // seconds(1)
"""What is just enough in one look."""


class Client:
    def __init__(self, name: str, cell: str | None = "default") -> None:
        self.name = name
        self.held_cell = cell
        self.is_awaited = True
        self.moved = 0
        self.is_ended = False

    def end_stalled(self) -> None:
        self.is_ended = True
        self.held_cell = None


class Watch:
    """A `Stalls` with a clock; `waiting` is by cell. Without `contended` any progress will do."""

    def __init__(self, *, contended: int = 0, **waiting: int) -> None:
        self.contended = contended
        self.waiting = waiting
        self.now = 0
        self.stalls = Stalls(lambda cell: self.waiting.get(cell, 0))

    def clients(self, *clients: Client) -> None:
        for client in clients:
            self.stalls.watch(client, self.now)

    def turn(self, length_ns: int, moving: dict[Client, int] | None = None) -> None:
        """Let time pass look by look; `moving` clients move that many bytes in each."""
        for _ in range(-(-length_ns // LOOK_NS)):
            for client, size in (moving or {}).items():
                client.moved += size
            self.look(LOOK_NS)

    def look(self, passed_ns: int) -> None:
        """One look after so long."""
        self.now += passed_ns
        self.stalls.turn(self.now, rate_min=RATE_MIN, contended_rate_min=self.contended)


def test_with_nobody_waiting_a_client_may_take_its_time() -> None:
    watch, client = Watch(), Client("a")
    watch.clients(client)
    watch.turn(seconds(60))
    assert not client.is_ended
    watch.waiting["default"] = 1
    watch.turn(LOOK_NS)
    assert client.is_ended


def test_while_others_wait_who_has_stood_still_is_ended() -> None:
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(STALL_NS - 1)
    assert client.is_ended
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(STALL_NS - LOOK_NS)
    assert not client.is_ended


def test_no_more_are_ended_than_wait_and_the_least_moved_first() -> None:
    watch = Watch(default=2)
    clients = [Client(str(moved)) for moved in (3000, 1000, 2000)]
    watch.clients(*clients)
    watch.turn(LOOK_NS, {client: int(client.name) for client in clients})
    watch.turn(STALL_NS)
    assert [client.name for client in clients if client.is_ended] == ["1000", "2000"]


def test_a_rate_above_the_least_is_progress_and_one_below_is_none() -> None:
    watch, quick, slow = Watch(default=5), Client("quick"), Client("slow")
    watch.clients(quick, slow)
    look = RATE_MIN * LOOK_NS // seconds(1)
    watch.turn(seconds(20), {quick: look, slow: look // 2})
    assert (quick.is_ended, slow.is_ended) == (False, True)


def test_who_is_held_back_by_us_is_not_the_one_to_move() -> None:
    watch, client = Watch(default=1), Client("a")
    client.is_awaited = False
    watch.clients(client)
    watch.turn(seconds(20))
    assert not client.is_ended
    client.is_awaited = True
    watch.turn(STALL_NS - LOOK_NS)
    assert not client.is_ended


@pytest.mark.parametrize("cell", [None, "other"], ids=["no-slot", "slot-of-another-cell"])
def test_only_who_holds_what_others_wait_for_is_ended(cell) -> None:
    watch, client = Watch(default=1), Client("a", cell)
    watch.clients(client)
    watch.turn(seconds(20))
    assert not client.is_ended


def test_the_end_of_one_may_end_another() -> None:
    watch, first, second = Watch(default=2), Client("a"), Client("b")
    first.end_stalled = lambda: setattr(second, "held_cell", None)
    watch.clients(first, second)
    watch.turn(STALL_NS)
    assert not second.is_ended


def test_who_is_watched_twice_goes_on_and_who_is_forgotten_is_not_looked_at() -> None:
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(STALL_NS - LOOK_NS)
    watch.clients(client)
    watch.stalls.forget(client)
    watch.stalls.forget(client)
    assert len(watch.stalls) == 0
    watch.turn(STALL_NS)
    assert not client.is_ended


def test_a_loop_that_stood_still_did_not_see_whether_they_moved() -> None:
    watch = Watch(default=5, contended=CONTENDED)
    still, slow = Client("still"), Client("slow")
    watch.clients(still, slow)
    watch.turn(2 * LOOK_NS, {slow: LOOK_SIZE})
    watch.look(seconds(60))
    assert not (still.is_ended or slow.is_ended)


# --- below the contended rate ---------------------------------------------------------------


def test_while_others_wait_who_is_below_the_contended_rate_is_ended() -> None:
    watch, quick, slow = Watch(default=5, contended=CONTENDED), Client("quick"), Client("slow")
    watch.clients(quick, slow)
    moving = {quick: LOOK_SIZE, slow: LOOK_SIZE - LOOK_SIZE // 10}
    watch.turn(seconds(14), moving)
    assert not slow.is_ended, "1.5 s are given, and so it is 10 % of 15 s"
    watch.turn(seconds(60), moving)
    assert (quick.is_ended, slow.is_ended) == (False, True)


def test_with_nobody_waiting_any_rate_above_the_least_will_do() -> None:
    watch, client = Watch(contended=CONTENDED), Client("a")
    watch.clients(client)
    watch.turn(seconds(60), {client: 100})
    assert not client.is_ended
    watch.waiting["default"] = 1
    watch.turn(LOOK_NS, {client: 100})
    assert client.is_ended


def test_without_a_contended_rate_any_rate_above_the_least_will_do() -> None:
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(seconds(60), {client: 100})
    assert not client.is_ended


def test_the_slowest_go_first_and_before_them_who_stands_still() -> None:
    watch = Watch(default=0, contended=CONTENDED)
    third, second, fine, first = map(Client, ("third", "second", "fine", "first"))
    watch.clients(third, second, fine, first)
    watch.turn(LOOK_NS, {first: 4 * LOOK_SIZE})
    watch.turn(seconds(20), {third: 200, second: 100, fine: LOOK_SIZE})
    for expected in ("first", "second", "third"):
        watch.waiting["default"] = 1
        ended = {client.name for client in (third, second, fine, first) if client.is_ended}
        watch.turn(LOOK_NS, {third: 200, second: 100, fine: LOOK_SIZE})
        now = {client.name for client in (third, second, fine, first) if client.is_ended}
        assert now - ended == {expected}
    watch.waiting["default"] = 5
    watch.turn(seconds(5), {fine: LOOK_SIZE})
    assert not fine.is_ended


def test_what_was_quick_at_first_counts() -> None:
    watch, client = Watch(default=1, contended=CONTENDED), Client("a")
    watch.clients(client)
    watch.turn(LOOK_NS, {client: 10 * CONTENDED})
    watch.turn(seconds(11), {client: 100})
    assert not client.is_ended
    watch.turn(seconds(1), {client: 100})
    assert client.is_ended


def test_time_in_which_the_others_had_to_move_is_not_the_clients() -> None:
    """An upstream takes one look's worth in ten looks, from a client that is just quick enough."""
    watch, client = Watch(default=1, contended=CONTENDED), Client("a")
    watch.clients(client)
    for _ in range(40):
        client.is_awaited = True
        watch.turn(LOOK_NS, {client: LOOK_SIZE})
        client.is_awaited = False
        watch.turn(9 * LOOK_NS)
    assert not client.is_ended


def test_a_loop_that_is_late_each_time_blames_nobody_for_all_of_it() -> None:
    """A look in two seconds, and what a client sends in a fourth of that time."""
    watch, client = Watch(default=1, contended=CONTENDED), Client("a")
    watch.clients(client)
    for _ in range(40):
        client.moved += CONTENDED // 2
        watch.look(seconds(2))
    assert not client.is_ended


def test_time_without_a_slot_does_not_count() -> None:
    watch, client = Watch(default=1, contended=CONTENDED), Client("a", None)
    watch.clients(client)
    watch.turn(seconds(60))
    client.held_cell = "default"
    watch.turn(STALL_NS - LOOK_NS, {client: 100})
    assert not client.is_ended
    watch.turn(2 * LOOK_NS, {client: 100})
    assert client.is_ended
