"""What the apps of all frameworks share: how they are mounted, and a gate to hold requests."""

from __future__ import annotations

import asyncio
import os

from shedproxy import CellPolicy, LimitPolicy, Match, Policy, QueuePolicy, Rule
from shedproxy.core import Lane, ShedLevelPolicy, seconds

policy = Policy(
    cells=(
        CellPolicy(
            limit=LimitPolicy(algorithm="fixed", initial=2, maximum=2),
            queue=QueuePolicy(length_max=4, wait_max_ns=seconds(60)),
            shed_level=ShedLevelPolicy(enabled=False),
        ),
    )
)
rules = (
    Rule(name="open", match=Match(path=("/open",)), lane=Lane.CONTROL),
    Rule(name="closed", match=Match(path=("/closed",)), limit=0),
)
control = f"127.0.0.1:{os.environ['CONTROL_PORT']}"
shed = {"policy": policy, "rules": rules, "control": control}

_gates: dict[str, asyncio.Event] = {}


def gate(name: str) -> asyncio.Event:
    return _gates.setdefault(name, asyncio.Event())


def told(scope) -> str:
    """What the middleware told the app."""
    state = scope["state"]["shedproxy"]
    assert 0 <= state.pressure <= 1
    return f"{state.route} {state.criticality.label}"


async def events():
    for number in range(3):
        yield f"data: {number}\n\n".encode()
    await asyncio.Event().wait()
