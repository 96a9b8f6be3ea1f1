"""Hard evidence lowers the limit as long as that helps, and the way back up is slow."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core.limits.episode import STEP_MIN, Ceiling, OverloadEpisode, has_overload
from shedproxy.core.window import WindowSummary


def failed(overloads: int, samples: int) -> WindowSummary:
    """After as long as work takes."""
    return WindowSummary(overload_count=overloads, late_count=overloads, sample_count=samples)


DOWN = WindowSummary(overload_count=100)
"""All failed, and sooner than work takes."""


def levels(episode: OverloadEpisode, level: float, shares: list[float]) -> list[float]:
    """The levels after windows of 100 outcomes, of which these shares failed."""
    seen = [level]
    for share in shares:
        seen.append(
            episode.next_level(seen[-1], failed(round(100 * share), round(100 - 100 * share)))
        )
    return seen[1:]


@pytest.mark.parametrize(
    ("overloads", "samples", "is_overload"),
    [(0, 100, False), (0, 0, False), (1, 0, True), (1, 49, True), (1, 50, False), (2, 98, True)],
)
def test_one_failure_in_fifty_is_background(
    overloads: int, samples: int, is_overload: bool
) -> None:
    assert has_overload(failed(overloads, samples)) is is_overload


def test_each_window_takes_a_tenth() -> None:
    assert levels(OverloadEpisode(100), 100, [0.5] * 3) == pytest.approx([90, 81, 72.9])


def test_the_first_halving_is_made_whatever_it_does() -> None:
    """There is nothing to compare it with."""
    episode = OverloadEpisode(100)
    assert levels(episode, 100, [1.0] * 7)[-1] == pytest.approx(100 * 0.9**7)
    assert not episode.is_futile


def test_the_second_halving_goes_on_when_the_first_brought_the_share_down_to_two_thirds() -> None:
    episode = OverloadEpisode(100)
    seen = levels(episode, 100, [0.60] * 7 + [0.40] * 7)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == pytest.approx(100 * 0.9**14)
    assert not episode.is_futile
    assert episode.has_taught


def test_else_the_limit_returns_to_where_that_halving_began_and_stays() -> None:
    """61 % of 67 %: failures did not fall by a third, though load fell by half."""
    episode = OverloadEpisode(100)
    seen = levels(episode, 100, [0.67] * 7 + [0.61] * 20)
    began = 100 * 0.9**6
    assert min(seen) == pytest.approx(100 * 0.9**12)
    assert seen[13:] == pytest.approx([began] * 14)
    assert episode.is_futile
    assert not episode.has_taught


def test_a_futile_halving_after_one_that_helped_has_taught_the_level_before_it() -> None:
    episode = OverloadEpisode(100)
    seen = levels(episode, 100, [0.6] * 7 + [0.3] * 6 + [0.29] * 7)
    assert episode.is_futile
    assert seen[-1] == pytest.approx(100 * 0.9**12)
    assert episode.has_taught


def test_a_service_that_is_down_is_not_overloaded_and_its_limit_is_again_what_it_was() -> None:
    """The first windows hold answers of the time before."""
    episode = OverloadEpisode(100)
    level = levels(episode, 100, [0.5, 0.8])[-1]
    seen = [level := episode.next_level(level, DOWN) for _ in range(4)]
    assert seen == pytest.approx([81, 81, 100, 100])
    assert episode.is_futile
    assert not episode.has_taught


def test_a_window_in_which_nothing_succeeds_may_be_chance() -> None:
    """Of a few slots none need end in it; the next success shows that they work."""
    episode = OverloadEpisode(100)
    level = 100.0
    for _ in range(3):
        level = episode.next_level(episode.next_level(level, DOWN), DOWN)
        level = episode.next_level(level, failed(50, 1))
    assert level == pytest.approx(72.9)
    assert not episode.is_futile


def test_a_level_is_not_judged_by_fewer_than_twenty_outcomes() -> None:
    episode = OverloadEpisode(4)
    seen = [4.0]
    for _ in range(20):
        seen.append(episode.next_level(seen[-1], failed(1, 0)))
    held = 4 * 0.9**6
    assert seen[6:20] == pytest.approx([held] * 14)
    assert seen[20] == pytest.approx(held * 0.9)


@given(st.floats(1, 1e4), st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=80))
def test_no_evidence_takes_more_than_a_tenth_or_raises_above_the_beginning(
    level: float, windows: list[tuple[int, int]]
) -> None:
    episode = OverloadEpisode(level)
    seen = [level]
    for overloads, samples in windows:
        seen.append(episode.next_level(seen[-1], failed(overloads, samples)))
    assert max(seen) == level
    assert all(after >= before * 0.9 - 1e-9 for before, after in pairwise(seen))


def test_it_ends_after_four_clean_windows_in_a_row() -> None:
    episode = OverloadEpisode(10)
    assert [episode.is_over() for _ in range(3)] == [False] * 3
    episode.next_level(10, failed(1, 0))
    assert [episode.is_over() for _ in range(4)] == [False] * 3 + [True]


def test_without_a_failure_there_is_no_ceiling() -> None:
    assert Ceiling().bounded(1e6, level=1e5) == 1e6


def test_near_the_ceiling_the_limit_rises_by_a_fiftieth_at_a_time() -> None:
    """It is where the last failure was: a tenth above the level that was clean."""
    ceiling = Ceiling()
    ceiling.put_above(90)
    assert ceiling.bounded(85, level=79) == 85
    assert ceiling.bounded(99, level=90) == pytest.approx(91.8)
    assert ceiling.bounded(3, level=90) == 3


def test_few_slots_rise_by_a_tenth_of_one() -> None:
    ceiling = Ceiling()
    ceiling.put_above(2)
    assert ceiling.bounded(3, level=2) == pytest.approx(2 + STEP_MIN)


def test_once_passed_by_a_fifth_it_is_gone() -> None:
    ceiling = Ceiling()
    ceiling.put_above(90)
    level, steps = 90.0, 0
    while not math.isclose(level, 2 * 90):
        level = ceiling.bounded(max(level, 2 * 90), level=level)
        steps += 1
    assert steps == 16, "fifteen of two percent lead from 90 to above 120"
