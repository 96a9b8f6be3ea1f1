"""What the cells of a scenario allow by themselves and no world can be made of."""

from __future__ import annotations

from shedproxy.core import Criticality
from shedproxy.workload.scenario import BackendSpec, CellSpec, EventSpec, Scenario
from shedproxy.workload.table_decoder import Findings, Path

__all__ = ["CELL_EVENTS", "check_cells"]

CELL_EVENTS = frozenset(("lose_zone", "lose_control_plane", "move_tenant"))
"""What happens to cells only."""
_ALL_EVENTS = CELL_EVENTS | {"service"}
"""What happens in a world of cells at all."""
_NEEDS_LENGTH = frozenset(("lose_zone", "lose_control_plane"))
_PLAIN = BackendSpec()
_OWN_KEYS = frozenset(("hosts", "slots", "service_ms", "law", "cv", "recorded_ms", "cancels"))
"""Of a backend, as far as hosts of a cell have it."""


def check_cells(scenario: Scenario, findings: Findings) -> None:
    """Add what contradicts to the findings; tables with a broken value are not judged."""
    names = [cell.name for cell in scenario.cell]
    for index, cell in enumerate(scenario.cell):
        path = ("cell", str(index))
        if findings.is_sound(path):
            _check_cell(cell, names[:index], names, path, findings)
    for index, event in enumerate(scenario.event):
        path = ("event", str(index))
        if findings.is_sound(path):
            _check_event(event, names, path, findings)
    clients = [client.name for client in scenario.client]
    for name in scenario.flood:
        if name not in clients or not names:
            findings.add(("flood",), f'no client of a world with cells is called "{name}"')
    if not names:
        if any(client.poison_ms for client in scenario.client):
            findings.add(
                ("client",), "poison needs cells: the hosts of one backend do not come back"
            )
        return
    if scenario.backend != _PLAIN:
        findings.add(("backend",), "there are cells: each has a backend of its own")
    if scenario.proxy.count > 1:
        findings.add(("proxy", "count"), "count of proxy must be 1 where there are cells")
    for index, client in enumerate(scenario.client):
        if client.cell not in names and not (client.tenants or client.tenant):
            findings.add(
                ("client", str(index)),
                f"client {index + 1} needs a cell, or tenants whose keys lead to one",
                note=f"there are {', '.join(names)}",
            )


def _check_cell(
    cell: CellSpec, before: list[str], names: list[str], path: Path, findings: Findings
) -> None:
    owner = f"cell {int(path[-1]) + 1}"
    if not cell.name or cell.name in before:
        findings.add((*path, "name"), f"{owner} needs a name of its own")
    backend = cell.backend
    if backend.kind != "slots":
        findings.add((*path, "backend"), f'backend of {owner} must be of kind "slots"')
    for key in sorted(set(BackendSpec.__slots__) - _OWN_KEYS - {"kind"}):
        if getattr(backend, key) != getattr(_PLAIN, key):
            findings.add((*path, "backend"), f"{key} means nothing to the hosts of {owner}")
    if cell.hand > backend.hosts or cell.zones > backend.hosts:
        findings.add(path, f"{owner} has {backend.hosts} hosts: too few for its hands or zones")
    for name in cell.spill_to:
        if name == cell.name or name not in names:
            findings.add(
                (*path, "spill_to"),
                f'{owner} cannot spill to "{name}": no other cell is called so',
            )
    for word in cell.spill_classes:
        if Criticality.parse(word) is None:
            findings.add((*path, "spill_classes"), f'no criticality is called "{word}"')
    if bool(cell.spill_to) != bool(cell.spill_classes):
        findings.add(path, f"{owner} needs both spill_to and spill_classes, or neither")


def _check_event(event: EventSpec, names: list[str], path: Path, findings: Findings) -> None:
    owner = f"event {int(path[-1]) + 1}"
    what = event.what
    if not names:
        if what in CELL_EVENTS:
            findings.add((*path, "what"), f"{what} of {owner} needs cells")
        return
    if what not in _ALL_EVENTS:
        findings.add((*path, "what"), f"{what} of {owner} does not happen to cells")
    elif what != "lose_control_plane" and event.cell not in names:
        findings.add((*path, "cell"), f"{what} of {owner} needs the name of a cell")
    if what in _NEEDS_LENGTH and event.for_s <= 0:
        findings.add(path, f"{what} of {owner} needs for_s above 0")
    if what == "move_tenant" and not event.tenant:
        findings.add(path, f"move_tenant of {owner} needs a tenant")
