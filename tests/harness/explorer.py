"""Walks every state that a pure machine can reach, breadth first: what it finds is the shortest.

Explicit-state model checking as in Holzmann, "The Model Checker SPIN" (1997), in its plainest form:
a set of states seen, a queue, and per state the step it was first reached by. Nothing is sampled:
what is not reported does not exist inside the bound that the model itself sets.

    space = explore([start], steps, invariant=lambda state: "two owners" if ... else None)
    assert space.violation is None, space.violation
    print(space)

`steps(state)` yields pairs of a label and the next state. A label is what a trace shows. States are
compared by value (frozen dataclasses, tuples); whoever explores objects that change copies them, or
keeps a value that they can be built from. `canonical` maps states that differ in names alone (equal
hosts) to one of them, which is what is then visited: symmetry reduction. What `step_invariant` sees
is a step as it is taken, so that promises about change ("never promoted again") need no memory in
the state. `goal` is what must be reachable from everywhere: no dead end, however long it takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Space", "TooManyStatesError", "Violation", "explore"]

S = TypeVar("S", bound=Hashable)


class TooManyStatesError(Exception):
    """The model is larger than its bound says: nothing is proven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation(Generic[S]):
    """What does not hold, and the shortest way there."""

    what: str
    trace: tuple[tuple[str, S], ...]
    """Labels and the states they lead to; the first is `start`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The steps alone."""
        return tuple(label for label, _ in self.trace[1:])

    def __str__(self) -> str:
        lines = [f"{self.what}, after {len(self.trace) - 1} steps:"]
        lines += [f"  {label:<24} {state}" for label, state in self.trace]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space(Generic[S]):
    """What was walked."""

    states: int
    steps: int
    depth: int
    """Of the state that is furthest from every start."""
    violation: Violation[S] | None = None

    def __str__(self) -> str:
        found = "0 violations" if self.violation is None else str(self.violation)
        return f"{self.states} states, {self.steps} steps, depth {self.depth}: {found}"


def explore(
    starts: Iterable[S],
    steps: Callable[[S], Iterable[tuple[str, S]]],
    *,
    invariant: Callable[[S], str | None] = lambda _state: None,
    step_invariant: Callable[[S, str, S], str | None] = lambda _before, _label, _after: None,
    goal: Callable[[S], bool] | None = None,
    canonical: Callable[[S], S] = lambda state: state,
    states_max: int = 1_000_000,
) -> Space[S]:
    """Walk all there is; stops at the first violation, which no shorter trace shows.

    Raises:
        TooManyStatesError: there are more than `states_max`.
    """
    came: dict[S, tuple[S, str] | None] = {}
    depths: dict[S, int] = {}
    before: dict[S, list[S]] = {}
    queue: deque[S] = deque()
    step_count = depth = 0

    def space(what: str | None = None, *last: tuple[str, S], at: S | None = None) -> Space[S]:
        found = None
        if what is not None and at is not None:
            found = Violation(what=what, trace=(*_trace(came, at), *last))
        return Space(states=len(came), steps=step_count, depth=depth, violation=found)

    for start in map(canonical, starts):
        if start not in came:
            came[start], depths[start] = None, 0
            queue.append(start)
            if (what := invariant(start)) is not None:
                return space(what, at=start)
    while queue:
        state = queue.popleft()
        depth = depths[state]
        for label, after in steps(state):
            step_count += 1
            if (what := step_invariant(state, label, after)) is not None:
                return space(what, (label, after), at=state)
            after = canonical(after)
            if goal is not None:
                before.setdefault(after, []).append(state)
            if after in came:
                continue
            came[after], depths[after] = (state, label), depth + 1
            if (what := invariant(after)) is not None:
                return space(what, at=after)
            if len(came) > states_max:
                raise TooManyStatesError(f"more than {states_max} states")
            queue.append(after)
    if goal is not None and (stuck := _stuck(came, before, goal)) is not None:
        return space("no way to the goal", at=stuck)
    return space()


def _trace(came: dict[S, tuple[S, str] | None], state: S) -> tuple[tuple[str, S], ...]:
    trace: list[tuple[str, S]] = []
    while (step := came[state]) is not None:
        trace.append((step[1], state))
        state = step[0]
    return (("start", state), *reversed(trace))


def _stuck(came: Iterable[S], before: dict[S, list[S]], goal: Callable[[S], bool]) -> S | None:
    """The first state found from which no way leads to the goal."""
    queue = deque(state for state in came if goal(state))
    safe = set(queue)
    while queue:
        for earlier in before.get(queue.popleft(), ()):
            if earlier not in safe:
                safe.add(earlier)
                queue.append(earlier)
    return next((state for state in came if state not in safe), None)
