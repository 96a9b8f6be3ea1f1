"""An upstream is a URL, and words of where it is and what it runs."""

from __future__ import annotations

import pytest

from shedproxy.settings.upstreams import split_upstream


def upstream(written, text):
    return written.load(f'[cell.default]\nupstream = "{text}"').settings.cell["default"].upstream


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://a:1", ("http://a:1", "", "")),
        ("http://a:1/  version=2.1 zone=eu-1a", ("http://a:1", "eu-1a", "2.1")),
        ("unix:/run/app.sock zone=b", ("unix:/run/app.sock", "b", "")),
    ],
)
def test_words_after_the_url_say_zone_and_version(written, text, parts):
    (taken,) = upstream(written, text)
    assert split_upstream(taken) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://a:1 weight=2", '"weight=2" says nothing of an upstream'),
        ("http://a:1 zone", '"zone" says nothing of an upstream'),
        ("http://a:1 zone=", '"zone=" says nothing of an upstream'),
        ("http://a:1 zone=a zone=b", '"zone" is said twice of an upstream'),
        ("zone=a", '"zone=a" is not an upstream'),
        ("", '"" is not an upstream'),
    ],
)
def test_other_words_are_refused(written, text, message):
    problem = written.problem(f'[cell.default]\nupstream = "{text}"')
    assert message in problem.message


def test_the_own_zone_is_a_name(written):
    assert written.load('[server]\nzone = "a"').document.proxy.zone == "a"
    assert "not the name of a zone" in written.problem('[server]\nzone = "a b"').message
