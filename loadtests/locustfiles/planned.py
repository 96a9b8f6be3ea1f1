"""One step of `shedproxy calibrate --engine locust`: a plan comes in, a row a request goes out.

The plan is a JSON file named by SHEDPROXY_LOCUST_PLAN, read by the master (or by the only process)
and sent to the workers, which may be on other machines. Each user plays an equal part of the rate
from the same instant on and hands its rows over when the last is answered or timed out. When all
have, they are written to the file that the plan names, and Locust ends.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import events, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner
from open_loop import OpenLoopUser

_PLAN, _ROWS = "shedproxy-plan", "shedproxy-rows"
_HEAD_START_S = 0.5
"""Between the plan's going out and the first arrival."""


class _Desk:
    """What this process knows of the plan, and what came in."""

    plan: dict[str, Any] | None = None
    begun = 0
    parts: ClassVar[list[dict[str, Any]]] = []


@events.init.add_listener
def _on_init(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message(_PLAN, lambda msg, **_: _expect(msg.data))
        return
    plan = json.loads(Path(os.environ["SHEDPROXY_LOCUST_PLAN"]).read_text())
    if isinstance(runner, MasterRunner):
        runner.register_message(_ROWS, lambda environment, msg: _take(environment, msg.data))
        _Desk.plan = plan
    else:
        plan["begin_at"] = time.time() + _HEAD_START_S
        _Desk.plan = plan


@events.test_start.add_listener
def _on_start(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        assert _Desk.plan is not None
        _Desk.plan["begin_at"] = time.time() + _HEAD_START_S
        for number, client in enumerate(list(runner.clients)):
            runner.send_message(_PLAN, {**_Desk.plan, "worker": number}, client_id=client)


def _expect(plan: dict[str, Any]) -> None:
    _Desk.plan = plan


def _take(environment: Any, part: dict[str, Any]) -> None:
    """Rows of one user; the last one's ends the run."""
    assert _Desk.plan is not None
    _Desk.parts.append(part)
    if len(_Desk.parts) == _Desk.plan["users"]:
        target = Path(_Desk.plan["rows"])
        draft = target.with_suffix(".part")
        draft.write_text(json.dumps({"schema": 1, "parts": _Desk.parts}))
        draft.rename(target)
        environment.runner.quit()


class Planned(OpenLoopUser):
    """One source of the plan's arrivals."""

    def __init__(self, environment: Any) -> None:
        plan = _Desk.plan
        if plan is None:
            raise StopUser("no plan came")
        self.plan = plan
        self.timeout_s = plan["timeout_s"]
        super().__init__(environment)
        self.rate_rps = plan["rate_rps"] / plan["users"]
        self.arrivals = plan["arrivals"]
        self.in_flight_max = max(1, plan["in_flight_max"] // plan["users"])
        self.requests = plan["requests"]
        self.weights = [request["weight"] for request in self.requests]
        self.rows: list[list[int]] = []
        self.not_sent = 0
        self.pending = 0
        self.chance.seed(f"{plan['seed']}/{plan.get('worker', 0)}/{_Desk.begun}")
        _Desk.begun += 1

    @task
    def never(self) -> None:
        """Arrivals are made in `run`; Locust wants a task to be there."""

    def run(self) -> None:
        plan = self.plan
        gevent.sleep(max(0.0, plan["begin_at"] - time.time()))
        begun_at, cpu_s = time.perf_counter(), time.process_time()
        due_at = begun_at
        if self.arrivals == "constant":
            due_at -= self.chance.random() / self.rate_rps
        while (due_at := due_at + self.gap_s()) < begun_at + plan["duration_s"]:
            gevent.sleep(max(0.0, due_at - time.perf_counter()))
            kind = self.chance.choices(range(len(self.requests)), self.weights)[0]
            if self.pending >= self.in_flight_max:
                self.not_sent += 1
                self.rows.append([kind, _ns(due_at - begun_at), -1, _ns(due_at - begun_at), 0])
                continue
            self.pending += 1
            gevent.spawn(self._ask, kind, due_at, begun_at)
        gevent.sleep(max(0.0, begun_at + plan["duration_s"] - time.perf_counter()))
        busy_s = time.process_time() - cpu_s
        elapsed_s = time.perf_counter() - begun_at
        until = begun_at + plan["duration_s"] + plan["timeout_s"] + 1
        while self.pending and time.perf_counter() < until:
            gevent.sleep(0.01)
        part = {"rows": self.rows, "not_sent": self.not_sent, "unanswered": self.pending}
        part |= {"cpu_share": busy_s / elapsed_s, "worker": plan.get("worker", 0)}
        runner = self.environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message(_ROWS, part)
        else:
            _take(self.environment, part)
        # The user is over; Locust ends when all are.

    def _ask(self, kind: int, due_at: float, begun_at: float) -> None:
        request = self.requests[kind]
        sent_at = time.perf_counter()
        try:
            response = self.client.request(
                request["method"],
                request["path"],
                name=request["name"],
                headers=request["headers"],
                data=request["body"],
            )
            status = response.status_code or 0
        finally:
            self.pending -= 1
        done_at = time.perf_counter()
        self.rows.append(
            [kind, _ns(due_at - begun_at), _ns(sent_at - begun_at), _ns(done_at - begun_at), status]
        )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
