"""The commands that speak to a running instance; the instance's answers are scripted."""

from __future__ import annotations

import functools
import json

import httpx2
import pytest
import typer
from typer.testing import CliRunner

from shedproxy.cli import remote_commands
from shedproxy.cli.control_client import ControlClient
from shedproxy.supervisor.orders import HostOrder

WORKER_CELL = {
    "in_flight": 4,
    "queue_length": 3,
    "limit": 12,
    "shed_rank": 0,
    "baseline_ms": 20.5,
    "demand_per_second": 100,
}
STATUS = {
    "version": "0.1.0",
    "build": "compiled",
    "uptime_s": 61.0,
    "state": "serving",
    "ready": True,
    "not_ready_because": [],
    "listening": ["127.0.0.1:8080"],
    "mode": "observe",
    "configured_mode": "enforce",
    "override": {"mode": "observe", "expires_in_s": 540.0},
    "config": {
        "ok": False,
        "cause": "file",
        "revision": 3,
        "age_s": 5.0,
        "problems": [{"message": "unknown key", "source": "a.toml", "line": 4}],
    },
    "workers": [
        {
            "index": 0,
            "pid": 77,
            "state": "ready",
            "is_crash_looping": False,
            "heartbeat_age_s": 0.04,
            "restarts": 2,
            "connections": 5,
            "last_exit": "ended by SIGKILL",
            "page_lost": "",
            "cells": {"default": WORKER_CELL},
            "last_stall": {
                "at": 1700000000.5,
                "length_ms": 512.5,
                "is_over": True,
                "is_stopped": False,
                "stack": ["render (shop.py:12)", "app (shop.py:3)"],
            },
        }
    ],
    "cells": [
        {
            "name": "default",
            "in_flight": 9,
            "limit": 12,
            "queue_length": 3,
            "residents": 1,
            "zombies": 0,
            "pressure": 0.8,
            "shed_rank": 0,
            "admitted": 100,
            "rejected": 7,
            "would_reject": 0,
            "baseline_ms": 20.5,
            "limit_cause": "headroom",
            "disagreement": {"limit": 0.25, "shed_level": 0.0, "baseline": 0.1},
        }
    ],
    "upstreams": {"default": {"http://127.0.0.1:8000": False, "http://127.0.0.1:8001": True}},
    "hosts": {
        "hosts": [
            {"cell": "default", "host": "http://127.0.0.1:8000", "state": "unreachable"},
            {"cell": "default", "host": "http://127.0.0.1:8001", "state": "on trial"},
        ]
    },
}

UPSTREAMS = {
    "hosts": [
        {
            "cell": "default",
            "host": "http://127.0.0.1:8001",
            "zone": "a",
            "state": "out",
            "weight": 0.0,
            "reason": "failing",
            "out_s": 12.4,
            "drained_for_s": None,
            "bullet": 7,
            "new": "",
        }
    ],
    "magazines": [
        {
            "domain": "cell:default",
            "size": 2,
            "left": 1,
            "out": 1,
            "spent": 7,
            "reloaded": 6,
            "frozen": True,
        }
    ],
    "bullets": [
        {
            "serial": 7,
            "cell": "default",
            "host": "http://127.0.0.1:8001",
            "state": "out",
            "errand": "asked",
            "new": "",
        }
    ],
    "fault": "No space left on device",
}

EXPLAINED = {
    "rule": {"index": 1, "name": "reports"},
    "cell": "default",
    "criticality": "sheddable",
    "is_retry": True,
    "lane": "data",
    "kind": "auto",
    "cost": 2,
    "mode": "enforce",
    "time_left_ms": 250.0,
    "decision": {"answer": "queue", "reason": None, "why": "10 of 10 are in flight"},
    "flips": [{"count": "in_flight", "at": 9, "becomes": "queue", "because": "limit"}],
}

REFUSAL = {
    "refusal": {
        "id": "0F3K9QZ7M1C2A",
        "at": 1700000000.5,
        "reason": "route_limit",
        "sentence": "route reports has 5 of 5 in flight; this one takes 1",
        "holds": True,
        "was_sent": True,
        "mode": "enforce",
        "route": "reports",
        "cell": "default",
        "criticality": "critical",
        "is_retry": False,
        "in_flight": 5,
        "limit": 10,
        "queue_length": 0,
        "numbers": {"route_in_flight": 5},
    }
}


