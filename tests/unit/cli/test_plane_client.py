"""How a control plane's no is said, and with which exit code."""

from __future__ import annotations

import functools
import socket

import httpx2
import pytest
import typer

from shedproxy.cli import plane_client
from shedproxy.cli.control_client import ControlClient
from shedproxy.cli.plane_client import ask_plane


def answered(monkeypatch, status: int, content: dict) -> list[httpx2.Request]:
    requests = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(status, json=content)

    client = functools.partial(ControlClient, transport=httpx2.MockTransport(handle))
    monkeypatch.setattr(plane_client, "ControlClient", client)
    return requests


def end(capsys, token_file: str = "", url: str = "127.0.0.1:9") -> tuple[int, str]:
    with pytest.raises(typer.Exit) as caught:
        ask_plane(url, token_file, "POST", "/v1/promote", body={})
    return caught.value.exit_code, capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [(409, 1), (503, 1), (401, 1), (422, 2), (400, 2)])
def test_a_refusal_says_where_and_how_to_go_on(monkeypatch, capsys, status, code):
    error = {"place": "/digest", "detail": "no", "help": "publish it first"}
    answered(monkeypatch, status, {"title": "t", "detail": "there is none", "errors": [error]})
    assert end(capsys)[0] == code
    assert end(capsys)[1].splitlines()[0].startswith("error: there is none")
    assert end(capsys)[1].splitlines()[-2:] == ["  --> /digest", "   = help: publish it first"]


def test_bad_settings_are_shown_with_their_lines(monkeypatch, capsys):
    error = {
        "place": "cell.default.limit", "detail": "must be at least 1", "source": "edge.toml",
        "line": 2, "column": 9, "length": 1, "note": "0 is less", "help": "",
        "excerpt": [[2, "limit = 0"]],
    }  # fmt: skip
    answered(monkeypatch, 422, {"title": "Invalid settings", "detail": "", "errors": [error]})
    code, text = end(capsys)
    assert code == 3
    assert "--> edge.toml:2:9" in text
    assert "^ 0 is less" in text


def test_a_token_is_read_from_its_file(monkeypatch, capsys, tmp_path):
    requests = answered(monkeypatch, 200, {"revision": 1})
    (tmp_path / "token").write_text("t0k\n")
    ask_plane("127.0.0.1:9", str(tmp_path / "token"), "POST", "/v1/promote", body={})
    assert requests[0].headers["authorization"] == "Bearer t0k"
    assert "cannot read" in end(capsys, str(tmp_path / "gone"))[1]


def test_nobody_there_says_how_to_start_one(capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        code, text = end(capsys, url=f"127.0.0.1:{probe.getsockname()[1]}")
    assert code == 1
    assert "shedproxy control run" in text


class Restarting:
    """A control plane that is not there at first."""

    def __init__(self, absences: int) -> None:
        self.absences = absences

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        if self.absences:
            self.absences -= 1
            raise httpx2.ConnectError("refused", request=request)
        return httpx2.Response(200, json={"revision": 3})

    def put_in_place(self, monkeypatch) -> None:
        client = functools.partial(ControlClient, transport=httpx2.MockTransport(self.handle))
        monkeypatch.setattr(plane_client, "ControlClient", client)
        monkeypatch.setattr(plane_client, "AGAIN_S", 0.0)


def test_who_waits_is_patient_with_a_control_plane_that_restarts(monkeypatch, capsys):
    Restarting(3).put_in_place(monkeypatch)
    assert ask_plane("127.0.0.1:9", "", "GET", "/v1/status", patience_s=60) == {"revision": 3}
    assert capsys.readouterr().err == (
        "nothing answers at http://127.0.0.1:9: refused; asked again for a while\n"
    )


def test_who_is_not_patient_is_told_at_once_that_nobody_is_there(monkeypatch, capsys):
    plane = Restarting(2)
    plane.put_in_place(monkeypatch)
    code, text = end(capsys)
    assert (code, plane.absences) == (1, 1)
    assert text.startswith("error: nothing answers at")
