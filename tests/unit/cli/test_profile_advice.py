"""Profiles that may no longer be believed are told by `shedproxy check`."""

from __future__ import annotations

import pytest

from shedproxy.cli.profile_advice import profile_problems
from shedproxy.settings import Loaded, load_settings

HERE = "sha256:0123456789abcdef"
ELSEWHERE = "sha256:fedcba9876543210"
FITTED_S = 1_790_000_000.0
DAY_S = 86_400.0
TEXT = """\
[cell.default]
upstream = "http://127.0.0.1:8000"
[cell.default.profile]
id = "x"
fitted_at = "2026-09-21T14:13:20Z"
expires_after = "240h"
fingerprint = "sha256:0123456789abcdef"
capacity = [200.0, 195.0, 205.0]
knee = [4.1, 3.9, 4.3]
"""


def here(build: str) -> str:
    return HERE + build


def elsewhere(build: str) -> str:
    return ELSEWHERE + build


@pytest.fixture
def loaded(tmp_path):
    def load(text: str = TEXT) -> Loaded:
        file = tmp_path / "shedproxy.toml"
        file.write_text(text)
        return load_settings(file, environ={})

    return load


def test_a_profile_of_this_machine_is_good_until_it_expires(loaded) -> None:
    assert not list(profile_problems(loaded(), wall_s=FITTED_S + 10 * DAY_S, fingerprint=here))
    [problem] = profile_problems(loaded(), wall_s=FITTED_S + 11 * DAY_S, fingerprint=here)
    assert problem.severity == "warning"
    assert problem.message == 'the profile of cell "default" is 11 days old'
    assert (problem.note, problem.line) == ("good for 10 days", 5)
    assert problem.source.endswith("shedproxy.toml")


def test_a_profile_without_a_knee_expires_too(loaded) -> None:
    text = TEXT.partition("capacity =")[0]
    [problem] = profile_problems(loaded(text), wall_s=FITTED_S + 11 * DAY_S, fingerprint=here)
    assert problem.message == 'the profile of cell "default" is 11 days old'


def test_a_profile_of_another_machine_is_told(loaded) -> None:
    [problem] = profile_problems(loaded(), wall_s=FITTED_S, fingerprint=elsewhere)
    assert problem.message == 'the profile of cell "default" was measured on another machine'
    assert problem.path == ("cell", "default", "profile", "fingerprint")
    # The build that was measured is in it, and is no other machine.
    built = TEXT.replace('cdef"', 'cdef7"') + 'build = "7"\n'
    assert not list(profile_problems(loaded(built), wall_s=FITTED_S, fingerprint=here))
    # What live traffic taught was taught by the service that is there.
    observed = TEXT + 'source = "observed"\n'
    assert not list(profile_problems(loaded(observed), wall_s=FITTED_S, fingerprint=elsewhere))


def test_without_a_profile_nothing_is_said(loaded) -> None:
    text = '[cell.default]\nupstream = "http://127.0.0.1:8000"\n'
    assert not list(profile_problems(loaded(text), wall_s=FITTED_S, fingerprint=here))
