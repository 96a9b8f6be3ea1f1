"""Orders as they come, in JSON: every part is checked, and what does not fit is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.controlplane import orders
from shedproxy.controlplane.fleet import ALL_CELLS, Fleet, Host
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.rollout import RolloutRules
from shedproxy.controlplane.tenants import Asked, abort_move
from shedproxy.core import Nanos, seconds
from shedproxy.settings import parse_duration

__all__ = ["VERBS", "Order", "Texts", "parse_order", "read_host"]

Apply = Callable[[Fleet, int], tuple[Fleet, dict[str, Any]]]
"""Takes the fleet and the time in seconds since the epoch; gives what is to be told besides."""

_WHY_MAX = 500
_SHIFT_MAX = seconds(7 * 86_400)
_KEY_MAX = 1024
_RATE_MAX = 1e9
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CELL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RESERVED = frozenset(("reports",))
"""Folders beside the snapshots of hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Settings to be published: by cell the text, and what people call its file."""

    texts: Mapping[str, str]
    names: Mapping[str, str]
    is_forced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for, checked as far as it can be without the fleet."""

    verb: str
    why: str
    revision: int | None = None
    """Of the fleet that it was made for; None: whichever there is."""
    apply: Apply | None = None
    """None: it is `published` or `asked`."""
    published: Texts | None = None
    asked: Asked | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the audit says of it."""


def parse_order(verb: str, content: Mapping[str, Any], rules: RolloutRules) -> Order:
    """The order.

    Args:
        verb: one of `VERBS`.
        content: its parts.
        rules: of a promotion that says nothing else.

    Raises:
        OrderRefusedError: some part is missing, unknown, or not what is expected.
    """
    known, parse = _PARSERS[verb]
    unknown = set(content) - known - {"why", "revision"}
    if unknown:
        name = min(unknown)
        raise _invalid(f"/{name}", f"unknown key {name!r}; known: {', '.join(sorted(known))}")
    parts = _Parts(content)
    why = parts.text("why", "")
    if len(why) > _WHY_MAX:
        raise _invalid("/why", f"a reason has at most {_WHY_MAX} characters")
    revision = content.get("revision")
    if revision is not None and (type(revision) is not int or revision < 1):
        raise _invalid("/revision", f"{revision!r} is no revision")
    return replace(parse(parts, why, rules), verb=verb, why=why, revision=revision)


def read_host(text: str) -> Host:
    """A host as people write it: `NAME`, `NAME@ZONE`, `NAME=CELL` or `NAME=CELL@ZONE`.

    Raises:
        OrderRefusedError: it has another form.
    """
    place, _, zone = text.partition("@")
    name, _, cell = place.partition("=")
    return _checked_host(name, cell or "default", zone, "/host")


class _Parts:
    """The parts of one order."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    def text(self, name: str, default: str | None = None) -> str:
        value = self._content.get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise _invalid(f"/{name}", f"{name} is {value!r}; must be text")
        return value

    def has(self, name: str) -> bool:
        return name in self._content

    def flag(self, name: str) -> bool:
        value = self._content.get(name, False)
        if not isinstance(value, bool):
            raise _invalid(f"/{name}", f"{name} is {value!r}; must be true or false")
        return value

    def table(self, name: str) -> dict[str, str]:
        value = self._content.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise _invalid(f"/{name}", f"{name} must be an object of texts")
        return value

    def length(self, name: str, default: Nanos) -> Nanos:
        if not self.has(name):
            return default
        text = self.text(name)
        try:
            return parse_duration(text)
        except ValueError as error:
            raise _invalid(f"/{name}", f"{text!r} is no length of time: {error}") from None

    def count(self, name: str, default: int) -> int:
        value = self._content.get(name, default)
        if type(value) is not int or not 1 <= value <= 1 << 40:
            raise _invalid(f"/{name}", f"{name} is {value!r}; must be a whole number from 1")
        return value

    def rate(self, name: str) -> float:
        value = self._content.get(name, 0.0)
        if type(value) not in {int, float} or not 0 <= value <= _RATE_MAX:
            raise _invalid(f"/{name}", f"{name} is {value!r}; must be a number per second")
        return float(value)

    def probability(self, name: str, default: float) -> float:
        value = self._content.get(name, default)
        if type(value) not in {int, float} or not 0 < value <= 1:
            raise _invalid(f"/{name}", f"{name} is {value!r}; must be above 0, and 1 at most")
        return float(value)

    def hosts(self, name: str) -> list[Host]:
        value = self._content.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _invalid(f"/{name}", f'{name} must be a list like ["edge-9@zone-b"]')
        return [read_host(each) for each in value]


