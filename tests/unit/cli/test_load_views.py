"""What a load came to, in words and in JSON, says the same."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace

from harness.calibrations import SLO, open_step

from shedproxy.calibration.load_test import LoadResult
from shedproxy.calibration.measurement import ClassCount, Count, Phase, Step, StepState
from shedproxy.calibration.orders import Order
from shedproxy.cli.load_plan import LoadPlan
from shedproxy.cli.load_views import LoadProgress, load_json, load_text
from shedproxy.core import milliseconds, seconds
from shedproxy.loadgen.log_replay import LoggedRequest, LogReading
from shedproxy.loadgen.requests import RequestSet, RequestSpec

PLAN = LoadPlan(
    name="steady 100/s", requests=RequestSet([RequestSpec()]), length_ns=seconds(5),
    schedule=[(seconds(0), 0)],
)  # fmt: skip
SLO_NAMED = replace(SLO, text="p99<250ms")


def a_part(name: str, count: int) -> ClassCount:
    return ClassCount(
        name=name, offered_count=count, served_count=count, refused_count=0, p50_ns=milliseconds(20)
    )


def both(result: LoadResult, plan: LoadPlan = PLAN) -> tuple[str, dict[str, object]]:
    target = "http://127.0.0.1:1"
    body = load_json(target, plan, result, SLO_NAMED)
    return load_text(target, plan, result, SLO_NAMED), json.loads(json.dumps(body))


def step(**changes: object) -> Step:
    routes = tuple(a_part(f"GET /{n}", n) for n in range(1, 14))
    return open_step(
        100, p99_ms=60, routes=routes, classes=(a_part("critical", 2000),),
        errors=(Count(name="503", count=3),), **changes,
    )  # fmt: skip


def test_the_whole_is_told_with_its_classes_and_commonest_routes() -> None:
    text, body = both(LoadResult(whole=step()))
    assert "p50 20.0 ms" in text
    assert "p99 60.0 ms" in text
    assert "objective p99<250ms: kept" in text
    assert "(3 503)" in text
    assert text.index("GET /13") < text.index("GET /4 ")
    assert "GET /3 " not in text
    assert "and 3 routes more" in text
    assert body["keeps_slo"] is True
    assert len(body["step"]["routes"]) == 13


def test_what_is_void_or_missed_is_said() -> None:
    void = step(state=StepState.VOID, reasons=("the generator was starved",))
    text, body = both(LoadResult(whole=void))
    assert "void: the generator was starved" in text
    assert body["faults"] == ["the generator was starved"]
    text, _ = both(LoadResult(whole=open_step(100, p99_ms=400)))
    assert "objective p99<250ms: missed" in text
    text, _ = both(LoadResult(whole=step(latency=None)))
    assert "nothing was served" in text


def test_levels_are_a_row_each_and_a_search_says_where_it_breaks() -> None:
    plan = replace(PLAN, search=lambda _rate, _seed: [])
    levels = (step(), open_step(200, p99_ms=400))
    text, body = both(LoadResult(whole=None, levels=levels, good_rps=100, bad_rps=200), plan)
    assert [line.split()[-1] for line in text.splitlines()[2:4]] == ["kept", "missed"]
    assert "was kept at 100/s and not at 200/s" in text
    assert (body["good_rps"], body["bad_rps"]) == (100, 200)
    text, _ = both(LoadResult(whole=None, levels=levels, good_rps=100), plan)
    assert "kept up to 100/s, which was the most tried" in text
    text, _ = both(LoadResult(whole=None, levels=levels, bad_rps=100), plan)
    assert "not even the first rate kept" in text
    void = replace(levels[0], state=StepState.VOID, reasons=("late",))
    text, _ = both(LoadResult(whole=None, levels=(void,)), plan)
    assert "came to no end" in text
    assert "void: late" in text


def test_a_log_says_what_of_it_is_not_played() -> None:
    log = LogReading(
        requests=[LoggedRequest(0.0, "GET", "/", None), LoggedRequest(9.0, "GET", "/", None)],
        line_count=7, unreadable_count=2, skipped=Counter({"POST": 3}),
    )  # fmt: skip
    text, body = both(LoadResult(whole=step()), replace(PLAN, log=log, notes=("spread",)))
    assert "1 of 7 lines of 9 s are played; 2 are no requests" in text
    assert "not safe and not allowed: 3 POST" in text
    assert "spread" in text
    assert body["log"]["skipped"] == {"POST": 3}


def test_the_bar_is_for_terminals_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    order = Order(
        phase=Phase.OPEN, pass_number=0, length_ns=seconds(10), settle_ns=seconds(0), seed=1,
        planned_rps=50.0,
    )  # fmt: skip
    shown, silent = Terminal(), io.StringIO()
    for stream in (shown, silent):
        progress = LoadProgress(stream)
        progress.watch(order, 0.5)
        progress.close()
    assert "50/s, 5 s left" in shown.getvalue()
    assert silent.getvalue() == ""
