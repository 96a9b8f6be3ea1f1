"""Contradictions between the cells of a scenario, their clients and what happens to them."""

from __future__ import annotations

import tomllib

import pytest

from shedproxy.workload.cell_checks import CELL_EVENTS
from shedproxy.workload.scenario import CellSpec, Scenario
from shedproxy.workload.scenario_document import decode_scenario
from shedproxy.workload.table_decoder import TableInvalidError

CELLS = '[[cell]]\nname = "a"\n[[cell]]\nname = "b"\n'
CLIENT = '[[client]]\nload = 1\ncell = "a"\n'


def problems_of(text: str) -> list[tuple[str, str]]:
    with pytest.raises(TableInvalidError) as caught:
        decode_scenario(tomllib.loads(text))
    return [(".".join(problem.path), problem.message) for problem in caught.value.problems]


def event(what: str, more: str = "") -> str:
    return f'{CLIENT}{CELLS}[[event]]\nat_s = 1\nwhat = "{what}"\n{more}'


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (CLIENT + CELLS + "[backend]\nslots = 3", "backend", "a backend of its own"),
        (CLIENT + CELLS + "[proxy]\ncount = 2", "proxy.count", "must be 1"),
        (CLIENT + CELLS + '[[cell]]\nname = "a"', "cell.2.name", "a name of its own"),
        (CLIENT + CELLS + '[[cell]]\nname = ""', "cell.2.name", "a name of its own"),
        (CLIENT + CELLS + 'spill_to = ["b"]\nspill_classes = ["critical"]',
         "cell.1.spill_to", 'cannot spill to "b"'),
        (CLIENT + CELLS + 'spill_to = ["c"]\nspill_classes = ["critical"]',
         "cell.1.spill_to", 'cannot spill to "c"'),
        (CLIENT + CELLS + 'spill_to = ["a"]\nspill_classes = ["best"]',
         "cell.1.spill_classes", 'called "best"'),
        (CLIENT + CELLS + 'spill_to = ["a"]', "cell.1", "both spill_to and spill_classes"),
        (CLIENT + CELLS + "hand = 2", "cell.1", "too few for its hands"),
        (CLIENT + CELLS + "zones = 2", "cell.1", "too few for its hands or zones"),
        (CLIENT + CELLS + 'backend = {kind = "usl"}', "cell.1.backend", 'of kind "slots"'),
        (CLIENT + CELLS + "backend = {network_ms = 3}", "cell.1.backend", "network_ms means"),
        ("[[client]]\nload = 1\n" + CELLS, "client.0", "needs a cell, or tenants"),
        ("[[client]]\nload = 1\npoison_ms = 3", "client", "poison needs cells"),
        ('flood = ["users"]\n[[client]]\nload = 1', "flood", "of a world with cells"),
        ('flood = ["nobody"]\n' + CLIENT + CELLS, "flood", 'is called "nobody"'),
        ('[[client]]\nload = 1\n[[event]]\nat_s = 1\nwhat = "lose_zone"\nfor_s = 1',
         "event.0.what", "needs cells"),
        (event("outage", "for_s = 1"), "event.0.what", "does not happen to cells"),
        (event("lose_zone", "for_s = 1"), "event.0.cell", "needs the name of a cell"),
        (event("lose_zone", 'cell = "a"'), "event.0", "needs for_s above 0"),
        (event("move_tenant", 'cell = "a"'), "event.0", "needs a tenant"),
    ],
)  # fmt: skip
def test_a_contradiction_is_found_where_it_stands(text: str, path: str, words: str):
    assert [(at, words in message) for at, message in problems_of(text)] == [(path, True)]


def test_what_is_sound_is_read():
    text = event("move_tenant", 'cell = "b"\ntenant = "x"') + (
        '\n[[event]]\nat_s = 2\nwhat = "lose_control_plane"\nfor_s = 3\n'
        '[[client]]\nname = "x"\ntenant = "x"\nload = 1\n'
    )
    scenario: Scenario = decode_scenario(tomllib.loads(text))
    assert scenario.cell == (CellSpec(name="a"), CellSpec(name="b"))
    assert {one.what for one in scenario.event} < CELL_EVENTS
