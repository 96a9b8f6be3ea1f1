"""Policies are frozen and their defaults can be run on."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from shedproxy.core import CellPolicy, Criticality, LimitPolicy, Mode, Policy, SpillPolicy


def test_defaults_enforce_one_unbounded_cell() -> None:
    """No configuration is a configuration."""
    policy = Policy()
    assert policy.mode is Mode.ENFORCE
    assert [cell.name for cell in policy.cells] == ["default"]
    assert [policy.cells[0].class_limit(c) for c in Criticality] == [None] * 4


def test_a_class_limit_belongs_to_its_class() -> None:
    """The index is the criticality."""
    cell = CellPolicy(class_limits=(0, 1, None, 3))
    assert cell.class_limit(Criticality.SHEDDABLE) == 0
    assert cell.class_limit(Criticality.CRITICAL_PLUS) == 3


def test_a_policy_does_not_change() -> None:
    """It is replaced."""
    with pytest.raises(FrozenInstanceError):
        Policy().salt = 1


def test_modes_have_the_words_of_flags_and_files() -> None:
    """One word everywhere."""
    assert [mode.label for mode in Mode] == ["off", "observe", "enforce"]


CALIBRATED = LimitPolicy(initial=10, minimum=9, maximum=17, weight=2)


@pytest.mark.parametrize(
    ("healthy", "bounds"), [(1, (5, 5, 9)), (2, (10, 9, 17)), (4, (20, 18, 34)), (0, (5, 5, 9))]
)
def test_bounds_are_for_the_healthy_weight_and_never_for_none(
    healthy: int, bounds: tuple[int, int, int]
) -> None:
    """Rounded up; a service that is out altogether is asked again with what one host takes."""
    scaled = CALIBRATED.scaled_to(healthy)
    assert (scaled.initial, scaled.minimum, scaled.maximum) == bounds
    assert scaled.weight == max(1, healthy)


def test_bounds_without_a_weight_hold_for_any() -> None:
    policy = LimitPolicy(initial=10)
    assert policy.scaled_to(3) is policy


def test_each_cell_has_the_weight_behind_it_or_that_of_the_first() -> None:
    cells = tuple(CellPolicy(name=name, limit=CALIBRATED) for name in ("default", "a", "b"))
    scaled = Policy(cells=cells).scaled_to({"default": 1, "a": 4})
    assert [cell.limit.initial for cell in scaled.cells] == [5, 20, 5]
    assert Policy(cells=cells).scaled_to({}) == Policy(cells=cells)


def test_nothing_spills_to_a_cell_that_has_nobody_in_service() -> None:
    spill = SpillPolicy(to=("b", "c"), classes=(Criticality.SHEDDABLE,))
    policy = Policy(cells=(CellPolicy(spill=spill), CellPolicy(name="b"), CellPolicy(name="c")))
    assert policy.scaled_to({"default": 1, "b": 2, "c": 1}) == policy
    [cell, *_] = policy.scaled_to({"default": 0, "b": 0, "c": 1}).cells
    assert cell.spill == replace(spill, to=("c",))
