"""The clients of a scenario as the simulator has them: what they ask for, and when.

The live player sends exactly this, so that at one seed live and simulated requests are the same.
"""

from __future__ import annotations

import math
from dataclasses import replace

from shedproxy.core import NS_PER_S, Criticality, Nanos, milliseconds
from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.call import Call
from shedproxy.simulator.clients import Chance, Population
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.tally import Tally
from shedproxy.workload.scenario import Scenario

__all__ = ["client_intentions", "run_out"]


def client_intentions(
    scenario: Scenario, chance: Chance, *, salt: int
) -> list[tuple[Nanos, Criticality]]:
    """What open clients ask for, in time: when, from the start, and how important it is.

    `chance` and `salt` are those of a simulated run, which then has the same clients.
    """
    engine = Engine()
    deadline_ns = milliseconds(scenario.deadline_or_default_ms)
    tally = Tally(deadline_ns=deadline_ns, unscored=0, keeps_tenants=False, has_classes=False)
    asked: list[tuple[Nanos, Criticality]] = []

    def note(call: Call) -> None:
        asked.append((Nanos(call.arrived_at), call.info.criticality))

    for client in scenario.client:
        Population(
            engine,
            client,
            backend=scenario.backend,
            capacity_rps=capacity_rps(scenario.backend),
            deadline_ns=deadline_ns,
            salt=salt,
            chance=chance,
            offer=note,
            leave=lambda _: None,
            tally=tally,
        ).start()
    engine.run(round(scenario.duration_s * NS_PER_S) - 1)
    return asked


def run_out(scenario: Scenario) -> Scenario:
    """The scenario with time for the last answers: nobody asks any more, all are waited for.

    So the live player does; a simulated run just stops.
    """
    end_s = scenario.duration_s
    return replace(
        scenario,
        duration_s=end_s + scenario.deadline_or_default_ms / 1000,
        client=tuple(
            replace(client, stop_s=min(end_s, math.inf if client.stop_s is None else client.stop_s))
            for client in scenario.client
        ),
    )
