"""What a scoreboard comes to: who is first and by how much, what was not met, where we lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shedproxy.cli.scoreboard_metrics import show_score

__all__ = [
    "OURS",
    "Finding",
    "Loss",
    "Standing",
    "Verdict",
    "by_score",
    "read_verdict",
    "score_interval",
]

Board = Mapping[str, Any]

OURS = "shedproxy"
"""The controller that this project is answerable for."""
_LIKE = {
    "lead_unaware": "have to find out what the service can do",
    "lead_aware": "were told, yardsticks among them",
}
"""Leads of a part of the controllers."""
_LEVEL = 0.0005
"""Scores are written to three decimals; what is closer than half of the last one is level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A controller's score over all scenarios."""

    controller: str
    score: float | None
    low: float | None = None
    high: float | None = None
    is_yardstick: bool = False
    knows_capacity: bool = False
    """It was told what others have to find out."""
    place: int | None = None
    """From 1; None for a yardstick, which takes no place, and for one without a score."""

    @property
    def interval(self) -> str | None:
        """`0.968 to 0.978`, where both ends are known."""
        if self.low is None or self.high is None:
            return None
        return f"{show_score(self.low)} to {show_score(self.high)}"

    def __str__(self) -> str:
        score = show_score(self.score)
        return score if self.interval is None else f"{score} ({self.interval})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that should not be: an expectation not met, or a rule of the run violated."""

    scenario: str
    title: str
    controller: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A scenario on which another controller has the better score than ours."""

    scenario: str
    title: str
    ours: float
    best: str
    best_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first thing to read."""

    headline: str
    remarks: tuple[str, ...]
    standings: tuple[Standing, ...]
    """Best first, yardsticks among them; empty where there is no score over all scenarios."""
    kept: tuple[Finding, ...]
    """Expectations that were met."""
    failures: tuple[Finding, ...]
    """Those that were not."""
    violations: tuple[Finding, ...]
    is_checked: bool
    """Whether violations were looked for."""
    losses: tuple[Loss, ...]
    """Greatest first; none where there is one scenario, of which the headline tells."""
    compared_count: int
    """Scenarios on which ours and another have a score."""

    @property
    def yardsticks(self) -> frozenset[str]:
        """Controllers that show what is possible, and are not compared."""
        return frozenset(s.controller for s in self.standings if s.is_yardstick)

    @property
    def expectation_count(self) -> int:
        """How many there were, met or not."""
        return len(self.kept) + len(self.failures)

    @property
    def met_count(self) -> int:
        """How many expectations were met."""
        return len(self.kept)


def read_verdict(board: Board) -> Verdict:
    """Weigh a board (schema 1)."""
    standings = _standings(board)
    headline, remarks = _words(standings, is_single=len(board["scenarios"]) == 1)
    if board.get("measured") == "refusals":
        headline = "Refusals only: nothing is scored."
    remarks = (*_leads(board), *remarks)
    expectations = list(_expectations(board))
    losses, compared_count = _losses(board, {s.controller for s in standings if s.is_yardstick})
    return Verdict(
        headline=headline,
        remarks=remarks,
        standings=standings,
        kept=tuple(finding for finding, is_met in expectations if is_met),
        failures=tuple(finding for finding, is_met in expectations if not is_met),
        violations=tuple(_violations(board)),
        is_checked=bool(board.get("checked")),
        losses=losses,
        compared_count=compared_count,
    )


