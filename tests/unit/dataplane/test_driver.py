"""The adapter between the core and a loop: one clock, one timer, every verdict delivered once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    Lane,
    LimitCause,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    Remembered,
    RequestInfo,
    SpillPolicy,
    Ticket,
    milliseconds,
    refusal_holds,
)
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.recorder import Recorder
from shedproxy.errors import DocumentInvalidError
from shedproxy.observability.metric import Gauge, ProcessCounter, ProcessGauge
from shedproxy.simulator.replay import verify
from shedproxy.snapshot import Document
from shedproxy.testing import eventually_async
from shedproxy.workload.trace import TraceReader

REQUEST = RequestInfo()


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = Instant(0)

    def __call__(self) -> Instant:
        return self.now


class Caller:
    """A waiter that remembers its verdicts."""

    def __init__(self) -> None:
        self.verdicts: list[Permit | Rejected] = []

    def on_verdict(self, decision: Permit | Rejected) -> None:
        self.verdicts.append(decision)


def document(limit: int = 1, mode: Mode = Mode.ENFORCE, **queue: object) -> Document:
    cell = CellPolicy(
        limit=LimitPolicy(algorithm="fixed", initial=limit),
        queue=QueuePolicy(**queue),
    )
    return Document(policy=Policy(mode=mode, cells=(cell,)))


def driver(limit: int = 1, **queue: object) -> tuple[Driver, Hand]:
    clock = Hand()
    return Driver(document(limit, **queue), clock=clock), clock


def test_a_waiter_hears_once_when_a_slot_is_free() -> None:
    """And the wait is counted."""
    subject, clock = driver()
    first, second = Caller(), Caller()
    running = subject.arrive(REQUEST, first)
    assert isinstance(running, Permit)
    assert isinstance(subject.arrive(REQUEST, second), Ticket)
    clock.now = Instant(milliseconds(7))
    subject.release(running, Outcome.SUCCESS)
    [permit] = second.verdicts
    assert isinstance(permit, Permit)
    assert permit.waited_ns == milliseconds(7)
    assert first.verdicts == []
    assert subject.meter.admitted(0) == 2


def test_an_evicted_waiter_hears_from_the_arrival_that_took_its_place() -> None:
    """Synchronously, with a recorded refusal."""
    subject, _ = driver(length_max=1)
    subject.arrive(RequestInfo(), Caller())
    low, high = Caller(), Caller()
    subject.arrive(RequestInfo(criticality=0), low)
    subject.arrive(RequestInfo(), high)
    [rejected] = low.verdicts
    assert isinstance(rejected, Rejected)
    record = subject.ring.find(rejected.record_id)
    assert record is not None
    assert record.reason is RejectReason.EVICTED
    assert refusal_holds(record.to_rejected())
    assert high.verdicts == []


def test_a_limit_that_is_per_weight_follows_the_upstreams_in_service() -> None:
    """Down and up, and the mode that was set stays; waiters get the slots that come back."""
    limit = LimitPolicy(algorithm="fixed", initial=4, minimum=4, maximum=4, weight=2)
    subject = Driver(Document(policy=Policy(cells=(CellPolicy(limit=limit),))), clock=Hand())
    subject.set_healthy_weight("default", 2)
    assert subject.shedder.stats().cells[0].limit == 4
    subject.set_healthy_weight("default", 1)
    assert subject.shedder.stats().cells[0].limit == 2
    change = subject.shedder.stats().cells[0].last_change
    assert change is not None
    assert change.cause is LimitCause.RESCALED
    callers = [Caller() for _ in range(4)]
    answers = [subject.arrive(REQUEST, caller) for caller in callers]
    assert [type(answer) for answer in answers] == [Permit, Permit, Ticket, Ticket]
    subject.set_healthy_weight("default", 0)
    assert subject.shedder.stats().cells[0].limit == 2
    subject.set_healthy_weight("default", 2)
    assert [len(caller.verdicts) for caller in callers] == [0, 0, 1, 1]
    subject.set_healthy_weight("default", 1)
    subject.set_mode(Mode.OBSERVE)
    assert subject.shedder.stats().cells[0].limit == 2
    # A document that is read again is for the upstreams that are there.
    subject.apply(subject.document)
    assert subject.shedder.stats().cells[0].limit == 2


def test_a_limit_that_is_for_any_weight_stays() -> None:
    subject, _ = driver(4)
    subject.set_healthy_weight("default", 1)
    assert subject.shedder.stats().cells[0].last_change is None


def test_an_abandoned_waiter_hears_nothing() -> None:
    """Its slot goes to the next."""
    subject, _ = driver()
    running = subject.arrive(REQUEST, Caller())
    gone, patient = Caller(), Caller()
    ticket = subject.arrive(REQUEST, gone)
    subject.arrive(REQUEST, patient)
    assert isinstance(ticket, Ticket)
    assert isinstance(running, Permit)
    subject.abandon(ticket)
    subject.release(running, Outcome.SUCCESS)
    assert gone.verdicts == []
    assert len(patient.verdicts) == 1


def test_refusals_are_counted_and_recorded_with_their_numbers() -> None:
    """Those of the core and those decided outside it alike."""
    subject, _ = driver(length_max=0)
    subject.arrive(REQUEST, Caller())
    refused = subject.arrive(REQUEST, Caller())
    assert isinstance(refused, Rejected)
    outside = subject.reject(REQUEST, RejectReason.NO_UPSTREAM, (0, 2))
    for rejected in (refused, outside):
        record = subject.ring.find(rejected.record_id)
        assert record is not None
        assert record.to_rejected().numbers == rejected.numbers
        assert rejected.retry_after_ns > 0
    assert subject.meter.rejected(0, RejectReason.QUEUE_FULL) == 1
    assert subject.meter.rejected(0, RejectReason.NO_UPSTREAM) == 1


def test_control_requests_are_counted_apart() -> None:
    """They bypass admission."""
    subject, _ = driver()
    subject.arrive(RequestInfo(lane=Lane.CONTROL), Caller())
    assert subject.meter.bypassed(0) == 1
    assert subject.meter.admitted(0) == 0


def test_observe_counts_control_requests_over_their_budget() -> None:
    """They are served, and they are the ones enforce mode would refuse."""
    cell = CellPolicy(control_budget=1)
    subject = Driver(Document(policy=Policy(mode=Mode.OBSERVE, cells=(cell,))), clock=Hand())
    for _ in range(2):
        assert isinstance(subject.arrive(RequestInfo(lane=Lane.CONTROL), Caller()), Permit)
    assert subject.meter.bypassed(0) == 1
    assert subject.meter.would_reject(0, RejectReason.CONTROL_BUDGET) == 1


def test_observe_counts_what_enforce_would_refuse() -> None:
    """And records it, so that `explain --id` works before anything is enforced."""
    clock = Hand()
    subject = Driver(document(1, Mode.OBSERVE, length_max=0), clock=clock)
    assert isinstance(subject.arrive(REQUEST, Caller()), Permit)
    second = subject.arrive(REQUEST, Caller())
    assert isinstance(second, Permit)
    assert second.would_reject is not None
    assert subject.meter.would_reject(0) == 1
    record = subject.ring.find(second.would_reject.record_id)
    assert record is not None
    assert record.mode is Mode.OBSERVE


def test_a_mode_survives_nothing_it_should_not() -> None:
    """Break-glass off lets waiters in; back to enforce the limit holds again."""
    subject, _ = driver()
    subject.arrive(REQUEST, Caller())
    waiter = Caller()
    subject.arrive(REQUEST, waiter)
    subject.set_mode(Mode.OFF)
    assert isinstance(waiter.verdicts[0], Permit)
    subject.set_mode(Mode.ENFORCE)
    assert isinstance(subject.arrive(REQUEST, Caller()), Ticket)


def test_a_new_document_keeps_counters_and_slots() -> None:
    """Only what the operator decided has changed."""
    subject, _ = driver()
    subject.arrive(REQUEST, Caller())
    waiter = Caller()
    subject.arrive(REQUEST, waiter)
    subject.apply(document(2))
    assert isinstance(waiter.verdicts[0], Permit)
    assert subject.meter.admitted(0) == 2
    assert subject.shedder.stats().cells[0].in_flight == 2


@pytest.mark.anyio
async def test_on_a_loop_waiters_expire_by_themselves_and_gauges_are_published() -> None:
    """One timer for the queue, one for the read-outs."""
    beats: list[Instant] = []
    subject = Driver(document(wait_max_ns=milliseconds(20)), on_heartbeat=beats.append)
    subject.start()
    try:
        subject.arrive(REQUEST, Caller())
        waiter = Caller()
        subject.arrive(REQUEST, waiter)
        async with asyncio.timeout(30):
            while not waiter.verdicts or len(beats) < 2:
                await asyncio.sleep(0.005)
        [rejected] = waiter.verdicts
        assert isinstance(rejected, Rejected)
        assert rejected.reason is RejectReason.QUEUE_TIMEOUT
        assert subject.meter.gauge(0, Gauge.IN_FLIGHT) == 1
        assert subject.meter.gauge(0, Gauge.LIMIT) == 1
        assert subject.meter.gauge(0, Gauge.of_class(REQUEST.criticality)) == 1
    finally:
        subject.close()


@pytest.mark.anyio
async def test_a_stalled_loop_is_noticed() -> None:
    """It is counted, and what was timed meanwhile is not blamed on the upstream."""
    subject = Driver(document())
    subject.start()
    try:
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.3
        while loop.time() < until:
            pass
        async with asyncio.timeout(30):
            while not subject.meter.counted(ProcessCounter.LOOP_STALLS):
                await asyncio.sleep(0.005)
    finally:
        subject.close()


@pytest.mark.anyio
async def test_a_stall_is_noticed_by_the_answers_that_are_read_before_the_timer() -> None:
    """They were measured by a loop that stood still: they teach nothing."""
    subject = Driver(document())
    subject.start()
    try:
        loop = asyncio.get_running_loop()
        permit = subject.arrive(REQUEST, Caller())
        until = loop.time() + 0.3
        while loop.time() < until:
            pass
        subject.release(permit, Outcome.SUCCESS)
        assert subject.meter.counted(ProcessCounter.LOOP_STALLS) == 1
        assert subject.shedder.memory() == {"default": {}}
        beat_at = subject.meter.process(ProcessGauge.LOOP_LAG_NS)
        async with asyncio.timeout(30):
            while subject.meter.process(ProcessGauge.LOOP_LAG_NS) == beat_at:
                await asyncio.sleep(0.005)
        assert subject.meter.counted(ProcessCounter.LOOP_STALLS) == 1, "once"
    finally:
        subject.close()


def test_time_that_the_services_own_loop_stands_still_is_the_works() -> None:
    """The middleware's: in an application that needs the processor it does so most of the time."""
    clock = Hand()
    subject = Driver(document(), clock=clock, is_service=True)
    subject._publish()
    permit = subject.arrive(REQUEST, Caller())
    clock.now = milliseconds(300)
    subject.release(permit, Outcome.SUCCESS)
    assert subject.meter.counted(ProcessCounter.LOOP_STALLS) == 1
    limits = subject.shedder._cells["default"]._limits
    assert limits.expected_ns(REQUEST.route) == milliseconds(300)


