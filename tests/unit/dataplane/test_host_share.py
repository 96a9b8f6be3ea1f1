"""The words and bells of a page, as one worker uses them."""

from __future__ import annotations

import asyncio
import os

import pytest

from shedproxy.core import LOOK_NS, NS_PER_MS, Instant, Outcome, Permit, Shedder
from shedproxy.dataplane.host_share import HostShare, close_bells, make_bells
from shedproxy.dataplane.share_page import SharePage
from shedproxy.testing import eventually_async
from shedproxy.testing.builders import a_policy, a_request

pytestmark = pytest.mark.anyio

MS = NS_PER_MS


@pytest.fixture
def page():
    page = SharePage.create(3)
    yield page
    page.close()


@pytest.fixture
def bells():
    bells = make_bells(3)
    yield bells
    close_bells(bells)


def test_cells_have_words_of_their_own(page: SharePage):
    share = HostShare(page, region=0, index=0, workers=2)
    share.cell(0).put(3)
    assert share.cell(0).total() == 3
    assert share.cell(1).total() == 0


def test_a_page_that_is_reset_for_a_worker_forgets_its_words_alone(page: SharePage):
    one = HostShare(page, region=0, index=0, workers=2).cell(5)
    two = HostShare(page, region=1, index=1, workers=2).cell(5)
    one.put(3)
    two.put(2)
    page.reset(0)
    assert two.total() == 2


async def test_a_slot_that_one_frees_rings_the_bell_of_the_other(
    page: SharePage, bells: tuple[int, ...]
):
    shedders = [Shedder(a_policy(limit=1), now=Instant(1)) for _ in range(2)]
    shares = [
        HostShare(page, region=index, index=index, workers=2, bells=bells) for index in range(2)
    ]
    for shedder, share in zip(shedders, shares, strict=True):
        share.join(shedder, {"default": 0})
    rung: list[str] = []
    shares[1].listen(asyncio.get_running_loop(), lambda: rung.append("rung"))
    permit = shedders[0].arrive(a_request(), Instant(2))
    assert isinstance(permit, Permit)
    shedders[1].arrive(a_request(), Instant(3))
    assert shedders[1].waiting("default") == 1
    shedders[0].release(permit, Outcome.SUCCESS, Instant(4))
    await eventually_async(lambda: rung == ["rung"])
    verdicts = shedders[1].tick(now=Instant(5))
    assert [type(verdict.decision) for verdict in verdicts] == [Permit]
    shares[1].stop()


async def test_bells_are_rung_once_and_when_all_that_was_read_is_done(
    page: SharePage, bells: tuple[int, ...]
):
    """Else the first of many answers would have another worker run in our place, for one slot."""
    shares = [
        HostShare(page, region=index, index=index, workers=2, bells=bells) for index in range(2)
    ]
    loop = asyncio.get_running_loop()
    shares[0].listen(loop, lambda: None)
    one, two = (share.cell(0) for share in shares)
    two.claim(10)
    for in_flight in (2, 1, 0):
        one.put(in_flight)
        one.pass_on(3)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(bells[1])
    await asyncio.sleep(0)
    assert os.eventfd_read(bells[1]) == 1
    one.pass_on(3)
    # Who goes leaves no bell unrung.
    shares[0].stop()
    assert os.eventfd_read(bells[1]) == 1


async def test_a_turn_that_takes_long_rings_within_a_millisecond_of_slots_that_it_frees(
    page: SharePage, bells: tuple[int, ...]
):
    now = MS
    share = HostShare(page, region=0, index=0, workers=2, bells=bells, clock=lambda: Instant(now))
    two = HostShare(page, region=1, index=1, workers=2).cell(0)
    share.listen(asyncio.get_running_loop(), lambda: None)
    one = share.cell(0)
    two.claim(10)
    rung = []
    for _ in range(8):
        one.pass_on(3)
        try:
            rung.append(os.eventfd_read(bells[1]))
        except BlockingIOError:
            rung.append(0)
        now += MS // 2
    assert rung == [0, 0, 0, 1, 0, 0, 0, 1]
    share.stop()


async def test_who_has_not_been_rung_yet_is_not_late_for_its_slot(
    page: SharePage, bells: tuple[int, ...]
):
    """Its time to come begins when its bell is rung, however long the turn takes until then."""
    share = HostShare(page, region=0, index=0, workers=2, bells=bells)
    two = HostShare(page, region=1, index=1, workers=2).cell(0)
    share.listen(asyncio.get_running_loop(), lambda: None)
    one = share.cell(0)
    two.claim(10)
    one.put(3)
    one.pass_on(4)
    assert one.must_yield(Instant(MS), 1)
    assert one.must_yield(Instant(MS + 6 * LOOK_NS), 1)
    await asyncio.sleep(0)
    assert os.eventfd_read(bells[1]) == 1
    assert one.must_yield(Instant(MS + 7 * LOOK_NS - 1), 1)
    assert not one.must_yield(Instant(MS + 7 * LOOK_NS), 1)
    share.stop()


async def test_who_does_not_listen_yet_rings_at_once(page: SharePage, bells: tuple[int, ...]):
    one, two = (
        HostShare(page, region=index, index=index, workers=2, bells=bells).cell(0)
        for index in range(2)
    )
    two.claim(10)
    one.pass_on(1)
    assert os.eventfd_read(bells[1]) == 1
