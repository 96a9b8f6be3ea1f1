"""Contradictions in a scenario are found, each where it stands."""

from __future__ import annotations

import tomllib

import pytest

from shedproxy.workload.scenario_document import decode_scenario
from shedproxy.workload.table_decoder import TableInvalidError

CLIENT = "[[client]]\nload = 1\n"


def problems_of(text: str) -> list[tuple[str, str]]:
    with pytest.raises(TableInvalidError) as caught:
        decode_scenario(tomllib.loads(text))
    return [(".".join(problem.path), problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("[[client]]", "client.0", "needs either load or rate_rps"),
        ("[[client]]\nload = 1\nrate_rps = 1", "client.0.rate_rps", "has both load and rate_rps"),
        ("[[client]]\nload = 1\nusers = 3", "client.0.users", 'need arrivals = "closed"'),
        ('[[client]]\narrivals = "closed"', "client.0", "needs users"),
        ('[[client]]\narrivals = "closed"\nusers = 3\nload = 1', "client.0.load", "means nothing"),
        ('[[client]]\narrivals = "at_once"', "client.0", "needs requests"),
        (CLIENT + "criticality = {critcal = 1}", "client.0.criticality", 'is called "critcal"'),
        (CLIENT + "criticality = {critical = 0}", "client.0.criticality", "a weight above 0"),
        (CLIENT + 'tenant = "a"\ntenants = 3', "client.0.tenants", "either one named tenant"),
        (CLIENT + 'law = "recorded"', "client.0", "the backend must record it"),
        (CLIENT + CLIENT, "client.1", 'a second client is called "users"'),
        ("client = []", "client", "there is no client"),
        (CLIENT + "start_s = 40", "client.0.start_s", "before the end of the scenario"),
        (CLIENT + "start_s = 4\nstop_s = 3", "client.0.stop_s", "must be after start_s"),
        (CLIENT + "schedule = [[2, 1], [1, 2]]", "client.0.schedule", "must rise"),
        (CLIENT + "schedule = [[2, 1], [60, 2]]", "client.0.schedule", "before the end"),
        (CLIENT + "ramp = true", "client.0.ramp", "needs a schedule"),
        (CLIENT + "burst_factor = 3", "client.0.burst_factor", "burst_ms above 0"),
        (CLIENT + "quiet_factor = 0", "client.0.quiet_factor", "burst_ms above 0"),
        ('[[event]]\nwhat = "service_ramp"\nat_s = 1', "event.0", "needs for_s above 0"),
        ('[backend]\nlaw = "recorded"', "backend.law", "needs lengths"),
        ("[backend]\nrecorded_ms = [1]", "backend.recorded_ms", 'law = "recorded"'),
        ("[backend]\ncv = 3", "backend.cv", "lognormal"),
        ("[backend]\njitter = 1", "backend.jitter", 'kind = "knee" only'),
        ("[backend]\nalpha = 0.1", "backend.alpha", 'kind = "usl" only'),
        ('[backend]\nkind = "usl"\nlock_share = 0.1', "backend.lock_share", 'kind = "slots" only'),
        ('[backend]\nkind = "knee"\nhosts = 2', "backend.hosts", "is one host"),
        ('[[event]]\nwhat = "pause"\nat_s = 1', "event.0", "needs for_s above 0"),
        ('[[event]]\nwhat = "timeouts"\nat_s = 1\nfor_s = 1', "event.0", "needs an end"),
        ('[[event]]\nwhat = "pause"\nat_s = 31\nfor_s = 1', "event.0.at_s", "before the end"),
        ('[[event]]\nwhat = "churn_proxies"\nat_s = 1', "event.0", "needs every_s above 0"),
        ('[[event]]\nwhat = "pauses"\nat_s = 1\nfor_s = 2\nevery_s = 2', "event.0.for_s", "end"),
        ('[[event]]\nwhat = "pauses"\nat_s = 3\nfor_s = 1\nevery_s = 2\nuntil_s = 2',
         "event.0.until_s", "must be after at_s"),
        ('[[event]]\nwhat = "service"\nat_s = 1\nfactor = 0', "event.0.factor", "above 0"),
        ('[backend]\nkind = "usl"\n[[event]]\nwhat = "slots"\nat_s = 1', "event.0.what",
         "needs a backend of kind slots or sharing"),
        ('[[expect]]\nmetric = "regret"', "expect.0", "needs a bound"),
        ('[[expect]]\nmetric = "regret"\nat_least = 2\nat_most = 1', "expect.0.at_least", "above"),
        ('[[expect]]\nmetric = "regret"\nat_most = 1\nby = []', "expect.0.by", "binds nobody"),
        ("[profile]\nstart = 3\nmaximum = 2", "profile.start", "from minimum to maximum"),
        ("recovers_from_s = [3, 30]", "recovers_from_s.1", "before the end"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_where_it_stands(text: str, path: str, words: str) -> None:
    ((found, message),) = problems_of(text)
    assert found == path
    assert words in message


def test_a_table_with_a_broken_value_is_not_judged_further() -> None:
    """`load = "2"` is one problem, not also a client without a load; its neighbour is judged."""
    text = '[[client]]\nload = "2"\n[[client]]\nname = "b"\n'
    assert [path for path, _ in problems_of(text)] == ["client.0.load", "client.1"]
