"""`shedproxy load`, from the command line to the report, at a station of known service time."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shedproxy.cli.main import app
from shedproxy.errors import StartupError
from shedproxy.loadgen.station import Station
from shedproxy.testing import eventually

RUN = CliRunner()


def test_a_load_is_played_and_told_as_text_and_json(tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    with Station(slots=8, service_ms=10) as station:
        result = RUN.invoke(
            app,
            ["load", station.url, "--rate", "100", "--for", "1s", "--arrivals", "constant",
             "--mix", "critical=1,sheddable=1", "--processes", "2", "--out", str(out)],
        )  # fmt: skip
    body = json.loads(out.read_text())
    step = body["step"]
    # A busy machine may void it; what was sent and answered is the same.
    assert result.exit_code == (4 if body["faults"] else 0), result.output
    assert (step["offered_count"], step["served_count"]) == (100, 100)
    assert 10e6 <= step["latency"]["p50_ns"] < 60e6
    assert {one["name"] for one in step["classes"]} == {"critical", "sheddable"}
    assert "100 requests: 100 served, 0 refused, 0 failed" in result.stdout
    assert "latency from when it was due" in result.stdout


def test_a_log_is_played_once_more(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    line = '- - - [10/Oct/2000:13:55:{:02} +0000] "{} /a HTTP/1.1" 200 1\n'
    log.write_text(line.format(1, "GET") + line.format(2, "POST") + line.format(3, "HEAD"))
    with Station(slots=8, service_ms=1) as station:
        result = RUN.invoke(
            app, ["load", station.url, "--log", str(log), "--speed", "20x", "--json"]
        )
    body = json.loads(result.stdout)
    assert body["log"] == {
        "lines": 3, "played": 2, "unreadable": 0, "skipped": {"POST": 1}, "span_s": 2.0,
    }  # fmt: skip
    assert body["step"]["served_count"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["http://203.0.113.7"], 6, "--allow-host 203.0.113.7"),
        (["http://127.0.0.1:1"], 2, "one of --rate"),
        (["http://127.0.0.1:1", "--rate", "1", "--slo", "fast"], 2, "objective"),
        (["http://127.0.0.1:1", "--rate", "1", "--deadline", "x"], 2, "a number and a unit"),
    ],
)
def test_what_cannot_be_meant_is_said(arguments: list[str], code: int, says: str) -> None:
    result = RUN.invoke(app, ["load", *arguments])
    assert result.exit_code == code
    assert says in " ".join(result.stderr.replace("│", " ").split())


def test_where_nobody_listens_that_is_asked_about() -> None:
    result = RUN.invoke(app, ["load", "http://127.0.0.1:1", "--rate", "20", "--for", "1s"])
    assert result.exit_code == 4
    assert "found no connection, or were above the cap in flight" in result.stdout
    assert "does the target listen?" in result.stdout


def test_where_the_result_cannot_be_written_nothing_is_played(tmp_path: Path) -> None:
    with Station(slots=1, service_ms=1) as station:
        result = RUN.invoke(
            app, ["load", station.url, "--rate", "20", "--for", "1s", "--out", f"{tmp_path}/no/x"]
        )
        assert station.report().departure_count == 0
    assert isinstance(result.exception, StartupError)
    assert "there is no folder" in str(result.exception)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_ends_the_sending_and_tells_what_came(processes: str) -> None:
    def interrupt() -> None:
        eventually(lambda: station.report().departure_count > 20, what="some answers")
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with Station(slots=8, service_ms=10) as station:
        presser = threading.Thread(target=interrupt)
        presser.start()
        result = RUN.invoke(
            app, ["load", station.url, "--rate", "100", "--for", "60s", "--json",
                  "--processes", processes],
        )  # fmt: skip
        presser.join()
    body = json.loads(result.stdout)
    assert result.exit_code == (4 if body["faults"] else 130)
    assert body["stopped"] is True
    step = body["step"]
    assert 20 < step["served_count"] == step["offered_count"] < 3_000
    assert step["length_ns"] < 30e9
    assert signal.getsignal(signal.SIGINT) is before