@pytest.fixture
def cli(monkeypatch):
    """Runs a command line; `answers` maps paths to (status, content), `asked` notes requests."""

    class Cli:
        answers: dict = {}
        asked: list[httpx2.Request] = []

        def __call__(self, *arguments: str):
            app = typer.Typer()
            for name in remote_commands.__all__:
                app.command(name)(getattr(remote_commands, name))
            return CliRunner().invoke(app, list(arguments))

    def handle(request: httpx2.Request) -> httpx2.Response:
        cli.asked.append(request)
        status, content = cli.answers[request.url.path]
        return httpx2.Response(status, json=content)

    cli = Cli()
    cli.answers, cli.asked = {}, []
    fake = functools.partial(ControlClient, transport=httpx2.MockTransport(handle))
    monkeypatch.setattr(remote_commands, "ControlClient", fake)
    return cli


def test_status_tells_what_matters(cli):
    cli.answers["/-/status"] = (200, STATUS)
    result = cli("status")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "mode: observe for 9m more, then enforce" in lines
    assert "config: revision 3 kept: reload 5s ago was refused: a.toml:4: unknown key" in lines
    assert "worker 0: its event loop stalled for 512 ms" in lines
    assert "  in render (shop.py:12)" in lines
    text = result.stdout
    for shown in ("9", "12", "headroom", "20.5 ms", "ended by SIGKILL", "http://127.0.0.1:8000"):
        assert shown in text
    assert str(cli.asked[0].url) == "http://127.0.0.1:9900/-/status"


def test_status_says_of_hosts_what_was_decided_for_all_workers(cli):
    cli.answers["/-/status"] = (200, STATUS)
    rows = [line.split() for line in cli("status").stdout.splitlines() if "127.0.0.1:800" in line]
    assert rows[-2:] == [
        ["http://127.0.0.1:8000", "default", "out"],
        ["http://127.0.0.1:8001", "default", "on", "trial"],
    ]


def test_upstreams_are_shown_with_their_magazines(cli):
    cli.answers["/-/upstreams"] = (200, UPSTREAMS)
    text = cli("upstreams").stdout
    assert text == (
        "\nupstream               cell     zone  state  weight  reason   out for  bullet\n"
        "http://127.0.0.1:8001  default  a     out    0.00    failing  12 s     7\n"
        "\nmagazine      bullets left  out  spent  given back\n"
        "cell:default  1 of 2        1    7      6           frozen\n"
        "\nbullet  cell     host                   is   replacement\n"
        "7       default  http://127.0.0.1:8001  out  asked\n"
        "\nnobody is taken out: No space left on device\n"
    )


@pytest.mark.parametrize(
    ("flags", "order"),
    [
        (
            ("--drain", "http://h:1", "--for", "5m"),
            {"action": "drain", "host": "http://h:1", "cell": "", "for": "5m"},
        ),
        (
            ("--undrain", "http://h:1", "--cell", "a"),
            {"action": "undrain", "host": "http://h:1", "cell": "a"},
        ),
        (("--forgive", "7"), {"action": "forgive", "serial": 7}),
    ],
)
def test_a_host_is_drained_put_back_or_written_off(cli, flags, order):
    cli.answers["/-/upstreams"] = (200, UPSTREAMS)
    assert cli("upstreams", *flags).exit_code == 0
    (asked,) = cli.asked
    assert (asked.method, json.loads(asked.content)) == ("POST", order)
    HostOrder.parse(order)


def test_upstreams_of_one_cell_are_shown_alone(cli):
    def named(part, cell):
        return [{**each, "cell": cell} for each in UPSTREAMS[part]]

    both = {
        **UPSTREAMS,
        "hosts": UPSTREAMS["hosts"] + named("hosts", "b"),
        "bullets": UPSTREAMS["bullets"] + named("bullets", "b"),
        "magazines": [{**UPSTREAMS["magazines"][0], "domain": d} for d in ("all", "cell:b")]
        + UPSTREAMS["magazines"],
    }
    cli.answers["/-/upstreams"] = (200, both)
    text = cli("upstreams", "--cell", "b").stdout
    assert "default" not in text
    assert [line.split()[0] for line in text.splitlines() if "of 2" in line] == ["all", "cell:b"]
    shown = json.loads(cli("upstreams", "--cell", "b", "--json").stdout)
    assert shown["hosts"] == named("hosts", "b")
    missing = cli("upstreams", "--cell", "c")
    assert missing.exit_code == 2
    assert "no cell c has upstreams; there are: b, default" in missing.stderr


