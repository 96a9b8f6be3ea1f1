"""What load is aimed at and made of."""

from __future__ import annotations

import os

import pytest
import typer

from shedproxy.cli.load_target import check_target, generator_count, is_loopback, request_set


def test_only_loopback_and_what_is_named_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    check_target("http://127.0.0.9:80", ())
    check_target("http://[::1]:80/", ())
    check_target("http://10.0.0.1", ("10.0.0.1",))
    with pytest.raises(typer.Exit) as exit_info:
        check_target("http://10.0.0.1", ("10.0.0.2",))
    assert exit_info.value.exit_code == 6
    assert "--allow-host 10.0.0.1" in capsys.readouterr().err
    for host in ("127.example.com", "127.0.0.1.example.com", "localhost.example.com"):
        with pytest.raises(typer.Exit) as exit_info:
            check_target(f"http://{host}", ())
        assert exit_info.value.exit_code == 6
    for text in ("", "10.0.0.1", "https://127.0.0.1", "http://[::1", "http://127.0.0.1:99999"):
        with pytest.raises(typer.BadParameter, match="is no target"):
            check_target(text, ())
    for text in ("http://127.0.0.1:80/api", "http://127.0.0.1/?a"):
        with pytest.raises(typer.BadParameter, match="nothing would be sent to that path"):
            check_target(text, ())


def test_without_a_source_it_is_the_root_and_a_bad_one_is_said() -> None:
    assert request_set((), None, None, None, "critical=1").routes == ("GET /",)
    assert request_set(("GET /a 2", "/b"), None, None, None, "critical=1").routes == (
        "GET /a",
        "GET /b",
    )
    with pytest.raises(typer.BadParameter, match="is no request"):
        request_set(("x",), None, None, None, "critical=1")


def test_auto_leaves_half_of_the_processors_to_a_service_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert generator_count("auto", "http://127.0.0.1") == 4
    assert generator_count("auto", "http://10.0.0.1") == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert generator_count("auto", "http://127.0.0.1") == 1
    assert generator_count("3", "http://127.0.0.1") == 3
    for text in ("0", "65", "many"):
        with pytest.raises(typer.BadParameter, match="neither auto nor 1 to 64"):
            generator_count(text, "http://127.0.0.1")


def test_loopback_is_known_by_its_names() -> None:
    assert all(map(is_loopback, ("localhost", "::1", "127.1.2.3")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost.example", "127.example.org", "")))
