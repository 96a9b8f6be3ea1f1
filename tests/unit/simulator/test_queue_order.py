"""Whatever the order in overload, waiters are served in order soon after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from harness.worlds import run_world

from shedproxy.core import NS_PER_S, Instant, Permit, Ticket, Verdict
from shedproxy.simulator.controllers.codel import CodelControl
from shedproxy.simulator.controllers.ours import OurControl, our_policy
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import BackendSpec, ClientSpec, Scenario

EASE_S = 30


class Watch:
    """Notes when somebody was let in before one of the same level who had waited longer."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.waiting: dict[int, Ticket] = {}
        self.out_of_order: list[int] = []
        self.in_order: list[int] = []

    def arrive(self, *arguments: Any, now: Instant, **more: Any) -> Any:
        decision = super().arrive(*arguments, now=now, **more)
        if isinstance(decision, Ticket):
            self.waiting[decision.serial] = decision
            if decision.evicted is not None:
                self._note((decision.evicted,), now)
        return decision

    def release(self, *arguments: Any, now: Instant, **more: Any) -> Sequence[Verdict]:
        return self._note(super().release(*arguments, now=now, **more), now)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        self.waiting.pop(ticket.serial, None)
        return self._note(super().abandon(ticket, now=now), now)

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        return self._note(super().tick(now=now), now)

    def _note(self, verdicts: Sequence[Verdict], now: Instant) -> Sequence[Verdict]:
        for ticket, decision in verdicts:
            self.waiting.pop(ticket.serial, None)
            if isinstance(decision, Permit):
                is_passed = any(
                    other.request is ticket.request and other.arrived_at < ticket.arrived_at
                    for other in self.waiting.values()
                )
                (self.out_of_order if is_passed else self.in_order).append(now)
        return verdicts


class Ours(Watch, OurControl):
    """The product's."""

    def tick_due(self, *, now: Instant) -> Sequence[Verdict]:
        return self._note(super().tick_due(now=now), now)


class Folly(Watch, CodelControl):
    """CoDel and adaptive LIFO."""


def ours(world: World, now: Instant, index: int) -> Ours:
    return Ours(our_policy(world.scenario, with_profile=False), now=now)


def folly(world: World, now: Instant, index: int) -> Folly:
    return Folly(slots=4)


@pytest.mark.parametrize("make", [ours, folly])
def test_waiters_are_served_in_order_within_a_second_of_the_end_of_overload(make: Any) -> None:
    """Half a minute of twice the capacity, then half of it. Both are newest first in between."""
    scenario = Scenario(
        duration_s=EASE_S + 10,
        backend=BackendSpec(slots=4, service_ms=10),
        client=(ClientSpec(load=2, schedule=((EASE_S, 0.25),)),),
    )
    control = run_world(scenario, make).proxies[0].controller
    ends_at = EASE_S * NS_PER_S
    assert [at for at in control.out_of_order if at < ends_at]
    assert not [at for at in control.out_of_order if at > ends_at + NS_PER_S]
    assert len([at for at in control.in_order if at > ends_at + NS_PER_S]) > 20
