from __future__ import annotations

import os

import pytest

import shedproxy
from shedproxy.supervisor.stall_places import (
    OTHER,
    PLACES_MAX,
    STOPPED,
    UNKNOWN,
    StallPlaces,
    place_of,
)

LIBRARY = os.__file__.removesuffix("os.py")
HERE = shedproxy.__file__.removesuffix("__init__.py")


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        ((), UNKNOWN),
        (("slow (/srv/app/blocking.py:12)", "run (/srv/app/x.py:1)"), "blocking:slow"),
        (("match (/usr/lib/python3.11/re/__init__.py:166)", "check (/srv/a/b.py:9)"), "b:check"),
        (
            ("recv (/opt/v/lib64/python3.12/site-packages/urllib3/util/ssl_.py:3)",),
            "urllib3.util.ssl_:recv",
        ),
        (("f (/usr/lib/python3/dist-packages/yaml/__init__.py:3)",), "yaml:f"),
        ((f"turn ({HERE}dataplane/wire/server.py:300)",), "shedproxy.dataplane.wire.server:turn"),
        ((f"select ({LIBRARY}selectors.py:468)",), "selectors:select"),
        (("load (<frozen importlib._bootstrap>:1)", "a (<string>:1)"), "<string>:a"),
        (("f (<doctest /srv/app/a.py>:1)",), "<doctest:f"),
        (("<lambda> (C:\\Users\\x\\y.py:1)",), "y:<lambda>"),
        (('x"y\n{ (/a/ü b.py:1)',), "__b:x_y__"),
        ((f"{'f' * 500} (/a/{'m' * 500}.py:1)",), f"{'m' * 48}:{'f' * 31}"),
    ],
)
def test_a_place_is_a_module_and_a_function_and_no_path(stack, place) -> None:
    assert place_of(stack) == place


def test_so_many_places_have_names_and_the_others_one() -> None:
    places = StallPlaces()
    assert dict(places.counts()) == {OTHER: 0}, "there from the start"
    for number in range(100):
        places.count(f"m:f{number}")
    places.count("m:f0")
    places.count(STOPPED)
    places.count(UNKNOWN)
    counts = dict(places.counts())
    assert len(counts) == PLACES_MAX + 3
    assert (counts["m:f0"], counts[STOPPED], counts[UNKNOWN]) == (2, 1, 1)
    assert counts[OTHER] == 100 - PLACES_MAX
