from __future__ import annotations

import resource

import pytest

from shedproxy.dataplane.resources import resident_size, room_for_connections


@pytest.mark.parametrize(
    ("hard", "room"),
    [(1024, (1024 - 128) // 2), (100, 8), (resource.RLIM_INFINITY, 0)],
    ids=["usual", "hardly-any", "unbounded"],
)
def test_a_client_takes_two_descriptors_of_those_that_are_left(monkeypatch, hard, room) -> None:
    limits = [(64, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    assert room_for_connections() == room
    assert limits[-1] == (hard, hard), "the soft bound is raised"


def test_a_bound_that_cannot_be_raised_is_the_bound(monkeypatch) -> None:
    def refuse(*_args) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (328, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert room_for_connections() == 100


def test_memory_in_use_is_at_least_that_of_an_interpreter() -> None:
    assert resident_size() > 1024 * 1024


def test_a_system_that_does_not_say_is_zero(monkeypatch) -> None:
    def nothing(*_args):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", nothing)
    assert resident_size() == 0
