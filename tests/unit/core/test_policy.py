"""Policies are frozen and their defaults can be run on."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from shedproxy.core import CellPolicy, Criticality, Mode, Policy


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
        Policy().salt = 1  # type: ignore[misc]


def test_modes_have_the_words_of_flags_and_files() -> None:
    """One word everywhere."""
    assert [mode.label for mode in Mode] == ["off", "observe", "enforce"]
