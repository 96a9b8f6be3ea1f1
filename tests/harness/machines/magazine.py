"""The magazine in a world where hosts fail, come and go, and its owner dies at any moment.

The real `decide` runs between a disk and the proxies. Its owner is as the supervisor is: decide,
write, act; killed between any two of these, it begins again with what the disk has. Time is left
out: whatever time could allow (a host has proven itself, a bullet may be given back) may happen as
soon as it is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from harness.explorer import Space, explore
from shedproxy.core import (
    GLOBAL,
    Act,
    BulletState,
    CellFacts,
    Deed,
    Errand,
    HostFacts,
    Ledger,
    OutlierReason,
    decide,
    domains_of,
)

__all__ = ["Bounds", "World", "walk"]

CELL = "c"
Decide = Callable[..., tuple[Ledger, list[Deed]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How large the world is."""

    hosts: tuple[tuple[str, str], ...] = (("p1", "p"), ("p2", "p"), ("q1", "q"), ("q2", "q"))
    """Names and zones at the start."""
    newcomers: tuple[tuple[str, str], ...] = (("p3", "p"),)
    """Who may come, and come again."""
    bad_max: int = 2
    spent_max: int = 2
    needed: int = 2
    needed_without_zone: int | None = 1
    share_max: float = 0.5
    replaces: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is anywhere."""

    hosts: tuple[tuple[str, str], ...]
    """Configured."""
    bad: frozenset[str] = frozenset()
    proven: frozenset[str] = frozenset()
    """Good, and under load for the whole of a bake, since they were last put into service."""
    is_frozen: bool = False
    disk: Ledger = field(default_factory=Ledger)
    memory: Ledger | None = None
    """The owner's; None: it is dead."""
    planned: tuple[Ledger, tuple[Deed, ...]] | None = None
    """Decided, and not yet on disk, or on disk and not yet done."""
    is_written: bool = False
    out: frozenset[str] = frozenset()
    """Who gets no requests."""
    asked: frozenset[int] = frozenset()
    told: frozenset[int] = frozenset()
    """What the orchestrator has heard, by serial: twice is once."""

    def __str__(self) -> str:
        ledger = self.disk
        bullets = ", ".join(
            f"{b.serial}:{b.host} {b.state.name.lower()} {b.errand.name.lower()}"
            + (f" for {b.newcomer}" if b.newcomer else "")
            for b in ledger.bullets
        )
        parts = [
            "hosts " + " ".join(name + ("!" if name in self.bad else "") for name, _ in self.hosts),
            "proven " + " ".join(sorted(self.proven)) if self.proven else "",
            "out " + " ".join(sorted(self.out)) if self.out else "",
            f"disk {ledger.serial} spent [{bullets}]",
            "frozen" if self.is_frozen else "",
            "dead" if self.memory is None else "",
        ]
        return "; ".join(part for part in parts if part)


def start(bounds: Bounds) -> World:
    """All is well, and the hosts are known."""
    known = tuple((CELL, name) for name, _ in bounds.hosts)
    ledger = Ledger(known=known)
    return World(hosts=bounds.hosts, disk=ledger, memory=ledger)


def facts_of(world: World, bounds: Bounds) -> CellFacts:
    """What the owner's `decide` is told."""
    return CellFacts(
        cell=CELL,
        hosts=tuple(
            HostFacts(
                host=name,
                zone=zone,
                reason=OutlierReason.FAILING if name in world.bad else None,
                is_recent=True,
                may_return=name in world.out and name not in world.bad,
                is_proven=name in world.proven,
            )
            for name, zone in world.hosts
        ),
        needed=bounds.needed,
        needed_without_zone=bounds.needed_without_zone,
        share_max=bounds.share_max,
        is_frozen=world.is_frozen,
        replaces=bounds.replaces,
    )


def walk(
    bounds: Bounds,
    *,
    decide: Decide = decide,
    writes_first: bool = True,
    restarts_from: str = "disk",
    states_max: int = 400_000,
) -> Space[World]:
    """Explore it. What differs from the defaults is a mistake of whoever built it so."""

    def steps(world: World) -> Iterator[tuple[str, World]]:
        yield from _world_steps(world, bounds)
        yield from _owner_steps(world, bounds, decide, writes_first, restarts_from)

    return explore(
        [start(bounds)],
        steps,
        invariant=lambda world: _wrong(world, bounds),
        step_invariant=lambda before, label, after: _wrong_step(before, label, after, bounds),
        goal=lambda world: not world.disk.bullets and world.memory is not None,
        states_max=states_max,
    )


