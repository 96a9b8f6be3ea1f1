"""Whether profiles may still be believed: how old they are, and of which machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from shedproxy.core import NS_PER_S
from shedproxy.errors import Problem

if TYPE_CHECKING:
    from shedproxy.settings import Loaded
    from shedproxy.settings.cells import ProfileSettings

__all__ = ["profile_problems"]

_DAY_S = 86_400
_AGAIN = "run shedproxy calibrate URL --write again, or without --write to see what would change"


def profile_problems(
    loaded: Loaded, *, wall_s: float, fingerprint: Callable[[str], str]
) -> Iterator[Problem]:
    """A warning for every profile that is too old, or was measured somewhere else.

    `wall_s` is now, in seconds of the epoch; `fingerprint` is that of this machine with a
    build, and says nothing of a profile that live traffic made.
    """
    for name, cell in loaded.settings.cell.items():
        profile = cell.profile
        if not profile.id:
            continue
        fitted = profile.fitted_at
        age_s = wall_s - datetime.fromisoformat(fitted).timestamp() if fitted else 0.0
        if age_s * NS_PER_S > profile.expires_after:
            yield _warning(
                loaded,
                (name, "fitted_at"),
                f'the profile of cell "{name}" is {int(age_s / _DAY_S)} days old',
                note=f"good for {profile.expires_after / NS_PER_S / _DAY_S:g} days",
            )
        this = fingerprint(profile.build)
        if _is_of_load(profile) and profile.fingerprint != this:
            yield _warning(
                loaded,
                (name, "fingerprint"),
                f'the profile of cell "{name}" was measured on another machine',
                note=f"this one is {this}: other processors, quota, kernel or Python",
            )


def _is_of_load(profile: ProfileSettings) -> bool:
    return profile.source == "load" and bool(profile.fingerprint)


def _warning(loaded: Loaded, place: tuple[str, str], message: str, *, note: str) -> Problem:
    path = ("cell", place[0], "profile", place[1])
    written = loaded.sources.get(".".join(path), "")
    source, _, line = written.rpartition(":")
    return Problem(
        message=message,
        path=path,
        source=source or written,
        line=int(line) if line.isdigit() else 0,
        note=note,
        help=_AGAIN,
        severity="warning",
    )
