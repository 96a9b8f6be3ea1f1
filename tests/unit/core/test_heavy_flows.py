from __future__ import annotations

import random

import pytest

from shedproxy.core.heavy_flows import HeavyFlows
from shedproxy.core.sharding import place_of

HOG, *OTHERS = (place_of(random.Random(number).getrandbits(64)) for number in range(9))


def ask(heavy: HeavyFlows, work: dict[int, float], *, times: int, load: float = 1.0, seed: int = 1):
    """Everybody asks so often, with exponential times of the given means."""
    rng = random.Random(seed)
    left_out = dict.fromkeys(work, 0)
    for _ in range(times):
        for flow, mean in work.items():
            left_out[flow] += heavy.take(flow, load * mean * rng.expovariate(1.0))
    return left_out


def test_who_takes_many_times_as_long_is_left_out_within_a_few_samples() -> None:
    heavy = HeavyFlows()
    left_out = ask(heavy, {**dict.fromkeys(OTHERS, 1.0), HOG: 20.0}, times=100)
    assert heavy.is_heavy(HOG)
    assert left_out[HOG] >= 100 - 12
    assert not any(left_out[flow] for flow in OTHERS)


@pytest.mark.parametrize("seed", range(20))
def test_equal_work_of_scattered_length_is_nobodys_fault(seed: int) -> None:
    """Nor a load that makes all of it longer."""
    heavy = HeavyFlows()
    equal = dict.fromkeys([*OTHERS, HOG], 1.0)
    left_out = ask(heavy, equal, times=200, seed=seed)
    assert sum(left_out.values()) < 0.005 * 200 * 9
    left_out = ask(heavy, equal, times=200, load=5.0, seed=seed)
    assert sum(left_out.values()) < 0.005 * 200 * 9


def test_who_asks_more_does_not_become_the_measure() -> None:
    heavy = HeavyFlows()
    work = dict.fromkeys(OTHERS[:5], 1.0)
    for _ in range(60):
        ask(heavy, work, times=1)
        ask(heavy, {HOG: 20.0}, times=12)
    assert heavy.is_heavy(HOG)


def test_where_nearly_all_is_heavy_nothing_is_left_out() -> None:
    """The limit must be judged by something."""
    heavy = HeavyFlows()
    for _ in range(100):
        ask(heavy, dict.fromkeys(OTHERS[:3], 1.0), times=1)
        left_out = ask(heavy, {HOG: 20.0}, times=30)
    assert not left_out[HOG]


def test_three_tenants_have_no_median() -> None:
    heavy = HeavyFlows()
    ask(heavy, {**dict.fromkeys(OTHERS[:2], 1.0), HOG: 20.0}, times=200)
    assert not heavy.is_heavy(HOG)


def test_lighter_work_is_believed_again_and_who_left_is_forgotten() -> None:
    heavy = HeavyFlows()
    ask(heavy, {**dict.fromkeys(OTHERS, 1.0), HOG: 20.0}, times=50)
    assert heavy.is_heavy(HOG)
    ask(heavy, dict.fromkeys([*OTHERS, HOG], 1.0), times=100)
    assert not heavy.is_heavy(HOG)
    ask(heavy, {**dict.fromkeys(OTHERS, 1.0), HOG: 20.0}, times=50)
    ask(heavy, dict.fromkeys(OTHERS, 1.0), times=300)
    assert not heavy.is_heavy(HOG)


def test_who_is_found_is_told_once() -> None:
    heavy = HeavyFlows()
    ask(heavy, dict.fromkeys([*OTHERS, HOG], 1.0), times=50)
    assert not heavy.has_found
    ask(heavy, {**dict.fromkeys(OTHERS, 1.0), HOG: 20.0}, times=20)
    assert heavy.has_found
    heavy.has_found = False
    ask(heavy, {**dict.fromkeys(OTHERS, 1.0), HOG: 20.0}, times=50)
    assert not heavy.has_found