def by_score(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Results with the best first, those without a score last."""
    return sorted(
        results, key=lambda result: (result.get("score") is None, -(result.get("score") or 0.0))
    )


def score_interval(result: Mapping[str, Any]) -> str | None:
    """`0.968 to 0.978` of a result's score over its seeds, where there is one."""
    low, high = result.get("score_low"), result.get("score_high")
    if low is None or high is None:
        return None
    return f"{show_score(low)} to {show_score(high)}"


def _standings(board: Board) -> tuple[Standing, ...]:
    rows: Sequence[Mapping[str, Any]] = board.get("overall") or ()
    if not rows and len(board["scenarios"]) == 1:
        rows = by_score(board["scenarios"][0]["results"])
    standings, place = [], 0
    for row in rows:
        is_yardstick = bool(row.get("is_yardstick"))
        has_place = not is_yardstick and row.get("score") is not None
        place += has_place
        standings.append(
            Standing(
                controller=row["controller"],
                score=row.get("score"),
                low=row.get("low", row.get("score_low")),
                high=row.get("high", row.get("score_high")),
                is_yardstick=is_yardstick,
                knows_capacity=bool(row.get("knows_capacity")),
                place=place if has_place else None,
            )
        )
    return tuple(standings)


def _words(standings: Sequence[Standing], *, is_single: bool) -> tuple[str, tuple[str, ...]]:
    placed = [standing for standing in standings if standing.place is not None]
    if not placed:
        return _nobody_placed(standings, is_single=is_single)
    first, *others = placed
    remarks = []
    if not others:
        headline = f"{first.controller} scores {first}."
    else:
        second, count = others[0], len(placed)
        headline = (
            f"{first.controller} is first of {count}: {first},"
            f" {_gap(first, second)} {second.controller}."
        )
        if first.low is not None and second.high is not None:
            touch = "overlap" if first.low <= second.high else "do not overlap"
            remarks.append(
                f"{second.controller} has {second}: the intervals of the first two {touch}."
            )
    ours = next((standing for standing in others if standing.controller == OURS), None)
    if ours is not None:
        remarks.append(
            f"{OURS} takes place {ours.place} of {len(placed)}: {ours},"
            f" {_gap(ours, first)} {first.controller}."
        )
    remarks += [
        f"{yardstick.controller} is a yardstick and takes no place: {yardstick},"
        f" {_gap(yardstick, first)} {first.controller}."
        for yardstick in standings
        if yardstick.is_yardstick and yardstick.score is not None
    ]
    return headline, tuple(remarks)


def _nobody_placed(
    standings: Sequence[Standing], *, is_single: bool
) -> tuple[str, tuple[str, ...]]:
    yardsticks = [f"{one.controller} has {one}." for one in standings if one.score is not None]
    if yardsticks:
        return "Only yardsticks were run, and they take no place.", tuple(yardsticks)
    if is_single:
        return "This scenario has no score: what is expected of it says how it went.", ()
    return "There is no score over all scenarios.", ()


def _leads(board: Board) -> Iterator[str]:
    """By how much the first is ahead of the second on the same requests: of all, like with like."""
    lead = board.get("lead")
    if lead is not None:
        yield f"{_lead(lead)}."
    for key, who in _LIKE.items():
        alike = board.get(key)
        if alike is not None and alike != lead:
            yield f"Of those that {who}: {_lead(alike)}."


def _lead(lead: Mapping[str, Any]) -> str:
    touch = "clear of 0" if lead["low"] > 0 else "not clear of 0"
    return (
        f"{lead['first']} less {lead['second']}, in pairs: {lead['difference']:+.4f}"
        f" ({lead['low']:+.4f} to {lead['high']:+.4f}), {touch}"
    )


def _gap(one: Standing, other: Standing) -> str:
    """`0.012 ahead of`, `0.012 behind` or `level with`: to be followed by the other's name."""
    gap = (one.score or 0.0) - (other.score or 0.0)
    if abs(gap) < _LEVEL:
        return "level with"
    return f"{abs(gap):.3f} {'ahead of' if gap > 0 else 'behind'}"


def _results(board: Board) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for scenario in board["scenarios"]:
        for result in scenario["results"]:
            yield scenario, result


def _finding(scenario: Mapping[str, Any], result: Mapping[str, Any], text: str) -> Finding:
    return Finding(
        scenario=scenario["name"],
        title=scenario.get("title") or scenario["name"],
        controller=result["controller"],
        text=text,
    )


def _expectations(board: Board) -> Iterator[tuple[Finding, bool]]:
    for scenario, result in _results(board):
        for expectation in result.get("expectations") or ():
            actual = expectation.get("actual")
            got = show_actual(actual) if actual is None else f"got {show_actual(actual)}"
            text = f"expected {expectation['text']}, {got}"
            yield _finding(scenario, result, text), expectation["is_met"]


def show_actual(value: Any) -> str:
    """What was measured against an expectation."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "not measured" if value is None else str(value)


def _violations(board: Board) -> Iterator[Finding]:
    for scenario, result in _results(board):
        for violation in result.get("violations") or ():
            yield _finding(scenario, result, violation)


def _losses(board: Board, yardsticks: set[str]) -> tuple[tuple[Loss, ...], int]:
    """Where another has the better score, and on how many scenarios there was one to compare."""
    losses: list[Loss] = []
    compared_count = 0
    for scenario in board["scenarios"] if len(board["scenarios"]) > 1 else ():
        scores = {
            result["controller"]: result["score"]
            for result in scenario["results"]
            if result.get("score") is not None and result["controller"] not in yardsticks
        }
        if OURS not in scores:
            continue
        ours = scores.pop(OURS)
        best = max(scores, key=scores.__getitem__, default=None)
        if best is None:
            continue
        compared_count += 1
        if scores[best] - ours < _LEVEL:
            continue
        losses.append(
            Loss(
                scenario=scenario["name"],
                title=scenario.get("title") or scenario["name"],
                ours=ours,
                best=best,
                best_score=scores[best],
            )
        )
    losses.sort(key=lambda loss: loss.ours - loss.best_score)
    return tuple(losses), compared_count
