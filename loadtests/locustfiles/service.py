"""Three classes of requests at one service, open loop. Choose one with `--tags`.

    locust -f loadtests/locustfiles/service.py --headless -u 100 -r 100 -t 60s --host http://127.0.0.1:8000

A user is one request a second; `--processes 2`, `--master` and `--worker` share them out.
"""

from __future__ import annotations

from typing import ClassVar

from locust import tag, task
from open_loop import OpenLoopUser


class Critical(OpenLoopUser):
    """A fifth of the load, that is to be served to the last."""

    weight = 2
    default_headers: ClassVar = {"x-criticality": "critical"}

    @tag("critical")
    @task
    def ask(self) -> None:
        """One page."""
        self.client.get("/", name="critical")


class SheddablePlus(OpenLoopUser):
    """Most of the load."""

    weight = 6
    default_headers: ClassVar = {"x-criticality": "sheddable_plus"}

    @tag("sheddable_plus")
    @task
    def ask(self) -> None:
        """One page."""
        self.client.get("/", name="sheddable_plus")


class Sheddable(OpenLoopUser):
    """What may be refused first."""

    weight = 2
    default_headers: ClassVar = {"x-criticality": "sheddable"}

    @tag("sheddable")
    @task
    def ask(self) -> None:
        """One page."""
        self.client.get("/", name="sheddable")
