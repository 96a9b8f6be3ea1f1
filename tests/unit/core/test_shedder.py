"""The facade: modes, cells, what survives a new policy, what a caller must not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.core import (
    CellPolicy,
    Lane,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    RejectReason,
    Shedder,
    Ticket,
    milliseconds,
)
from shedproxy.errors import PermitAlreadyReleasedError


def test_a_second_release_raises_and_changes_nothing(fixed, at, arrive) -> None:
    """A caller's mistake is an exception at once."""
    shedder = Shedder(fixed(2), now=at(0))
    permit = arrive(shedder)
    shedder.release(permit, Outcome.SUCCESS, now=at(1))
    before = shedder.stats()
    with pytest.raises(PermitAlreadyReleasedError):
        shedder.release(permit, Outcome.SUCCESS, now=at(2))
    assert shedder.stats() == before


def test_observe_refuses_nobody_and_says_what_it_would_have_done(fixed, at, arrive, reason) -> None:
    """What is in flight above the limit stands for the queue."""
    policy = fixed(1, mode=Mode.OBSERVE, queue=QueuePolicy(length_max=1))
    shedder = Shedder(policy, now=at(0))
    decisions = [arrive(shedder) for _ in range(4)]
    assert all(isinstance(decision, Permit) for decision in decisions)
    would = [decision.would_reject for decision in decisions]
    assert [w is None for w in would] == [True, True, False, False]
    assert reason(would[2]) is RejectReason.QUEUE_FULL
    for decision in decisions:
        shedder.release(decision, Outcome.SUCCESS, now=at(1))
    assert shedder.stats().cells[0].in_flight == 0


def test_off_decides_nothing_but_counts(fixed, at, arrive) -> None:
    """Even a route that is closed runs."""
    shedder = Shedder(fixed(1, mode=Mode.OFF), now=at(0))
    permits = [arrive(shedder, route="x", route_limit=0) for _ in range(5)]
    assert all(isinstance(permit, Permit) for permit in permits)
    assert shedder.stats().cells[0].in_flight == 5


def test_what_one_cell_is_waiting_for_moves_no_other(fixed, at, arrive) -> None:
    """The loops of a cell move when it asks for that, or when all are: not with its neighbour's."""
    one = fixed(1).cells[0]
    policy = Policy(cells=(one, replace(one, name="b")))
    shedder = Shedder(policy, now=at(0))
    zombie = arrive(shedder, cell="b")
    shedder.leave_zombie(zombie, now=at(50))
    arrive(shedder)
    waiter = arrive(shedder, 30)
    assert shedder.next_tick_at() == at(100)
    assert not shedder.tick_due(now=at(99))
    assert not shedder.tick_due(now=at(100))
    assert [cell.zombies for cell in shedder.stats().cells] == [0, 0]
    [verdict] = shedder.tick_due(now=at(530))
    assert verdict.ticket is waiter


def test_leaving_enforce_lets_everybody_in(fixed, at, arrive) -> None:
    """Waiters are admitted at once: break-glass means now."""
    shedder = Shedder(fixed(1), now=at(0))
    arrive(shedder)
    tickets = [arrive(shedder) for _ in range(3)]
    verdicts = shedder.apply(fixed(1, mode=Mode.OFF), now=at(1))
    assert [verdict.ticket for verdict in verdicts] == tickets
    assert all(isinstance(verdict.decision, Permit) for verdict in verdicts)


def test_a_new_policy_keeps_permits_and_waiters(fixed, at, arrive, reason) -> None:
    """A higher limit admits at once; a shorter queue refuses the surplus with its numbers."""
    shedder = Shedder(fixed(1), now=at(0))
    arrive(shedder)
    tickets = [arrive(shedder) for _ in range(3)]
    [verdict] = shedder.apply(fixed(2), now=at(1))
    assert verdict.ticket is tickets[0]
    verdicts = shedder.apply(fixed(2, queue=QueuePolicy(length_max=1)), now=at(2))
    assert [reason(v.decision) for v in verdicts] == [RejectReason.QUEUE_FULL]
    assert shedder.stats().cells[0].queue_length == 1


def test_a_removed_cell_ends_where_it_began(at, arrive) -> None:
    """Its work is released into it; then it is forgotten."""
    two = Policy(cells=(CellPolicy(name="a"), CellPolicy(name="b")))
    shedder = Shedder(two, now=at(0))
    permit = arrive(shedder, cell="b")
    shedder.apply(Policy(cells=(CellPolicy(name="a"),)), now=at(1))
    assert isinstance(arrive(shedder, 2, cell="b"), Permit)
    assert [cell.name for cell in shedder.stats().cells] == ["a"]
    shedder.release(permit, Outcome.SUCCESS, now=at(3))
    shedder.tick(now=at(4))
    assert [cell.in_flight for cell in shedder.stats().cells] == [1]


