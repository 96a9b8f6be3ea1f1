from __future__ import annotations

import os

import pytest

from shedproxy.supervisor.activation import handed_over

OURS = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3"}


@pytest.mark.parametrize(
    ("name", "environ", "fds"),
    [
        ("", OURS, (3, 4, 5)),
        ("", {**OURS, "LISTEN_FDNAMES": "web:control:web"}, (3, 4, 5)),
        ("web", {**OURS, "LISTEN_FDNAMES": "web:control:web"}, (3, 5)),
        ("control", {**OURS, "LISTEN_FDNAMES": "web:control:web"}, (4,)),
        ("mail", {**OURS, "LISTEN_FDNAMES": "web:control:web"}, ()),
        ("unknown", OURS, (3, 4, 5)),
        ("unknown", {**OURS, "LISTEN_FDNAMES": "web"}, (4, 5)),
        ("", {**OURS, "LISTEN_PID": "1"}, ()),
        ("", {"LISTEN_FDS": "1"}, ()),
        ("", {**OURS, "LISTEN_FDS": "many"}, ()),
        ("", {**OURS, "LISTEN_FDS": "0"}, ()),
        ("", {}, ()),
    ],
)
def test_descriptors_are_told_by_their_environment(name, environ, fds):
    assert handed_over(name, environ) == fds
