"""One run of a world with cells: the product's Shedder, and keys, hosts and tables around it."""

from __future__ import annotations

from collections.abc import Callable

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.call import Call
from shedproxy.simulator.cells.fleet import Fleet
from shedproxy.simulator.cells.outcomes import LoggedTally
from shedproxy.simulator.cells.plane import ControlPlane
from shedproxy.simulator.cells.router import Router
from shedproxy.simulator.cells.rules import CellRules
from shedproxy.simulator.cells.sites import Sites
from shedproxy.simulator.checkers import WatchedController
from shedproxy.simulator.clients import Chance, Population, flow_hash_of, tenant_number
from shedproxy.simulator.controllers.ours import OurControl, make_ours, our_policy
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.proxy import Proxy
from shedproxy.workload.scenario import CellSpec, ClientSpec, EventSpec, Scenario

__all__ = ["CellWorld"]


class CellWorld:
    """Build it, `run` it once, read it.

    Args:
        scenario: with cells.
        chance: streams of chance by name.
        salt: of the hashes of tenants.
        is_checked: what must hold is looked at after every event (`rules`).
    """

    def __init__(
        self, scenario: Scenario, *, chance: Chance, salt: int = 0, is_checked: bool = False
    ) -> None:
        self.scenario = scenario
        self.engine = Engine()
        self._salt = salt
        self._cells = {cell.name: cell for cell in scenario.cell}
        self.tally = LoggedTally(
            deadline_ns=round(scenario.deadline_or_default_ms * NS_PER_MS),
            unscored=scenario.unscored_arrivals,
            keeps_tenants=False,
            has_classes=False,
        )
        names, weights = list(self._cells), [cell.weight for cell in scenario.cell]
        self.plane = ControlPlane(names, weights)
        self.router = Router(
            self.plane.table, frozenset(names), offer=self._offer, on_held=self._on_held
        )
        self.backend = Sites(
            {name: self._make_fleet(cell) for name, cell in self._cells.items()},
            on_submit=self._on_submit,
        )
        self.policy = our_policy(scenario, with_profile=False)
        self.shedder = make_ours(scenario, now=self.engine.now)
        self.rules = CellRules(self) if is_checked else None
        if self.rules is not None:
            self.engine.after_event = self.rules.after_event
        controller: OurControl | WatchedController
        controller = self.shedder if self.rules is None else self.rules.watch(self.shedder)
        self._apply = controller.apply
        self.proxy = Proxy(
            self.engine,
            controller,
            self.backend,
            scenario.proxy,
            cancels=any(cell.backend.cancels for cell in scenario.cell),
            rng=chance("proxy"),
            tally=self.tally,
        )
        for client in scenario.client:
            self._populate(client, chance)
        self._lost_until = 0
        self.staleness_max_ns = 0
        """Most time since the proxy had heard from the control plane."""
        self.guests_max = dict.fromkeys(names, 0)
        """Most slots of each cell that requests of others held."""
        actions: dict[str, Callable[[EventSpec], None]] = {
            "lose_control_plane": self._on_lost,
            "move_tenant": self._on_move,
        }
        for event in scenario.event:
            action = actions.get(event.what, self._on_hosts)
            self.engine.at(round(event.at_s * NS_PER_S), action, event)
        self._round_ns = round(scenario.snapshot_s * NS_PER_S)
        self.engine.at(self._round_ns, self._round, None)

    def run(self) -> None:
        """From the beginning to the scenario's end; what is under way then is left so."""
        self.engine.run(round(self.scenario.duration_s * NS_PER_S))

    # --- what it is made of -----------------------------------------------------------------

    def _make_fleet(self, cell: CellSpec) -> Fleet:
        return Fleet(self.engine, cell, on_done=_on_done, on_health=self._on_health)

    def _populate(self, client: ClientSpec, chance: Chance) -> None:
        cell = self._cells.get(client.cell)
        backend = (cell or self.scenario.cell[0]).backend
        served = [cell] if cell is not None else list(self.scenario.cell)
        Population(
            self.engine,
            client,
            backend=backend,
            capacity_rps=sum(capacity_rps(one.backend) for one in served),
            deadline_ns=self.tally.deadline_ns,
            salt=self._salt,
            chance=chance,
            offer=self.router.offer,
            leave=self._leave,
            tally=self.tally,
        ).start()

    # --- calls ------------------------------------------------------------------------------

    def _offer(self, call: Call) -> None:
        self.proxy.offer(call)

    def _leave(self, call: Call) -> None:
        if call.proxy is not None:
            call.proxy.leave(call)
        else:
            self.router.leave(call)

    def _on_held(self, count: int) -> None:
        self.tally.calls_unread += count

    def _on_submit(self, call: Call, cell: str) -> None:
        if cell != call.info.cell:
            book = next(found for found in self.shedder.stats().cells if found.name == cell)
            self.guests_max[cell] = max(self.guests_max[cell], book.guests)
        if self.rules is not None:
            self.rules.on_submit(call, cell)

    # --- what happens -----------------------------------------------------------------------

    def _on_hosts(self, event: EventSpec) -> None:
        self.backend.fleets[event.cell].happen(event)

    def _on_health(self, name: str, healthy: int) -> None:
        """As the driver: limits follow the hosts that are there."""
        if any(cell.limit.weight or cell.spill.to for cell in self.policy.cells):
            weights = {cell: fleet.healthy for cell, fleet in self.backend.fleets.items()}
            weights[name] = healthy
            policy = self.policy.scaled_to(weights)
            self.proxy.deliver(self._apply(policy, now=self.engine.now))

    def _on_lost(self, event: EventSpec) -> None:
        self._lost_until = self.engine.now + round(event.for_s * NS_PER_S)

    def _on_move(self, event: EventSpec) -> None:
        self.plane.order(flow_hash_of(tenant_number(event.tenant), self._salt), event.cell)

    def _round(self, _: None) -> None:
        """The proxy reports, and fetches the table, if anybody is there."""
        now: Instant = self.engine.now
        self.staleness_max_ns = max(self.staleness_max_ns, now - self.router.pulled_at)
        if now >= self._lost_until:
            self.plane.hear(self.router.report(self.plane.moving))
            self.router.take(self.plane.table, now)
        self.engine.at(now + self._round_ns, self._round, None)


def _on_done(call: Call, status: int) -> None:
    call.proxy.on_done(call, status)
