from __future__ import annotations

from shedproxy.core import Instant, Mode, Outcome, Permit, Rejected, RejectReason, RequestInfo
from shedproxy.dataplane import counting
from shedproxy.dataplane.counting import Counting
from shedproxy.observability.meter import Meter
from shedproxy.observability.ring import RefusalRing

NOW = Instant(5_000_000_000)


def test_the_time_of_day_is_that_of_the_last_look(monkeypatch) -> None:
    monkeypatch.setattr(counting, "wall_seconds", lambda: 1000.5)
    subject = Counting(Meter(), RefusalRing(), Mode.ENFORCE, NOW)
    assert subject.wall_ns(Instant(NOW + 250)) == 1_000_500_000_250
    monkeypatch.setattr(counting, "wall_seconds", lambda: 900.0)  # the clock was set back
    assert subject.wall_ns(NOW) == 1_000_500_000_000
    subject.set_wall(NOW)
    assert subject.wall_ns(NOW) == 900_000_000_000


def test_a_refusal_is_counted_and_recorded_under_the_id_that_it_is_given() -> None:
    subject = Counting(Meter(), RefusalRing(), Mode.OBSERVE, NOW)
    rejected = Rejected(RequestInfo(), RejectReason.QUEUE_FULL, NOW, (1, 2, 3))
    subject._count(rejected)
    assert subject.meter.rejected(0, RejectReason.QUEUE_FULL) == 1
    record = subject.ring.find(rejected.record_id)
    assert (record.at, record.mode, record.wall_ns) == (NOW, Mode.OBSERVE, subject.wall_ns(NOW))
    assert rejected.retry_after_ns == 1_000_000_000


def test_only_what_ended_well_and_in_time_is_goodput() -> None:
    subject = Counting(Meter(), RefusalRing(), Mode.ENFORCE, NOW)
    permit = Permit(1, RequestInfo(), 0, 0, NOW, NOW, Instant(NOW + 10), 1, None)
    for outcome, late_ns in ((Outcome.SUCCESS, 0), (Outcome.IGNORE, 0), (Outcome.SUCCESS, 11)):
        subject._count_finished(permit, outcome, 200, Instant(NOW + late_ns))
    assert (subject.meter.finished(0), subject.meter.goodput(0)) == (3, 1)
