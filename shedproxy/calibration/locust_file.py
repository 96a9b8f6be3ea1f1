"""A locustfile that somebody brings: its tasks as kinds of requests, for the Locust engine alone.

What a locustfile asks for is known when it runs and not before: its tasks are Python, and cannot be
read as a list of requests for another engine. So it is loaded by a program beside us, which says
what its tasks are, and plays them (`loadtests/locustfiles/own_users.py`, which has the rules).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shedproxy.calibration.locust_player import find_locustfile
from shedproxy.core import Criticality
from shedproxy.errors import StartupError
from shedproxy.loadgen.requests import RequestSpec

__all__ = ["read_locustfile"]

_PROGRAM = "own_users.py"
_LOAD_S = 60.0


def read_locustfile(path: Path) -> list[RequestSpec]:
    """Its tasks by name and weight, in order; a task without a class is critical.

    Raises:
        StartupError: it does not fit; says what does.
    """
    program = find_locustfile().parent / _PROGRAM
    try:
        done = subprocess.run(
            [sys.executable, str(program), str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_LOAD_S,
        )
    except subprocess.TimeoutExpired:
        raise StartupError(f"{path} was not loaded within {_LOAD_S:.0f} s") from None
    try:
        # It may print what it likes while it is loaded; the answer is the last line.
        body = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise StartupError(f"{path} could not be loaded: {said}") from None
    if "unfit" in body:
        raise StartupError(f"this locustfile cannot be played: {body['unfit']}")
    return [
        RequestSpec(
            method="TASK",
            name=name,
            weight=float(weight),
            criticality=Criticality.parse(label) if label else Criticality.CRITICAL,
        )
        for name, weight, label in body["kinds"]
    ]
