"""The ledger in a world where the store fails between any two operations, and two write at once.

What is walked is the real `Ledger`: its coroutines stop at every operation of the store, and a
state is the store with, for each of two controllers, the answers that it has had. A controller is
killed, the store fails (having done it, or not), or the operation is done: in every order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.explorer import Space, explore
from shedproxy.controlplane.fleet import Cell, Edition, Fleet
from shedproxy.controlplane.ledger import Act, Ledger, LedgerDamagedError

__all__ = ["Op", "World", "run_alone", "walk"]

PAGE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation of the store."""

    name: str
    key: str
    data: bytes = b""

    def __await__(self):
        return (yield self)


class PausingStore:
    """A store whose every operation waits for who drives the coroutine."""

    async def get(self, name: str, size_max: int) -> bytes:
        return _given(await Op(name="get", key=name))

    async def put(self, name: str, data: bytes) -> None:
        _given(await Op(name="put", key=name, data=data))

    async def create(self, name: str, data: bytes) -> bool:
        return _given(await Op(name="create", key=name, data=data))

    async def delete(self, name: str) -> None:
        _given(await Op(name="delete", key=name))

    async def names(self, prefix: str = "") -> list[str]:
        return list(_given(await Op(name="names", key=prefix)))


Answer = bytes | bool | tuple[str, ...] | str | None
"""What an operation gives; a text stands for an error."""
Objects = tuple[tuple[str, bytes], ...]


def _given(answer: Any) -> Any:
    if answer == "missing":
        raise FileNotFoundError
    if answer == "failed":
        raise OSError("the store failed")
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The store, and what two controllers were answered."""

    objects: Objects = ()
    answers: tuple[tuple[Answer, ...], ...] = ((), ())
    failures: int = 0

    def __str__(self) -> str:
        return " ".join(name for name, _ in self.objects)


async def _work(ledger: Ledger, who: int, revisions: int) -> str:
    """What a controller does: one act more, then tidy up."""
    head = await ledger.head()
    done = 0 if head is None else head.revision
    if done >= revisions:
        assert head is not None
        await ledger.compact(head)
        return "has tidied up"
    fleet = Fleet() if head is None else head.fleet
    number = done + 1
    edition = Edition(host="h", revision=number, release="r", key="k", digest=f"sha256:{number}")
    await ledger._store.put(edition.object_name, b"")
    fleet = replace(fleet, cells=(*fleet.cells, Cell(name=str(number))), editions=(edition,))
    act = Act(id=f"{who}.{number}", at_s=0.0, who=str(who), verb="v")
    after = await ledger.append(head, act, fleet)
    if after is None:
        return "is too late"
    await ledger.compact(after)
    return f"did {act.id}"


def _perform(objects: Objects, op: Op) -> tuple[Objects, Answer]:
    found = dict(objects)
    match op.name:
        case "get":
            return objects, found.get(op.key, "missing")
        case "names":
            return objects, tuple(sorted(n for n in found if n.startswith(f"{op.key}/")))
        case "create" if op.key in found:
            return objects, False
        case "delete":
            found.pop(op.key, None)
            return tuple(sorted(found.items())), None
    found[op.key] = op.data
    return tuple(sorted(found.items())), True if op.name == "create" else None


def _resume(
    make: Callable[[], Coroutine[Op, Any, str]], answers: tuple[Answer, ...]
) -> Op | str | BaseException:
    """The operation that comes after these answers, or how it ended."""
    coroutine = make()
    try:
        op = coroutine.send(None)
        for answer in answers:
            op = coroutine.send(answer)
    except StopIteration as end:
        return end.value
    except (OSError, LedgerDamagedError) as error:
        return error
    coroutine.close()
    return op


def run_alone(objects: Objects, make: Callable[[], Coroutine[Op, Any, Any]]) -> Any:
    """What a coroutine gives with nobody beside it and a store that works."""
    coroutine = make()
    answer: Answer = None
    try:
        while True:
            objects, answer = _perform(objects, coroutine.send(answer))
    except StopIteration as end:
        return end.value


def walk(
    ledger: Callable[[], Ledger] = lambda: Ledger(PausingStore(), page=PAGE),
    *,
    controllers: int = 2,
    revisions: int = 2,
    failures: int = 0,
) -> Space[World]:
    """Explore it; another ledger than the real one is a mistake."""

    @functools.cache
    def resume(who: int, answers: tuple[Answer, ...]) -> Op | str | BaseException:
        return _resume(lambda: _work(ledger(), who, revisions), answers)

    @functools.cache
    def look(objects: Objects) -> Sight:
        return _look(objects, ledger)

    def steps(world: World) -> Iterator[tuple[str, World]]:
        for index in range(controllers):
            yield from _steps_of(world, index, resume(index, world.answers[index]), failures)

    def wrong_step(before: World, label: str, after: World) -> str | None:
        was, now = look(before.objects), look(after.objects)
        if was.acts != now.acts[: len(was.acts)]:
            return "an act was written over"
        _, did, act = label.partition(" did ")
        return "an act is lost" if did and act not in now.acts else None

    return explore(
        [World(answers=((),) * controllers)],
        steps,
        invariant=lambda world: look(world.objects).wrong,
        step_invariant=wrong_step,
        goal=lambda world: len(look(world.objects).acts) == revisions,
    )


def _steps_of(
    world: World, index: int, op: Op | str | BaseException, failures: int
) -> Iterator[tuple[str, World]]:
    who, had = f"controller {index + 1}", world.answers[index]

    def having(answers: tuple[Answer, ...]) -> tuple[tuple[Answer, ...], ...]:
        both = list(world.answers)
        both[index] = answers
        return tuple(both)

    if not isinstance(op, Op):
        yield f"{who} {op if isinstance(op, str) else 'fails'}", replace(world, answers=having(()))
        return
    if had:
        yield f"{who} is killed", replace(world, answers=having(()))
    objects, answer = _perform(world.objects, op)
    yield (
        f"{who}: {op.name} {op.key}",
        replace(world, objects=objects, answers=having((*had, answer))),
    )
    if world.failures < failures and op.name in {"create", "put", "get"}:
        failed = replace(world, answers=having((*had, "failed")), failures=world.failures + 1)
        yield f"{who}: {op.name} fails", failed
        if objects != world.objects:
            yield f"{who}: {op.name} fails late", replace(failed, objects=objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What whoever looks now sees, with a store that works."""

    acts: tuple[str, ...] = ()
    wrong: str | None = None


def _look(objects: Objects, ledger: Callable[[], Ledger]) -> Sight:
    try:
        head = run_alone(objects, lambda: ledger().head())
        entries = run_alone(objects, lambda: ledger().entries())
    except (LedgerDamagedError, FileNotFoundError) as error:
        return Sight(wrong=f"the ledger cannot be read: {error}")
    acts = tuple(entry.act.id for entry in entries)
    revision = 0 if head is None else head.revision
    if [entry.revision for entry in entries] != list(range(1, revision + 1)):
        return Sight(acts=acts, wrong="the audit is not whole")
    if head is None:
        return Sight()
    if [cell.name for cell in head.fleet.cells] != [str(n) for n in range(1, revision + 1)]:
        return Sight(acts=acts, wrong="an act was written over")
    names = {name for name, _ in objects}
    if any(each.object_name not in names for each in head.fleet.editions):
        return Sight(acts=acts, wrong="an edition is gone that a host is to run")
    return Sight(acts=acts)