@pytest.mark.anyio
async def test_after_close_no_timer_is_left_and_none_is_made() -> None:
    """Requests may still end and arrive; also when it is closed by its own heartbeat."""
    beats: list[Instant] = []

    def close(now: Instant) -> None:
        beats.append(now)
        subject.close()

    subject = Driver(document(wait_max_ns=milliseconds(1)), on_heartbeat=close)
    subject.start()
    subject.arrive(REQUEST, Caller())
    waiter = Caller()
    subject.arrive(REQUEST, waiter)
    await asyncio.sleep(0.25)
    assert len(beats) == 1
    assert waiter.verdicts == []


@pytest.mark.anyio
async def test_a_driver_started_again_lets_waiters_expire() -> None:
    """By its own timer, not by the read-outs that come far less often."""
    beats: list[Instant] = []
    heard_after: list[int] = []

    class Patient:
        def on_verdict(self, decision: Permit | Rejected) -> None:
            heard_after.append(len(beats))

    subject = Driver(document(wait_max_ns=milliseconds(5)), on_heartbeat=beats.append)
    subject.start()
    subject.arrive(REQUEST, Caller())
    subject.arrive(REQUEST, Patient())
    subject.close()
    await asyncio.sleep(0.01)
    subject.start()
    subject.arrive(REQUEST, Patient())
    try:
        async with asyncio.timeout(30):
            while len(heard_after) < 2:
                await asyncio.sleep(0.002)
        assert heard_after == [1, 2]
    finally:
        subject.close()


