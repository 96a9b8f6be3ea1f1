"""Shapes of load by name: how the rate of arrivals goes with time, and which parts of it count.

A shape is a curve of rates; arrivals follow it as a Poisson process or in equal parts of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shedproxy.core import NS_PER_S, Nanos, seconds
from shedproxy.workload.curve import RateCurve

__all__ = ["SHAPES", "Level", "LoadShape", "load_shape"]

SHAPES = ("steady", "step", "ramp", "pulse", "search")
"""`search` is no curve: each of its rates follows from what became of the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A part of a shape with one rate, to be read by itself."""

    from_ns: Nanos
    until_ns: Nanos
    rate_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShape:
    """A curve with its length. `levels` are those of a step; empty where there is one only."""

    name: str
    curve: RateCurve
    length_ns: Nanos
    levels: tuple[Level, ...] = ()

    @property
    def highest_rps(self) -> float:
        """The most that it asks for."""
        return self.curve.highest_rps


def load_shape(
    name: str,
    *,
    low_rps: float,
    high_rps: float,
    length_s: float,
    step_count: int = 5,
    every_s: float = 10.0,
    pulse_s: float = 2.0,
) -> LoadShape:
    """The shape of that name between two rates; `steady` has the higher one all along.

    Raises:
        ValueError: they do not go together; says what does.
    """
    if not 0 < low_rps <= high_rps or not math.isfinite(high_rps):
        raise ValueError("rates are above 0, the lower one first")
    if not 0 < length_s < math.inf:
        raise ValueError("a load has a length above 0")
    length_ns = seconds(length_s)
    if name == "steady":
        return LoadShape(name=name, curve=RateCurve(high_rps), length_ns=length_ns)
    if low_rps == high_rps:
        raise ValueError(f"{name} goes between two rates: try 50..400")
    ratio = high_rps / low_rps
    if name == "ramp":
        curve = RateCurve(low_rps, schedule=((length_s, ratio),), is_ramp=True)
        return LoadShape(name=name, curve=curve, length_ns=length_ns)
    if name == "pulse":
        if not 0 < pulse_s < every_s or every_s > length_s:
            raise ValueError("a pulse is shorter than what it comes every, and that than the load")
        curve = RateCurve(
            low_rps, burst_every_ms=every_s * 1000, burst_ms=pulse_s * 1000, burst_factor=ratio
        )
        return LoadShape(name=name, curve=curve, length_ns=length_ns)
    if name != "step":
        raise ValueError(f"{name!r} is none of {', '.join(SHAPES)}")
    if step_count < 2:
        raise ValueError("steps are two or more")
    rates = [
        low_rps + (high_rps - low_rps) * place / (step_count - 1) for place in range(step_count)
    ]
    each_s = length_s / step_count
    bounds = [round(each_s * place * NS_PER_S) for place in range(step_count + 1)]
    return LoadShape(
        name=name,
        curve=RateCurve(
            low_rps,
            schedule=tuple(
                (each_s * place, rate / low_rps) for place, rate in enumerate(rates) if place
            ),
        ),
        length_ns=length_ns,
        levels=tuple(
            Level(from_ns=Nanos(low), until_ns=Nanos(high), rate_rps=rate)
            for low, high, rate in zip(bounds, bounds[1:], rates, strict=False)
        ),
    )
