"""A candidate that is worse is found soon, one that is not is left alone, and chance is bounded."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shedproxy.controlplane.evidence import Gate, Watch, add_period, proof, verdict
from shedproxy.controlplane.gates import GATES, KINDS, MARGIN, TRIALS
from shedproxy.controlplane.peers import Arm, Peers

FALSE_ALARM, MISS = 0.01, 0.05
NAMES = [kind.name for kind in KINDS]
ERRORS, SLOW = NAMES.index("errors"), NAMES.index("answers over 0.25 s")


def arm(requests: int, errors: int = 0, slow: int = 0, refusals: int = 0, limited: int = 0) -> Arm:
    events = {
        "errors": errors, "answers over 0.25 s": slow, "refusals": refusals,
        "requests over a limit": limited,
    }  # fmt: skip
    return Arm(
        trials=(requests,) * len(TRIALS), events=tuple(events.get(name, 0) for name in NAMES)
    )


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
        (arm(100, slow=15), "answers over 0.25 s: 15.00% of"),
        (arm(100, refusals=50), "refusals: 50.00% of"),
        (arm(100, limited=50), "requests over a limit: 50.00% of"),
    ],
)
def test_what_is_much_worse_is_found_in_a_few_hundred_requests(candidate, gate):
    number, what = periods_until(candidate, [arm(100, 0, 1), arm(100, 0, 1)])
    assert 1 <= number <= 6
    assert what.startswith(gate)


def test_four_tenths_of_a_point_more_are_found():
    """What a bad release may hide in: 0.1 % of errors become 0.5 %."""
    number, _ = periods_until(arm(1000, errors=5), [arm(1000, errors=1)] * 2)
    assert 1 <= number <= 12


def test_a_quarter_worse_is_no_matter_however_long_it_lasts():
    assert MARGIN == 1.25
    assert periods_until(arm(1000, errors=25), [arm(1000, errors=20)] * 2, most=400) == (0, "")
    assert periods_until(arm(1000, refusals=400), [arm(1000, refusals=400)] * 2) == (0, "")


def test_no_single_period_is_enough_however_bad_it_was():
    hiccup = add_period(Watch(), [arm(1000, errors=1000)], named([arm(1000), arm(1000)]))
    assert verdict(hiccup, false_alarm=0.05) == ""
    assert max(hiccup.evidence(kind) for kind in range(len(KINDS))) <= 10.0001
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
    """A candidate that is just as bad as is allowed, watched for 40 periods, 100 times."""
    alarms = 0
    for seed in range(100):
        chance = random.Random(seed)
        watch = Watch()
        for _ in range(40):
            rate = 2.0 + 6 * chance.random()
            candidate = [arm(1000, errors=poisson(chance, MARGIN * rate))]
            control = [arm(1000, errors=poisson(chance, rate)) for _ in range(2)]
            watch = add_period(watch, candidate, named(control))
            if verdict(watch, false_alarm=0.05):
                alarms += 1
                break
    assert alarms <= 0.05 * 100 / len(GATES), "one gate of all has events"


def clumps(chance: random.Random, mean: float) -> int:
    """As many events in the mean, twenty at a time."""
    return 20 * poisson(chance, mean / 20)


def test_clumps_and_few_hosts_make_no_alarm_either():
    """Two hosts beside it may agree by chance; their clumps still tell how wide counts are."""
    alarms = 0
    for seed in range(60):
        chance = random.Random(seed)
        watch = Watch()
        for _ in range(60):
            candidate = [arm(100, refusals=clumps(chance, 7))]
            control = [arm(100, refusals=clumps(chance, 7)) for _ in range(2)]
            watch = add_period(watch, candidate, named(control))
            if verdict(watch, false_alarm=0.05):
                alarms += 1
                break
    assert alarms <= 0.05 * 60


def test_a_host_that_was_worse_before_is_not_blamed_for_it():
    """It has three times as many errors as the others, with the candidate as without."""
    worse, others = arm(1000, errors=180), [arm(1000, errors=60 + n) for n in (0, 1, 2)]
    assert periods_until(worse, others)[0] > 0, "of which nothing is known"
    history = Peers()
    for _ in range(50):
        history = history.add({"pilot": worse, **named(others)})
    beside = frozenset(named(others))
    (like,) = history.likenesses({"": frozenset(("pilot",))}, beside)
    watch = Watch(like=like)
    for _ in range(50):
        watch = add_period(watch, [worse], named(others))
    assert verdict(watch, false_alarm=FALSE_ALARM) == ""
    assert min(proof(watch, miss=MISS)) == 1
    watch = Watch(like=like)
    for _ in range(20):
        watch = add_period(watch, [arm(1000, errors=600)], named(others))
    assert verdict(watch, false_alarm=FALSE_ALARM).startswith("errors"), "it is now"


def test_hosts_that_differ_among_themselves_make_evidence_count_for_less():
    even = uneven = Watch()
    for _ in range(8):
        even = add_period(even, [arm(100)], named([arm(100, 10)] * 3))
        uneven = add_period(uneven, [arm(100)], named([arm(100, 20), arm(100, 5), arm(100, 5)]))
    assert even.dispersion(ERRORS) < Watch().dispersion(ERRORS) < uneven.dispersion(ERRORS)
    soon, _ = periods_until(arm(100, 35), [arm(100, 10)] * 3)
    late, _ = periods_until(arm(100, 35), [arm(100, 19), arm(100, 5), arm(100, 6)])
    assert soon > 0
    assert late == 0 or late > 2 * soon


def test_who_is_no_worse_than_some_host_without_it_is_not_blamed():
    assert periods_until(arm(100, 29), [arm(100, 30), arm(100, 0), arm(100, 0)]) == (0, "")


def test_one_sick_host_of_many_excuses_nobody():
    control = [arm(1000, 800), *([arm(1000, 1)] * 19)]
    assert periods_until(arm(1000, 600), control, most=20)[1].startswith("errors")


def test_evidence_stays_a_number():
    watch = Watch()
    for _ in range(100):
        watch = add_period(watch, [arm(1000, 1000)], named([arm(1000, 0)]))
        watch = add_period(watch, [arm(10**9, 0, 10**9)], named([arm(10**9, 0)]))
    assert all(0 <= watch.evidence(kind) < 1e300 for kind in range(len(KINDS)))


def proven(candidate: Arm, control: list[Arm], periods: int) -> float:
    watch = Watch()
    for _ in range(periods):
        watch = add_period(watch, [candidate], named(control))
    return min(proof(watch, miss=MISS))


def test_that_there_is_no_harm_takes_requests_to_say():
    same = arm(100, errors=0)
    assert 0 < proven(same, [same] * 3, 5) < 1
    assert proven(same, [same] * 3, 30) == 1
    watch = add_period(Watch(), [same], named([same] * 3))
    assert min(proof(watch, miss=1)) == 1, "nobody asked"


def test_harm_is_never_proven_to_be_none():
    """0.25 points of errors, and twice as many slow answers."""
    assert proven(arm(10_000, errors=35), [arm(10_000, errors=10)] * 3, 30) == 0
    assert proven(arm(1000, slow=100), [arm(1000, slow=50)] * 3, 30) == 0


def test_a_candidate_that_does_just_harm_is_called_harmless_as_seldom_as_is_said():
    """Looked at after each of 40 periods, 40 times."""
    missed = 0
    for seed in range(40):
        chance = random.Random(seed)
        watch = Watch()
        for _ in range(40):
            candidate = [arm(1000, errors=poisson(chance, 1 + 2.5))]
            control = [arm(1000, errors=poisson(chance, 1)) for _ in range(3)]
            watch = add_period(watch, candidate, named(control))
            if proof(watch, miss=MISS)[ERRORS] == 1:
                missed += 1
                break
    assert missed <= MISS * 40


def test_where_nothing_is_compared_nothing_is_waited_for():
    nothing = Arm()
    counts_no_limits = replace(arm(900), trials=(900, 900, 900, 0, 900, 900))
    assert proof(Watch(), miss=MISS) == [1.0] * len(KINDS)
    watch = Watch()
    for _ in range(30):
        watch = add_period(watch, [counts_no_limits], {"a": arm(900), "b": nothing})
    assert min(proof(watch, miss=MISS)) == 1


def test_what_another_version_has_written_is_begun_anew():
    old = Watch(gates=(Gate(events=9),))
    assert verdict(old, false_alarm=0.5) == ""
    assert proof(old, miss=MISS) == [0.0] * len(KINDS)
    assert add_period(old, [arm(10)], named([arm(10)])).gates[ERRORS].events == 0
