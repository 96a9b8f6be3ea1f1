"""Contradictions between cells, keys and what they are spread over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from shedproxy.core import NS_PER_S
from shedproxy.errors import Problem
from shedproxy.placement import zone_headroom
from shedproxy.settings.cells import CellSettings
from shedproxy.settings.compile import cells_of, spread_weights
from shedproxy.settings.located import Check
from shedproxy.settings.models import Settings
from shedproxy.settings.shape import Path, nearest
from shedproxy.settings.upstream_compile import listed_hands
from shedproxy.settings.upstreams import split_upstream
from shedproxy.snapshot import canonical_key, written_key

__all__ = ["check_cells", "host_rps", "hosts_by_zone", "most_rps", "placed_rps", "upstreams_of"]


def check_cells(settings: Settings, check: Check) -> Iterator[Problem]:
    """Every such contradiction."""
    yield from _check_names(settings, check)
    yield from _check_pins(settings, check)
    yield from _check_hands(settings, check)
    yield from _check_sizes(settings, check)
    yield from _check_zones(settings, check)
    yield from _check_spill(settings, check)
    weights = settings.cells.weights
    if weights and not any(weights.values()):
        yield from check.error(
            ("cells", "weights"),
            "cells.weights leave no cell for anybody",
            note="all of them are 0",
        )


def _check_names(settings: Settings, check: Check) -> Iterator[Problem]:
    known = cells_of(settings)
    cells = settings.cells
    named: list[tuple[Path, str, bool]] = [(("cells", "default"), cells.default, False)]
    named += [(("cells", "weights", name), name, True) for name in cells.weights]
    named += [(("cells", "pins", key), name, False) for key, name in cells.pins.items()]
    for owner, cell in settings.cell.items():
        named += [(("cell", owner, "spill", "to"), name, False) for name in cell.spill.to]
    for path, name, on_key in named:
        if name not in known:
            near = nearest(name, known)
            yield from check.error(
                path,
                f'there is no cell "{name}"',
                help_text=f'did you mean "{near}"?' if near else f"add a table [cell.{name}]",
                on_key=on_key,
            )


def _check_pins(settings: Settings, check: Check) -> Iterator[Problem]:
    kind = settings.cells.key.partition(":")[0]
    for key in settings.cells.pins if kind else ():
        try:
            written_key(kind, key)
        except ValueError as error:
            yield from check.error(
                ("cells", "pins", key),
                f'no request has the key "{key}"',
                note=f'{error}, and cells.key is "{settings.cells.key}"',
                on_key=True,
            )


def _check_hands(settings: Settings, check: Check) -> Iterator[Problem]:
    for name, cell in settings.cell.items():
        hands, path = cell.hands, ("cell", name, "hands")
        if not hands.size:
            continue
        if not settings.cells.secret:
            yield from check.error(
                (*path, "size"),
                f'cell "{name}": hands need cells.secret',
                note="without it each process deals a tenant another hand",
            )
        if hands.overlap_max is None:
            continue
        if hands.overlap_max >= hands.size:
            yield from check.error(
                (*path, "overlap_max"),
                f'cell "{name}": hands.overlap_max must be below hands.size',
                note=f"{hands.overlap_max} is no bound for hands of {hands.size}",
                related=(*path, "size"),
            )
            continue
        upstreams = upstreams_of(settings, cell)
        wanted = len({canonical_key("header", tenant.encode()) for tenant in hands.tenants})
        dealt = len(listed_hands(cell, upstreams, settings.cells.secret))
        if hands.size < len(upstreams) and dealt < wanted:
            yield from check.error(
                (*path, "overlap_max"),
                f'cell "{name}": not all tenants have hands that share {hands.overlap_max} at most',
                note=f"{dealt} of {wanted} were found one",
                help_text="more upstreams, a smaller hand or a larger overlap;"
                " shedproxy shards plan says what can be",
                related=(*path, "tenants"),
            )


def _check_spill(settings: Settings, check: Check) -> Iterator[Problem]:
    cells = cells_of(settings)
    for name, cell in settings.cell.items():
        spill, path = cell.spill, ("cell", name, "spill")
        if bool(spill.to) != bool(spill.classes):
            there, missing = ("to", "classes") if spill.to else ("classes", "to")
            yield from check.error(
                (*path, there),
                f'cell "{name}": spill.{there} says nothing without spill.{missing}',
                help_text=f"add {missing}, or take {there} away",
            )
        for other in spill.to:
            if other == name:
                yield from check.error((*path, "to"), f'cell "{name}" cannot spill to itself')
            elif other in cells and _is_one_backend(cells, other, name):
                yield from check.error(
                    (*path, "to"),
                    f'cell "{name}" cannot spill to "{other}"',
                    note="the same serves both: where one has no room the other has none",
                    help_text=f"give [cell.{other}] upstreams of its own",
                )


def _is_one_backend(cells: Mapping[str, CellSettings], one: str, other: str) -> bool:
    """Whether they share upstreams, or have none: before an app there is nothing but the app."""
    ours, theirs = _upstreams(cells, one), _upstreams(cells, other)
    return bool(ours & theirs) or ours == theirs


def _upstreams(cells: Mapping[str, CellSettings], name: str) -> set[str]:
    """The URLs of a cell; without any, those of the default one."""
    upstream = cells[name].upstream or cells["default"].upstream
    return {split_upstream(one)[0] for one in upstream}


def _check_sizes(settings: Settings, check: Check) -> Iterator[Problem]:
    """A cell has a fixed maximum: who wants more takes another cell, and never a larger one."""
    bounds = most_rps(settings)
    for name, placed in placed_rps(settings).items():
        most = bounds.get(name)
        if most is None or placed <= most:
            continue
        yield from check.error(
            _placed_by(settings, name),
            f'cell "{name}" has no room for what is placed on it',
            note=f"{placed:.4g}/s, and its maximum is {most:.4g}/s",
            help_text="add a cell and give it a part of the keys, or calibrate this one again",
        )


def most_rps(settings: Settings) -> dict[str, float]:
    """The maximum of each cell, in requests per second, as far as it is known."""
    return {
        name: each_rps * hosts
        for name, cell in cells_of(settings).items()
        if (each_rps := host_rps(cell, hosts := _host_count(settings, cell))) is not None
    }


def upstreams_of(settings: Settings, cell: CellSettings) -> list[str]:
    """Where requests of a cell go: without upstreams of its own, to those of the default one."""
    return cell.upstream or cells_of(settings)["default"].upstream


def _host_count(settings: Settings, cell: CellSettings) -> int:
    """Where nothing is said of upstreams (an app, or a host's own), as many as were measured."""
    return len(upstreams_of(settings, cell)) or cell.profile.weight


def placed_rps(settings: Settings) -> dict[str, float]:
    """Requests per second that each cell is to carry at its peak, as far as somebody says."""
    placed: dict[str, float] = {}
    cells = settings.cells
    if cells.key and cells.demand is not None:
        weights = spread_weights(settings)
        whole = sum(weights.values()) or 1
        placed = {name: cells.demand * weight / whole for name, weight in weights.items()}
    own = {name: cell.demand for name, cell in settings.cell.items() if cell.demand is not None}
    return placed | own


def _placed_by(settings: Settings, name: str) -> Path:
    """The place that says how much a cell is to carry."""
    if name in settings.cell and settings.cell[name].demand is not None:
        return ("cell", name, "demand")
    is_written = name in settings.cells.weights
    return ("cells", "weights", name) if is_written else ("cells", "demand")


def _check_zones(settings: Settings, check: Check) -> Iterator[Problem]:
    placed = placed_rps(settings)
    for name, cell in settings.cell.items():
        upstreams, demand_rps = upstreams_of(settings, cell), placed.get(name)
        each_rps = host_rps(cell, len(upstreams))
        if "zone-headroom" in cell.waive or demand_rps is None or each_rps is None:
            continue
        room = zone_headroom(hosts_by_zone(upstreams), host_rps=each_rps, demand_rps=demand_rps)
        if room is None or room.is_enough:
            continue
        yield from check.error(
            _placed_by(settings, name),
            f'cell "{name}" cannot lose zone {room.largest}',
            note=f"{room.left_rps:.4g}/s would be left of {room.capacity_rps:.4g}/s, and"
            f" {room.demand_rps:.4g}/s are asked for: that takes {room.needed_rps:.4g}/s",
            help_text='add upstreams in other zones, or waive = ["zone-headroom"]',
            related=("cell", name if cell.upstream else "default", "upstream"),
        )


def hosts_by_zone(upstreams: Sequence[str]) -> dict[str, int]:
    """Upstreams by zone."""
    zones = Counter(zone for _, zone, _ in map(split_upstream, upstreams))
    return dict(zones) if any(zones) else {}


def host_rps(cell: CellSettings, hosts: int) -> float | None:
    """Requests per second that one of a cell's `hosts` carries, by profile or by limit and
    baseline.
    """
    profile, limit = cell.profile, cell.limit
    rates = profile.slo_rate or profile.capacity
    if profile.id and rates:
        return rates[0] / profile.weight
    most = limit.initial if limit.algorithm == "fixed" else limit.max
    is_written = limit.algorithm == "fixed" or "max" in limit.model_fields_set
    if is_written and most and limit.baseline and hosts:
        return most * NS_PER_S / limit.baseline / hosts
    return None
