"""The settings as a whole."""

from __future__ import annotations

from shedproxy.settings.models import Settings
from shedproxy.settings.shape import model_at


def test_the_first_layer_wins_and_tables_are_merged():
    settings = Settings.from_layers(
        [{"server": {"workers": 2}}, {"server": {"workers": 3, "via": "x"}, "mode": "off"}]
    )
    assert (settings.server.workers, settings.server.via, settings.mode) == (2, "x", "off")


def test_the_environment_of_the_process_is_not_read_behind_the_back(monkeypatch):
    monkeypatch.setenv("MODE", "off")
    assert Settings.from_layers([{}]).mode == "enforce"


def test_every_table_is_documented():
    pending = [((), Settings)]
    while pending:
        path, model = pending.pop()
        assert model.__doc__, model
        for name in model.model_fields:
            below = (*path, name, *{"cell": ("x",), "rule": ("0",)}.get(name, ()))
            if model_at(below):
                pending.append((below, model_at(below)))
