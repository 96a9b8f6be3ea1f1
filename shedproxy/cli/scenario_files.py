"""Scenario files: which one a command means, and what is wrong with it, line by line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import shedproxy
from shedproxy.errors import ConfigInvalidError, DocumentInvalidError, Problem, StartupError
from shedproxy.settings.file_layer import FileLayer, read_file
from shedproxy.settings.layers import locate
from shedproxy.settings.shape import nearest
from shedproxy.workload.scenario import Scenario
from shedproxy.workload.scenario_document import decode_scenario
from shedproxy.workload.table_decoder import TableInvalidError

__all__ = [
    "SUITE",
    "complete_scenario",
    "find_family",
    "find_scenario",
    "find_suite",
    "is_pattern",
    "read_scenario",
    "read_suite",
]

SUITE = Path("loadtests/scenarios")
"""The suite in a source tree, looked for under the current directory."""

_LISTED = "shedproxy simulate --list names them all"
_SHIPPED = Path(shedproxy.__file__).parent / "scenarios"
"""The same files in an installed wheel."""


def find_suite(named: Path | None = None) -> Path:
    """The folder that is meant: the named one, else the suite of this tree, else the shipped one.

    Raises:
        StartupError: there is no such folder.
    """
    if named is not None:
        if not named.is_dir():
            raise StartupError(f"there is no folder {named}")
        return named
    for folder in (SUITE, _SHIPPED):
        if folder.is_dir():
            return folder
    raise StartupError(
        f"there is no suite: neither {SUITE} here nor one in the package; "
        "name a folder of scenario files: shedproxy simulate DIR"
    )


def find_scenario(named: str) -> Path:
    """The file of a path, or of a name from the suite (`overload-2x`).

    Raises:
        StartupError: there is none; the message names the nearest.
    """
    path = Path(named)
    if path.is_file():
        return path
    if path.is_dir():
        raise StartupError(f"{named} is a folder, and no scenario file")
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise StartupError(f"there is no scenario file {named}")
    try:
        folder = find_suite()
    except StartupError as error:
        raise StartupError(f"there is no scenario file {named}, and {error}") from None
    file = folder / f"{named}.toml"
    if file.is_file():
        return file
    near = nearest(named, [file.stem for file in _files_in(folder)])
    hint = f"; did you mean {near}?" if near else f"; {_LISTED}"
    raise StartupError(f"there is no scenario {named} in {folder}{hint}")


def find_family(pattern: str) -> Sequence[Path]:
    """The files of the suite whose names match a pattern (`meta-*`), by name.

    Raises:
        StartupError: there is none.
    """
    folder = find_suite()
    files = [file for file in _files_in(folder) if fnmatchcase(file.stem, pattern)]
    if not files:
        raise StartupError(f"no scenario in {folder} matches {pattern}; {_LISTED}")
    return files


def complete_scenario(begun: str) -> list[str]:
    """What a shell may complete: scenarios of the suite, then files and folders."""
    try:
        named = [file.stem for file in _files_in(find_suite())]
    except StartupError:
        named = []
    folder = Path(begun) if begun.endswith("/") else Path(begun).parent
    beside = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [f"{one}/" if one.is_dir() else f"{one}" for one in beside]
    files = [path for path in paths if path.endswith(("/", ".toml"))]
    return [name for name in (*named, *files) if name.startswith(begun)]


def is_pattern(named: str) -> bool:
    """Whether a name stands for several of the suite."""
    return any(character in named for character in "*?[") and not Path(named).exists()


def read_scenario(file: Path) -> Scenario:
    """The scenario of one file, named after it if it has no name of its own.

    Raises:
        ConfigInvalidError: with every problem, each at its line.
    """
    if not file.exists():
        raise ConfigInvalidError([Problem(message=f"there is no file {file}", source=str(file))])
    layer = read_file(file)
    if not layer.values:
        message = f"{file} says nothing: a scenario has a [backend] and [[client]] tables"
        raise ConfigInvalidError([Problem(message=message, source=str(file))])
    try:
        scenario = decode_scenario(layer.values, name=file.stem)
    except TableInvalidError as error:
        problems = [
            _placed(problem, layer, on_key=problem.path in error.unknown_keys)
            for problem in error.problems
        ]
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise ConfigInvalidError(problems) from error
    if problems := [_placed(problem, layer, on_key=False) for problem in _misnamed(scenario)]:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise ConfigInvalidError(problems)
    return scenario


def _misnamed(scenario: Scenario) -> Iterator[Problem]:
    """Figures and controllers that there are not: what is bound would never be looked at."""
    from shedproxy.simulator.figure_names import figure_names
    from shedproxy.simulator.registry import CONTROLLERS

    figures = figure_names(scenario)
    for index, expectation in enumerate(scenario.expect):
        path = ("expect", f"{index}")
        if expectation.metric not in figures:
            yield _unknown("figure", expectation.metric, figures, (*path, "metric"))
        for name in expectation.by:
            if name not in CONTROLLERS:
                yield _unknown("controller", name, CONTROLLERS, (*path, "by"))
    for name in scenario.controllers:
        if name not in CONTROLLERS:
            yield _unknown("controller", name, CONTROLLERS, ("controllers",))


def _unknown(kind: str, name: str, known: Collection[str], path: tuple[str, ...]) -> Problem:
    near = nearest(name, sorted(known))
    return Problem(
        message=f"there is no {kind} {name}",
        path=path,
        note=f"did you mean {near}?" if near else "",
        help="" if near else f"there are: {', '.join(sorted(known))}",
    )


def read_suite(folder: Path) -> list[Scenario]:
    """Every scenario of a folder, by name.

    Raises:
        StartupError: there is none.
        ConfigInvalidError: with every problem of all files.
    """
    files = _files_in(folder)
    if not files:
        raise StartupError(f"{folder} has no scenario files (*.toml)")
    scenarios: list[Scenario] = []
    problems: list[Problem] = []
    for file in files:
        try:
            scenario = read_scenario(file)
        except DocumentInvalidError as error:
            problems += error.problems
            continue
        if any(scenario.name == other.name for other in scenarios):
            message = f'a second scenario is called "{scenario.name}"'
            problems.append(Problem(message=message, source=str(file)))
        scenarios.append(scenario)
    if problems:
        raise ConfigInvalidError(problems)
    return scenarios


def _files_in(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.toml"))


def _placed(problem: Problem, layer: FileLayer, *, on_key: bool) -> Problem:
    """The problem with the line it is about; one that is about no line names the file."""
    spot = locate([layer], problem.path, on_key=on_key)
    return replace(
        problem,
        source=spot.source or layer.name,
        line=spot.line,
        column=spot.column,
        length=spot.length,
        excerpt=spot.excerpt,
    )
