"""The control plane at work: it looks, steps, writes down, hands out; and takes orders meanwhile.

Nothing is in force before it is in the ledger, and nothing is kept here that is not there or cannot
be seen again. While the store fails it decides nothing and says so; hosts run on what they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.controlplane import orders
from shedproxy.controlplane.clocks import CONTROL_PLANE, ClockWatch
from shedproxy.controlplane.fleet import Fleet, Host
from shedproxy.controlplane.ledger import PAGE, Act, Entry, Head, Ledger, LedgerDamagedError
from shedproxy.controlplane.move import MoveRules, missing
from shedproxy.controlplane.order_desk import OrderDesk
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.reconciling import Seen, Step, is_progress, move_step, note, step
from shedproxy.controlplane.refusals import RefusalBook
from shedproxy.controlplane.releases import release_digest, renew
from shedproxy.controlplane.rollout import Book, RolloutRules
from shedproxy.controlplane.shelves import Shelves
from shedproxy.controlplane.sightings import Sightings
from shedproxy.controlplane.snapshot_maker import SnapshotMaker
from shedproxy.controlplane.verbs import Order, Texts
from shedproxy.core import NS_PER_S, Instant, Nanos, seconds
from shedproxy.errors import DocumentInvalidError, ShedproxyError
from shedproxy.snapshot import StatusReport

__all__ = ["ITSELF", "FleetService", "ServiceRules", "StoreGoneError"]

ITSELF = "control plane"
"""Who did it, where nobody ordered it."""
_TRIES = 4
"""Of an order, when others are faster."""
_STEPS_MAX = 8
"""In one round."""
_PROGRESS = seconds(60)
"""So much watched time may be lost when it is killed, at most; and a sixteenth of a bake."""


class StoreGoneError(ShedproxyError):
    """The store cannot be used now. Nothing was decided, unless the message says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRules:
    """How it goes about its work."""

    period_ns: Nanos
    silence_ns: Nanos
    take_ns: Nanos
    false_alarm: float
    rollout: RolloutRules
    move: MoveRules
    move_period_ns: Nanos
    """Between two looks at the hosts that a move waits for."""
    clocks_s: float = 2.0
    """Clocks that are further apart are told of."""


