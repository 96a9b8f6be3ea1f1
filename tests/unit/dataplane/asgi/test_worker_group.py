"""Workers of one server under the middleware: shared limits, and parts of them without a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shedproxy.core import NS_PER_S, CellPolicy, Instant, LimitPolicy, Permit, Policy, QueuePolicy
from shedproxy.dataplane.asgi import worker_group
from shedproxy.dataplane.asgi.worker_group import WorkerGroup, group_of_process
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.named_page import NamedPage
from shedproxy.snapshot import Document
from shedproxy.testing import eventually_async
from shedproxy.testing.builders import a_request

pytestmark = pytest.mark.anyio

REQUEST = a_request()
LIMIT = LimitPolicy(algorithm="fixed", initial=9, maximum=9)
DOCUMENT = Document(
    policy=Policy(cells=(CellPolicy(limit=LIMIT, queue=QueuePolicy(length_max=12)),))
)


class Worker:
    """One process of the server."""

    def __init__(self, folder: Path) -> None:
        self.page = NamedPage("a", folder)
        self.group = WorkerGroup(self.page, DOCUMENT, count=lambda: 4)
        self.driver: Driver = self.group.make_driver()
        self.driver.start()

    @property
    def limit(self) -> int:
        (cell,) = self.driver.shedder.stats().cells
        return cell.host_limit

    @property
    def queue_max(self) -> int:
        return self.driver.document.policy.cells[0].queue.length_max

    def arrive(self, count: int) -> int:
        decisions = (self.driver.arrive(REQUEST, Waiter()) for _ in range(count))
        return sum(isinstance(each, Permit) for each in decisions)

    def die(self) -> None:
        """The kernel takes its locks; its words stay."""
        assert self.driver._publish_timer is not None
        self.driver._publish_timer.cancel()
        self.page.forget_in_child()


class Waiter:
    def on_verdict(self, decision: object) -> None:
        """Stays in flight."""


Start = Callable[[], Worker]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(Path("run")))
        return started[-1]

    yield start
    for worker in started:
        worker.driver.close()


async def test_workers_count_against_one_limit(start: Start):
    one, two = start(), start()
    await eventually_async(lambda: two.group.why_lost == "" and one.group.workers == 2)
    assert one.arrive(5) == 5
    assert two.arrive(9) == 4
    assert (one.limit, two.limit) == (9, 9)
    assert (one.queue_max, two.queue_max) == (6, 6)
    assert {one.driver.part, two.driver.part} == {(0, 2), (1, 2)}


async def test_who_has_no_page_yet_has_a_part_of_the_limit(start: Start):
    one = start()
    two = start()
    assert two.group.why_lost == "no process has given the page yet"
    assert two.limit == 9 // 4
    assert two.arrive(2) == 2
    await eventually_async(lambda: two.group.why_lost == "")
    assert two.limit == 9
    # What began before counts for all.
    assert one.arrive(9) == 7


async def test_a_killed_worker_leaves_nothing(start: Start):
    one, two = start(), start()
    await eventually_async(lambda: two.group.why_lost == "")
    assert two.arrive(9) == 9
    two.die()
    await eventually_async(lambda: one.page.members() == [one.page.region])
    assert one.arrive(9) == 9


async def test_a_page_that_is_gone_is_made_again(start: Start):
    one, two = start(), start()
    await eventually_async(lambda: two.group.why_lost == "")
    assert one.arrive(3) == 3
    for file in Path("run/a").iterdir():
        file.unlink()
    Path("run/a").rmdir()
    await eventually_async(lambda: Path("run/a/seats").exists())
    await eventually_async(lambda: len(one.page.members()) == len(two.page.members()) == 2)
    assert two.arrive(9) == 6


async def test_without_a_folder_each_has_an_equal_part(start: Start):
    Path("run").mkdir(0o755)
    one = start()
    assert one.group.why_lost == "run is open to others than its owner"
    assert (one.limit, one.arrive(9)) == (2, 2)
    Path("run").chmod(0o700)
    await eventually_async(lambda: one.group.why_lost == "")
    assert one.limit == 9


async def test_a_loss_that_lasts_is_logged_once(start: Start, caplog: pytest.LogCaptureFixture):
    Path("run").mkdir(0o755)
    one = start()
    now = one.driver.clock()
    for second in range(6):
        one.group.look(Instant(now + second * NS_PER_S))
    (record,) = caplog.records
    assert record.getMessage() == (
        "limits are cut in 4, as the workers cannot share them: "
        "run is open to others than its owner"
    )


async def test_a_worker_that_is_started_anew_finds_its_part(start: Start):
    one, two = start(), start()
    await eventually_async(lambda: one.group.workers == 2)
    two.driver.close()
    now = one.driver.clock()
    one.group.look(now)
    assert one.queue_max == 6
    one.group.look(Instant(now + 11 * NS_PER_S))
    assert one.queue_max == 12


async def test_after_the_end_no_word_is_written(start: Start):
    one, two = start(), start()
    await eventually_async(lambda: two.group.why_lost == "")
    decision = two.driver.arrive(REQUEST, Waiter())
    two.driver.close()
    assert one.arrive(9) == 9
    assert isinstance(decision, Permit)


def test_names_follow_the_server_the_middleware_and_its_cells(monkeypatch):
    monkeypatch.setattr(worker_group, "server_of_process", lambda: "1 [socket:[2]]")

    def name(share: str = "auto", number: int = 0, document: Document = DOCUMENT) -> str:
        group = group_of_process(share, number, document)
        assert group is not None
        return group._page._folder.name

    other = Document(policy=Policy(cells=(CellPolicy(name="b"),)))
    names = [name(), name(number=1), name(document=other), name("mine")]
    assert len(set(names)) == 4
    assert name() == names[0]
    assert name("mine", number=3) == names[3]
    assert group_of_process("off", 0, DOCUMENT) is None
    monkeypatch.setattr(worker_group, "server_of_process", lambda: "")
    assert group_of_process("auto", 0, DOCUMENT) is None


def test_who_meets_by_a_name_is_not_one_of_its_parents_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A parent of services that have nothing in common has dozens."""
    (tmp_path / "shedproxy").mkdir(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(worker_group, "count_siblings", lambda: 40)
    group = group_of_process("mine", 0, DOCUMENT)
    assert group is not None
    driver = group.make_driver()
    assert group.why_lost
    assert (group.workers, driver.document) == (1, DOCUMENT)
