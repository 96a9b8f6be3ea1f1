"""A worker's place on the page that was handed over, or off it."""

from __future__ import annotations

import os

import pytest

from shedproxy.dataplane.share_page import SharePage, WorkerState
from shedproxy.dataplane.worker_options import Options
from shedproxy.dataplane.worker_page import take_place


@pytest.fixture
def page():
    page = SharePage.create(3)
    yield page
    page.close()


def options(fd: int) -> Options:
    return Options(index=1, workers=2, region=2, page_fd=fd, is_shared=True)


def test_a_worker_writes_to_its_region(page: SharePage):
    place = take_place(options(os.dup(page.fd)))
    assert (place.page_lost, place.share is not None) == ("", True)
    assert (page.worker(2).pid, page.worker(2).state) == (os.getpid(), WorkerState.STARTING)
    place.view.release()


def cut_short(page: SharePage) -> int:
    fd = os.memfd_create("short")
    os.write(fd, os.pread(page.fd, 8192, 0))
    return fd


def of_another_version(page: SharePage) -> int:
    fd = os.memfd_create("other")
    os.ftruncate(fd, os.fstat(page.fd).st_size)
    os.pwrite(fd, b"shedpage\xff", 0)
    return fd


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: -1, "descriptor -1 is no shared page"),
        (cut_short, "a shared page of another size than its header says"),
        (of_another_version, "a shared page of another version of shedproxy"),
        (lambda _: os.memfd_create("empty"), "is no shared page"),
    ],
    ids=["missing", "cut short", "other version", "empty"],
)
def test_what_is_no_page_of_ours_is_left_alone_and_told(page: SharePage, make, why):
    place = take_place(options(make(page)))
    assert why in place.page_lost
    assert place.share is None
    assert page.worker(2).pid == 0