@pytest.mark.anyio
async def test_a_waiter_that_fails_is_reported_to_the_loop() -> None:
    """Not to whoever gave the slot back: it is not his failure."""

    class Broken:
        def on_verdict(self, decision: Permit | Rejected) -> None:
            raise RuntimeError("broken")

    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    subject = Driver(document())
    subject.start()
    try:
        running = subject.arrive(REQUEST, Caller())
        assert isinstance(running, Permit)
        subject.arrive(REQUEST, Broken())
        subject.release(running, Outcome.SUCCESS)
        assert str(reported[0]["exception"]) == "broken"
    finally:
        subject.close()


def test_timers_ask_for_whole_milliseconds() -> None:
    """Asked for less, uvloop calls back at once, again and again until the instant has come."""
    asked: list[float] = []

    class Loop(asyncio.SelectorEventLoop):
        def call_later(self, delay, callback, *args, **more):
            asked.append(delay)
            return super().call_later(delay, callback, *args, **more)

    async def arrive() -> None:
        clock = Hand()
        subject = Driver(document(wait_max_ns=milliseconds(3) + 1), clock=clock)
        subject.start()
        subject.arrive(REQUEST, Caller())
        subject.arrive(REQUEST, Caller())
        subject.close()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(arrive())
    assert 0.004 in asked