def _world_steps(world: World, bounds: Bounds) -> Iterator[tuple[str, World]]:
    for name, _ in world.hosts:
        if name not in world.bad:
            if len(world.bad) < bounds.bad_max:
                bad, proven = world.bad | {name}, world.proven - {name}
                yield f"{name} fails", replace(world, bad=bad, proven=proven)
            if name not in world.out and name not in world.proven and _is_awaited(world, name):
                yield f"{name} proves itself", replace(world, proven=world.proven | {name})
        else:
            yield f"{name} recovers", replace(world, bad=world.bad - {name})
    yield (
        ("thaws", replace(world, is_frozen=False))
        if world.is_frozen
        else ("freezes", replace(world, is_frozen=True))
    )
    present = dict(world.hosts)
    for name, zone in bounds.newcomers:
        if name not in present and (world.asked or world.disk.bullets):
            hosts = tuple(sorted((*world.hosts, (name, zone))))
            yield f"{name} comes", replace(world, hosts=hosts)
    for bullet in world.disk.bullets:
        if bullet.serial in world.told and bullet.host in present:
            yield f"{bullet.host} is ended", _without(world, bullet.host)
    if not bounds.replaces:
        for bullet in world.disk.bullets:
            if bullet.host in present and len(present) > 2:
                yield f"{bullet.host} is removed", _without(world, bullet.host)


def _is_awaited(world: World, name: str) -> bool:
    """Whether its proof changes anything: else it is as well not given."""
    return any(
        name == (b.newcomer if b.state is BulletState.GONE else b.host)
        for b in world.disk.bullets
        if b.state is not BulletState.OUT
    )


def _without(world: World, name: str) -> World:
    return replace(
        world,
        hosts=tuple(host for host in world.hosts if host[0] != name),
        bad=world.bad - {name},
        proven=world.proven - {name},
        out=world.out - {name},
    )


def _owner_steps(
    world: World, bounds: Bounds, decide: Decide, writes_first: bool, restarts_from: str
) -> Iterator[tuple[str, World]]:
    memory = world.memory
    if memory is None:
        full = Ledger(known=world.disk.known)
        ledger = world.disk if restarts_from == "disk" else full
        out = frozenset(b.host for b in ledger.bullets if b.state is BulletState.OUT)
        again = replace(
            world,
            disk=ledger,
            memory=ledger,
            out=out & {name for name, _ in world.hosts},
            # What may have been lost on the way is said again.
            asked=world.asked | {b.serial for b in ledger.bullets if b.errand is Errand.ASKED},
            told=world.told | {b.serial for b in ledger.bullets if b.errand is Errand.TOLD},
        )
        yield "owner starts", _put_into_service(world, again)
        return
    yield "owner is killed", replace(world, memory=None, planned=None, is_written=False)
    if world.planned is None:
        ledger, deeds = decide(memory, [facts_of(world, bounds)], reloadable=_all_domains(bounds))
        deeds = [deed for deed in deeds if deed.act is not Act.SPARE]
        if ledger != memory and ledger.serial <= bounds.spent_max:
            planned = (ledger, tuple(deeds))
            yield "owner decides", replace(world, planned=planned)
    elif world.is_written is not writes_first:
        ledger, deeds = world.planned
        if writes_first:
            yield "owner writes", replace(world, disk=ledger, is_written=True)
        else:
            yield (
                "owner writes",
                replace(world, disk=ledger, memory=ledger, planned=None, is_written=False),
            )
    else:
        done = _do(world)
        if writes_first:
            done = replace(done, memory=world.planned[0], planned=None, is_written=False)
        else:
            done = replace(done, is_written=True)
        yield "owner acts", done


def _do(world: World) -> World:
    assert world.planned is not None
    ledger, deeds = world.planned
    present = {name for name, _ in world.hosts}
    out = frozenset(b.host for b in ledger.bullets if b.state is BulletState.OUT) & present
    after = replace(
        world,
        out=out,
        asked=(world.asked | {_serial(d) for d in deeds if d.act is Act.ASK}),
        told=(world.told | {_serial(d) for d in deeds if d.act is Act.TELL}),
    )
    open_serials = {b.serial for b in ledger.bullets}
    after = replace(after, asked=after.asked & open_serials, told=after.told & open_serials)
    return _put_into_service(world, after)


