"""Paths that come again are known; those that do not push nobody out."""

from __future__ import annotations

from shedproxy.dataplane.path_memory import PATH_SIZE_MAX, PATHS_MAX, PathMemory


def ask(memory: PathMemory, path: bytes) -> bool:
    """As a classifier does; whether the path was known."""
    found = memory.find(path)
    if found is None:
        memory.keep(path, (len(path), ()))
        return False
    assert found == (len(path), ())
    return True


def test_a_path_is_known_from_its_second_time_on():
    memory = PathMemory()
    assert [ask(memory, b"/hot") for _ in range(4)] == [False, False, True, True]


def test_paths_that_come_once_are_not_kept():
    memory = PathMemory()
    for number in range(3000):
        assert not ask(memory, b"/items/%d" % number)
    assert not len(memory)


def test_the_bound_holds_and_what_is_used_stays():
    memory = PathMemory()
    ask(memory, b"/hot")
    ask(memory, b"/hot")
    for number in range(5 * PATHS_MAX):
        path = b"/items/%d" % number
        ask(memory, path)
        ask(memory, path)
        assert ask(memory, b"/hot")
    assert PATHS_MAX < len(memory) <= 2 * PATHS_MAX


def test_a_long_path_is_never_kept():
    memory = PathMemory()
    longest = b"/" + b"x" * (PATH_SIZE_MAX - 1)
    assert [ask(memory, longest) for _ in range(3)] == [False, False, True]
    assert not any(ask(memory, longest + b"y") for _ in range(3))
