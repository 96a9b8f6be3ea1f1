"""Cells of a settings file, by the profile that calibration wrote there."""

from __future__ import annotations

from pathlib import Path

import pytest

from shedproxy.cli.profile_models import models_of_settings
from shedproxy.errors import StartupError

CELL = """
[cell.{name}]
upstream = ["http://127.0.0.1:1"]
[cell.{name}.limit]
initial = 5
max = 9
"""
PROFILE = """
[cell.{name}.profile]
id = "c-1"
capacity = [200.0, 195.0, 205.0]
routes = {{ "*" = ["20ms", "19ms", "21ms"] }}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "shedproxy.toml"
    file.write_text(text)
    return file


def test_a_profile_is_a_station_with_the_limits_of_its_cell(tmp_path: Path) -> None:
    text = (CELL + PROFILE).format(name="default") + CELL.format(name="other")
    (model,) = models_of_settings(written(tmp_path, text))
    assert (model.name, model.slots, model.service_ms) == ("default", 4, 20.0)
    assert (model.limit.initial, model.limit.maximum) == (5, 9)


def test_scatter_and_objective_are_those_of_the_profile(tmp_path: Path) -> None:
    text = (CELL + PROFILE).format(name="default")
    (bare,) = models_of_settings(written(tmp_path, text))
    assert (bare.law, bare.cv, bare.objective_ms) == ("exponential", None, None)
    told = text + 'scatter = 1.8\nslo = "p99<250ms, errors<0.5%"\n'
    (model,) = models_of_settings(written(tmp_path, told))
    assert (model.law, model.cv, model.objective_ms) == ("lognormal", 1.8, 250)


def test_settings_without_a_profile_say_how_to_have_one(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="calibrate URL --write"):
        models_of_settings(written(tmp_path, CELL.format(name="default")))