def test_draining_refuses_data_and_serves_control(fixed, at, arrive, reason) -> None:
    """What runs may finish."""
    shedder = Shedder(fixed(2), now=at(0))
    permit = arrive(shedder)
    shedder.drain()
    assert reason(arrive(shedder)) is RejectReason.DRAINING
    assert isinstance(arrive(shedder, lane=Lane.CONTROL), Permit)
    shedder.release(permit, Outcome.SUCCESS, now=at(1))


@pytest.mark.parametrize(
    "broken",
    [
        Policy(cells=()),
        Policy(cells=(CellPolicy(name="a"), CellPolicy(name="a"))),
        Policy(cells=(CellPolicy(name="a", limit=LimitPolicy(algorithm="luck")),)),
        Policy(
            cells=(
                CellPolicy(name="new", limit=LimitPolicy(algorithm="luck")),
                CellPolicy(name="a"),
                CellPolicy(name="b"),
            )
        ),
    ],
)
def test_a_policy_that_cannot_be_is_refused_whole(at, arrive, broken) -> None:
    """The cells, and what is in flight in them, are as before."""
    shedder = Shedder(Policy(cells=(CellPolicy(name="a"), CellPolicy(name="b"))), now=at(0))
    arrive(shedder, cell="b")
    before = shedder.stats()
    with pytest.raises(ValueError, match=r"cell|algorithm"):
        shedder.apply(broken, now=at(1))
    with pytest.raises(ValueError, match=r"cell|algorithm"):
        Shedder(broken, now=at(1))
    assert shedder.stats() == before


def test_a_cell_that_comes_back_goes_on_where_it_was(at, arrive) -> None:
    """Removed by mistake and put back: its work in flight still counts against its limit."""
    fixed = LimitPolicy(algorithm="fixed", initial=2)
    with_b = Policy(cells=(CellPolicy(name="a"), CellPolicy(name="b", limit=fixed)))
    shedder = Shedder(with_b, now=at(0))
    permits = [arrive(shedder, cell="b") for _ in range(2)]
    shedder.apply(Policy(cells=(CellPolicy(name="a"),)), now=at(1))
    shedder.apply(with_b, now=at(2))
    waiting = arrive(shedder, 3, cell="b")
    assert isinstance(waiting, Ticket)
    [verdict] = shedder.release(permits[0], Outcome.SUCCESS, now=at(4))
    assert verdict.ticket is waiting
    assert [cell.in_flight for cell in shedder.stats().cells] == [0, 2]


def serve(shedder, arrive, at, cell: str, count: int, first_ms: float = 0) -> None:
    """One after the other, 20 ms each."""
    for index in range(count):
        ms = first_ms + 25 * index
        permit = arrive(shedder, ms, cell=cell, route="r")
        shedder.release(permit, Outcome.SUCCESS, now=at(ms + 20))


def test_what_was_learnt_survives_a_restart_cell_by_cell(at, arrive) -> None:
    """A successor with other cells takes what it has a place for."""
    both = Policy(cells=(CellPolicy(name="a"), CellPolicy(name="b")))
    shedder = Shedder(both, now=at(0))
    assert shedder.memory() == {"a": {}, "b": {}}
    serve(shedder, arrive, at, "a", 60)
    serve(shedder, arrive, at, "b", 60, first_ms=2000)
    memory = shedder.memory()
    assert [memory[cell]["r"].mean_ns for cell in "ab"] == [milliseconds(20)] * 2
    successor = Shedder(Policy(cells=(CellPolicy(name="b"), CellPolicy(name="c"))), now=at(0))
    successor.remember(memory)
    assert successor.memory() == {"b": memory["b"], "c": {}}
    assert [cell.baseline_ns for cell in successor.stats().cells] == [milliseconds(20), 0]


def test_what_is_not_known_well_is_not_passed_on(at, arrive) -> None:
    shedder = Shedder(Policy(), now=at(0))
    serve(shedder, arrive, at, "default", 5)
    assert shedder.memory() == {"default": {}}


def test_who_waits_is_counted_by_cell(at, arrive) -> None:
    limit = LimitPolicy(algorithm="fixed", initial=1)
    cells = (CellPolicy(name="a", limit=limit), CellPolicy(name="b", limit=limit))
    shedder = Shedder(Policy(cells=cells), now=at(0))
    for _ in range(3):
        arrive(shedder, 0, cell="a")
    assert (shedder.waiting("a"), shedder.waiting("b")) == (2, 0)


def test_there_is_room_up_to_the_limit_and_for_anybody_alone(at, arrive) -> None:
    limit = LimitPolicy(algorithm="fixed", initial=2)
    cells = (CellPolicy(name="a", limit=limit), CellPolicy(name="b", limit=limit))
    shedder = Shedder(Policy(cells=cells), now=at(0))
    assert shedder.has_room("a", 3)
    arrive(shedder, 0, cell="a")
    assert [shedder.has_room("a", cost) for cost in (1, 2)] == [True, False]
    assert [shedder.has_room(cell, 2) for cell in ("b", "unknown")] == [True, False]
