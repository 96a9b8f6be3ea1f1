"""What `shedproxy load` was asked to play: a shape, an access log or a scenario's clients."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from shedproxy.cli import load_options
from shedproxy.cli.scenario_files import find_scenario, read_scenario
from shedproxy.core import Criticality, Nanos, seconds, to_seconds
from shedproxy.errors import StartupError
from shedproxy.loadgen.log_replay import LogReading, read_log, timed
from shedproxy.loadgen.requests import RequestSet, RequestSetError, parse_mix
from shedproxy.loadgen.scenario_player import unplayable_clients
from shedproxy.settings.quantities import parse_duration
from shedproxy.simulator.clients import Chance
from shedproxy.simulator.intentions import client_intentions
from shedproxy.workload import Mix, RandomSource
from shedproxy.workload.curve import RateCurve
from shedproxy.workload.shapes import Level, LoadShape, load_shape

__all__ = ["Asked", "LoadPlan", "make_plan"]

_RATE_MAX = 100_000.0
_REQUESTS_MAX = 2_000_000
_LENGTH_MAX_NS = seconds(7_200)
_RATES = re.compile(r"(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?")
_SPEED = re.compile(r"(\d+(?:\.\d+)?)x?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The flags that say what to play, as they were given."""

    rate: str = ""
    shape: str = "steady"
    length: str = ""
    arrivals: str = "poisson"
    step_count: int = 5
    every: str = "10s"
    pulse: str = "2s"
    log: Path | None = None
    speed: str = "1x"
    allowed: Sequence[str] = ()
    scenario: str = ""
    mix: str = "critical=1"
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Arrivals with what they send; of a search, how to make those of a rate."""

    name: str
    """In words, for the report."""
    requests: RequestSet
    length_ns: Nanos
    schedule: Sequence[tuple[Nanos, int]] = ()
    levels: tuple[Level, ...] = ()
    search: Callable[[float, int], Sequence[tuple[Nanos, int]]] | None = None
    """Makes the arrivals of a rate and a seed."""
    from_rps: float = 0.0
    upto_rps: float = 0.0
    log: LogReading | None = None
    notes: tuple[str, ...] = field(default=())


def make_plan(asked: Asked, chosen: RequestSet) -> LoadPlan:
    """The plan.

    Raises:
        typer.BadParameter: the flags do not go together, or one says nothing; it says which.
        StartupError: a file that it names cannot be read, or understood.
    """
    sources = [
        name
        for name, given in (
            ("--rate", asked.rate), ("--log", asked.log), ("--scenario", asked.scenario),
        )
        if given
    ]  # fmt: skip
    if len(sources) != 1:
        raise typer.BadParameter(
            f"it takes one of --rate, --log and --scenario, not {' and '.join(sources) or 'none'}"
        )
    if asked.arrivals not in {"poisson", "constant"}:
        raise typer.BadParameter(f"{asked.arrivals!r}: arrivals are poisson or constant")
    try:
        if asked.log is not None:
            plan = _of_log(asked, asked.log)
        elif asked.scenario:
            plan = _of_scenario(asked, chosen)
        else:
            plan = _of_shape(asked, chosen)
    except (ValueError, RequestSetError) as error:
        raise typer.BadParameter(str(error)) from None
    if len(plan.schedule) > _REQUESTS_MAX:
        raise typer.BadParameter(
            f"{len(plan.schedule)} requests are more than {_REQUESTS_MAX}: play it for less long"
        )
    if not plan.schedule and plan.search is None:
        raise typer.BadParameter("there is no arrival in it")
    return plan


def _length_ns(text: str) -> Nanos:
    length_ns = parse_duration(text)
    if not 0 < length_ns <= _LENGTH_MAX_NS:
        raise ValueError(f"a load is up to 2h long, not {text}")
    return length_ns


# --- shapes ------------------------------------------------------------------------------------


def _of_shape(asked: Asked, chosen: RequestSet) -> LoadPlan:
    match = _RATES.fullmatch(asked.rate.replace(" ", ""))
    if match is None:
        raise ValueError(f"{asked.rate!r} is no rate: try 200, or 50..400")
    low = float(match[1])
    high = float(match[2] or low)
    if high > _RATE_MAX:
        raise ValueError(f"a rate is up to {_RATE_MAX:.0f}/s")
    is_search = asked.shape == "search"
    length_ns = _length_ns(
        asked.length or (load_options.LEVEL_FOR if is_search else load_options.FOR)
    )
    if is_search:
        return LoadPlan(
            name=f"search from {low:g}/s, {to_seconds(length_ns):g} s a level",
            requests=chosen,
            length_ns=length_ns,
            search=lambda rate, seed: _arrivals(
                RateCurve(rate), asked, chosen, length_ns, seed=asked.seed + seed
            ),
            from_rps=low,
            upto_rps=high if match[2] else _RATE_MAX,
        )
    shape = load_shape(
        asked.shape, low_rps=low, high_rps=high, length_s=to_seconds(length_ns),
        step_count=asked.step_count, every_s=to_seconds(parse_duration(asked.every)),
        pulse_s=to_seconds(parse_duration(asked.pulse)),
    )  # fmt: skip
    if shape.highest_rps * to_seconds(length_ns) > 4 * _REQUESTS_MAX:
        raise ValueError(f"that is more than {_REQUESTS_MAX} requests: play it for less long")
    return LoadPlan(
        name=_name(shape, asked.rate),
        requests=chosen,
        length_ns=length_ns,
        schedule=_arrivals(shape.curve, asked, chosen, length_ns, seed=asked.seed),
        levels=shape.levels,
    )


def _name(shape: LoadShape, rate: str) -> str:
    return f"{shape.name} {rate}/s, {to_seconds(shape.length_ns):g} s"


def _arrivals(
    curve: RateCurve, asked: Asked, chosen: RequestSet, length_ns: Nanos, *, seed: int
) -> list[tuple[Nanos, int]]:
    rng = _rng(seed, "arrivals")
    draw = chosen.drawing(_rng(seed, "requests"))
    chance = rng if asked.arrivals == "poisson" else None
    return [(offset, draw()) for offset in curve.arrivals(duration_ns=length_ns, rng=chance)]


def _rng(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed}/{name}")  # noqa: S311 - a repeatable workload, not a secret


# --- logs and scenarios ------------------------------------------------------------------------


def _of_log(asked: Asked, file: Path) -> LoadPlan:
    match = _SPEED.fullmatch(asked.speed.strip())
    speed = float(match[1]) if match else 0.0
    if not 0.001 <= speed <= 1000:
        raise ValueError(f"{asked.speed!r} is no speed: try 2x, or 0.5x")
    try:
        reading = read_log(file, allowed=asked.allowed)
    except RequestSetError as error:
        raise StartupError(str(error)) from None
    mix, rng = Mix(parse_mix(asked.mix)), _rng(asked.seed, "classes")
    classes: list[Criticality] = [mix.draw(rng) for _ in reading.requests]
    specs, schedule = timed(reading.requests, speed=speed, classes=classes)
    if asked.length:
        until_ns = _length_ns(asked.length)
        schedule = [arrival for arrival in schedule if arrival[0] < until_ns]
        length_ns = min(until_ns, Nanos(schedule[-1][0] + 1))
    else:
        length_ns = Nanos(schedule[-1][0] + 1)
        if length_ns > _LENGTH_MAX_NS:
            raise ValueError(
                f"at {speed:g}x the log takes {to_seconds(length_ns) / 3600:.1f} h: say a --speed, "
                "or play its beginning with --for"
            )
    notes = ["Its times are whole seconds: requests of one second are spread over it."]
    return LoadPlan(
        name=f"{file.name} at {speed:g}x",
        requests=RequestSet(specs),
        length_ns=length_ns,
        schedule=schedule,
        log=reading,
        notes=tuple(notes) if reading.is_coarse else (),
    )


def _of_scenario(asked: Asked, chosen: RequestSet) -> LoadPlan:
    scenario = read_scenario(find_scenario(asked.scenario))
    problems = unplayable_clients(scenario)
    if problems:
        raise StartupError(
            "\n  ".join([f"the clients of {scenario.name} cannot be played live:", *problems])
        )
    asks = client_intentions(scenario, _chance(asked.seed), salt=asked.seed)
    length_ns = seconds(scenario.duration_s)
    if asked.length:
        length_ns = min(length_ns, _length_ns(asked.length))
    classes = {criticality: 1.0 for _, criticality in asks} or {Criticality.CRITICAL: 1.0}
    requests = RequestSet(chosen.specs, classes)
    draws = {one: requests.drawing_of(one, _rng(asked.seed, one.label)) for one in classes}
    ignored = len(scenario.event)
    return LoadPlan(
        name=f"clients of {scenario.name}",
        requests=requests,
        length_ns=length_ns,
        schedule=[
            (offset, draws[criticality]()) for offset, criticality in asks if offset < length_ns
        ],
        notes=(f"{ignored} events of its backend are not played.",) if ignored else (),
    )


def _chance(seed: int) -> Chance:
    def chance(name: str) -> RandomSource:
        return _rng(seed, name)

    return chance
