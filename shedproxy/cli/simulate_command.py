"""`shedproxy simulate`: scenarios by controllers by seeds, in virtual time."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import random
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shedproxy.cli import simulate_options as options
from shedproxy.cli.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.simulator.suite import Job, JobResult
    from shedproxy.workload import RandomSource
    from shedproxy.workload.scenario import Scenario

__all__ = ["simulate"]


_SEEDS = 5
_GENERATED = re.compile(r"generated-(0\d{3}|[1-9]\d{3,5})")
"""What the generator calls its scenarios: one of them can be run again."""
_CHARTED_MAX = 10
"""Of more generated scenarios no course over time is kept: nobody would look at them all."""
_RULES_ARE = (
    "How scores are made: loadtests/README.md, Scoring rules; with several scenarios they are"
    " printed, in --html and --json they are kept."
)


def simulate(
    scenarios: options.Scenarios = None,
    suite: options.Suite = False,
    only_list: options.List = False,
    generated: options.Generated = 0,
    generator_seed: options.GeneratorSeed = 1,
    controllers: options.Controllers = None,
    seeds: options.Seeds = _SEEDS,
    refusals: options.Refusals = False,
    check: options.Check = False,
    jobs: options.Jobs = None,
    sample: options.Sample = 200,
    as_json: options.AsJson = False,
    html: options.HtmlFile = None,
) -> None:
    """Run scenarios under controllers in virtual time, and compare them with an oracle.

    Every controller meets the same requests with the same work. Exit code 1 when an expectation of
    a scenario is not met or a rule of the run is broken. Ctrl-C shows what was measured so far.

    Examples:
        shedproxy simulate --list
        shedproxy simulate overload-4x20ms-exponential-3x
        shedproxy simulate 'meta-*' --controller shedproxy --controller none --seeds 1
        shedproxy simulate --suite --controller shedproxy --check
        shedproxy simulate my-scenarios/ --seeds 10 --html scoreboard.html
        shedproxy simulate --generated 100 --generator-seed 7 --html fresh.html
        shedproxy simulate healthy-load-0.9 --controller shedproxy --refusals --seeds 200
    """
    from shedproxy.simulator.board import make_board

    suite = suite or (only_list and not (scenarios or generated))
    chosen = _scenarios(
        scenarios or [], is_suite=suite, generated=generated, generator_seed=generator_seed
    )
    if only_list:
        _list(chosen, as_json=as_json)
        return
    if refusals:
        chosen = [_only_of_refusals(scenario) for scenario in chosen]
    _check_folder(html)
    wants_series = (as_json or html is not None) and not refusals
    work = _jobs(
        chosen,
        _controllers(controllers or []),
        seeds,
        is_checked=check,
        sample=sample,
        with_series=wants_series,
        only_refusals=refusals,
    )
    run = _run(work, jobs or os.cpu_count() or 1)
    board = make_board(
        chosen,
        run.results,
        _about(generated, generator_seed, only_refusals=refusals, is_checked=check),
        rng=_chance(0, "intervals"),
    )
    _show(board, as_json=as_json, html=html)
    _end(board, run, asked_count=len(work))


def _check_folder(html: Path | None) -> None:
    """Before hours of work, not after.

    Raises:
        typer.BadParameter: there is none.
    """
    if html is not None and not html.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {html.parent}", param_hint="--html")


def _list(scenarios: Sequence[Scenario], *, as_json: bool) -> None:
    from shedproxy.cli.scenario_list import list_as_json, list_as_text
    from shedproxy.simulator.registry import CONTROLLERS

    shown = list_as_json(scenarios) if as_json else list_as_text(scenarios, tuple(CONTROLLERS))
    typer.echo(shown)


# --- what is run ----------------------------------------------------------------------------


def _scenarios(
    named: Sequence[str], *, is_suite: bool, generated: int, generator_seed: int
) -> list[Scenario]:
    from shedproxy.cli.scenario_files import (
        find_family,
        find_scenario,
        find_suite,
        is_pattern,
        read_scenario,
        read_suite,
    )

    if not (named or is_suite or generated):
        raise typer.BadParameter(
            "name a scenario (--list shows them), or say --suite", param_hint="SCENARIO"
        )
    found: dict[str, Scenario] = {}
    for scenario in read_suite(find_suite()) if is_suite else []:
        found[scenario.name] = scenario
    for name in named:
        if Path(name).is_dir():
            for scenario in read_suite(Path(name)):
                found[scenario.name] = scenario
        elif (match := _GENERATED.fullmatch(name)) and not Path(name).exists():
            found[name] = _generate(int(match[1]), generator_seed)
        else:
            for file in find_family(name) if is_pattern(name) else [find_scenario(name)]:
                scenario = read_scenario(file)
                found[scenario.name] = scenario
    for number in range(1, generated + 1):
        scenario = _generate(number, generator_seed)
        found[scenario.name] = scenario
    return list(found.values())


def _generate(number: int, generator_seed: int) -> Scenario:
    from shedproxy.simulator.generator import generate_scenario

    return generate_scenario(number, _chance(generator_seed, f"generated {number}"))


def _controllers(named: Sequence[str]) -> tuple[str, ...]:
    """Names as given, `all` and none at all standing for every one.

    Raises:
        typer.BadParameter: there is no such controller.
    """
    from shedproxy.settings.shape import nearest
    from shedproxy.simulator.registry import CONTROLLERS

    for name in named:
        if name not in CONTROLLERS and name != "all":
            near = nearest(name, CONTROLLERS)
            hint = f"did you mean {near}?" if near else f"there are: {', '.join(CONTROLLERS)}"
            raise typer.BadParameter(f"no controller is called {name!r}; {hint}")
    if not named or "all" in named:
        return tuple(CONTROLLERS)
    return tuple(dict.fromkeys(named))


def _jobs(
    scenarios: Sequence[Scenario],
    controllers: Sequence[str],
    seeds: int,
    *,
    is_checked: bool,
    sample: int,
    with_series: bool,
    only_refusals: bool,
) -> list[Job]:
    """One for each scenario and seed: all scenarios once, then all again, the long ones first."""
    from shedproxy.simulator.suite import Job, controllers_of, expected_requests

    ordered = sorted(scenarios, key=expected_requests, reverse=True)
    few = sum(one.group == "Generated" for one in scenarios) <= _CHARTED_MAX
    work = [
        Job(
            scenario=scenario,
            seed=seed,
            controllers=names,
            is_checked=is_checked,
            sample_count=sample,
            only_refusals=only_refusals,
            with_series=with_series and seed == 1 and (few or scenario.group != "Generated"),
        )
        for seed in range(1, seeds + 1)
        for scenario in ordered
        if (names := controllers_of(scenario, controllers))
    ]
    if not work:
        raise typer.BadParameter("no scenario is open to any of these", param_hint="--controller")
    return work


def _only_of_refusals(scenario: Scenario) -> Scenario:
    """Without what is expected of figures that need another oracle."""
    from shedproxy.simulator.suite import is_of_refusals

    return replace(scenario, expect=tuple(e for e in scenario.expect if is_of_refusals(e.metric)))


def _about(generated: int, generator_seed: int, *, only_refusals: bool, is_checked: bool) -> Any:
    import shedproxy
    from shedproxy.simulator.board import About

    arguments = " ".join(sys.argv[1:]) if Path(sys.argv[0]).stem != "pytest" else "simulate"
    return About(
        version=shedproxy.__version__,
        command=f"shedproxy {arguments}",
        python=platform.python_version(),
        generated_count=generated,
        generated_seed=generator_seed,
        measured="refusals" if only_refusals else "everything",
        is_checked=is_checked,
    )


# --- running it -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    results: list[JobResult]
    was_interrupted: bool


def _chance(seed: int, name: str) -> RandomSource:
    return random.Random(f"{seed}/{name}")  # noqa: S311 - repeatable, not a secret


class _Streams:
    """Streams of chance of a seed, by name."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, name: str) -> RandomSource:
        return _chance(self._seed, name)


