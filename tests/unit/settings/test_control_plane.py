"""The file of a control plane: what it may say, and where what is wrong with it stands."""

from __future__ import annotations

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_control_plane

GOOD = 'store = "file:///var/fleet"\nkey = "fleet.key"\n'
SHA = "0" * 64


@pytest.fixture
def load(tmp_path):
    def load(text: str):
        file = tmp_path / "control.toml"
        file.write_text(text)
        return load_control_plane(file)

    return load


def problems(load, text: str) -> list:
    with pytest.raises(ConfigInvalidError) as caught:
        load(text)
    return caught.value.problems


def test_defaults_are_careful_and_the_key_is_beside_the_file(load, tmp_path):
    settings = load(GOOD)
    assert settings.key == str(tmp_path / "fleet.key")
    assert settings.listen == "127.0.0.1:9800"
    assert settings.promotion.bake == [seconds(s) for s in (3600, 3600, 7200, 7200)]
    assert (settings.move.mark, settings.move.hold) == (seconds(300), seconds(4))
    assert settings.move.period == milliseconds(200)
    assert settings.token == {}


def test_persons_have_roles_and_their_time(load):
    text = f'{GOOD}[token.ann]\nsha256 = "{SHA}"\n[token.ci]\nsha256 = "{SHA}"\nrole = "publisher"'
    settings = load(f'{text}\nuntil = "2027-01-31T12:00:00Z"\n')
    assert (settings.token["ann"].role, settings.token["ann"].until_s) == ("operator", 0)
    assert settings.token["ci"].until_s == 1_801_396_800


@pytest.mark.parametrize(
    ("text", "line", "message", "note"),
    [
        (f"{GOOD}lisen = 1\n", 3, 'unknown key "lisen"', 'did you mean "listen"?'),
        (f"{GOOD}[promotion]\nbakes = 1\n", 4, 'unknown key "bakes"', 'did you mean "bake"?'),
        (f"{GOOD}[move]\nholds = 1\n", 4, 'unknown key "holds"', 'did you mean "hold"?'),
        (f'{GOOD}[move]\nhold = "1ms"\n', 4, "at least 100ms", ""),
        (f'{GOOD}[token.ann]\nsha256 = "{SHA}"\nzzz = 1\n', 5, 'unknown key "zzz"', "no such key"),
        (f'{GOOD}[token.ann]\nsha256 = "12"\n', 4, "has another form", ""),
        (f'{GOOD}[token.ann]\nsha256 = "{SHA}"\nrole = "boss"\n', 5, "must be one of", ""),
        (f'{GOOD}[token.ann]\nsha256 = "{SHA}"\nuntil = "soon"\n', 5, "is not a time", ""),
        (f'{GOOD}listen = "unix:/x"\n', 3, "not of the form host:port", ""),
        (f'{GOOD}listen = "nowhere"\n', 3, "is not an address", ""),
        ('store = "http://h/"\nkey = "k"\n', 1, "has another form", ""),
        (f'{GOOD}[promotion]\nbake = ["1h"]\n', 4, "must have 4 entries", "has 1"),
        (GOOD.replace("store", "# store"), 0, "store is missing", ""),
        (f"{GOOD}[token.ann]\n", 3, "token.ann.sha256 is missing", ""),
    ],
)
def test_what_is_wrong_is_shown_where_it_stands(load, text, line, message, note):
    (problem,) = problems(load, text)
    assert message in problem.message
    assert problem.line == line
    assert note in problem.note
    assert problem.source.endswith("control.toml")
