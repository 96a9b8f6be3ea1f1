"""What is measured beside the capacity is asked for in words that can be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from harness.calibrations import a_plan
from harness.sample_report import sample_calibration

from shedproxy.calibration import refusal_cost, residents
from shedproxy.calibration.residents import ResidentPlan
from shedproxy.cli.calibrate_beside import Streams, price_refusals, streams_asked, streams_held
from shedproxy.cli.load_target import request_set
from shedproxy.errors import StartupError
from shedproxy.loadgen.requests import RequestSet, RequestSpec

CHOSEN = RequestSet([RequestSpec()])
CALIBRATION = sample_calibration()


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("/events", "radio", "none of sse, websocket, longpoll"),
        ("events", "sse", "begins with /"),
        ("/a b", "sse", "has a space"),
        ("/a\r\nx: y", "sse", "begins with /"),
    ],
)
def test_what_cannot_be_meant_is_said(path: str, kind: str, says: str) -> None:
    with pytest.raises(typer.BadParameter, match=says):
        streams_asked(path, kind, 64)


def test_a_file_of_requests_may_name_the_streams(tmp_path: Path) -> None:
    file = tmp_path / "requests.toml"
    file.write_text('[[request]]\npath = "/a"\n[[request]]\npath = "/live"\nstream = "longpoll"\n')
    asked = streams_asked("", "sse", 64, file)
    assert asked == Streams(path="/live", kind="longpoll", most=64)
    assert streams_asked("/flag", "sse", 64, file).path == "/flag"
    assert request_set((), file, None, None, "critical=1").routes == ("GET /a",)
    file.write_text('[[request]]\npath = "/a"\n')
    assert streams_asked("", "sse", 64, file).path == ""
    file.write_text('[[request]]\npath = "/a"\nstream = "sse"\nweight = 3\n')
    with pytest.raises(StartupError, match="a path and no more"):
        streams_asked("", "sse", 64, file)
    with pytest.raises(StartupError, match="No such file"):
        streams_asked("", "sse", 64, tmp_path / "none.toml")


def test_streams_are_held_beside_half_of_what_is_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[ResidentPlan] = []
    monkeypatch.setattr(residents, "find_residents", lambda plan, *_: plans.append(plan))
    asked = streams_asked("/events", "websocket", 64)
    assert asked == Streams(path="/events", kind="websocket", most=64)
    for target in ("http://127.0.0.1:1", "http://203.0.113.7"):
        streams_held(target, a_plan(), CHOSEN, CALIBRATION, asked, lambda _: None)
    here, elsewhere = plans
    capacity = CALIBRATION.findings.capacity_rps
    assert capacity is not None
    assert here.ordinary_rps == pytest.approx(capacity.value / 2)
    assert here.memory_max is not None
    assert elsewhere.memory_max is None
    assert elsewhere.memory() is None


def test_a_proxy_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no port")

    monkeypatch.setattr(refusal_cost, "measure_refusals", broken)
    with pytest.raises(StartupError, match="no port"):
        price_refusals("http://127.0.0.1:1", a_plan(), CHOSEN, CALIBRATION)
