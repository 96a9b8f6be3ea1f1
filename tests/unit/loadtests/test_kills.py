"""Whose fault a lost request is."""

from __future__ import annotations

from loadtests.keep_alive import Loss
from loadtests.kills import Kill, Kills

KILLS = Kills([Kill(at=10.0, accepted=frozenset({1, 2}), queued=4)])


def loss(port: int, *, opened_at: float = 5.0, sent_at: float = 9.0) -> Loss:
    return Loss("reset", port, opened_at, sent_at)


def test_a_killed_worker_took_what_it_had_accepted_and_nothing_else() -> None:
    assert KILLS.took(loss(1))
    assert not KILLS.took(loss(3)), "it was in the accept queue, or another worker's"
    assert not KILLS.took(loss(1, opened_at=11.0)), "the port has come back since"


def test_what_was_sent_after_the_kill_was_not_under_way() -> None:
    assert KILLS.was_served(loss(2))
    assert not KILLS.was_served(loss(2, sent_at=10.1))
    assert not KILLS.was_served(loss(3))
