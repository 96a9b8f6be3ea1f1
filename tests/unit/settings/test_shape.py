"""The models answer what may stand where, and which name was meant."""

from __future__ import annotations

import pytest

from shedproxy.settings.cells import LimitSettings, QueueSettings
from shedproxy.settings.models import MatchSettings, Settings
from shedproxy.settings.shape import annotation_at, home_of, model_at, nearest, path_text, subject


def test_models_are_found_by_path():
    assert model_at(()) is Settings
    assert model_at(("cell", "x", "queue")) is QueueSettings
    assert model_at(("cell", "x", "limit")) is LimitSettings
    assert model_at(("rule", "3", "match")) is MatchSettings
    assert model_at(("cell",)) is None
    assert model_at(("server", "workers")) is None
    assert model_at(("nothing", "here")) is None


def test_annotations_are_found_by_path():
    assert annotation_at(("log", "access")) is not None
    assert annotation_at(("rule", "0", "match", "header", "x")) is str
    assert annotation_at(("server", "workers", "deeper")) is None


@pytest.mark.parametrize(
    ("word", "names", "near"),
    [
        ("lenght_max", ["length_max", "wait_max"], "length_max"),
        ("max_length", ["length_max", "wait_max"], "length_max"),
        ("Length-Max", ["length_max"], "length_max"),
        ("priority", ["criticality", "cell"], "criticality"),
        ("priority", ["cell"], ""),
        ("upstreams", ["upstream", "limit"], "upstream"),
        ("zzz", ["length_max"], ""),
        ("x", [], ""),
    ],
)
def test_the_nearest_name(word, names, near):
    assert nearest(word, names) == near


def test_a_key_in_the_wrong_table_finds_its_home():
    assert home_of("wait_max") == "[cell.NAME.queue]"
    assert home_of("workers") == "[server]"
    assert home_of("limit") == ""
    assert home_of("nonsense") == ""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), "the configuration"),
        (("server", "listen", "1"), "server.listen"),
        (("rule", "0", "match", "path", "2"), "match.path of rule 1"),
        (("rule", "4"), "rule 5"),
        (("cell", "a"), 'cell "a"'),
        (("cell", "a", "limit", "max"), 'limit.max of cell "a"'),
    ],
)
def test_values_are_named_in_words(path, words):
    assert subject(path) == words


def test_paths_as_in_a_file():
    assert path_text(("cell", "a", "limit")) == "cell.a.limit"
    assert path_text(("rule", "2", "match")) == "rule[2].match"
    assert path_text(("cell", "2", "limit")) == "cell.2.limit"
