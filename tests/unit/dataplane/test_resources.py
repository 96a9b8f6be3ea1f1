from __future__ import annotations

import resource

import pytest

from shedproxy.dataplane.resources import (
    MemoryBound,
    MemoryGroup,
    find_group,
    resident_size,
    room_for_connections,
)


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


def group_of(tmp_path, *, bound: str, used: int, cache: int = 0, version: int = 2) -> MemoryGroup:
    base = tmp_path / "cgroup" if version == 2 else tmp_path / "cgroup" / "memory"
    folder = base / "slice" / "service"
    folder.mkdir(parents=True)
    names = {2: ("memory.max", "memory.current", "inactive_file")}
    names[1] = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    bound_name, used_name, cache_name = names[version]
    (folder / bound_name).write_text(bound + "\n")
    (folder / used_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache_name} {cache}\nx 1\n")
    membership = tmp_path / "membership"
    line = "0::/slice/service" if version == 2 else "4:cpu,memory:/slice/service"
    membership.write_text(f"9:pids:/\n{line}\n")
    found = find_group(membership, tmp_path / "cgroup")
    assert found is not None
    return found


@pytest.mark.parametrize("version", [1, 2])
def test_the_bound_of_the_control_group_is_found_and_its_cache_is_not_counted(
    tmp_path, version
) -> None:
    group = group_of(tmp_path, bound="1000", used=900, cache=200, version=version)
    assert group.bound == 1000
    assert group.used_share() == 0.7


def test_the_tightest_bound_above_counts(tmp_path) -> None:
    group_of(tmp_path, bound="1000", used=900)
    above = tmp_path / "cgroup" / "slice"
    (above / "memory.max").write_text("500\n")
    (above / "memory.current").write_text("100\n")
    found = find_group(tmp_path / "membership", tmp_path / "cgroup")
    assert found is not None
    assert (found.bound, found.used_share()) == (500, 0.2)


@pytest.mark.parametrize("bound", ["max", str(1 << 62)])
def test_no_bound_is_none(tmp_path, bound) -> None:
    with pytest.raises(AssertionError):
        group_of(tmp_path, bound=bound, used=900)
    assert find_group(tmp_path / "nothing", tmp_path) is None


def test_memory_is_short_near_the_bound_and_until_it_is_well_below(tmp_path) -> None:
    group = group_of(tmp_path, bound="1000", used=840)
    bound = MemoryBound(group)
    used = tmp_path / "cgroup" / "slice" / "service" / "memory.current"
    said = []
    for size in (840, 860, 800, 760, 740, 840):
        used.write_text(str(size))
        bound.look(0)
        said.append(bound.is_short)
    assert said == [False, True, True, True, False, False]


def test_a_bound_of_the_process_counts_as_well(tmp_path) -> None:
    bound = MemoryBound(group_of(tmp_path, bound="1000", used=100))
    bound.look(resident_size() * 2)
    assert (bound.is_short, round(bound.used_share, 1)) == (False, 0.5)
    bound.look(resident_size())
    assert bound.is_short
