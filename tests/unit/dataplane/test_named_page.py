"""Processes that find a page by its name: each `NamedPage` here stands for one, locks and all."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shedproxy.dataplane import named_page
from shedproxy.dataplane.named_page import REGIONS, NamedPage, runtime_folder

Make = Callable[[], NamedPage]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The path of a socket is short, that of a test is not.
    monkeypatch.chdir(tmp_path)
    return Path("run")


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made: list[NamedPage] = []

    def make(name: str = "a") -> NamedPage:
        made.append(NamedPage(name, folder))
        return made[-1]

    yield make
    for each in made:
        each.leave()


def seated(make: Make, *others: NamedPage) -> NamedPage:
    """Another one, with the page."""
    page = make()
    page.seek()
    for other in others:
        other.answer()
    page.answer()
    assert page.page is not None, page.why
    return page


def die(page: NamedPage) -> None:
    """What the kernel does for a process that was killed."""
    page.forget_in_child()


def words(page: NamedPage, cell: int = 0) -> memoryview[int]:
    assert page.page is not None
    return page.page.share_words(cell)


def test_the_first_makes_the_page_and_the_next_is_given_it(make: Make):
    one = seated(make)
    two = seated(make, one)
    assert (one.region, two.region) == (0, 1)
    words(one)[0] = 7
    assert words(two)[0] == 7
    assert one.members() == two.members() == [0, 1]


def test_who_is_not_answered_has_no_page_and_asks_again(make: Make):
    one = seated(make)
    two = make()
    two.seek()
    assert (two.page, two.why) == (None, "no process has given the page yet")
    one.answer()
    two.answer()
    assert (two.page is not None, two.why) == (True, "")


def test_another_name_is_another_page(make: Callable[..., NamedPage]):
    one, other = seated(make), make("b")
    other.seek()
    words(other)[0] = 3
    assert words(one)[0] == 0


def test_a_ring_is_heard_by_the_one_it_is_for(make: Make):
    one = seated(make)
    two = seated(make, one)
    one.ring(two.region)
    assert select.select([one, two], [], [], 1)[0] == [two]
    assert two.answer()
    assert not two.answer()
    assert not one.answer()


def test_the_words_of_the_dead_are_cleared_and_their_seat_is_free(make: Make):
    one = seated(make)
    two = seated(make, one)
    words(two)[two.region] = 5
    one.look()
    assert words(one)[1] == 5
    die(two)
    one.look()
    assert words(one)[1] == 0
    assert one.members() == [0]
    assert seated(make, one).region == 1


def test_a_process_that_was_forked_does_not_keep_the_dead_alive(make: Make):
    one = seated(make)
    two = seated(make, one)
    is_there, there = os.pipe()
    child = os.fork()
    if not child:
        os.write(there, b"!")
        signal.pause()
    try:
        os.read(is_there, 1)
        die(two)
        one.look()
        assert one.members() == [0]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(is_there)
        os.close(there)


def test_the_last_to_leave_removes_the_folder(make: Make, folder: Path):
    one = seated(make)
    two = seated(make, one)
    one.leave()
    assert [each.name for each in folder.iterdir()] == ["a"]
    assert two.members() == [1]
    two.leave()
    assert not list(folder.iterdir())


def test_what_dead_servers_left_is_removed_by_the_next_one(
    make: Callable[..., NamedPage], folder: Path
):
    dead, alive = make("dead"), make("alive")
    dead.seek()
    alive.seek()
    die(dead)
    seated(make)
    assert sorted(each.name for each in folder.iterdir()) == ["a", "alive"]


def test_a_folder_that_was_removed_is_noticed_and_made_again(make: Make, folder: Path):
    one = seated(make)
    for file in (folder / "a").iterdir():
        file.unlink()
    (folder / "a").rmdir()
    one.look()
    assert (one.page, one.why) == (None, f"{folder / 'a'} was removed")
    one.seek()
    assert one.page is not None
    assert seated(make, one).members() == [0, 1]


def test_who_is_stopped_while_taking_a_seat_holds_up_nobody(make: Make):
    slow = make()
    slow._open()
    assert slow._lock(named_page._MAKING, 1)
    one = make()
    one.seek()
    assert (one.page, one.why) == (None, "another process is taking its seat")
    die(slow)
    one.seek()
    assert one.page is not None


def test_a_page_of_another_version_is_refused(make: Make):
    one = seated(make)
    assert one.page is not None
    os.pwrite(one.page.fd, b"\xff", 8)
    two = make()
    two.seek()
    one.answer()
    two.answer()
    assert two.page is None
    assert "a shared page of another version" in two.why


def test_there_is_room_for_so_many(make: Make):
    one = seated(make)
    for region in range(1, REGIONS):
        assert one._lock(region, 1)
    two = make()
    two.seek()
    assert (two.page, two.why) == (None, "64 processes have the page, there is room for no more")


def test_a_folder_that_others_can_enter_is_refused(make: Make, folder: Path):
    folder.mkdir(0o755)
    one = make()
    one.seek()
    assert (one.page, one.why) == (None, f"{folder} is open to others than its owner")


def test_a_folder_of_somebody_else_is_refused(make: Make, folder: Path, monkeypatch):
    folder.mkdir(0o700)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    one = make()
    one.seek()
    assert (one.page, one.why) == (None, f"{folder} belongs to somebody else")


def test_a_link_in_the_place_of_the_folder_is_refused(make: Make, folder: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir(0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    one = make()
    one.seek()
    assert (one.page, one.why) == (None, f"{folder} belongs to somebody else")


def test_names_are_in_the_folder_of_the_user(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder() == tmp_path / "shedproxy"
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert runtime_folder() == Path("/dev/shm/shedproxy-12345")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_folder() == Path("/dev/shm/shedproxy-12345")


def test_newcomers_in_the_seats_of_the_dead_do_not_take_each_other_for_holders(make: Make):
    """Whoever has the page hangs and dies without an answer: then one of them makes another."""
    one = seated(make)
    two = seated(make, one)
    three = seated(make, one, two)
    die(two)
    die(three)
    four, five = make(), make()
    four.seek()
    five.seek()
    assert (four.page, five.page) == (None, None)
    die(one)
    for each in (four, five, five, four):
        each.seek()
        each.answer()
    five.answer()
    words(four)[0] = 5
    assert words(five)[0] == 5
