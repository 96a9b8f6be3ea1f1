"""Values with their intervals on one axis, a row each: drawings for the cells of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from shedproxy.cli.charts.markup import Html, element

__all__ = ["IntervalAxis"]

_WIDTH, _HEIGHT, _MARGIN = 190, 20, 14
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_MOST_STEPS = 4


@dataclass(frozen=True, slots=True)
class IntervalAxis:
    """An axis from `low` to `high` with a tick every `step`."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Iterable[float]) -> IntervalAxis:
        """The narrowest axis with round ends and at most four steps that holds all the values."""
        known = list(values) or [0.0]
        for step in _STEPS:
            low, high = math.floor(min(known) / step), math.ceil(max(known) / step)
            if high - low <= _MOST_STEPS:
                return cls(low * step, max(high, low + 1) * step, step)
        raise ValueError(f"values from {min(known)} to {max(known)} are no scores")

    def head(self) -> Html:
        """The ticks with their numbers, for the column's head."""
        decimals = max(0, math.ceil(-math.log10(self.step) - 1e-9))
        labels = [
            element("text", f"{tick:.{decimals}f}", x=self._place(tick), y=14, text_anchor="middle")
            for tick in self._ticks()
        ]
        return _drawing(labels)

    def mark(self, value: float, low: float | None, high: float | None) -> Html:
        """A stroke at `value`, and a bar from `low` to `high` where both are known.

        What begins left of the axis is cut there; a value left of it is an arrow that points to it.
        """
        middle = _HEIGHT / 2
        parts = [
            element("line", x1=x, x2=x, y1=0, y2=_HEIGHT, class_="axis")
            for x in map(self._place, self._ticks())
        ]
        if low is not None and high is not None:
            ends = {"x1": self._place(max(low, self.low)), "x2": self._place(max(high, self.low))}
            parts.append(element("line", y1=middle, y2=middle, class_="range", **ends))
        if value < self.low:
            arrow = f"{_MARGIN - 3},{middle - 4} {_MARGIN - 10},{middle} {_MARGIN - 3},{middle + 4}"
            parts.append(element("polyline", points=arrow, class_="beyond"))
        else:
            x = self._place(value)
            parts.append(element("line", x1=x, x2=x, y1=middle - 6, y2=middle + 6, class_="value"))
        return _drawing(parts)

    def _ticks(self) -> list[float]:
        count = round((self.high - self.low) / self.step)
        return [self.low + self.step * i for i in range(count + 1)]

    def _place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_MARGIN + share * (_WIDTH - 2 * _MARGIN), 1)


def _drawing(parts: list[Html]) -> Html:
    # Its numbers stand beside it in the row.
    return element(
        "svg", *parts, class_="interval", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", aria_hidden="true"
    )
