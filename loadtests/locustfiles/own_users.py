"""Somebody's own locustfile as kinds of arrivals: an arrival is one run of one task.

    python own_users.py FILE       prints the kinds as JSON, or why the file does not fit

What a file must be to fit, because arrivals do not wait for one another:

- it has users of `HttpUser` or `FastHttpUser`, whose tasks are methods or functions. A TaskSet is a
  conversation, each step of which needs the ones before: it is no arrival;
- a task makes a request at least. It is timed from when it was due to its end; it is as good as the
  worst answer in it, and failed if it raises;
- a task tagged with a class (`@tag("sheddable")`) is of that class, and sends `x-criticality`.

Each arrival has a user of its own while it runs: `on_start` is called once for each that is made,
`wait_time` and `on_stop` never.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locust import FastHttpUser, HttpUser, User

__all__ = ["Kind", "UnfitError", "Users", "load_kinds"]

_CLASSES = ("sheddable", "sheddable_plus", "critical", "critical_plus")
_FAILED = 500
_HEADER = "x-criticality"


class UnfitError(Exception):
    """The file cannot be played; says why, and what would fit."""


@dataclass
class Kind:
    """One task of one user class."""

    user_class: Any
    task: Any
    name: str
    weight: float
    criticality: str
    """"": it has no class."""
    idle: list[Any] = field(default_factory=list)
    """Users that wait for an arrival."""


def load_kinds(path: str) -> list[Kind]:
    """Every task of every user, with its share."""
    file = Path(path)
    if not file.is_file():
        raise UnfitError(f"there is no file {path}")
    sys.path.insert(0, str(file.resolve().parent))
    spec = importlib.util.spec_from_file_location(f"own_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UnfitError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise UnfitError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, User) and not each.abstract and each.tasks
    ]
    if not found:
        raise UnfitError(f"{path} has no user with tasks: derive from HttpUser or FastHttpUser")
    kinds = []
    for user_class in found:
        if not issubclass(user_class, HttpUser | FastHttpUser):
            raise UnfitError(
                f"{user_class.__name__} is neither HttpUser nor FastHttpUser: answers of other "
                "protocols have no status to judge"
            )
        kinds += _kinds_of(user_class)
    return kinds


def _kinds_of(user_class: Any) -> list[Kind]:
    counts: dict[Any, int] = {}
    for task in user_class.tasks:
        counts[task] = counts.get(task, 0) + 1
    kinds = []
    for task, count in counts.items():
        name = f"{user_class.__name__}.{getattr(task, '__name__', task)}"
        if isinstance(task, type):
            raise UnfitError(
                f"{name} is a TaskSet, whose steps need one another: arrivals are single tasks; "
                "write each step that stands by itself as a @task of the user"
            )
        tags = [tag for tag in _CLASSES if tag in getattr(task, "locust_tag_set", ())]
        if len(tags) > 1:
            raise UnfitError(f"{name} is tagged with {' and '.join(tags)}: one class a task")
        weight = user_class.weight * count / len(user_class.tasks)
        kinds.append(Kind(user_class, task, name, weight, tags[0] if tags else ""))
    return kinds


class _Answers:
    """In place of a client's request event: what a task was answered, worst first."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.status = 0

    def fire(self, **told: Any) -> None:
        status = getattr(told.get("response"), "status_code", 0) or 0
        if told.get("exception") is not None and 200 <= status < 400:
            status = _FAILED
        is_good = 200 <= status < 400
        if not self.status or (200 <= self.status < 400 and not is_good):
            # Nothing came is told as a status, too, that the next good answer cannot cover.
            self.status = status or -1
        self.event.fire(**told)


class Users:
    """Users by kind: one for each arrival that runs."""

    def __init__(self, environment: Any, timeout_s: float) -> None:
        self.environment = environment
        self.timeout_s = timeout_s

    def run(self, kind: Kind) -> int:
        """One arrival; the status that it amounts to, 0 without an answer."""
        user = kind.idle.pop() if kind.idle else self._make(kind)
        answers = _Answers(self.environment.events.request)
        user.client.request_event = answers
        try:
            kind.task(user)
        except Exception:  # noqa: BLE001 - of somebody's task, which has failed then
            return _FAILED
        kind.idle.append(user)
        return max(0, answers.status)

    def _make(self, kind: Kind) -> Any:
        user_class = kind.user_class
        user_class.host = self.environment.host or user_class.host
        if hasattr(user_class, "network_timeout"):
            user_class.network_timeout = user_class.connection_timeout = self.timeout_s
            headers = dict(user_class.default_headers or {})
            if kind.criticality:
                user_class.default_headers = {_HEADER: kind.criticality, **headers}
            try:
                user = user_class(self.environment)
            finally:
                user_class.default_headers = headers or None
        else:
            user = user_class(self.environment)
            if kind.criticality:
                user.client.headers.setdefault(_HEADER, kind.criticality)
        user.on_start()
        return user


def _main() -> int:
    try:
        kinds = load_kinds(sys.argv[1])
    except UnfitError as error:
        print(json.dumps({"unfit": str(error)}))
        return 1
    shown = [[kind.name, kind.weight, kind.criticality] for kind in kinds]
    print(json.dumps({"kinds": shown}))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
