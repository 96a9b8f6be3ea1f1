"""What `load` plays: shapes, logs and the clients of scenarios, or why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from shedproxy.cli.load_plan import Asked, LoadPlan, make_plan
from shedproxy.core import Criticality, milliseconds, seconds
from shedproxy.errors import StartupError
from shedproxy.loadgen.requests import RequestSet, RequestSpec

CHOSEN = RequestSet(
    [RequestSpec(path="/a", weight=3.0), RequestSpec(path="/b")],
    {Criticality.CRITICAL: 1.0, Criticality.SHEDDABLE: 1.0},
)
LINE = '- - - [10/Oct/2000:13:55:{:02} +0000] "{} HTTP/1.1" 200 1\n'
SCENARIO = """\
schema = 1
duration_s = 3
[backend]
slots = 4
service_ms = 20
[[client]]
load = 0.5
criticality = [["critical", 1], ["sheddable", 3]]
[[event]]
at_s = 1
what = "pause"
for_s = 1
"""


def plan(chosen: RequestSet = CHOSEN, **asked: object) -> LoadPlan:
    return make_plan(Asked(**asked), chosen)


def test_shapes_are_arrivals_of_the_mix() -> None:
    made = plan(rate="100", length="10s", arrivals="constant")
    assert (made.name, len(made.schedule)) == ("steady 100/s, 10 s", 1000)
    places = [CHOSEN.pair(number)[0] for _, number in made.schedule]
    assert places.count(0) == pytest.approx(750, rel=0.1)
    steps = plan(rate="50..100", shape="step", step_count=2, length="10s")
    assert [level.rate_rps for level in steps.levels] == [50, 100]
    assert plan(rate="50", length="5s").schedule == plan(rate="50", length="5s").schedule
    assert plan(rate="50", length="5s", seed=2).schedule != plan(rate="50", length="5s").schedule


def test_a_search_makes_the_arrivals_of_any_rate() -> None:
    made = plan(rate="50..400", shape="search", length="4s", arrivals="constant")
    assert made.search is not None
    assert len(made.search(200.0, 1)) == 800
    assert (made.from_rps, made.upto_rps, made.length_ns) == (50.0, 400.0, seconds(4))


def test_a_log_is_played_at_its_own_times(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text(LINE.format(1, "GET /x") + LINE.format(3, "GET /y") + LINE.format(3, "POST /z"))
    made = plan(log=file, speed="2x")
    assert [offset for offset, _ in made.schedule] == [seconds(0), seconds(1)]
    assert made.requests.routes == ("GET /x", "GET /y")
    assert "whole seconds" in made.notes[0]
    assert made.log is not None
    assert dict(made.log.skipped) == {"POST": 1}
    short = plan(log=file, speed="2", length="500ms", allowed=("POST",))
    assert len(short.schedule) == 1


def test_the_clients_of_a_scenario_are_those_of_the_simulator(tmp_path: Path) -> None:
    file = tmp_path / "calm.toml"
    file.write_text(SCENARIO)
    made = plan(scenario=str(file))
    assert made.name == "clients of calm"
    assert len(made.schedule) == pytest.approx(300, rel=0.3)
    classes = [made.requests.pair(number)[1] for _, number in made.schedule]
    assert classes.count(Criticality.SHEDDABLE) == pytest.approx(0.75 * len(classes), rel=0.2)
    assert "1 events of its backend are not played" in made.notes[0]
    assert plan(scenario=str(file), length="1s").length_ns == seconds(1)
    file.write_text(SCENARIO.replace("load = 0.5", 'arrivals = "closed"\nusers = 3'))
    with pytest.raises(StartupError, match="closed arrivals"):
        plan(scenario=str(file))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "one of --rate, --log and --scenario, not none"),
        ({"rate": "1", "scenario": "x"}, "not --rate and --scenario"),
        ({"rate": "fast"}, "is no rate"),
        ({"rate": "0"}, "above 0"),
        ({"rate": "1000000"}, "a rate is up to"),
        ({"rate": "90000", "length": "2h"}, "play it for less long"),
        ({"rate": "1", "length": "3h"}, "up to 2h"),
        ({"rate": "1", "arrivals": "odd"}, "poisson or constant"),
        ({"rate": "1..2", "shape": "wave"}, "none of steady"),
        ({"rate": "1", "shape": "ramp"}, "between two rates"),
        ({"rate": "0.001", "length": "1ms"}, "no arrival"),
    ],
)
def test_what_cannot_be_meant_is_said(asked: dict[str, object], says: str) -> None:
    with pytest.raises(typer.BadParameter, match=says):
        plan(**asked)


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        plan(log=tmp_path / "none.log")


def test_a_speed_that_is_none_and_a_log_of_days_are_said(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text(LINE.format(1, "GET /x") + LINE.format(3, "GET /y").replace("10/Oct", "12/Oct"))
    for speed in ("fast", "0x"):
        with pytest.raises(typer.BadParameter, match="is no speed"):
            plan(log=file, speed=speed)
    with pytest.raises(typer.BadParameter, match="the log takes 48.0 h: say a --speed"):
        plan(log=file)
    assert plan(log=file, speed="1000x").length_ns == pytest.approx(
        seconds(172.8), abs=milliseconds(10)
    )