def _publish(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    texts, names = parts.table("texts"), parts.table("names")
    if not texts:
        raise _invalid("/texts", "there are no settings")
    for cell in texts:
        if cell != ALL_CELLS and not _CELL.fullmatch(cell):
            raise _invalid("/texts", f"{cell!r} is no name of a cell")
    published = Texts(texts=texts, names=names, is_forced=parts.flag("force"))
    facts = {"cells": sorted(texts), "force": published.is_forced}
    return Order(verb="", why="", published=published, facts=facts)


def _promote(parts: _Parts, _why: str, rules: RolloutRules) -> Order:
    digest, first = parts.text("digest"), parts.text("first", "")
    said: dict[str, Any] = {}
    if parts.has("bake"):
        said["bake_ns"] = (parts.length("bake", Nanos(0)),) * 4
    if parts.has("requests"):
        said["requests_min"] = parts.count("requests", 1)
    if parts.has("miss"):
        said["miss"] = parts.probability("miss", 1.0)

    def apply(fleet: Fleet, _now: int) -> tuple[Fleet, dict[str, Any]]:
        # What is under way keeps the rules of which nothing is said now.
        rollout = fleet.book.rollout
        kept = replace(rules if rollout is None else rollout.rules, **said)
        after = orders.promote(fleet, digest, first=first, rules=kept)
        assert after.book.rollout is not None
        release = after.release(after.book.rollout.digest)
        is_forced = release is not None and release.is_forced
        told = {"requests": kept.requests_min, "miss": kept.miss, "force": is_forced}
        return after, told

    return Order(verb="", why="", apply=apply, facts={"digest": digest, "first": first})


def _roll_back(_parts: _Parts, why: str, _rules: RolloutRules) -> Order:
    return _order(lambda fleet, _now: orders.roll_back(fleet, why=why or "by order"))


def _move_tenant(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    key, to = parts.text("key"), parts.text("to")
    if len(key) > _KEY_MAX or not key.isprintable():
        raise _invalid("/key", f"a key is a text of at most {_KEY_MAX} printable characters")
    demand_rps = parts.rate("demand")
    # The key itself may be a credential: what the fleet calls it is told when it is known.
    return Order(
        verb="",
        why="",
        asked=Asked(key=key, to=to, demand_rps=demand_rps),
        facts={"to": to, **({"demand": demand_rps} if demand_rps else {})},
    )


def _abort_move(_parts: _Parts, why: str, _rules: RolloutRules) -> Order:
    return Order(verb="", why="", apply=lambda fleet, _now: abort_move(fleet, why=why))


def _quarantine_cell(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    cell, is_over = parts.text("cell"), parts.flag("end")
    return _order(
        lambda fleet, _now: orders.quarantine_cell(fleet, cell, is_over=is_over),
        cell=cell,
        end=is_over,
    )


def _clone_cell(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    source, cell, hosts = parts.text("source"), parts.text("cell"), parts.hosts("hosts")
    if not _CELL.fullmatch(cell):
        raise _invalid("/cell", f"{cell!r} is no name of a cell")
    return _order(
        lambda fleet, _now: orders.clone_cell(fleet, source, cell, hosts),
        source=source,
        cell=cell,
        hosts=[f"{each.name}@{each.zone}" for each in hosts],
    )


def _shift_zone(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    zone, is_back = parts.text("zone"), parts.flag("back")
    if is_back:
        return _order(lambda fleet, _now: orders.return_zone(fleet, zone), zone=zone, back=True)
    length = parts.length("for", seconds(3600))
    if not seconds(1) <= length <= _SHIFT_MAX:
        raise _invalid("/for", "a shift lasts at least 1s and at most 7d")
    return _order(
        lambda fleet, now_s: orders.shift_zone(fleet, zone, length, now_s=now_s),
        zone=zone,
        seconds=length // seconds(1),
    )


def _add_host(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    host = _checked_host(
        parts.text("host"), parts.text("cell", "default"), parts.text("zone", ""), "/host"
    )
    return _order(
        lambda fleet, _now: orders.add_host(fleet, host),
        host=host.name,
        cell=host.cell,
        zone=host.zone,
    )


def _remove_host(parts: _Parts, _why: str, _rules: RolloutRules) -> Order:
    name = parts.text("host")
    return _order(lambda fleet, _now: orders.remove_host(fleet, name), host=name)


def _order(apply: Callable[[Fleet, int], Fleet], **facts: Any) -> Order:
    return Order(verb="", why="", apply=lambda fleet, now_s: (apply(fleet, now_s), {}), facts=facts)


def _checked_host(name: str, cell: str, zone: str, place: str) -> Host:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise _invalid(
            place,
            f"{name!r} is no name of a host",
            help_text="as the host's own snapshot.instance: letters, digits, . _ and -; its cell"
            " and zone come as --cell and --zone with add-host, as edge-1=cell-a@zone-b elsewhere",
        )
    if not _CELL.fullmatch(cell):
        raise _invalid(place, f"{cell!r} is no name of a cell")
    if zone and not _ZONE.fullmatch(zone):
        raise _invalid(place, f"{zone!r} is no name of a zone")
    return Host(name=name, cell=cell, zone=zone)


def _invalid(place: str, message: str, *, help_text: str = "") -> OrderRefusedError:
    return OrderRefusedError(place, message, help_text=help_text, is_conflict=False)


_Parser = Callable[[_Parts, str, RolloutRules], Order]
_PARSERS: dict[str, tuple[frozenset[str], _Parser]] = {
    "publish": (frozenset(("texts", "names", "force")), _publish),
    "promote": (frozenset(("digest", "first", "bake", "requests", "miss")), _promote),
    "roll-back": (frozenset(), _roll_back),
    "move-tenant": (frozenset(("key", "to", "demand")), _move_tenant),
    "abort-move": (frozenset(), _abort_move),
    "quarantine-cell": (frozenset(("cell", "end")), _quarantine_cell),
    "clone-cell": (frozenset(("source", "cell", "hosts")), _clone_cell),
    "shift-zone": (frozenset(("zone", "for", "back")), _shift_zone),
    "add-host": (frozenset(("host", "cell", "zone")), _add_host),
    "remove-host": (frozenset(("host",)), _remove_host),
}
VERBS = tuple(_PARSERS)
"""What can be ordered."""
