"""Every key and value of a TOML text is found where it stands."""

from __future__ import annotations

import tomllib

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.settings.toml_index import TomlIndex

TEXT = """\
# a comment = 1
version = 1   # one
"quoted key" = 'literal # no comment'
dotted.inner . leaf = true

[server]
listen = [":80",   "unix:/x"]  # list
long = [
  1,  # one
  # nothing
  { deep = "x" },
]
text = \"\"\"first
second\"\"\"

[cell.checkout]
limit = { min = 1, "max" = 2.5 }

[[rule]]
name = "a"

[[rule]]
name = "b"
match = { path = ["/a", "/b"], header = { x-y = "*" } }

[rule.extra]
k = 1979-05-27 07:32:00
[ cell . "b.c" ]
z = 0x10
"""


def pieces(place):
    line = TEXT.split("\n")[place.line - 1]
    return place.line, line[place.column - 1 : place.column - 1 + place.length]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("version", (2, "version"), (2, "1")),
        ("quoted key", (3, '"quoted key"'), (3, "'literal # no comment'")),
        ("dotted/inner/leaf", (4, "leaf"), (4, "true")),
        ("dotted", (4, "dotted"), (4, "true")),
        ("server", (6, "server"), (6, "[server]")),
        ("server/listen", (7, "listen"), (7, '[":80",   "unix:/x"]')),
        ("server/listen/1", (7, '"unix:/x"'), (7, '"unix:/x"')),
        ("server/long", (8, "long"), (8, "[")),
        ("server/long/0", (9, "1"), (9, "1")),
        ("server/long/1", (11, '{ deep = "x" }'), (11, '{ deep = "x" }')),
        ("server/long/1/deep", (11, "deep"), (11, '"x"')),
        ("server/text", (13, "text"), (13, '"""first')),
        ("cell", (16, "cell"), (16, "[cell.checkout]")),
        ("cell/checkout", (16, "checkout"), (16, "[cell.checkout]")),
        ("cell/checkout/limit/min", (17, "min"), (17, "1")),
        ("cell/checkout/limit/max", (17, '"max"'), (17, "2.5")),
        ("rule", (19, "rule"), (19, "[[rule]]")),
        ("rule/0", (19, "rule"), (19, "[[rule]]")),
        ("rule/0/name", (20, "name"), (20, '"a"')),
        ("rule/1", (22, "rule"), (22, "[[rule]]")),
        ("rule/1/match/path/1", (24, '"/b"'), (24, '"/b"')),
        ("rule/1/match/header/x-y", (24, "x-y"), (24, '"*"')),
        ("rule/1/extra/k", (27, "k"), (27, "1979-05-27 07:32:00")),
        ("cell/b.c/z", (29, "z"), (29, "0x10")),
    ],
)
def test_keys_and_values_are_found(path, key, value):
    index = TomlIndex(TEXT)
    where = tuple(path.split("/"))
    assert pieces(index.key(where)) == key
    assert pieces(index.value(where)) == value


def test_what_is_not_written_has_no_place():
    index = TomlIndex(TEXT)
    assert index.key(("server", "workers")) is None
    assert index.value(("rule", "2")) is None


def test_windows_line_ends_and_missing_last_line_end():
    index = TomlIndex('a = 1\r\n[b]\r\nc = "x"')
    assert index.value(("b", "c")) == (3, 5, 3)
    assert index.value(("a",)) == (1, 5, 1)
    assert index.line(1) == "a = 1"
    assert index.line(9) == ""


def test_empty_text():
    assert TomlIndex("").key(("a",)) is None


KEYS = st.text("ab-_.\"' \\\t#=[]\u00fc", min_size=0, max_size=4)
SCALARS = st.one_of(
    st.integers(-(2**60), 2**60),
    st.booleans(),
    st.floats(allow_nan=False),
    st.text("ab\"'\\\n#[]{},=\u00e9 ", max_size=8),
    st.datetimes(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def leaves(value, path=()):
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, str(number)))


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_document_is_indexed_whole(document):
    text = tomlkit.dumps(document)
    parsed = tomllib.loads(text)
    index = TomlIndex(text)
    for path, value in leaves(parsed):
        if not path or isinstance(value, list | dict):
            continue
        place = index.value(path)
        assert place is not None, path
        line = index.line(place.line)
        shown = line[place.column - 1 : place.column - 1 + place.length]
        is_long_text = isinstance(value, str) and shown.startswith(('"""', "'''"))
        if not is_long_text:
            assert tomllib.loads(f"v = {shown}")["v"] == value
