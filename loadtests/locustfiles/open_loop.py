"""An open loop for Locust: users that ask when it is time, whatever became of what they asked.

Locust's own users wait for an answer before they ask again, so a service that stalls is asked
less, and most of the wait it caused is never measured (coordinated omission). Here a user is a
source of arrivals: `rate_rps` a second, in a greenlet each, with the latency counted from the
instant the arrival was *intended*. Users add up: 200 users of 1 request/s offer 200 requests/s,
over as many workers as there are, so that Locust's shapes, `--processes`, web page and CSV work as
ever.

Put this file beside your locustfile and derive from `OpenLoopUser`; tasks are written as usual.
"""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

import gevent
from gevent.local import local
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, LoadTestShape
from locust.exception import StopUser
from locust.user.users import LOCUST_STATE_WAITING

__all__ = ["NotSentError", "OpenLoopUser", "SearchShape", "StepShape", "wait_until"]

_IN_FLIGHT_MAX = 4_000
_TIMER_S = 0.001
_arrival = local()
"""Of the greenlet: when its arrival was intended, until its first answer is counted."""


def wait_until(due_at: float) -> None:
    """Return at that instant of `time.perf_counter`.

    Gevent's timers are of whole milliseconds: the last one is spent on letting others go first.
    """
    while (left_s := due_at - time.perf_counter()) > 0:
        gevent.sleep(max(0.0, left_s - _TIMER_S))


class NotSentError(Exception):
    """So many requests were in flight that this arrival was counted and not sent."""


class _FromIntended:
    """In place of Locust's request event: an arrival's first answer counts from when it was due."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def fire(self, **told: Any) -> None:
        due_at = getattr(_arrival, "due_at", None)
        if due_at is not None:
            told["response_time"] = (time.perf_counter() - due_at) * 1000
            _arrival.due_at = None
        self._event.fire(**told)


class OpenLoopUser(FastHttpUser):
    """So many arrivals a second, each a task in a greenlet of its own."""

    abstract = True
    rate_rps: float = 1.0
    """Arrivals a second of one user."""
    arrivals = "poisson"
    """Or `constant`."""
    in_flight_max = _IN_FLIGHT_MAX
    """Of the process; arrivals beyond it count as failures that were not sent."""
    timeout_s = 10.0
    in_flight: ClassVar[int] = 0
    pool: ClassVar[HTTPClientPool | None] = None
    """Connections, shared by the users of a process: they are so many clients, each with few."""

    def __init__(self, environment: Any) -> None:
        if OpenLoopUser.pool is None:
            OpenLoopUser.pool = HTTPClientPool(
                concurrency=_IN_FLIGHT_MAX,
                connection_timeout=self.timeout_s,
                network_timeout=self.timeout_s,
            )
        self.client_pool = OpenLoopUser.pool
        super().__init__(environment)
        self.client.request_event = _FromIntended(environment.events.request)
        self.chance = random.Random()

    def run(self) -> None:
        """Wait for the next instant and for nothing else."""
        if not self.tasks:
            raise StopUser(f"{type(self).__name__} has no tasks")
        self._state = LOCUST_STATE_WAITING  # may be stopped at any time: what it began is apart
        self.on_start()
        try:
            due_at = time.perf_counter()
            if self.arrivals == "constant":
                due_at -= self.chance.random() / self.rate_rps
            while True:
                due_at += self.gap_s()
                wait_until(due_at)
                self.arrive(due_at)
        except StopUser:
            pass
        finally:
            self.on_stop()

    def gap_s(self) -> float:
        """To the next arrival."""
        if self.arrivals == "constant":
            return 1 / self.rate_rps
        return self.chance.expovariate(self.rate_rps)

    def arrive(self, due_at: float) -> None:
        """Somebody comes: begin one of the tasks, or count that it could not be."""
        if OpenLoopUser.in_flight >= self.in_flight_max:
            self.environment.events.request.fire(
                request_type="",
                name="not sent",
                response_time=None,
                response_length=0,
                exception=NotSentError(f"{self.in_flight_max} are in flight"),
                context={},
            )
            return
        OpenLoopUser.in_flight += 1
        gevent.spawn(self._do, self.chance.choice(self.tasks), due_at)

    def _do(self, task: Any, due_at: float) -> None:
        _arrival.due_at = due_at
        try:
            task(self)
        finally:
            OpenLoopUser.in_flight -= 1


class StepShape(LoadTestShape):
    """One level after the other: `levels` of users, `step_s` seconds each."""

    abstract = True
    levels: tuple[int, ...] = (10, 20, 40, 80)
    step_s = 30.0

    def tick(self) -> tuple[int, float] | None:
        """Locust asks once a second."""
        step = int(self.get_run_time() / self.step_s)
        return None if step >= len(self.levels) else (self.levels[step], 1_000)


class SearchShape(LoadTestShape):
    """Doubles the users until the objective is missed, then halves what is between good and bad.

    A level is good when its 99th percentile was within `p99_ms` and no more than `error_ratio` of
    it failed. The search ends when good and bad are less than `precision` apart.
    """

    abstract = True
    start_users = 10
    step_s = 15.0
    settle_s = 3.0
    """What a level is not judged by: the change from the one before."""
    p99_ms = 250.0
    error_ratio = 0.005
    precision = 0.1
    users_max = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.users = self.start_users
        self.good, self.bad = 0, 0
        """The highest level known to be good, the lowest known to be bad; 0: none."""
        self._begun_at = 0.0
        self._is_settled = False

    def tick(self) -> tuple[int, float] | None:
        """Locust asks once a second."""
        now = self.get_run_time()
        if not self._is_settled and now - self._begun_at >= self.settle_s:
            self._is_settled = True
            if self.runner is not None:
                self.runner.stats.reset_all()
        if now - self._begun_at >= self.step_s:
            self._judge()
            self._begun_at, self._is_settled = now, False
            if self._is_over():
                print(f"search: good at {self.good} users, bad at {self.bad or 'none'}")
                return None
        return self.users, 1_000

    def _judge(self) -> None:
        assert self.runner is not None
        total = self.runner.stats.total
        p99_ms = total.get_response_time_percentile(0.99) or 0
        is_good = total.num_requests > 0 and p99_ms <= self.p99_ms
        if is_good and total.fail_ratio <= self.error_ratio:
            self.good = max(self.good, self.users)
        else:
            self.bad = min(self.bad or self.users, self.users)
        self.users = (self.good + self.bad) // 2 if self.bad else 2 * self.users

    def _is_over(self) -> bool:
        if self.users > self.users_max or self.users <= 0:
            return True
        return bool(self.bad) and self.bad - self.good <= max(1, self.precision * self.bad)
