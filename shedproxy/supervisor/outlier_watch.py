"""Takes bad hosts out for all workers together, and puts them back; says what it does.

Once a second it adds up what workers and checks say, asks the core for a step, makes the ledger
safe, and only then tells the workers, the log and the orchestrator. Without a ledger that can be
believed nobody is taken out; without a disk that keeps it hosts come back all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import (
    FULL_WEIGHT,
    Act,
    BulletState,
    CellInput,
    Deed,
    Ejector,
    Errand,
    HostInput,
    Instant,
    Ledger,
    Nanos,
    to_seconds,
)
from shedproxy.errors import DocumentInvalidError
from shedproxy.observability.reading import Sample
from shedproxy.snapshot import Document, UpstreamDocument
from shedproxy.supervisor.bullet_file import BulletFile
from shedproxy.supervisor.errands import Errands
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.host_checks import HostChecks
from shedproxy.supervisor.host_views import bullet_rows, host_rows, magazine_rows, magazine_samples
from shedproxy.supervisor.inspection import Inspection
from shedproxy.supervisor.orders import HostOrder, OrderInvalidError

__all__ = ["OutlierWatch"]

_PERIOD = 1.0
_DEMAND_SECONDS = 10
"""Demand is the highest of so many looks: bullets are not spent in a lull."""
_EVENTS = {
    Act.EJECT: "host out",
    Act.RETURN: "host back",
    Act.FAIL_OPEN: "host back",
    Act.RELOAD: "bullet back",
}
_KEPT_ELSEWHERE = "another process keeps the ledger of bullets, until it ends"
_HARMLESS = frozenset((Act.RETURN, Act.FAIL_OPEN, Act.SPARE))
_MEND_READ = (
    "it is left as it is, and nobody is taken out: remove it when no host is being replaced"
)
_MEND_WRITE = "nobody is taken out until it can be: make its folder writable, or name another file"


class OutlierWatch:
    """Of one supervisor. `open` and `run` on the running loop.

    Args:
        document: the one in force.
        file: where the ledger is kept, "" for nowhere.
        report: takes an event and its facts.
    """

    def __init__(
        self,
        fleet: Fleet,
        inspection: Inspection,
        *,
        document: Callable[[], Document],
        file: str,
        report: Callable[[str, Mapping[str, Any]], None],
        clock: Clock = monotonic_now,
    ) -> None:
        self._fleet = fleet
        self._inspection = inspection
        self._document = document
        self._report = report
        self._clock = clock
        self._name, self._file = file, BulletFile(file)
        self._is_blind = False
        """The ledger cannot be believed."""
        self._fault = ""
        """Why it could not be kept last."""
        self._broken = ""
        """What the last look failed of."""
        self._waits = not self._file.is_ours()
        """Another process keeps the ledger, from which this one takes over."""
        self.ejector = Ejector(self._read(file), now=clock())
        self._errands = Errands(self._file.id, report)
        self._checks: HostChecks | None = None
        self._checked: Document | None = None
        self._demands: dict[str, deque[float]] = {}
        self._drains: dict[tuple[str, str], Instant] = {}
        self._weights: dict[str, dict[str, int]] = {}
        self._spared: set[tuple[str, str]] = set()
        self._frozen: set[str] = set()
        self._overdue: set[int] = set()
        self._is_first = True
        self._turn = asyncio.Lock()
        """Of who changes the ledger: from what it was to what is safe and in force."""
        self.spared_count: dict[str, int] = {}
        """Times that a host stayed because a magazine was empty, by cell."""

    def _read(self, file: str) -> Ledger:
        try:
            return self._file.read()
        except (DocumentInvalidError, OSError) as error:
            self._is_blind = True
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._report("bullets not read", {"file": file, "why": why, "help": _MEND_READ})
            return Ledger()

    # --- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled."""
        self._checks = HostChecks(self._report, clock=self._clock)
        try:
            while True:
                try:
                    await self.step()
                    self._broken = ""
                except Exception as error:  # noqa: BLE001 - traffic must not end with a bug here
                    self._tell_broken(error)
                await asyncio.sleep(_PERIOD)
        finally:
            self._checks.close()
            await self._errands.close()
            self._file.leave()

    def _tell_broken(self, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        if why != self._broken:
            self._report("outlier watch failed", {"why": why})
        self._broken = why

    async def step(self) -> None:
        """Look once, and do what is to be done."""
        now, document = self._clock(), self._document()
        if self._checks is not None and document is not self._checked:
            self._checks.apply(document)
            self._checked = document
        self._forget_drains(now)
        upstreams = document.proxy.upstreams
        cells = [self._cell_input(document, upstream) for upstream in upstreams]
        self._fleet.tallies.keep({(each.cell, url) for each in upstreams for url in each.urls})
        self._demands = {each.cell: self._demands[each.cell] for each in upstreams}
        async with self._turn:
            if await self._is_ours(now):
                ledger, deeds = self.ejector.step(now, cells)
                is_due = ledger != self.ejector.ledger or self._fault
                if is_due and not await self._keep(ledger):
                    ledger, deeds = self._unkept(deeds)
                self.ejector.commit(now, ledger, deeds)
                self._act(document, deeds)
        self._tell_weights(now, document)
        self._tell_state(now, document)

    async def _is_ours(self, now: Instant) -> bool:
        """Whether the ledger may be changed here; it is read anew when that begins."""
        if self._waits and self._file.is_ours():
            self._waits = self._is_blind = False
            self.ejector = Ejector(self._read(self._name), now=now)
            await self._errands.close()
            self._errands = Errands(self._file.id, self._report)
        return not self._waits

    def _unkept(self, deeds: list[Deed]) -> tuple[Ledger, list[Deed]]:
        """What may be done though nothing can be kept: who comes back has spent its bullet on the
        disk too, and a successor takes it for out again at worst.
        """
        harmless = [deed for deed in deeds if deed.act in _HARMLESS]
        ledger = self.ejector.ledger
        for deed in harmless:
            if deed.bullet is not None:
                ledger = ledger.put(deed.bullet)
        return ledger, harmless

    async def _keep(self, ledger: Ledger) -> bool:
        """Make it safe; whether it is. What cannot be believed is never written over."""
        if self._is_blind:
            return True
        fault = ""
        try:
            # In a thread: a slow disk must not hold up the health checks.
            await asyncio.to_thread(self._file.save, ledger)
        except OSError as error:
            fault = error.strerror or str(error)
        if fault and fault != self._fault:
            facts = {"file": self._file.name, "why": fault, "help": _MEND_WRITE}
            self._report("bullets not kept", facts)
        self._fault = fault
        return not fault

    # --- what is known ------------------------------------------------------------------------

    def _cell_input(self, document: Document, upstream: UpstreamDocument) -> CellInput:
        cell, policy = upstream.cell, upstream.outliers
        demand, capacity = self._inspection.load(document, cell)
        demands = self._demands.setdefault(cell, deque(maxlen=_DEMAND_SECONDS))
        demands.append(demand)
        zones = upstream.zones or ("",) * len(upstream.urls)
        hosts = tuple(
            HostInput(
                host=url,
                zone=zone,
                total=self._fleet.tallies.total(cell, url),
                is_reachable=self._fleet.tallies.is_reachable(cell, url),
                check=None if self._checks is None else self._checks.verdict(cell, url),
                is_drained=(cell, url) in self._drains,
            )
            for url, zone in zip(upstream.urls, zones, strict=True)
        )
        profile = next((each for each in document.profiles if each.cell == cell), None)
        if profile is not None and profile.has_curve:
            each_rps = profile.capacity_rps / profile.weight
        else:
            each_rps = capacity / max(1, self._in_service(cell, hosts))
        replacement = document.proxy.replacement
        return CellInput(
            cell=cell,
            hosts=hosts,
            policy=policy,
            is_enabled=policy.enabled and len(hosts) > 1 and not self._is_blind,
            demand_rps=max(demands),
            host_capacity_rps=each_rps,
            replace_ns=replacement.within_ns if replacement.is_on else None,
        )

    def _in_service(self, cell: str, hosts: tuple[HostInput, ...]) -> int:
        ledger = self.ejector.ledger
        out = {b.host for b in ledger.bullets if b.cell == cell and b.state is BulletState.OUT}
        return sum(host.is_reachable and host.host not in out for host in hosts)

    # --- what is done -------------------------------------------------------------------------

    def _act(self, document: Document, deeds: list[Deed]) -> None:
        if self._is_first:
            self._is_first = False
            self._resume(document)
        for deed in deeds:
            bullet, facts = deed.bullet, self._facts(deed)
            if deed.act is Act.SPARE:
                if (deed.cell, deed.host) not in self._spared:
                    self.spared_count[deed.cell] = self.spared_count.get(deed.cell, 0) + 1
                    self._report("magazine empty", facts)
            elif deed.act in {Act.ASK, Act.TELL} and bullet is not None:
                self._errands.run(deed.act, bullet, document.proxy.replacement)
            else:
                self._report(_EVENTS[deed.act], facts)
        self._spared = {(deed.cell, deed.host) for deed in deeds if deed.act is Act.SPARE}

    def _resume(self, document: Document) -> None:
        """Say again what may not have been heard before this process began."""
        replacement = document.proxy.replacement
        for bullet in self.ejector.ledger.bullets:
            is_missed = bullet.state is not BulletState.BACK and not bullet.newcomer
            if bullet.errand is Errand.ASKED and is_missed:
                self._errands.run(Act.ASK, bullet, replacement)
            elif bullet.errand is Errand.TOLD and bullet.state is not BulletState.GONE:
                self._errands.run(Act.TELL, bullet, replacement)

    def _facts(self, deed: Deed) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "cell": deed.cell,
            "upstream": deed.host,
            "reason": deed.reason.label,
            "bullets_out": self.ejector.ledger.out(f"cell:{deed.cell}"),
        }
        if deed.act is Act.SPARE:
            cell = next(each for each in self.ejector.facts if each.cell == deed.cell)
            facts["hosts"] = len(cell.hosts)
            facts["needed"], facts["left_without_a_zone"] = cell.needed, cell.needed_without_zone
        if deed.act is Act.FAIL_OPEN:
            is_frozen = self.ejector.is_frozen(deed.cell, self._clock())
            facts["cause"] = (
                "too much is bad at once: the check is not believed"
                if is_frozen
                else "hosts of this cell are judged no more"
            )
        return facts

    def _tell_weights(self, now: Instant, document: Document) -> None:
        weights: dict[str, dict[str, int]] = {}
        for upstream in document.proxy.upstreams:
            for url in upstream.urls:
                weight = self.weight(now, upstream, url)
                if weight != FULL_WEIGHT:
                    weights.setdefault(upstream.cell, {})[url] = weight
        if weights != self._weights:
            self._weights = weights
            self._fleet.set_weights(weights)

    def weight(self, now: Instant, upstream: UpstreamDocument, url: str) -> int:
        """The part of the requests that a host may have now."""
        if (upstream.cell, url) in self._drains:
            return 0
        return self.ejector.weight(upstream.cell, url, now, upstream.outliers.ramp_ns)

    def _tell_state(self, now: Instant, document: Document) -> None:
        cells = {each.cell for each in document.proxy.upstreams}
        frozen = {cell for cell in cells if self.ejector.is_frozen(cell, now)}
        for cell in sorted(frozen ^ self._frozen):
            self._report(f"outliers {'frozen' if cell in frozen else 'thawed'}", {"cell": cell})
        self._frozen = frozen
        within = document.proxy.replacement.within_ns
        late = self.ejector.overdue(now, dict.fromkeys(cells, within))
        for bullet in late:
            if bullet.serial not in self._overdue:
                facts = {"cell": bullet.cell, "upstream": bullet.host}
                self._report("replacement overdue", {**facts, "within_s": to_seconds(within)})
        self._overdue = {bullet.serial for bullet in late}

    # --- operators ----------------------------------------------------------------------------

    def _forget_drains(self, now: Instant) -> None:
        for key in [key for key, until in self._drains.items() if until <= now]:
            del self._drains[key]
            self._report("drain over", {"cell": key[0], "upstream": key[1]})

    async def order(self, order: HostOrder, *, who: str) -> dict[str, Any]:
        """Drain a host for a while, put it back, or write a bullet off; what is so then.

        Raises:
            OrderInvalidError: there is no such host or bullet, or the ledger cannot be kept.
        """
        facts = {"who": who, **order.facts()}
        if order.action == "forgive":
            await self._forgive(order.serial)
            self._report("bullet forgiven", facts)
            return self.view()
        known = [
            (upstream.cell, url)
            for upstream in self._document().proxy.upstreams
            for url in upstream.urls
            if url == order.host and order.cell in {"", upstream.cell}
        ]
        if not known:
            raise OrderInvalidError("/host", f"no upstream {order.host} in that cell")
        for key in known:
            if order.action == "drain":
                self._drains[key] = Instant(self._clock() + order.length)
            else:
                self._drains.pop(key, None)
        self._report("upstream drained" if order.action == "drain" else "drain ended", facts)
        self._tell_weights(self._clock(), self._document())
        return self.view()

    async def _forgive(self, serial: int) -> None:
        async with self._turn:
            if self._waits:
                raise OrderInvalidError("/serial", _KEPT_ELSEWHERE)
            ledger = self.ejector.ledger
            bullet = next((each for each in ledger.bullets if each.serial == serial), None)
            if bullet is None:
                raise OrderInvalidError("/serial", f"no bullet {serial} is out")
            after = ledger.reload(bullet)
            if not await self._keep(after):
                raise OrderInvalidError("/serial", f"the ledger cannot be kept: {self._fault}")
            deed = Deed(
                act=Act.RELOAD,
                cell=bullet.cell,
                host=bullet.host,
                reason=bullet.reason,
                bullet=bullet,
            )
            self.ejector.commit(self._clock(), after, [deed])

    # --- read-outs ----------------------------------------------------------------------------

    def samples(self) -> Iterator[Sample]:
        """The metrics of every magazine."""
        return magazine_samples(magazine_rows(self.ejector, self._clock()), self.spared_count)

    def view(self) -> dict[str, Any]:
        """Every host, and every magazine."""
        now, document = self._clock(), self._document()
        drains = {key: Nanos(until - now) for key, until in self._drains.items()}
        hosts: list[dict[str, Any]] = []
        for upstream in document.proxy.upstreams:
            weights = {url: self.weight(now, upstream, url) for url in upstream.urls}
            reached = {
                url: self._fleet.tallies.is_reachable(upstream.cell, url) for url in upstream.urls
            }
            hosts += host_rows(
                self.ejector, upstream, now=now, drains=drains, weights=weights, reached=reached
            )
        return {
            "hosts": hosts,
            "magazines": magazine_rows(self.ejector, now),
            "bullets": bullet_rows(self.ejector.ledger),
            "fault": "the ledger cannot be believed"
            if self._is_blind
            else (_KEPT_ELSEWHERE if self._waits else self._fault or self._broken),
        }