def _work(job: Job) -> JobResult:
    from shedproxy.simulator.suite import run_job

    return run_job(job, _Streams)


def _run(work: Sequence[Job], processes: int) -> _Run:
    """All jobs; what was done of them, if it is interrupted.

    Raises:
        typer.Exit: nothing was done.
    """
    from shedproxy.cli.progress_line import ProgressLine

    progress = ProgressLine(len(work), sum(map(_cost, work)))
    results: list[JobResult] = []
    costs = {(job.scenario.name, job.seed): _cost(job) for job in work}
    try:
        for result in _results(work, min(processes, len(work))):
            results.append(result)
            progress.advance(costs[result.scenario, result.seed])
    except KeyboardInterrupt:
        if not results:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        return _Run(results, was_interrupted=True)
    finally:
        progress.close()
    return _Run(results, was_interrupted=False)


def _cost(job: Job) -> float:
    from shedproxy.simulator.suite import expected_requests

    references = 1 if job.only_refusals else 3
    return (len(job.controllers) + references) * (expected_requests(job.scenario) + 1_000)


def _results(work: Sequence[Job], processes: int) -> Iterator[JobResult]:
    if processes == 1:
        yield from map(_work, work)
        return
    # Started afresh: a copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=_leave_interrupts_to_parent) as pool:
        yield from pool.imap_unordered(_work, work)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(board: dict[str, Any], run: _Run, *, asked_count: int) -> None:
    """End as what was run deserves.

    Raises:
        typer.Exit: it was interrupted, or something is not as it should be.
    """
    from shedproxy.simulator.board import has_failed

    if run.was_interrupted:
        typer.echo(f"interrupted: {len(run.results)} of {asked_count} runs are shown", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if has_failed(board):
        raise typer.Exit(EXIT_FAILED)


# --- showing it -----------------------------------------------------------------------------


def _show(board: dict[str, Any], *, as_json: bool, html: Path | None) -> None:
    if as_json:
        typer.echo(json.dumps(board))
    else:
        _print(board)
    if html is not None:
        from shedproxy.cli.scoreboard_page import render_scoreboard

        try:
            html.write_text(render_scoreboard(board), encoding="utf-8")
        except OSError as error:
            raise StartupError(f"cannot write {html}: {error.strerror}") from error
        typer.echo(f"written: {html}", err=True)


def _print(board: dict[str, Any]) -> None:
    from rich.console import Console

    from shedproxy.cli.scoreboard_table import render_table

    console = Console()
    if "overall" in board:
        for rule in board["scoring"]["rules"]:
            console.print(f"- {rule}", style="dim", highlight=False)
        console.print()
    console.print(render_table(board))
    if (generated := board.get("generated")) is not None:
        console.print(
            f"{generated['count']} generated scenarios, drawn from seed {generated['seed']}",
            highlight=False,
        )
    if "overall" not in board:
        console.print(_RULES_ARE, style="dim", highlight=False)