def test_one_thing_at_a_time_is_done_to_upstreams(cli):
    result = cli("upstreams", "--drain", "http://h:1", "--forgive", "7")
    assert result.exit_code == 2
    assert cli.asked == []


def test_status_shows_what_each_of_several_workers_sees_and_how_far_they_are_apart(cli):
    (worker,) = STATUS["workers"]
    why = "descriptor 7: a shared page of another version of shedproxy"
    other = {**worker, "index": 1, "last_stall": None, "page_lost": why}
    cli.answers["/-/status"] = (200, {**STATUS, "workers": [worker, other]})
    lines = cli("status").stdout.splitlines()
    assert f"worker 1 has a part of the limits and is not in the figures above: {why}" in lines
    rows = [line.split() for line in lines if line.startswith("default")]
    assert ["default", "0", "4", "12", "3", "0", "20.5", "ms"] in rows
    assert ["default", "apart", "25%", "0%", "10%"] in rows


def test_status_json_is_the_answer_itself(cli):
    cli.answers["/-/status"] = (200, STATUS)
    result = cli("status", "http://127.0.0.1:9901", "--json")
    assert json.loads(result.stdout) == STATUS
    assert cli.asked[0].url.port == 9901


def test_mode_sends_the_order_with_its_end(cli):
    cli.answers["/-/mode"] = (200, {"mode": "off", "override": {"expires_in_s": 600}})
    result = cli("mode", "off", "--for", "10m")
    assert result.stdout == "off for 10m\n"
    assert json.loads(cli.asked[0].content) == {"mode": "off", "for": "10m"}


def test_mode_configured_has_no_end(cli):
    cli.answers["/-/mode"] = (200, {"mode": "enforce", "override": None})
    assert cli("mode", "configured").stdout == "enforce\n"
    assert json.loads(cli.asked[0].content) == {"mode": "configured"}


def test_a_bad_mode_is_a_usage_error_in_the_words_of_the_instance(cli):
    cli.answers["/-/mode"] = (422, {"detail": "mode is 'loud'"})
    result = cli("mode", "loud")
    assert result.exit_code == 2
    assert "mode is 'loud'" in result.stderr


def test_the_token_is_read_from_its_file(cli, tmp_path):
    cli.answers["/-/drain"] = (202, {"state": "draining"})
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert cli("drain", "--token-file", str(file)).stdout == "draining\n"
    assert cli.asked[0].headers["authorization"] == "Bearer s3cret"
    assert cli("drain", "--token-file", str(tmp_path / "none")).exit_code == 3


def test_reload_says_what_is_in_force(cli):
    cli.answers["/-/reload"] = (
        200,
        {
            "ok": True,
            "revision": 4,
            "workers_applied": 2,
            "workers": 2,
            "needs_restart": ["server.listen"],
            "problems": [],
        },
    )
    result = cli("reload")
    assert result.exit_code == 0
    assert "revision 4 in force, 2 of 2 workers" in result.stdout
    assert "server.listen changed" in result.stdout


def test_a_refused_reload_exits_3_with_the_problems(cli):
    cli.answers["/-/reload"] = (422, STATUS["config"])
    result = cli("reload")
    assert result.exit_code == 3
    assert "a.toml:4: unknown key" in result.stdout


@pytest.mark.parametrize(("state", "why", "code"), [("done", "", 0), ("failed", "no app", 1)])
def test_a_restart_waits_for_its_end(cli, state, why, code):
    cli.answers["/-/restart"] = (
        202,
        {"state": "running", "replaced": 0, "workers": 2, "why": ""},
    )
    ended = {"state": state, "replaced": 1, "workers": 2, "why": why}
    cli.answers["/-/status"] = (200, {**STATUS, "restart": ended})
    result = cli("restart")
    assert result.exit_code == code
    assert "1 of 2 workers replaced" in result.stdout
    assert why in result.stdout


