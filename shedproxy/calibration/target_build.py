"""Of which build of the service a calibration is, and whether a settings file is about another.

Nothing is guessed from what a service answers: people name its build, to `calibrate`, or where
the settings name their upstreams ("URL version=2").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from shedproxy.calibration.results import Calibration
from shedproxy.errors import Problem
from shedproxy.settings import load_settings
from shedproxy.settings.cells import CellSettings
from shedproxy.settings.compile import cells_of
from shedproxy.settings.upstreams import split_upstream

__all__ = ["build_in_files", "build_problems", "check_build"]

_LENGTH_MAX = 200


def check_build(name: str) -> str:
    """The name, if it can be one.

    Raises:
        ValueError: it is too long, or not one line of printable text.
    """
    if len(name) > _LENGTH_MAX or not name.isprintable():
        raise ValueError(f"a build is named in one line of {_LENGTH_MAX} characters at most")
    return name.strip()


def build_in_files(files: Iterable[Path], cell: str) -> str:
    """The one version that all upstreams of the cell have; "" where they do not say so.

    Raises:
        ConfigInvalidError: a file is no valid settings.
        OSError: it cannot be read.
    """
    for file in files:
        versions = _versions(file, cell)
        if len(versions) == 1:
            return versions.pop()
    return ""


def build_problems(calibration: Calibration, file: Path) -> Iterator[Problem]:
    """Warnings that the calibration and what a settings file says are of two builds.

    Raises:
        ConfigInvalidError: the file is no valid settings.
        OSError: it cannot be read.
    """
    build, thresholds = calibration.provenance.target_build, calibration.thresholds
    for made in thresholds.cells if build and thresholds else ():
        profile = _cell(file, made.name).profile
        before = profile.build
        if profile.id and before and before != build:
            yield _warning(
                f'the profile of cell "{made.name}" in {file} was made for build {before}, '
                f"this one for {build}"
            )
        others = sorted(_versions(file, made.name) - {build, ""})
        if others:
            yield _warning(
                f'this profile was made for build {build}; upstreams of cell "{made.name}" in '
                f"{file} have {', '.join(others)}"
            )


def _warning(message: str) -> Problem:
    return Problem(message=message, severity="warning")


def _cell(file: Path, name: str) -> CellSettings:
    if not file.exists():
        return CellSettings()
    return cells_of(load_settings(file).settings).get(name, CellSettings())


def _versions(file: Path, name: str) -> set[str]:
    """Of the upstreams of a cell; those that have none of their own have the default's."""
    upstreams = _cell(file, name).upstream or _cell(file, "default").upstream
    return {version for _, _, version in map(split_upstream, upstreams)}
