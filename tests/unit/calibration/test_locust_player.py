"""The player of Locust, with a small program in its place that leaves the rows it is told to."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from shedproxy.calibration import locust_player
from shedproxy.calibration.locust_player import LocustPlayer, LocustRequest, find_locustfile
from shedproxy.calibration.measurement import Phase
from shedproxy.calibration.orders import Order, Played
from shedproxy.core import Criticality, seconds
from shedproxy.errors import StartupError

REQUESTS = [
    LocustRequest(method="GET", path="/", name="GET /", weight=3.0),
    LocustRequest(
        method="POST", path="/o", name="POST /o", weight=1.0, body="{}", route=1,
        criticality=Criticality.SHEDDABLE, headers=(("content-type", "application/json"),),
    ),
]  # fmt: skip

PROGRAM = """
import json, os, sys, time
from pathlib import Path
folder, parts = Path(os.environ["SHEDPROXY_LOCUST_FOLDER"]), json.loads(sys.argv[1])
number = 1
while not (folder / "end").exists():
    file = folder / f"plan-{number}.json"
    if file.exists():
        (folder / "seen").write_text(file.read_text())
        body = {"begin_at": time.time(), "is_whole": parts[0]["is_whole"], "parts": parts}
        draft = folder / "draft"
        draft.write_text(json.dumps(body))
        draft.rename(folder / f"rows-{number}.json")
        number += 1
    time.sleep(0.005)
"""


class Fake(LocustPlayer):
    """Runs the program above, or another command."""

    parts: list[dict] = []
    command: list[str] = []

    def _command(self) -> list[str]:
        return self.command or [sys.executable, "-c", PROGRAM, json.dumps(self.parts)]


def part(rows: list[list[int]], **changes: object) -> dict:
    values = {"rows": rows, "not_sent": 0, "cpu_share": 0.1, "stopped_ns": 2_000_000_000}
    return {**values, "is_whole": True, **changes}


def order(**more: float) -> Order:
    return Order(
        phase=Phase.OPEN, pass_number=1, length_ns=seconds(2), settle_ns=seconds(0), seed=7, **more
    )


def play(monkeypatch: pytest.MonkeyPatch, *parts: dict) -> tuple[Played, dict]:
    monkeypatch.setattr(Fake, "parts", list(parts))
    with Fake("http://127.0.0.1:1/x", REQUESTS, deadline_ns=seconds(1), processes=2) as player:
        played = player.play(order(planned_rps=50.0))
        seen = json.loads((player._home / "seen").read_text())
    return played, seen


MS = 1_000_000


def test_rows_of_all_workers_are_one_step_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    played, _ = play(
        monkeypatch,
        part([[0, 20 * MS, 21 * MS, 40 * MS, 200]], cpu_share=0.3),
        part([[1, 10 * MS, 10 * MS, 15 * MS, 503]]),
    )
    first, second = played.rows
    assert (first.status, first.route, first.criticality) == (503, 1, Criticality.SHEDDABLE)
    assert first.intended_at - played.started_at == 10 * MS
    assert second.sent_at - second.intended_at == MS
    assert second.done_at - second.intended_at == 20 * MS
    assert played.stopped_at - played.started_at == seconds(2)
    assert played.cpu_ns == pytest.approx(0.3 * seconds(2)), "of the busiest"
    assert played.planned_count == 2
    assert played.ended_early == ""


def test_who_waited_longer_than_the_deadline_had_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played, _ = play(monkeypatch, part([[0, 0, 0, 1_500 * MS, 200]]))
    assert played.rows[0].status == 0
    assert played.rows[0].done_at - played.rows[0].intended_at == seconds(1)


def test_a_step_that_dropped_arrivals_ended_early(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[0, 0, 0, 0, 0]] * 60
    played, _ = play(monkeypatch, part(rows, not_sent=60, stopped_ns=300 * MS))
    assert played.not_sent_count == 60
    assert "dropped" in played.ended_early
    assert played.stopped_at - played.started_at == 300 * MS


def test_the_plan_says_what_is_to_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plan = play(monkeypatch, part([]))
    assert (plan["rate_rps"], plan["concurrency"], plan["users"]) == (50.0, None, 2)
    assert (plan["length_s"], plan["timeout_s"], plan["seed"]) == (2.0, 1.0, 7)
    assert (plan["then_s"], plan["not_sent_max"]) == (0, 50)
    assert plan["requests"][1] == {
        "method": "POST", "path": "/o", "name": "POST /o", "weight": 1.0, "body": "{}",
        "headers": {"content-type": "application/json", "x-criticality": "sheddable"},
    }  # fmt: skip


def test_a_lost_worker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match="Locust lost a worker"):
        play(monkeypatch, part([], is_whole=False))


def test_an_end_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    dies = [sys.executable, "-c", "import sys; sys.exit('no such host')"]
    monkeypatch.setattr(Fake, "command", dies)
    with pytest.raises(StartupError, match=r"ended with exit code 1:\n  no such host"):
        play(monkeypatch, part([]))


def test_silence_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "command", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(locust_player, "_START_S", -3.0)
    monkeypatch.setattr(locust_player, "_END_S", 0.01)
    with pytest.raises(StartupError, match="did not answer in time"):
        play(monkeypatch, part([]))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, []),
        ({"processes": 3}, ["--processes", "3"]),
        ({"processes": 3, "master": "10.0.0.1:5557"},
         ["--master", "--master-bind-host", "10.0.0.1", "--master-bind-port", "5557",
          "--expect-workers", "3"]),
    ],
)  # fmt: skip
def test_workers_are_here_or_elsewhere(more: dict, words: list[str]) -> None:
    player = LocustPlayer("http://h:1/x", REQUESTS, deadline_ns=seconds(1), **more)
    command = player._command()
    assert command[-len(words) :] == words or not words
    assert command[command.index("--host") + 1] == "http://h:1"
    assert "--headless" in command
    player._folder.cleanup()


def test_without_locust_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartupError, match=r"shedproxy\[calibrate\]"):
        LocustPlayer("http://h:1/", REQUESTS, deadline_ns=seconds(1))


def test_the_locustfile_is_of_this_tree_or_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find_locustfile().name == "planned.py"
    monkeypatch.setattr(locust_player, "_IN_TREE", Path("nowhere"))
    monkeypatch.setattr(locust_player, "_SHIPPED", tmp_path)
    with pytest.raises(StartupError, match=r"there is no planned\.py"):
        find_locustfile()
    (tmp_path / "planned.py").touch()
    assert find_locustfile() == tmp_path / "planned.py"
