"""What `shedproxy calibrate --engine locust` runs: plans come in, a row a request goes out.

The folder named by SHEDPROXY_LOCUST_FOLDER is the desk between the two. Plan number n is
`plan-n.json` there; the master (or the only process) sends it to its workers, which may be on other
machines. The user of each plays an equal part of it from the same instant on, and hands its rows
over when the last is answered or given up. When all have, `rows-n.json` is written. The file `end`
ends everything. With SHEDPROXY_LOCUST_FILE, arrivals are tasks of that locustfile (`own_users`).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
from gevent.queue import Queue
from locust import events, task
from locust.runners import MasterRunner, WorkerRunner
from open_loop import OpenLoopUser, wait_until
from own_users import Kind, Users, load_kinds

_PLAN, _ROWS = "shedproxy-plan", "shedproxy-rows"
_HEAD_START_S = 0.3
"""Between a plan's going out and its first arrival."""
_LOOK_EVERY_S = 0.02


class _Desk:
    """What this process has to do, and what came in."""

    plans: ClassVar[Queue] = Queue()
    parts: ClassVar[list[dict[str, Any]]] = []
    plan: ClassVar[dict[str, Any] | None] = None


_OWN_FILE = os.environ.get("SHEDPROXY_LOCUST_FILE", "")
_KINDS: list[Kind] = load_kinds(_OWN_FILE) if _OWN_FILE else []


