"""Who is heard of, what each runs, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane.fleet import Edition, Fleet, Host
from shedproxy.controlplane.gates import KINDS, TRIALS
from shedproxy.controlplane.sightings import UNKNOWN, Interval, Sightings, arm_of
from shedproxy.core import Instant, seconds
from shedproxy.observability.metric_labels import DURATION_BOUNDS
from shedproxy.snapshot import StatusReport


def edition(host: str, revision: int, release: str) -> Edition:
    digest = f"sha256:{release}{revision}"
    return Edition(host=host, revision=revision, release=release, key="k", digest=digest)


FLEET = Fleet(
    hosts=(Host(name="a"), Host(name="b")),
    editions=(edition("a", 1, "old"), edition("b", 1, "old")),
)
NEXT = replace(FLEET, editions=(edition("a", 2, "new"), edition("b", 1, "old")))


def report(host: str, heartbeat: int, digest: str = "sha256:old1", **fields) -> StatusReport:
    fields = {"boot_id": "boot", "snapshot_digest": digest, "durations": (0, 0), **fields}
    return StatusReport(instance=host, heartbeat=heartbeat, **fields)


@pytest.fixture
def sightings():
    return Sightings(silence_ns=seconds(30), take_ns=seconds(60))


def at(second: float) -> Instant:
    return Instant(seconds(second))


def test_what_was_done_between_two_reports_is_told_whatever_was_missed(sightings):
    assert sightings.take(FLEET, {"a": report("a", 1, requests=100)}, at(0)) == []
    assert sightings.take(FLEET, {"a": report("a", 1, requests=100)}, at(1)) == [], "the same one"
    later = report("a", 9, requests=160, errors=2, sheds=5, durations=(50, 3))
    assert sightings.take(FLEET, {"a": later}, at(2)) == [
        Interval(host="a", release="old", requests=60, errors=2, sheds=5, durations=(50, 3))
    ]
    restarted = report("a", 1, boot_id="other", requests=7)
    assert sightings.take(FLEET, {"a": restarted}, at(3)) == []


def test_what_a_host_did_while_it_changed_counts_for_neither(sightings):
    sightings.take(FLEET, {"a": report("a", 1)}, at(0))
    assert sightings.take(NEXT, {"a": report("a", 2)}, at(1)) == [], "it runs the former one"
    assert sightings.running(NEXT, at(1)) == {"a": UNKNOWN}
    assert sightings.take(NEXT, {"a": report("a", 3, "sha256:new2")}, at(2)) == []
    assert sightings.running(NEXT, at(2)) == {"a": "new"}
    (interval,) = sightings.take(NEXT, {"a": report("a", 4, "sha256:new2")}, at(3))
    assert interval.release == "new"


def test_an_order_makes_a_report_outdated_at_once(sightings):
    sightings.take(FLEET, {"a": report("a", 1)}, at(0))
    assert sightings.running(NEXT, at(0)) == {"a": UNKNOWN}


def test_a_heartbeat_that_stands_still_is_silence(sightings):
    for second in (0, 20, 30):
        sightings.take(FLEET, {"a": report("a", 1), "b": report("b", 1 + second)}, at(second))
    assert sightings.running(FLEET, at(31)) == {"b": "old"}
    assert not sightings.is_heard("nobody", at(0))
    sightings.take(replace(FLEET, hosts=FLEET.hosts[1:]), {"b": report("b", 99)}, at(31))
    assert sightings.get("a") is None, "it was removed"


def test_a_host_that_refuses_what_it_is_to_run_is_in_trouble(sightings):
    refusing = report("a", 1, refusal="implausible", refused_revision=2)
    sightings.take(NEXT, {"a": refusing}, at(0))
    assert sightings.trouble(NEXT, "a", at(0)) == "host a refused it: implausible"
    older = report("a", 2, refusal="replayed", refused_revision=1)
    sightings.take(NEXT, {"a": older}, at(1))
    assert sightings.trouble(NEXT, "a", at(1)) == ""
    assert sightings.trouble(NEXT, "nobody", at(1)) == ""


def test_a_host_that_does_not_take_it_in_time_is_in_trouble(sightings):
    for second in range(0, 80, 10):
        sightings.take(FLEET if second < 10 else NEXT, {"a": report("a", second)}, at(second))
    assert sightings.trouble(NEXT, "a", at(70)) == ""
    assert sightings.trouble(NEXT, "a", at(71)) == "host a does not take it"


def test_a_host_that_has_run_the_former_one_for_long_is_given_its_time(sightings):
    """Nobody has looked yet since it is to run another one."""
    for second in range(0, 1000, 20):
        sightings.take(FLEET, {"a": report("a", second)}, at(second))
    assert sightings.trouble(NEXT, "a", at(980)) == ""


def test_a_host_that_falls_silent_with_it_is_in_trouble_and_one_that_was_silent_is_not(sightings):
    sightings.take(FLEET, {"a": report("a", 1)}, at(0))
    sightings.take(NEXT, {"a": report("a", 2, "sha256:new2")}, at(10))
    assert sightings.trouble(NEXT, "a", at(40)) == ""
    assert "not heard of since" in sightings.trouble(NEXT, "a", at(41))

    sightings.take(FLEET, {"b": report("b", 1)}, at(0))
    after = replace(NEXT, editions=(edition("b", 3, "new"),))
    sightings.take(after, {"b": report("b", 1)}, at(100))
    assert sightings.trouble(after, "b", at(200)) == ""


def test_after_a_time_in_which_nobody_looked_everybody_is_waited_for_anew(sightings):
    sightings.take(NEXT, {"a": report("a", 1)}, at(0))
    assert sightings.trouble(NEXT, "a", at(100)) != ""
    sightings.resume(at(100))
    assert sightings.trouble(NEXT, "a", at(100)) == ""
    assert sightings.is_heard("a", at(130))


def test_a_host_that_says_it_is_not_live_is_in_trouble(sightings):
    sightings.take(NEXT, {"a": report("a", 1, "sha256:new2", is_live=False)}, at(0))
    assert sightings.trouble(NEXT, "a", at(0)) == "host a is not live"


def test_intervals_add_up():
    one = Interval(host="a", release="r", requests=1, errors=2, sheds=3, durations=(1, 2))
    assert one + one == replace(one, requests=2, errors=4, sheds=6, durations=(2, 4))
    assert (one + replace(one, durations=(1,))).durations == (1,)


def test_what_a_report_does_not_count_is_not_known_to_be_none():
    one = Interval(host="a", release="r", requests=1, errors=0, sheds=0, durations=(1,), limited=2)
    assert (one + one).limited == 4
    assert (one + one).client_errors is None
    assert (one + replace(one, limited=None)).limited is None


def test_what_is_compared_is_counted_by_kind():
    durations = tuple(range(len(DURATION_BOUNDS) + 1))
    one = Interval(host="a", release="r", requests=200, errors=3, sheds=70, durations=durations,
                   limited=5, client_errors=4, bounded=6)  # fmt: skip
    arm = arm_of(one)
    finished = sum(durations)
    assert dict(zip(TRIALS, arm.trials, strict=True)) == {
        "finished": finished,
        "timed": finished,
        "decided": 200,
        "read": 205,
        "answered": finished,
        "told": 200,
    }
    events = dict(zip([kind.name for kind in KINDS], arm.events, strict=True))
    assert (events["errors"], events["refusals"], events["client errors"]) == (3, 70, 4)
    assert (events["requests over a limit"], events["refusals by a bound"]) == (5, 6)
    assert events["answers over 0.005 s"] == finished
    assert events["answers over 10 s"] == durations[-1]


def test_what_is_not_counted_cannot_be_compared():
    one = Interval(host="a", release="r", requests=9, errors=0, sheds=0, durations=(9, 0))
    arm = dict(zip(TRIALS, arm_of(one).trials, strict=True))
    assert arm == {"finished": 9, "timed": 0, "decided": 9, "read": 0, "answered": 0, "told": 0}


def test_what_hosts_are_like_is_told_from_what_they_did_with_what_they_run(sightings):
    def count(second: int, digest: str = "sha256:old1") -> dict[str, StatusReport]:
        return {
            host: report(host, second, digest, requests=100 * second, sheds=sheds * second,
                         durations=(100 * second, 0))
            for host, sheds in (("a", 20), ("b", 10))
        }  # fmt: skip

    for second in range(1, 30):
        sightings.take(FLEET, count(second), at(second))
    refusals = [kind.name for kind in KINDS].index("refusals")
    assert [peer.count(refusals) for peer in sightings.history.hosts] == [(2800, 560), (2800, 280)]
    (likeness,) = sightings.history.likenesses({"": frozenset("a")}, frozenset("b"))
    assert likeness.ratios[refusals] > 1.8
    both = (edition("a", 2, "new"), edition("b", 2, "new"))
    after = replace(FLEET, editions=both)
    for second in (40, 41):
        sightings.take(after, count(second, "sha256:new2"), at(second))
    assert [peer.count(refusals) for peer in sightings.history.hosts] == [(100, 20), (100, 10)]
    sightings.take(replace(FLEET, hosts=FLEET.hosts[1:]), {}, at(42))
    assert [peer.host for peer in sightings.history.hosts] == ["b"]
