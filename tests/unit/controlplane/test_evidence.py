"""A candidate that is worse is found soon, one that is not is left alone, and chance is bounded."""

from __future__ import annotations

import random

import pytest

from shedproxy.controlplane.evidence import MARGIN, Arm, Gate, Watch, add_period, verdict

FALSE_ALARM = 0.01


def arm(requests: int, errors: int = 0, slow: int = 0, refusals: int = 0) -> Arm:
    return Arm(trials=(requests,) * 4, events=(errors, slow, 0, refusals))


def named(arms: list[Arm]) -> dict[str, Arm]:
    return {str(index): each for index, each in enumerate(arms)}


def periods_until(candidate: Arm, control: list[Arm], most: int = 1000) -> tuple[int, str]:
    watch = Watch()
    for number in range(1, most + 1):
        watch = add_period(watch, [candidate], named(control))
        if what := verdict(watch, false_alarm=FALSE_ALARM):
            return number, what
    return 0, ""


@pytest.mark.parametrize(
    ("candidate", "gate"),
    [
        (arm(100, errors=10), "errors: 10.00% of"),
        (arm(100, slow=12), "answers slower than p99: 12.00% of"),
        (arm(100, refusals=50), "refusals: 50.00% of"),
    ],
)
def test_what_is_much_worse_is_found_in_a_few_hundred_requests(candidate, gate):
    number, what = periods_until(candidate, [arm(100, 0, 1), arm(100, 0, 1)])
    assert 1 <= number <= 4
    assert what.startswith(gate)


def test_four_tenths_of_a_point_more_are_found():
    """What a bad release may hide in: 0.1 % of errors become 0.5 %."""
    number, _ = periods_until(arm(1000, errors=5), [arm(1000, errors=1)] * 2)
    assert 1 <= number <= 12


def test_a_quarter_worse_is_no_matter_however_long_it_lasts():
    assert MARGIN == 1.25
    assert periods_until(arm(1000, errors=25), [arm(1000, errors=20)] * 2) == (0, "")
    assert periods_until(arm(1000, refusals=400), [arm(1000, refusals=400)] * 2) == (0, "")


def test_no_single_period_is_enough_however_bad_it_was():
    hiccup = add_period(Watch(), [arm(1000, errors=1000)], named([arm(1000), arm(1000)]))
    assert verdict(hiccup, false_alarm=0.05) == ""
    assert max(gate.evidence for gate in hiccup.gates) <= 10.0001
    number, _ = periods_until(arm(1000, errors=1000), [arm(1000), arm(1000)])
    assert 2 <= number <= 4


def test_what_is_certain_and_small_is_no_matter():
    assert periods_until(arm(100_000, errors=80), [arm(100_000)] * 2, most=50) == (0, "")


def test_nothing_is_said_of_few_requests_or_without_anybody_beside():
    assert verdict(add_period(Watch(), [arm(29, 29)], named([arm(1000)])), false_alarm=1) == ""
    assert verdict(add_period(Watch(), [arm(1000, 1000)], named([arm(29)])), false_alarm=1) == ""
    assert add_period(Watch(), [arm(1000, 1000)], {}) == Watch()
    assert add_period(Watch(), [], named([arm(1000)])) == Watch()


def poisson(chance: random.Random, mean: float) -> int:
    count, left = 0, chance.expovariate(1)
    while left < mean:
        count += 1
        left += chance.expovariate(1)
    return count


def test_chance_alone_is_no_alarm_in_as_many_promotions_as_is_said():
    """A candidate that is just as bad as is allowed, watched for 60 periods, 400 times."""
    alarms = 0
    for seed in range(400):
        chance = random.Random(seed)
        watch = Watch()
        for _ in range(60):
            rate = 2.0 + 6 * chance.random()
            candidate = [arm(1000, errors=poisson(chance, MARGIN * rate))]
            control = [arm(1000, errors=poisson(chance, rate)) for _ in range(2)]
            watch = add_period(watch, candidate, named(control))
            if verdict(watch, false_alarm=0.05):
                alarms += 1
                break
    assert alarms <= 0.05 * 400 / 4, "one gate of four has events"


def test_hosts_that_differ_among_themselves_make_evidence_count_for_less():
    even = add_period(Watch(), [arm(100)], named([arm(100, 10)] * 3))
    uneven = add_period(Watch(), [arm(100)], named([arm(100, 20), arm(100, 5), arm(100, 5)]))
    assert even.dispersion(0) < Watch().dispersion(0) < uneven.dispersion(0)
    soon, _ = periods_until(arm(100, 25), [arm(100, 10)] * 3)
    late, _ = periods_until(arm(100, 25), [arm(100, 19), arm(100, 5), arm(100, 6)])
    assert 0 < 2 * soon < late


def test_who_is_no_worse_than_some_host_without_it_is_not_blamed():
    assert periods_until(arm(100, 29), [arm(100, 30), arm(100, 0), arm(100, 0)]) == (0, "")


def test_evidence_stays_a_number():
    watch = Watch()
    for _ in range(500):
        watch = add_period(watch, [arm(1000, 1000)], named([arm(1000, 0)]))
        watch = add_period(watch, [arm(10**9, 0, 10**9)], named([arm(10**9, 0)]))
    assert all(0 < gate.evidence < 1e300 for gate in watch.gates)


def test_what_is_slow_is_what_few_of_the_control_are():
    assert Watch().slow_from == (None, None)
    assert Watch(durations=(50, 41, 8, 1, 0)).slow_from == (3, 2)
    assert Watch(durations=(50, 0, 0, 50)).slow_from == (None, None), "the last has no bound"
    assert Watch(durations=(100, 0)).slow_from == (1, 1)


def test_what_another_version_has_written_is_begun_anew():
    old = Watch(gates=(Gate(events=9),))
    assert verdict(old, false_alarm=0.5) == ""
    assert add_period(old, [arm(10)], named([arm(10)])).gates[0].events == 0