def _put_into_service(before: World, after: World) -> World:
    """A proof is of the time since the host was last put into service."""
    return replace(after, proven=after.proven - after.out - (before.out - after.out))


def _serial(deed: Deed) -> int:
    assert deed.bullet is not None
    return deed.bullet.serial


def _all_domains(bounds: Bounds) -> set[str]:
    return {
        domain
        for _, zone in (*bounds.hosts, *bounds.newcomers)
        for domain in domains_of(CELL, zone)
    }


# --- what must hold ---------------------------------------------------------------------------


def _wrong(world: World, bounds: Bounds) -> str | None:
    for ledger in (world.disk, world.memory):
        if ledger is not None and (found := ledger.contradiction()):
            return found
    fleet = len(bounds.hosts) + len(bounds.newcomers)
    most = max(1, int(bounds.share_max * fleet))
    for domain in (f"cell:{CELL}", GLOBAL):
        if world.disk.out(domain) > most:
            return f"{world.disk.out(domain)} out of a magazine of {most}"
    if unpaid := _out_unpaid(world):
        return f"{sorted(unpaid)} out without a bullet on disk"
    return None


def _out_unpaid(world: World) -> set[str]:
    """Who gets no requests although the disk has no bullet for it."""
    return set(world.out) - {b.host for b in world.disk.bullets if b.state is not BulletState.GONE}


def _wrong_step(before: World, label: str, after: World, bounds: Bounds) -> str | None:
    if after.disk.serial < before.disk.serial:
        return "bullets were gained: fewer were ever spent than before"
    for magazine in before.disk.magazines:
        now = next((m for m in after.disk.magazines if m.domain == magazine.domain), None)
        if now is None or now.spent < magazine.spent or now.reloaded < magazine.reloaded:
            return f"the counts of {magazine.domain} fell"
    if label == "owner decides" and after.planned is not None and before.memory is not None:
        return _wrong_plan(before, before.memory, *after.planned, bounds)
    return None


def _wrong_plan(
    world: World, before: Ledger, after: Ledger, deeds: tuple[Deed, ...], bounds: Bounds
) -> str | None:
    out_before = {b.host for b in before.bullets if b.state is BulletState.OUT}
    out_after = {b.host for b in after.bullets if b.state is BulletState.OUT}
    if out_after - out_before:
        if world.is_frozen:
            return "taken out while frozen"
        left = [(n, z) for n, z in world.hosts if n not in world.bad and n not in out_after]
        if len(left) < bounds.needed:
            return f"{len(left)} good hosts left where {bounds.needed} are needed"
        zones = {zone for _, zone in world.hosts}
        bare = bounds.needed_without_zone
        if bare is not None and len(zones) > 1:
            for lost in zones:
                if sum(zone != lost for _, zone in left) < bare:
                    return f"zone {lost} can no longer be lost"
    holders = [b.host for b in after.bullets if b.state is not BulletState.GONE]
    if len(holders) != len(set(holders)):
        return "one host holds two bullets"
    return _wrong_deeds(world, before, after, deeds)


def _wrong_deeds(
    world: World, before: Ledger, after: Ledger, deeds: tuple[Deed, ...]
) -> str | None:
    reloads = [deed for deed in deeds if deed.act is Act.RELOAD]
    if len(reloads) > 1:
        return "two bullets given back at once"
    if after.serial - before.serial + len(before.bullets) - len(after.bullets) != len(reloads):
        return "a bullet vanished"
    for deed in deeds:
        bullet = deed.bullet
        assert bullet is not None
        stand_in = bullet.newcomer if bullet.state is BulletState.GONE else bullet.host
        if deed.act is Act.RELOAD and stand_in not in world.proven:
            return f"a bullet given back for {stand_in or 'nobody'}, which has proven nothing"
        if deed.act is Act.TELL and (
            bullet.newcomer not in dict(world.hosts) or bullet.newcomer in world.bad
        ):
            return "the old host is ended before the new one is up"
    return None
