"""A control plane over a store, and hosts that take what they are given, without processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.snapshots import Fleet as Keys
from shedproxy.controlplane.ledger import Ledger
from shedproxy.controlplane.move import MoveRules
from shedproxy.controlplane.rollout import RolloutRules
from shedproxy.controlplane.service import FleetService, ServiceRules
from shedproxy.controlplane.shelves import Shelves
from shedproxy.controlplane.snapshot_maker import SnapshotMaker
from shedproxy.controlplane.verbs import Texts, parse_order, read_host
from shedproxy.core import CellTable, Instant, milliseconds, seconds
from shedproxy.snapshot import StatusReport, encode_report, open_envelope, read_snapshot
from shedproxy.store import open_store

__all__ = ["CELLS", "PaperFleet", "settings"]

HOSTS = ("p1=a@p", "p2=a@p", "q1=b@q")


CELLS = """
[server]
trusted_proxies = "127.0.0.1"
[cells]
key = "header:x-tenant"
secret = "s"
weights.a = 1
[cell.a]
[cell.b]
"""
"""Settings by which all keys are in cell a, and there is another one."""


def settings(limit: int, more: str = "") -> str:
    return f'[cell.default]\nupstream = "http://127.0.0.1:9"\nlimit = {limit}\n{more}'


class PaperFleet:
    """Time is a number, and hosts do as they are told when asked.

    Args:
        folder: for the keys, and for the store unless there is another.
        url: of the store; "": in the folder.
    """

    def __init__(self, folder: Path, *, url: str = "") -> None:
        self.folder = folder
        self.keys = Keys(folder)
        self.now_s = 1_000_000
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.store = open_store(url or f"file://{folder}/fleet", timeout=seconds(5))
        self.at_work: dict[str, int] = {}
        """By host: requests of keys that move."""
        self.bad: dict[str, int] = {}
        """By digest of a snapshot: errors in a hundred requests."""
        self._counts: dict[str, tuple[int, int]] = {}
        self.service = self.another()

    def another(self, store=None) -> FleetService:
        """One more control plane over the same store."""
        store = store or self.store
        rules = ServiceRules(
            period_ns=seconds(1),
            silence_ns=seconds(30),
            take_ns=seconds(60),
            false_alarm=0.01,
            rollout=RolloutRules(bake_ns=(seconds(5),) * 4, requests_min=100),
            move=MoveRules(mark_s=30.0, hold_s=4.0),
            move_period_ns=milliseconds(200),
        )

        def note(event: str, facts: dict[str, Any]) -> None:
            self.events.append((event, facts))

        return FleetService(
            Ledger(store), Shelves(store, note), SnapshotMaker(self.keys.key.sign, lambda _d: None),
            rules, report=note,
            clock=lambda: Instant(seconds(self.now_s)), wall=lambda: float(self.now_s),
        )  # fmt: skip

    async def begin(self, limit: int = 7, more: str = "") -> None:
        texts = Texts(texts={"": settings(limit, more)}, names={})
        await self.service.begin([read_host(each) for each in HOSTS], texts, who="ann")

    async def order(self, verb: str, *, who: str = "ann", service=None, **content) -> dict:
        service = service or self.service
        return await service.order(parse_order(verb, content, service.rules.rollout), who=who)

    async def publish(self, limit: int, more: str = "", **content) -> str:
        texts = {"": settings(limit, more)}
        return (await self.order("publish", texts=texts, **content))["digest"]

    def digest_at(self, host: str) -> str:
        """Of the snapshot that a host would pull out of the folder."""
        return open_envelope((self.folder / "fleet" / "hosts" / host).read_bytes()).digest

    async def pulled(self, host: str) -> str:
        """The same, from any store."""
        return open_envelope(await self.store.get(f"hosts/{host}", 1 << 30)).digest

    def table_at(self, host: str) -> CellTable | None:
        """Of the snapshot that a host would pull: where keys are."""
        data = (self.folder / "fleet" / "hosts" / host).read_bytes()
        table = read_snapshot(open_envelope(data)).table
        return CellTable(table) if table else None

    def place_at(self, host: str, key: str) -> tuple[str, int]:
        """There, the cell of a hashed key, and the phase of its move."""
        table = self.table_at(host)
        place = table.find(int(key, 16))
        return table.names[place & 0xFF], place >> 16

    async def report(self, host: str) -> None:
        """A host takes what is there, and says so."""
        envelope = open_envelope(await self.store.get(f"hosts/{host}", 1 << 30))
        requests, errors = self._counts.get(host, (0, 0))
        table = read_snapshot(envelope).table
        data = encode_report(
            StatusReport(
                instance=host, boot_id="b", heartbeat=self.now_s, snapshot_digest=envelope.digest,
                requests=requests, errors=errors, durations=(requests, 0), is_settled=True,
                table_version=CellTable(table).version if table else 0,
                moving=self.at_work.get(host, 0),
            )
        )  # fmt: skip
        await self.store.put(f"hosts/reports/{host}", data)

    async def period(self, *, hosts: tuple[str, ...] = ("p1", "p2", "q1")) -> None:
        """A second passes, hosts take what is there and report, the control plane looks."""
        self.now_s += 1
        for host in hosts:
            digest = await self.pulled(host)
            requests, errors = self._counts.get(host, (0, 0))
            requests, errors = requests + 1000, errors + 10 * self.bad.get(digest, 0)
            self._counts[host] = requests, errors
            await self.report(host)
        await self.service.round()

    async def verbs(self) -> list[str]:
        """What the audit says was done, without what was only watched."""
        entries = await self.service.audit(1)
        return [entry.act.verb for entry in entries if entry.act.verb != "watch"]
