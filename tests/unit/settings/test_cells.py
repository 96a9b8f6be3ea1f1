"""The tables of one cell."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shedproxy.settings.cells import CellSettings, ProfileSettings, TransportSettings


def test_a_number_stands_for_a_fixed_limit():
    limit = CellSettings(limit=64).limit
    assert (limit.algorithm, limit.initial) == ("fixed", 64)


@pytest.mark.parametrize("value", [0, -1, True, "64"])
def test_no_other_short_form_of_a_limit(value):
    with pytest.raises(ValidationError):
        CellSettings(limit=value)


def test_one_upstream_needs_no_list():
    assert CellSettings(upstream="http://a:1").upstream == ["http://a:1"]


@pytest.mark.parametrize(("value", "word"), [(True, "true"), (False, "false"), ("auto", "auto")])
def test_cancels_may_be_a_boolean(value, word):
    assert TransportSettings(cancels=value).cancels == word


@pytest.mark.parametrize("at", ["2026-02-31T00:00:00Z", "2026-01-01T25:00:00Z"])
def test_a_day_that_is_in_no_calendar_is_no_time_of_a_profile(at):
    with pytest.raises(ValidationError, match="is not a time"):
        ProfileSettings(fitted_at=at)
    assert ProfileSettings(fitted_at="2026-02-28T00:00:00Z").fitted_at