def test_explain_asks_with_headers_and_shows_the_flip(cli):
    cli.answers["/-/explain"] = (200, EXPLAINED)
    result = cli("explain", "GET", "/reports/7", "-H", "X-Criticality: sheddable")
    assert result.exit_code == 0
    assert "rule: reports (#2)" in result.stdout
    assert "now: queue: 10 of 10 are in flight" in result.stdout
    assert "flips: at in flight 9: queue (limit)" in result.stdout
    query = cli.asked[0].url.params
    assert (query["method"], query["path"]) == ("GET", "/reports/7")
    assert query["header"] == "x-criticality:sheddable"


def test_explain_by_id_shows_the_verified_refusal(cli):
    cli.answers["/-/explain"] = (200, REFUSAL)
    result = cli("explain", "--id", "0F3K9QZ7M1C2A", "http://127.0.0.1:9901")
    assert "why: route reports has 5 of 5 in flight; this one takes 1" in result.stdout
    assert "when: 2023-11-14T22:13:20.500+00:00" in result.stdout
    assert "check: the reason follows from the numbers" in result.stdout
    assert cli.asked[0].url.port == 9901
    assert cli.asked[0].url.params["id"] == "0F3K9QZ7M1C2A"


@pytest.mark.parametrize("arguments", [(), ("GET",), ("GET", "orders"), ("GET", "/", "-H", "x")])
def test_an_incomplete_question_is_a_usage_error(cli, arguments):
    assert cli("explain", *arguments).exit_code == 2
    assert cli.asked == []


def test_explain_offline_asks_a_file(cli, tmp_path):
    file = tmp_path / "shedproxy.toml"
    file.write_text(
        '[[rule]]\nname = "reports"\nmatch.path = "/reports/**"\ncriticality = "sheddable"\n'
        '[cell.default]\nupstream = "http://127.0.0.1:8000"\nlimit = 7\n'
    )
    result = cli("explain", "get", "/reports/7", "--config", str(file), "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["rule"]["name"] == "reports"
    assert {flip["count"]: flip["at"] for flip in content["flips"]}["in_flight"] == 7
    assert cli.asked == []


def test_explain_offline_of_a_bad_file_exits_3(cli, tmp_path):
    file = tmp_path / "shedproxy.toml"
    file.write_text('mode = "loud"\n')
    result = cli("explain", "GET", "/", "--config", str(file))
    assert result.exit_code == 3
    assert "loud" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mode", "obsreve"), "mode is 'obsreve'; must be one of"),
        (("mode", "observe", "--for", "10"), "'10' is no length of time"),
        (("mode", "observe", "--for", "8d"), "at least 1s and at most 7d"),
        (("upstreams", "--drain", "http://h:1", "--for", "8d"), "at least 1s and at most 7d"),
        (("explain", "--id", "garb!ed"), "'garb!ed' is no id"),
        (("explain", "--id", "0F3K9QZ7M1C2"), "is no id"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_asking(cli, arguments, said):
    result = cli(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
    assert cli.asked == []


def test_the_listener_may_come_from_the_environment(cli, monkeypatch):
    cli.answers["/-/status"] = (200, STATUS)
    monkeypatch.setenv("SHEDPROXY_CONTROL__LISTEN", ":9907")
    assert cli("status").exit_code == 0
    assert cli("status", "http://127.0.0.1:9908").exit_code == 0
    assert [request.url.port for request in cli.asked] == [9907, 9908]


def test_zone_away_sends_the_order_with_its_end(cli):
    cli.answers["/-/zone"] = (200, {"zones_away": {"b": 1800.0}})
    result = cli("zone", "away", "b", "--for", "30m")
    assert result.stdout == "b away for 30m\n"
    assert json.loads(cli.asked[0].content) == {"zone": "b", "away": True, "for": "30m"}


def test_zone_back_has_no_end(cli):
    cli.answers["/-/zone"] = (200, {"zones_away": {}})
    assert cli("zone", "back", "b").stdout == "no zone is away\n"
    assert json.loads(cli.asked[0].content) == {"zone": "b", "away": False}


def test_a_bad_zone_order_is_a_usage_error(cli):
    assert "neither away nor back" in cli("zone", "off", "b").stderr
    assert cli("zone", "away", "b", "--for", "9d").exit_code == 2
    assert not cli.asked


def test_status_names_zones_that_are_away(cli):
    cli.answers["/-/status"] = (200, {**STATUS, "zones_away": {"b": 540.0}})
    assert "zones away: b for 9m more" in cli("status").stdout.splitlines()