@events.init.add_listener
def _on_init(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message(_PLAN, lambda msg, **_: _Desk.plans.put(msg.data))
    elif isinstance(runner, MasterRunner):
        runner.register_message(_ROWS, lambda msg, **_: _take(msg.data))


@events.test_start.add_listener
def _on_start(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(_serve, environment.runner, Path(os.environ["SHEDPROXY_LOCUST_FOLDER"]))


def _serve(runner: Any, folder: Path) -> None:
    """Hand out the plans as they come, until the end."""
    number, parent = 1, os.getppid()
    while not (folder / "end").exists() and os.getppid() == parent:
        file = folder / f"plan-{number}.json"
        if file.exists():
            _hand_out(runner, folder, json.loads(file.read_text()))
            number += 1
        gevent.sleep(_LOOK_EVERY_S)
    runner.quit()


def _hand_out(runner: Any, folder: Path, plan: dict[str, Any]) -> None:
    _Desk.plan = plan
    _Desk.parts.clear()
    plan["begin_at"] = time.time() + _HEAD_START_S
    if isinstance(runner, MasterRunner):
        while runner.user_count < plan["users"]:
            gevent.sleep(_LOOK_EVERY_S)
        plan["begin_at"] = time.time() + _HEAD_START_S
        for place, client in enumerate(list(runner.clients)):
            runner.send_message(_PLAN, {**plan, "place": place}, client_id=client)
    else:
        _Desk.plans.put({**plan, "place": 0})
    while len(_Desk.parts) < plan["users"]:
        gevent.sleep(_LOOK_EVERY_S)
        if isinstance(runner, MasterRunner) and runner.worker_count < plan["users"]:
            break
    is_whole = len(_Desk.parts) == plan["users"]
    body = {"begin_at": plan["begin_at"], "is_whole": is_whole, "parts": _Desk.parts}
    target = folder / f"rows-{plan['number']}.json"
    draft = target.with_suffix(".part")
    draft.write_text(json.dumps(body))
    draft.rename(target)


def _take(part: dict[str, Any]) -> None:
    if _Desk.plan is not None and part["number"] == _Desk.plan["number"]:
        _Desk.parts.append(part)


class Planned(OpenLoopUser):
    """One process's part of the load: a user, whose requests are greenlets."""

    timeout_s = float(os.environ.get("SHEDPROXY_LOCUST_TIMEOUT_S", "10"))

    @task
    def never(self) -> None:
        """Requests are made in `run`; Locust wants a task to be there."""

    def run(self) -> None:
        while True:
            self._play(_Desk.plans.get())

    def _play(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.requests = plan["requests"]
        self.weights = [request["weight"] for request in self.requests]
        self.chance.seed(f"{plan['seed']}/{plan['place']}")
        self.rows: list[list[int]] = []
        self.pending: dict[int, list[int]] = {}
        self.not_sent = self.serial = 0
        self.asking: list[gevent.Greenlet] = []
        self.users = Users(self.environment, plan["timeout_s"])
        gevent.sleep(max(0.0, plan["begin_at"] - time.time()))
        self.begun_at = time.perf_counter()
        self.end_at = self.begun_at + plan["length_s"] + plan["then_s"]
        cpu_s = time.process_time()
        if plan["rate_rps"] is None:
            self._play_closed()
        else:
            self._play_open()
        gevent.sleep(max(0.0, self.end_at - time.perf_counter()))
        cpu_share = (time.process_time() - cpu_s) / max(1e-9, time.perf_counter() - self.begun_at)
        until = self.end_at + plan["timeout_s"]
        while self.pending and time.perf_counter() < until:
            gevent.sleep(_LOOK_EVERY_S / 4)
        if _KINDS:
            # Nothing of theirs need have a timeout.
            gevent.killall([one for one in self.asking if not one.dead], block=False)
        for kind, due, sent, _, _ in self.pending.values():
            self.rows.append([kind, due, sent, due + round(plan["timeout_s"] * 1e9), 0])
        self.pending.clear()
        part = {
            "number": plan["number"],
            "rows": self.rows,
            "not_sent": self.not_sent,
            "cpu_share": cpu_share,
            "stopped_ns": self._at(self.end_at),
        }
        runner = self.environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message(_ROWS, part)
        else:
            _take(part)

    def _play_open(self) -> None:
        plan = self.plan
        self.arrivals = plan["arrivals"]
        self._play_rate(plan["rate_rps"], self.begun_at, self.begun_at + plan["length_s"])
        if plan["then_s"] and time.perf_counter() < self.end_at:
            self._play_rate(plan["then_rps"], self.begun_at + plan["length_s"], self.end_at)

    def _play_rate(self, rate_rps: float, due_at: float, until: float) -> None:
        plan = self.plan
        self.rate_rps = rate_rps / plan["users"]
        most = max(1, plan["in_flight_max"] // plan["users"])
        if self.arrivals == "constant":
            due_at -= self.chance.random() / self.rate_rps
        while (due_at := due_at + self.gap_s()) < until:
            wait_until(due_at)
            kind = self._draw()
            if len(self.pending) < most:
                self._spawn(self._ask, kind, due_at)
                continue
            self.not_sent += 1
            due = self._at(due_at)
            self.rows.append([kind, due, due, due, 0])
            if plan["not_sent_max"] is not None and self.not_sent > plan["not_sent_max"]:
                self.end_at = due_at
                return

    def _play_closed(self) -> None:
        plan = self.plan
        share, rest = divmod(plan["concurrency"], plan["users"])
        count = share + (plan["place"] < rest)
        rate_rps = plan["rate_max_rps"]
        # Seconds between two requests, and how much of what was not used may be made up for.
        self.gap_least_s = plan["concurrency"] / count / rate_rps if rate_rps and count else 0.0
        self.slack_s = (count - 1) * self.gap_least_s
        self.turn_at = self.begun_at
        for _ in range(count):
            self._spawn(self._keep_asking, plan["number"])

    def _keep_asking(self, number: int) -> None:
        while self.plan["number"] == number and (now := time.perf_counter()) < self.end_at:
            if self.gap_least_s:
                now, turn_at = max(now, self.turn_at), max(now - self.slack_s, self.turn_at)
                self.turn_at = turn_at + self.gap_least_s
                if now >= self.end_at:
                    return
                wait_until(now)
            self._ask(self._draw(), now)

    def _spawn(self, *call: Any) -> None:
        greenlet = gevent.spawn(*call)
        if _KINDS:
            self.asking.append(greenlet)

    def _draw(self) -> int:
        if len(self.requests) == 1:
            return 0
        return self.chance.choices(range(len(self.requests)), self.weights)[0]

    def _ask(self, kind: int, due_at: float) -> None:
        request, number = self.requests[kind], self.plan["number"]
        sent_at = time.perf_counter()
        row = [kind, self._at(due_at), self._at(sent_at), 0, 0]
        self.serial += 1
        serial = self.serial
        self.pending[serial] = row
        status = self.users.run(_KINDS[kind]) if _KINDS else self._status_of(request)
        row[3], row[4] = self._at(time.perf_counter()), status
        if self.plan["number"] == number and self.pending.pop(serial, None) is not None:
            self.rows.append(row)

    def _status_of(self, request: dict[str, Any]) -> int:
        response = self.client.request(
            request["method"],
            request["path"],
            name=request["name"],
            headers=request["headers"],
            data=request["body"],
        )
        return response.status_code or 0

    def _at(self, instant: float) -> int:
        return round((instant - self.begun_at) * 1e9)
