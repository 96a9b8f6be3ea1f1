"""What all tables have in common."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shedproxy.settings.section import ClassLimits, Section, form, forms, preset


class Table(Section):
    """A table."""

    size: int = preset(4, ge=1)
    """Documented."""


def test_defaults_are_validated_and_documented():
    assert Table().size == 4
    assert Table.model_fields["size"].description == "Documented."


@pytest.mark.parametrize("values", [{"size": "4"}, {"size": 0}, {"other": 1}, {"size": True}])
def test_nothing_is_converted_and_nothing_unknown_accepted(values):
    with pytest.raises(ValidationError):
        Table(**values)


def test_tables_do_not_change():
    with pytest.raises(ValidationError):
        Table().size = 5


def test_a_pattern_has_words():
    form("^never$", "never")
    assert forms["^never$"] == "never"


def test_limits_of_classes_are_unset():
    assert set(ClassLimits().model_dump().values()) == {None}
