"""The metrics of a scoreboard: their names, which way is better, and how a value is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "METRICS",
    "NOTHING",
    "OVERALL",
    "SCORE",
    "Metric",
    "show_count",
    "show_percent",
    "show_plain",
    "show_score",
]

NOTHING = "-"
"""Stands where a value is missing."""


def show_score(value: float | None) -> str:
    """A number from 0 to 1, to the third decimal."""
    return NOTHING if value is None else f"{value:.3f}"


def show_percent(value: float | None) -> str:
    """A ratio, to the tenth of a percent; less to two digits. `0%` and `100%` are exact."""
    if value is None:
        return NOTHING
    percent = 100 * value
    if percent in {0, 100}:
        return f"{percent:.0f}%"
    return f"{percent:.2g}%" if abs(percent) < 0.1 else f"{percent:.1f}%"


def show_plain(value: float | None) -> str:
    """About three significant digits, thousands apart."""
    if value is None:
        return NOTHING
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{decimals}f}"


def show_count(value: float | None) -> str:
    """A whole number, thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measure of a controller."""

    key: str
    """Its name in the board."""
    label: str
    unit: str = ""
    better: Literal["high", "low"] | None = None
    show: Callable[[float | None], str] = show_plain

    @property
    def name(self) -> str:
        """The label with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def heading(self) -> str:
        """The name, and an arrow to where better is."""
        arrow = {"high": "\N{NO-BREAK SPACE}↑", "low": "\N{NO-BREAK SPACE}↓", None: ""}[self.better]
        return f"{self.name}{arrow}"

    def best(
        self, values: Mapping[str, float | None], *, apart: Collection[str] = ()
    ) -> frozenset[str]:
        """Who has the best value, all of them where several have it, those `apart` not compared.

        Nobody when there is no better and worse, or nobody to compare with.
        """
        known = {n: value for n, value in values.items() if value is not None and n not in apart}
        if self.better is None or len(known) < 2:
            return frozenset()
        best = (max if self.better == "high" else min)(known.values())
        return frozenset(name for name, value in known.items() if value == best)


SCORE = Metric(key="score", label="Score", better="high", show=show_score)

METRICS: tuple[Metric, ...] = (
    Metric(key="goodput_ratio", label="Goodput", better="high", show=show_percent),
    Metric(key="regret", label="Regret", better="low", show=show_percent),
    Metric(key="p99_ms", label="p99", unit="ms", better="low"),
    Metric(key="p99_ratio", label="p99 ratio", better="low"),
    Metric(key="false_refusal_ratio", label="False refusals", better="low", show=show_percent),
    Metric(key="inversion_ratio", label="Inversions", better="low", show=show_percent),
    Metric(key="fairness", label="Fairness", better="high", show=show_score),
    Metric(key="recovery_s", label="Recovery", unit="s", better="low"),
    Metric(key="drift_ratio", label="Drift", show=show_percent),
    Metric(key="refused_ratio", label="Refused", show=show_percent),
    Metric(key="completions", label="Completions", show=show_count),
)
"""What a result of one scenario may carry, in the order of columns."""

_OF_ONE_SCENARIO = {"p99_ms", "refused_ratio", "completions"}
OVERALL: tuple[Metric, ...] = tuple(m for m in METRICS if m.key not in _OF_ONE_SCENARIO)
"""Those that mean something over several scenarios."""