class FleetService:
    """One control plane. Several may run over one store.

    Args:
        ledger: where the fleet is written down.
        shelves: what hosts pull and say.
        maker: makes snapshots.
        rules: periods and bounds.
        report: takes an event and its facts.
    """

    def __init__(
        self,
        ledger: Ledger,
        shelves: Shelves,
        maker: SnapshotMaker,
        rules: ServiceRules,
        *,
        report: Callable[[str, dict[str, Any]], None],
        clock: Clock = monotonic_now,
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        self._ledger = ledger
        self._shelves = shelves
        self._maker = maker
        self.rules = rules
        self._report = report
        self._clock = clock
        self._wall = wall
        self.head: Head | None = None
        """The newest revision that is known here."""
        self.sightings = Sightings(silence_ns=rules.silence_ns, take_ns=rules.take_ns)
        self.seen = Seen()
        self.trouble = ""
        """Why the store cannot be used; "": it can."""
        self.votes: dict[str, StatusReport] = {}
        """What hosts said last, as far as it was read: a report that came once is enough to go by
        where a key moves."""
        self.refusals = RefusalBook(self._act, report, clock)
        """What was refused before it was an order; it is written down in rounds."""
        self.clocks = ClockWatch(rules.clocks_s, report, wall)
        self._desk = OrderDesk(shelves, maker, rules.move, wall)
        self._is_wanted = asyncio.Event()
        self._handed_out = 0
        """The newest revision whose snapshots are where hosts pull them."""
        self._looked_at: Instant | None = None
        self._compacted = 0
        self._not_made = ""
        """Why the last step that was due needs a snapshot that cannot be made; "": it does not."""
        self._one_at_a_time = asyncio.Lock()

    # --- orders ---------------------------------------------------------------------------------

    async def begin(self, hosts: Sequence[Host], texts: Texts, *, who: str) -> Head:
        """Make a fleet where there is none: these hosts, and what they all run.

        Raises:
            OrderRefusedError: there is one.
            DocumentInvalidError: the settings are no good.
            StoreGoneError: the store failed.
        """
        async with self._using_store():
            if await self._ledger.head() is not None:
                raise OrderRefusedError("", "there is a fleet already")
            fleet, data = await self._desk.publish(Fleet(), texts, who)
            digest = release_digest(data)
            fleet = replace(fleet, book=Book(base=digest))
            for host in hosts:
                fleet = orders.add_host(fleet, host)
            facts = {"hosts": [host.name for host in hosts], "digest": digest}
            head = await self._commit(None, self._act(who, "init", facts=facts), fleet)
            if head is None:
                raise OrderRefusedError("", "there is a fleet already")
            await self._hand_out(head)
            return head

    async def order(self, order: Order, *, who: str) -> dict[str, Any]:
        """Do what is asked, and write it down; also what is refused.

        Raises:
            OrderRefusedError: it was not done.
            DocumentInvalidError: settings that are published are no good.
            StoreGoneError: the store failed.
        """
        async with self._using_store():
            for _ in range(_TRIES):
                head = await self.refusals.write(await self._refresh(), self._commit)
                act = self._act(who, order.verb, why=order.why, facts=dict(order.facts))
                try:
                    fleet, told = await self._done(head, order, who)
                except ShedproxyError as error:
                    if isinstance(error, LedgerDamagedError):
                        raise
                    refused = replace(act, refusal=str(error)[:500])
                    if await self._commit(head, refused, head.fleet) is None:
                        continue  # it was refused for a fleet that there is no more
                    raise
                act = replace(act, facts={**act.facts, **told})
                after = await self._commit(head, act, fleet)
                if after is not None:
                    self._say(act)
                    self._is_wanted.set()
                    with contextlib.suppress(OSError):  # it is done; the next look hands it out
                        await self._hand_out(after)
                    return {"revision": after.revision, **told}
        raise OrderRefusedError(
            "", "others were faster, again and again", help_text="send it once more"
        )

    async def audit(self, first: int) -> list[Entry]:
        """What was done, from a revision on.

        Raises:
            StoreGoneError: the store failed, or something in it was changed.
        """
        async with self._using_store():
            if self.head is not None:
                await self.refusals.write(await self._refresh(), self._commit)
            return await self._ledger.entries(first)

    async def close(self) -> None:
        """Write down what waits for its period to end.

        Raises:
            StoreGoneError: the store failed.
        """
        async with self._using_store():
            if self.head is not None:
                await self.refusals.write(await self._refresh(), self._commit, is_last=True)

    async def _done(self, head: Head, order: Order, who: str) -> tuple[Fleet, dict[str, Any]]:
        """The fleet after an order, and what is to be told of it."""
        if order.revision is not None and order.revision != head.revision:
            raise OrderRefusedError(
                "/revision",
                f"the fleet is at revision {head.revision}, not {order.revision}",
                # The audit has this refusal too, under the next one.
                help_text="look at what has changed (shedproxy control audit), and send it again"
                f" with revision {head.revision + 1}",
            )
        return await self._desk.do(head.fleet, order, who)

    # --- rounds ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look and step in every period, until cancelled; more often at whom a move waits for."""
        while True:
            await self._tried(self.round)
            ends_at = self._clock() + self.rules.period_ns
            while (left_ns := ends_at - self._clock()) > 0:
                if self._is_moving:
                    left_ns = min(left_ns, self.rules.move_period_ns)
                await self._pause(left_ns)
                if self._is_moving:
                    await self._tried(self.look)

    async def _tried(self, do: Callable[[], Awaitable[None]]) -> None:
        """What cannot be done now ends nothing: persons must be able to order it otherwise."""
        why = ""
        try:
            await do()
        except StoreGoneError:
            return  # it is said
        except DocumentInvalidError as error:
            # Settings that were good to another version, or whose files are here no more.
            why = str(error)
            if why != self._not_made:
                self._report("snapshot not made", {"why": why})
        if why or do == self.round:
            self._not_made = why

    async def _pause(self, length_ns: int) -> None:
        """For so long, or until an order came."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_wanted.wait(), length_ns / NS_PER_S)
        self._is_wanted.clear()

    @property
    def _is_moving(self) -> bool:
        return self.head is not None and self.head.fleet.moves.move is not None

    async def look(self) -> None:
        """Look at those hosts only that a move waits for, and take its next step.

        Raises:
            StoreGoneError: the store failed; nothing was decided.
        """
        async with self._using_store():
            head = await self._refresh()
            move = head.fleet.moves.move
            if move is None:
                return
            names = [host.name for host in head.fleet.hosts]
            self.votes |= await self._shelves.reports(missing(move, names, self.votes))
            after = await self._moved(head)
            if after is not None and after.revision != self._handed_out:
                await self._hand_out(after)

    async def round(self) -> None:
        """Look once, and do what follows.

        Raises:
            StoreGoneError: the store failed; nothing was decided.
        """
        async with self._using_store():
            head = await self._refresh()
            names = [host.name for host in head.fleet.hosts]
            reports = await self._shelves.reports(names)
            self.clocks.look(reports, self.votes)
            self.votes = {
                name: said for name in names if (said := reports.get(name, self.votes.get(name)))
            }
            now = self._clock()
            elapsed = Nanos(0)
            if self._looked_at is None or now - self._looked_at > self.rules.silence_ns:
                self.sightings.resume(now)
            else:
                elapsed = Nanos(now - self._looked_at)
            self._looked_at = now
            intervals = self.sightings.take(head.fleet, reports, now)
            note(head.fleet, self.seen, intervals, elapsed)
            moved = await self._moved(head)
            if moved is None:
                return  # somebody else was faster: the next round looks again
            head = moved
            for _ in range(_STEPS_MAX):
                found = self._step(head, now)
                if found is None:
                    break
                act = self._act(ITSELF, found.verb, facts=found.facts)
                after = await self._commit(head, act, found.fleet)
                if after is None:
                    return
                if found.verb != "watch":
                    self._say(act)
                head, self.seen = after, found.seen
            if (move := head.fleet.moves.move) is not None:
                # Whoever is slow may have put an older one there, after us.
                self._shelves.doubt(missing(move, names, self.votes))
            await self._hand_out(head)
            head = await self.refusals.write(head, self._commit)
            if head.revision - self._compacted >= PAGE:
                await self._ledger.compact(head)
                self._compacted = head.revision

    async def _moved(self, head: Head) -> Head | None:
        """After the next step of a move, if there is one; None: somebody was faster."""
        found = move_step(head.fleet, self.votes, now_s=self._wall())
        if found is None:
            return head
        act = self._act(ITSELF, found.verb, facts=found.facts)
        after = await self._commit(head, act, found.fleet)
        if after is not None:
            self._say(act)
        return after

    def _step(self, head: Head, now: Instant) -> Step | None:
        found = step(
            head.fleet,
            self.seen,
            self.sightings,
            now=now,
            now_s=int(self._wall()),
            false_alarm=self.rules.false_alarm,
        )
        if found is None or not is_progress(head.fleet, found.fleet):
            return found
        rollout = head.fleet.book.rollout
        assert rollout is not None
        bake = rollout.rules.bake_ns[rollout.stages[rollout.stage].scope]
        return found if self.seen.elapsed_ns >= min(_PROGRESS, bake // 16) else None

    # --- inside ---------------------------------------------------------------------------------

    async def _hand_out(self, head: Head) -> None:
        await self._shelves.hand_out(head.fleet)
        self._handed_out = head.revision

    @contextlib.asynccontextmanager
    async def _using_store(self) -> Any:
        """One at a time; what the store has to say against it is remembered."""
        async with self._one_at_a_time:
            try:
                yield
            except (OSError, LedgerDamagedError) as error:
                why = str(error) or type(error).__name__
                if why != self.trouble:
                    self._report("store failed", {"why": why})
                self.trouble = why
                self._looked_at = None  # what passes now is not watched
                raise StoreGoneError(why) from error
            if self.trouble:
                self._report("store back", {})
            self.trouble = ""

    async def _refresh(self) -> Head:
        head = await self._ledger.head(known=self.head)
        if head is None:
            raise LedgerDamagedError("there is no fleet in this store: shedproxy control init")
        if head is not self.head:
            # Whoever was faster has watched the same time.
            self.head, self.seen = head, Seen()
            self.clocks.saw(CONTROL_PLANE, head.at_s)
        return head

    async def _commit(self, head: Head | None, act: Act, fleet: Fleet) -> Head | None:
        """Write a fleet down, with editions for whom they change; None: somebody was faster."""
        revision = 1 if head is None else head.revision + 1
        texts = {
            digest: await self._shelves.texts(digest)
            for digest in set(fleet.wanted().values())
            if fleet.release(digest) is not None
        }
        fleet, objects = await asyncio.to_thread(
            renew,
            fleet,
            revision=revision,
            now_s=int(self._wall()),
            texts=lambda digest: tuple(texts[digest]),
            make=lambda request: self._maker.make(request, texts[request.release.digest]),
        )
        await self._shelves.put_editions(objects)
        after = await self._ledger.append(head, act, fleet)
        if after is not None:
            self.head = after
        return after

    def _act(self, who: str, verb: str, **said: Any) -> Act:
        return Act(id=str(uuid.uuid4()), at_s=round(self._wall(), 3), who=who, verb=verb, **said)

    def _say(self, act: Act) -> None:
        why = {"why": act.why} if act.why else {}
        self._report(act.verb, {"who": act.who, **why, **act.facts})
