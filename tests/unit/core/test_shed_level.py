"""The refusal loop settles, does not swing, and refuses from the bottom up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Criticality, Instant, RequestInfo, ShedLevelPolicy, rank_of
from shedproxy.core.shed_level import PPM, RANKS, ShedLevel, next_refused_share

PERIOD = ShedLevelPolicy().period_ns


@given(
    offered=st.floats(0, 1e6),
    started=st.floats(0, 1e6),
    waiting=st.floats(0, 1e6),
    wanted=st.floats(1, 1e4),
)
def test_share_is_a_share(offered: float, started: float, waiting: float, wanted: float) -> None:
    """0 .. 0.99, and more waiting never refuses less."""
    share = next_refused_share(
        offered_rps=offered, started_rps=started, waiting=waiting, wanted=wanted
    )
    more = next_refused_share(
        offered_rps=offered, started_rps=started, waiting=waiting + 1, wanted=wanted
    )
    assert 0.0 <= share <= more <= 0.99


def test_a_queue_of_the_wanted_length_refuses_exactly_the_excess() -> None:
    """At three times what was started, two thirds go."""
    share = next_refused_share(offered_rps=600, started_rps=200, waiting=10, wanted=10)
    assert share == pytest.approx(2 / 3)


def play(
    level: ShedLevel,
    *,
    offered: float,
    capacity: float,
    periods: int,
    start: int,
    seed: int = 1,
    critical: int = 0,
) -> tuple[list[float], list[int]]:
    """A cell in miniature: what passes waits for `capacity` starts per period."""
    rng = random.Random(seed)
    waiting = 0.0
    shares, passed_ranks = [], []
    for period in range(periods):
        arrivals = int(offered) + (rng.random() < offered % 1)
        for _ in range(arrivals):
            criticality = rng.choice([Criticality.CRITICAL, *[Criticality.SHEDDABLE] * 3])
            rank = rank_of(RequestInfo(criticality=criticality), rng.randrange(1024))
            refused = level.refusal(rank)
            level.on_arrival(rank, 1)
            if refused is None:
                waiting += 1
                passed_ranks.append(rank)
        starts = min(waiting, capacity)
        waiting -= starts
        for _ in range(int(starts)):
            level.started += 1
        if waiting:
            level.on_saturated()
        now = Instant(start + (period + 1) * PERIOD)
        level.update(
            waiting_from=[int(waiting), critical, critical, 0],
            limit=4,
            wait_max_ns=500_000_000,
            now=now,
        )
        shares.append(level.share)
    return shares, passed_ranks


@pytest.mark.parametrize("factor", [1.5, 3.0, 10.0])
def test_share_settles_on_the_excess_and_does_not_swing(factor: float) -> None:
    """CoDel-like refusal swings between all and nothing; this stays within a few points."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    shares, _ = play(level, offered=20 * factor, capacity=20, periods=200, start=0, critical=50)
    settled = shares[100:]
    mean = sum(settled) / len(settled)
    assert mean == pytest.approx(1 - 1 / factor, abs=0.06)
    assert max(settled) - min(settled) < 0.25


def test_below_capacity_nothing_is_refused() -> None:
    """90 % load for twenty seconds."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    shares, passed = play(level, offered=18, capacity=20, periods=200, start=0)
    assert max(shares) == 0.0
    assert len(passed) == 18 * 200


def test_recovery_is_quick() -> None:
    """Two seconds after demand fell below capacity the level is open."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    play(level, offered=100, capacity=20, periods=100, start=0)
    shares, _ = play(level, offered=10, capacity=20, periods=20, start=100 * PERIOD)
    assert shares[-1] == 0.0


def test_the_lower_class_goes_first() -> None:
    """At 2 x with a quarter critical, no critical request is refused once it has settled."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    play(level, offered=40, capacity=20, periods=50, start=0)
    assert level.cut_rank < rank_of(RequestInfo(criticality=Criticality.CRITICAL), 0)


def test_a_class_that_does_not_wait_is_not_refused() -> None:
    """Whatever the share: it goes first, so refusing it would free nothing."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    play(level, offered=400, capacity=20, periods=50, start=0, critical=0)
    assert level.share > 0.9
    assert level.cut_rank == 1024
    assert level.refusal(rank_of(RequestInfo(criticality=Criticality.CRITICAL), 0)) is None


def test_a_single_cohort_is_cut_by_share() -> None:
    """All traffic on one rank: the fractional last rank refuses evenly, without chance."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    rank = 2_600
    now = 0
    for _ in range(40):
        passed = 0
        for _ in range(40):
            passed += level.refusal(rank) is None
            level.on_arrival(rank, 1)
        for _ in range(20):
            level.started += 1
        level.on_saturated()
        now += PERIOD
        waiting_from = [10 if level.share else 60] * 4
        level.update(waiting_from=waiting_from, limit=4, wait_max_ns=500_000_000, now=Instant(now))
    assert level.cut_rank == rank
    answers = [level.refusal(rank) is None for _ in range(100)]
    assert sum(answers) == pytest.approx(100 * (1 - level.cut_share_ppm / PPM), abs=2)


def test_refusals_hold_their_numbers() -> None:
    """Below the cut: by rank. On the cut: by phase."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    play(level, offered=60, capacity=20, periods=50, start=0)
    seen = [level.refusal(rank) for rank in range(0, RANKS, 7)]
    for numbers in filter(None, seen):
        rank, cut, share, phase = numbers
        assert rank < cut or (rank == cut and phase < share)


def test_a_disabled_level_refuses_nobody() -> None:
    """And opens at once when it is switched off."""
    level = ShedLevel(ShedLevelPolicy(), now=Instant(0))
    play(level, offered=60, capacity=20, periods=50, start=0)
    assert level.share > 0
    level.apply(ShedLevelPolicy(enabled=False))
    shares, _ = play(level, offered=60, capacity=20, periods=20, start=50 * PERIOD)
    assert max(shares) == 0.0