@pytest.mark.anyio
async def test_what_the_shedder_is_told_is_recorded_as_time_goes_by(tmp_path) -> None:
    """The file grows without a call; closing the driver ends it, and what is out may come back."""
    file = tmp_path / "trace.jsonl"
    subject = Driver(document(), recorder=Recorder(str(file)))
    subject.start()
    running, waiter = subject.arrive(REQUEST, Caller()), Caller()
    assert isinstance(running, Permit)
    subject.arrive(REQUEST, waiter)
    subject.screen(REQUEST)
    await eventually_async(lambda: file.exists() and file.read_text().count('"arrive"') == 2)
    subject.respond(running)
    subject.release(running, Outcome.SUCCESS)
    subject.set_mode(Mode.OBSERVE)
    subject.drain()
    subject.close()
    [permit] = waiter.verdicts
    assert isinstance(permit, Permit)
    subject.release(permit, Outcome.SUCCESS)
    lines = file.read_text().splitlines(keepends=True)
    verification = verify(TraceReader(lines))
    assert (verification.difference, verification.arrivals) == (None, 2)
    assert verification.why == "closed"
    names = {line.split('"')[1] for line in lines[1:]} - {"stall"}  # of a busy machine
    assert names == {*("request", "arrive", "screen", "tick", "release", "apply", "drain", "end")}


def cells(*names: str) -> Document:
    return Document(policy=Policy(cells=tuple(CellPolicy(name=name) for name in names)))


def test_a_reload_gives_no_cell_the_counters_of_another() -> None:
    """Cells keep their numbers when others come and go; newcomers get new ones."""
    subject = Driver(cells("default", "a", "b"), clock=Hand())
    permit = subject.arrive(RequestInfo(cell="b"), Caller())
    assert isinstance(permit, Permit)
    subject.publish_gauges()
    subject.apply(cells("default", "c", "b"))
    assert subject.cells == ("default", "a", "b", "c")
    subject.arrive(RequestInfo(cell="b"), Caller())
    subject.arrive(RequestInfo(cell="c"), Caller())
    subject.publish_gauges()
    assert [subject.meter.admitted(subject.cell_index(name)) for name in ("b", "c")] == [2, 1]
    assert subject.meter.gauge(subject.cell_index("b"), Gauge.IN_FLIGHT) == 2
    assert subject.cell_index("a") == subject.cell_index("default")


def test_a_cell_that_is_no_more_has_no_present() -> None:
    """Its gauges are cleared, its counters stay."""
    subject = Driver(cells("default", "a"), clock=Hand())
    subject.arrive(RequestInfo(cell="a"), Caller())
    subject.publish_gauges()
    subject.apply(cells("default"))
    subject.publish_gauges()
    assert subject.meter.gauge(1, Gauge.IN_FLIGHT) == 0
    assert subject.meter.admitted(1) == 1


def test_what_one_driver_learnt_the_next_one_knows() -> None:
    """And publishes before any request."""
    memory = {"default": {"default": Remembered(milliseconds(5), 40, 1e12)}}
    subject = Driver(cells("default"), clock=Hand())
    assert subject.shedder.memory() == {"default": {}}
    subject.shedder.remember(memory)
    assert subject.shedder.memory() == memory
    subject.publish_gauges()
    assert subject.meter.gauge(0, Gauge.BASELINE_NS) == milliseconds(5)


def test_numbers_that_the_document_gives_are_taken() -> None:
    """A worker that starts after a reload counts where the others do."""
    given = replace(cells("default", "b"), cells=("default", "a", "b"))
    assert Driver(given, clock=Hand()).cell_index("b") == 2


def test_a_document_that_nothing_can_be_run_by_changes_nothing() -> None:
    """Neither the cells nor their numbers."""
    subject = Driver(cells("default", "a"), clock=Hand())
    before = subject.document
    broken = CellPolicy(name="z", limit=LimitPolicy(algorithm="luck"))
    for document in (
        Document(policy=Policy(cells=(broken,))),
        cells(*(f"c{number}" for number in range(65))),
    ):
        with pytest.raises(DocumentInvalidError):
            subject.apply(document)
        assert subject.document is before
        assert subject.cells == ("default", "a")


def test_nothing_is_sent_to_a_cell_whose_last_upstream_is_gone() -> None:
    """Until one is back; that it has fewer than before changes nothing."""
    spill = SpillPolicy(to=("b",), classes=(Criticality.SHEDDABLE,))
    cells = (CellPolicy(spill=spill), CellPolicy(name="b"))
    subject = Driver(Document(policy=Policy(cells=cells)), clock=Hand())
    seen = []
    for weight in (2, 1, 0, 0, 1, 2):
        subject.set_healthy_weight("b", weight)
        seen.append(subject.shedder.policy)
    takes = [bool(policy.cells[0].spill.to) for policy in seen]
    assert takes == [True, True, False, False, True, True]
    assert seen[0] is seen[1], "what changes nothing is not applied"
