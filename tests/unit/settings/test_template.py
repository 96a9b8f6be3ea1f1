"""The file that `init` writes is valid, and stays valid when lines are uncommented."""

from __future__ import annotations

import re

import pytest

from shedproxy.settings import commented_default_toml, load_settings


@pytest.mark.parametrize("minimal", [False, True])
def test_the_file_changes_no_default_but_the_upstream(written, minimal):
    loaded = written.load(commented_default_toml(upstream="http://a:1", minimal=minimal))
    plain = load_settings(overrides={"cell.default.upstream": ["http://a:1"]})
    assert loaded.document == plain.document
    assert loaded.warnings == ()


def uncommented(text):
    return re.sub(r"^#(?=[\w\[])", "", text.split("\n", 1)[1], flags=re.MULTILINE)


@pytest.mark.parametrize("minimal", [False, True])
def test_every_commented_line_is_valid_too(written, minimal):
    text = uncommented(commented_default_toml(minimal=minimal))
    settings = written.load(text).settings
    assert [rule.name for rule in settings.rule] == [
        "checkout",
        "reports",
        "batch clients",
        "events",
    ]


def test_every_line_can_be_uncommented_alone(written):
    text = commented_default_toml()
    for match in re.finditer(r"^#(?=[a-z_]+ = )", text, flags=re.MULTILINE):
        before = text[: match.start()]
        if "\n#[[rule]]" in before and "[cell.default]\n" not in before:
            continue  # keys of the example rules need their header
        written.load(before + text[match.end() :])


def test_every_setting_is_in_the_file(written):
    text = commented_default_toml()
    for name, _, _ in load_settings(overrides={"cell.default.upstream": ["http://a"]}).effective():
        assert re.search(rf"^#?{name.split('.')[-1]} = ", text, flags=re.MULTILINE), name


def test_the_first_line_names_the_schema_and_the_file_its_commands():
    text = commented_default_toml(file="edge.toml")
    assert text.startswith("#:schema ./shedproxy.schema.json\n")
    assert "shedproxy check edge.toml" in text
    assert max(map(len, text.split("\n"))) <= 100
