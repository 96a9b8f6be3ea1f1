"""How long a piece of work takes: laws with a given mean, drawn one by one.

The four named laws have fixed shapes, so that "bimodal" means the same everywhere: exponential has
coefficient of variation (cv) 1; log-normal has cv 2; bimodal is 0.5 of the mean for nine in ten and
5.5 of it for the tenth (cv 1.5). `recorded` repeats a list of lengths in random order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from shedproxy.core import Nanos
from shedproxy.workload.arrivals import RandomSource

__all__ = ["LAWS", "ServiceLaw", "coefficient_of_variation", "service_law"]

ServiceLaw = Callable[[], int]
"""The next length in ns, at least 1."""

LAWS = ("constant", "exponential", "lognormal", "bimodal", "uniform", "recorded")

_LOGNORMAL_CV = 2.0
_BIMODAL = ((0.9, 0.5), (0.1, 5.5))


def service_law(
    name: str,
    *,
    mean_ns: Nanos,
    rng: RandomSource,
    cv: float | None = None,
    recorded_ns: Sequence[int] = (),
) -> ServiceLaw:
    """A source of lengths with this law and mean.

    Args:
        name: one of `LAWS`.
        mean_ns: mean length, above 0; `recorded` scales its list to it.
        rng: chance; each length takes one or two draws.
        cv: coefficient of variation of `lognormal` (default 2); others have their own.
        recorded_ns: the list `recorded` draws from.

    Raises:
        ValueError: no such law, or nothing recorded.
    """
    draw = rng.random
    log = math.log
    if name == "constant":
        return lambda: mean_ns
    if name == "exponential":
        return lambda: int(-log(1.0 - draw()) * mean_ns) or 1
    if name == "uniform":
        # From half to one and a half of the mean, as in Netflix's executor simulation.
        return lambda: int((0.5 + draw()) * mean_ns) or 1
    if name == "bimodal":
        share, (short, long) = _BIMODAL[0][0], (_BIMODAL[0][1], _BIMODAL[1][1])
        short_ns, long_ns = int(mean_ns * short) or 1, int(mean_ns * long) or 1
        return lambda: short_ns if draw() < share else long_ns
    if name == "lognormal":
        return _lognormal(mean_ns, _LOGNORMAL_CV if cv is None else cv, rng)
    if name == "recorded":
        if not recorded_ns or sum(recorded_ns) <= 0:
            raise ValueError("a recorded law needs lengths above 0")
        scale = mean_ns * len(recorded_ns) / sum(recorded_ns)
        lengths = [max(1, int(length * scale)) for length in recorded_ns]
        count = len(lengths)
        return lambda: lengths[int(draw() * count)]
    raise ValueError(f"no service law is called {name!r}; there are: {', '.join(LAWS)}")


def _lognormal(mean_ns: int, cv: float, rng: RandomSource) -> ServiceLaw:
    draw = rng.random
    variance = math.log(1.0 + cv * cv)
    mu, sigma = math.log(mean_ns) - variance / 2, math.sqrt(variance)
    cos, exp, log, sqrt, turn = math.cos, math.exp, math.log, math.sqrt, 2 * math.pi

    def next_length() -> int:
        # Box and Muller 1958; the second half is thrown away to keep one request's draws its own.
        radius = sqrt(-2.0 * log(1.0 - draw()))
        return int(exp(mu + sigma * radius * cos(turn * draw()))) or 1

    return next_length


def coefficient_of_variation(name: str, cv: float | None = None) -> float:
    """Standard deviation over mean of a named law (`recorded`: unknown, taken as 1)."""
    return {
        "constant": 0.0,
        "exponential": 1.0,
        "lognormal": _LOGNORMAL_CV if cv is None else cv,
        "bimodal": 1.5,
        "uniform": math.sqrt(1 / 12),
        "recorded": 1.0,
    }[name]
