"""Who makes the load is chosen by name, and told what to send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from harness.calibrations import a_plan

from shedproxy.calibration import locust_player
from shedproxy.calibration.live import LivePlayer
from shedproxy.cli.calibrate_engine import check_engine, locust_requests, order_player
from shedproxy.core import Criticality
from shedproxy.loadgen.requests import RequestSet, RequestSpec

CHOSEN = RequestSet(
    [
        RequestSpec(path="/a", weight=3.0),
        RequestSpec(
            method="POST", path="/b", body=b"{}", criticality=Criticality.SHEDDABLE, name="orders"
        ),
    ],
    {Criticality.CRITICAL: 1.0, Criticality.SHEDDABLE: 1.0},
)


@pytest.mark.parametrize(
    ("engine", "master", "said"),
    [
        ("k6", None, "'k6' is none of builtin, locust"),
        ("builtin", "h:1", "add --engine locust"),
        ("locust", "h", "'h' is no HOST:PORT"),
    ],
)
def test_what_cannot_be_meant_is_refused(engine: str, master: str | None, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        check_engine(engine, master)


def test_a_locustfile_is_for_locust_and_the_message_says_why() -> None:
    with pytest.raises(typer.BadParameter, match="known only when Locust runs it"):
        check_engine("builtin", None, Path("mine.py"))
    assert check_engine("locust", None, Path("mine.py")) == "locust"


def test_what_can_be_is_not() -> None:
    assert check_engine("builtin", None) == "builtin"
    assert check_engine("locust", "10.0.0.1:5557") == "locust"


def test_locust_is_told_every_request_in_every_class() -> None:
    told = [
        (each.name, each.criticality, each.weight, each.route, each.body)
        for each in locust_requests(CHOSEN)
    ]
    assert told == [
        ("GET /a", Criticality.CRITICAL, 3.0, 0, None),
        ("GET /a", Criticality.SHEDDABLE, 3.0, 0, None),
        ("orders", Criticality.SHEDDABLE, 2.0, 1, "{}"),
    ]


def test_the_plan_says_who_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Player:
        def __init__(self, url: str, requests: object, **options: Any) -> None:
            made.append({"url": url, **options})

        def __enter__(self) -> Player:
            return self

        def __exit__(self, *_: object) -> None: ...

        def play(self, order: object) -> str:
            return "by Locust"

    monkeypatch.setattr(locust_player, "LocustPlayer", Player)
    url = "http://127.0.0.1:1/"

    def played_by(engine: str, processes: int = 2) -> Callable[..., Any]:
        plan = replace(a_plan(), engine=engine, processes=processes)
        with order_player(url, plan, CHOSEN, master=None, watch=lambda *_: None) as play:
            return play

    assert played_by("locust")(None) == "by Locust"
    assert made[0]["processes"] == 2
    assert made[0]["locustfile"] == ""
    alone = played_by("builtin", processes=1)
    assert alone.__func__ is LivePlayer.play
    assert alone.__self__._crew is None
    crew = played_by("builtin").__self__._crew
    assert crew is not None
    assert crew.count == 2
