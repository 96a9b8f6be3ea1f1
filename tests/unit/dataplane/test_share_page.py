"""One page, several processes: what a worker writes, the supervisor reads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shedproxy.core import Criticality, Instant, Mode, Rejected, RejectReason, RequestInfo
from shedproxy.dataplane.host_share import HostShare
from shedproxy.dataplane.share_page import SharePage, WorkerState
from shedproxy.errors import StartupError
from shedproxy.observability.meter import Gauge, Meter
from shedproxy.observability.metric_labels import WORKER_STATES
from shedproxy.observability.ring import RefusalRing, find_refusal

WORKER = """
import sys, time
from shedproxy.core import Criticality, Instant, Mode, Rejected, RejectReason, RequestInfo
from shedproxy.dataplane.share_page import SharePage, WorkerState
from shedproxy.observability.meter import Gauge, Meter
page = SharePage.attach(int(sys.argv[1]))
view = page.worker(1)
meter = Meter(view.slots)
meter.on_admitted(0, Criticality.CRITICAL, 0)
meter.set_gauge(0, Gauge.LIMIT, 12)
view.heartbeat = time.monotonic_ns()
view.pid, view.mode, view.state, view.revision = 42, Mode.OBSERVE, WorkerState.SERVING, 7
rejected = Rejected(RequestInfo(route="slow"), RejectReason.DEADLINE, Instant(1), (1, 2, 3))
refusal_id = view.ring.record(rejected, cell=0, mode=Mode.OBSERVE, wall_ns=5)
print(view.ring.format_id(refusal_id))
"""


@pytest.fixture
def page():
    page = SharePage.create(2)
    yield page
    if page.fd >= 0:
        page.close()


def refusal() -> Rejected:
    return Rejected(RequestInfo(), RejectReason.DRAINING, Instant(1), ())


def test_another_process_writes_and_this_one_reads(page):
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(page.fd)],
        pass_fds=[page.fd],
        capture_output=True,
        text=True,
        check=True,
    )
    view = page.worker(1)
    assert Meter(view.slots).admitted(0) == 1
    assert Meter(view.slots).gauge(0, Gauge.LIMIT) == 12
    assert Meter(page.worker(0).slots).admitted(0) == 0
    assert view.heartbeat > 0
    assert (view.pid, view.mode, view.revision) == (42, Mode.OBSERVE, 7)
    assert view.state is WorkerState.SERVING
    found = find_refusal(page.rings, done.stdout.strip())
    assert found is not None
    assert (found.route, found.reason) == ("slow", RejectReason.DEADLINE)


def test_a_new_page_is_blank(page):
    view = page.worker(0)
    assert len(page) == len(page.workers) == len(page.slots) == 2
    assert view.heartbeat == view.pid == view.started_at == view.revision == 0
    assert view.state is WorkerState.STARTING
    assert not any(view.slots)
    assert view.ring.recent(5) == []


def test_a_reset_forgets_the_present_and_keeps_the_counters(page):
    view = page.worker(0)
    meter = Meter(view.slots)
    meter.on_rejected(0, Criticality.CRITICAL, RejectReason.DRAINING)
    meter.set_gauge(0, Gauge.IN_FLIGHT, 3)
    view.state, view.started_at, view.pid = WorkerState.SERVING, Instant(5), 9
    refusal_id = view.ring.record(refusal(), cell=0, mode=Mode.ENFORCE, wall_ns=1)
    page.reset(0)
    assert (view.state, view.started_at, view.pid) == (WorkerState.STARTING, 0, 0)
    assert meter.gauge(0, Gauge.IN_FLIGHT) == 0
    assert meter.rejected(0) == 1
    assert view.ring.find(refusal_id) is not None


def test_workers_do_not_touch_one_another(page):
    first, second = page.workers
    for at in range(len(first.slots)):
        first.slots[at] = -1
    first.heartbeat = Instant(1)
    for _ in range(first.ring.capacity + 1):
        first.ring.record(refusal(), cell=0, mode=Mode.ENFORCE, wall_ns=1)
    assert not any(second.slots)
    assert second.heartbeat == 0
    assert not any(second.ring_buffer)


def test_an_unused_page_takes_little_memory():
    page = SharePage.create(64)
    size = os.fstat(page.fd).st_size
    assert size > 40 * 1024 * 1024
    assert os.fstat(page.fd).st_blocks * 512 < 1024 * 1024
    page.close()


def test_a_system_without_memory_files_uses_a_temporary_one(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    page = SharePage.create(1)
    Meter(page.worker(0).slots).on_bypass(0)
    other = SharePage.attach(os.dup(page.fd))
    assert Meter(other.worker(0).slots).bypassed(0) == 1
    other.close()
    page.close()


def test_closing_lets_go_of_everything_it_handed_out(page):
    view = page.worker(0)
    meter, ring = Meter(view.slots), view.ring
    ring.record(refusal(), cell=0, mode=Mode.ENFORCE, wall_ns=1)
    fd = page.fd
    page.close()
    with pytest.raises(ValueError):
        meter.on_bypass(0)
    with pytest.raises(OSError):
        os.fstat(fd)


def test_closing_is_no_error_while_somebody_holds_a_slice(page):
    held = page.worker(0).slots[:4]
    ring = RefusalRing(page.worker(1).ring_buffer[:], worker=1)
    ring.record(refusal(), cell=0, mode=Mode.ENFORCE, wall_ns=1)
    page.close()
    assert list(held) == [0, 0, 0, 0]


def test_what_is_no_page_is_refused(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"x" * 8192)
    for make in (
        lambda: os.open(other, os.O_RDWR),
        lambda: os.memfd_create("empty"),
    ):
        fd = make()
        with pytest.raises(StartupError):
            SharePage.attach(fd)
        os.close(fd)


def test_a_page_of_another_version_is_refused(page):
    fd = os.dup(page.fd)
    os.pwrite(fd, (2**31).to_bytes(4, "little"), 12)
    with pytest.raises(StartupError, match="another version"):
        SharePage.attach(fd)
    os.close(fd)


@pytest.mark.parametrize("workers", [0, 257])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers):
    with pytest.raises(ValueError, match="256"):
        SharePage.create(workers)


def test_states_have_the_words_of_the_metric_table():
    assert tuple(state.label for state in WorkerState) == WORKER_STATES


def test_nobody_can_cut_it_short_under_those_who_read_it():
    page = SharePage.create(1)
    with pytest.raises(PermissionError):
        os.ftruncate(page.fd, 0)
    page.close()


def test_slots_are_reserved_for_a_worker_that_cannot_write_here():
    page = SharePage.create(2)
    page.reserve(1, {3: 5}, Instant(7))
    assert page.worker(1).heartbeat == 7
    assert HostShare(page, region=0, index=0, workers=2).cell(3).total() == 5
    page.reset(1)
    assert HostShare(page, region=0, index=0, workers=2).cell(3).total() == 0
    page.close()
