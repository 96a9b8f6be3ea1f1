from __future__ import annotations

from shedproxy.core import Instant, seconds
from shedproxy.supervisor.health import ShedWindow, WorkerBeat, judge_liveness, judge_readiness


def beat(index=0, *, age_s=0.1, is_serving=True) -> WorkerBeat:
    return WorkerBeat(
        index=index,
        is_serving=is_serving,
        state="ready" if is_serving else "starting",
        age_ns=seconds(age_s),
    )


def readiness(*beats, **changes):
    facts = {
        "bound": seconds(15),
        "is_started": True,
        "is_draining": False,
        "upstreams": {"http://a": True},
        "shed_everything": "",
    }
    return judge_readiness(beats, **{**facts, **changes})


def test_live_while_every_loop_beats():
    report = judge_liveness([beat(0), beat(1)], bound=seconds(15))
    assert report.ok
    assert report.text(verbose=False) == "ok\n"


def test_not_live_when_one_loop_is_silent_beyond_the_bound():
    report = judge_liveness([beat(0), beat(1, age_s=15.1)], bound=seconds(15))
    assert not report.ok
    assert "worker 1" in report.text(verbose=False)
    assert "worker 0" not in report.text(verbose=False)
    assert "worker 0" in report.text(verbose=True)


def test_a_starting_worker_is_not_expected_to_beat():
    assert judge_liveness([beat(0, age_s=99, is_serving=False)], bound=seconds(15)).ok


def test_ready_with_one_live_worker_of_two():
    assert readiness(beat(0), beat(1, age_s=99)).ok


def test_not_ready_while_starting_draining_or_without_worker_or_upstream():
    assert not readiness(beat(), is_started=False).ok
    assert not readiness(beat(), is_draining=True).ok
    assert not readiness(beat(age_s=99)).ok
    assert not readiness(beat(is_serving=False)).ok
    assert not readiness(beat(), upstreams={"http://a": False}).ok
    waiting = readiness(beat(), awaited="no snapshot yet")
    assert "[-] policy: no snapshot yet" in waiting.text(verbose=False)


def test_ready_before_an_upstream_was_tried_and_with_one_healthy():
    assert readiness(beat(), upstreams={}).ok
    assert readiness(beat(), upstreams={"http://a": False, "http://b": True}).ok


def feed(window: ShedWindow, *points: tuple[int, int, int]) -> str:
    for at, admitted, refused in points:
        window.feed(Instant(seconds(at)), admitted=admitted, refused=refused)
    return window.verdict()


def test_overload_alone_never_fails_readiness():
    points = [(at, at, at * 1000) for at in range(60)]
    assert feed(ShedWindow(), *points) == ""


def test_refusing_everything_for_the_whole_window_does():
    points = [(at, 7, at * 10) for at in range(40)]
    assert "all 300 requests of the last 30 s" in feed(ShedWindow(), *points)


def test_a_few_refusals_or_a_short_while_say_nothing():
    assert feed(ShedWindow(), *[(at, 0, at // 4) for at in range(40)]) == ""
    assert feed(ShedWindow(), *[(at, 0, at * 10) for at in range(20)]) == ""
    assert feed(ShedWindow()) == ""
