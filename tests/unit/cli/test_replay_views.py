"""How a comparison is shown, and which of its limits are told."""

from __future__ import annotations

import json

import pytest
from harness.recording import Recording

from shedproxy.cli.replay_views import comparison_as_json, comparison_as_text
from shedproxy.core import Criticality, Mode, RequestInfo, milliseconds
from shedproxy.simulator.what_if import what_if
from shedproxy.testing import a_policy

LOW = RequestInfo(criticality=Criticality.SHEDDABLE)


@pytest.fixture
def recording():
    made = Recording(a_policy(limit=2, queue_length=0))
    permits = [made.run(1), made.run(1, LOW)]
    made.arrive(2, LOW)
    for permit in permits:
        made.release(11, permit)
    return made


def shown(recording, policy, *, rules=0, show=comparison_as_text):
    history = recording.history()
    return show([history.facts], policy, what_if(history, policy), rules=rules)


def sentences(recording, policy, *, rules=0):
    """What a replay cannot know, each on one line."""
    text = shown(recording, policy, rules=rules).partition("cannot know:\n")[2]
    return text.replace("\n  ", " ").splitlines()


def is_told(part, lines):
    return any(part in line for line in lines)


def test_the_text_is_this(recording):
    text = shown(recording, a_policy(limit=1, queue_length=1))
    tables, _, unknown = text.partition("\n\nwhat a replay cannot know:\n")
    assert tables == (
        "recorded: mode enforce, shedproxy 0.1.0; 0.011 s, it ended: closed\n"
        "replayed: mode enforce\n"
        "\n"
        "class      offered  served  refused\n"
        "critical         1  1 -> 1   0 -> 0\n"
        "sheddable        2  1 -> 1   1 -> 1\n"
        "\n"
        "refused for  requests\n"
        "queue_full     1 -> 1\n"
        "\n"
        "changed  requests\n"
        "nothing         0\n"
        "\n"
        "wait of the served           ms\n"
        "p50                  0.0 -> 0.0\n"
        "p99                 0.0 -> 10.0\n"
        "longest             0.0 -> 10.0"
    )
    assert unknown.startswith("- Work takes as long as it was recorded")
    assert all(line.startswith(("- ", "  ")) for line in unknown.splitlines())
    assert max(map(len, unknown.splitlines())) <= 100


def test_changes_are_told_by_class(recording):
    text = shown(recording, a_policy(limit=1, queue_length=0))
    assert (
        "changed            requests  sheddable\nserved -> refused         1          1\n" in text
    )


def test_what_observe_mode_hides_has_a_table_of_its_own(recording):
    text = shown(recording, a_policy(limit=1, queue_length=0, mode=Mode.OBSERVE))
    assert "would refuse  requests\nqueue_full      0 -> 2\n" in text


def test_a_part_of_the_traffic_is_called_so():
    made = Recording(worker=1, workers=2)
    made.run(1)
    assert "shedproxy 0.1.0, worker 1 of 2; " in shown(made, a_policy())


def test_the_json_holds_every_number(recording):
    content = json.loads(
        shown(recording, a_policy(limit=1, queue_length=0), show=comparison_as_json)
    )
    assert content["trace"] == {
        "version": "0.1.0",
        "worker": 0,
        "workers": 1,
        "span_ns": milliseconds(11),
        "ended": "closed",
    }
    assert content["mode"] == {"recorded": "enforce", "replayed": "enforce"}
    assert content["classes"]["sheddable"] == {
        "recorded": {"served": 1, "refused": 1, "left": 0, "waiting": 0},
        "replayed": {"served": 0, "refused": 2, "left": 0, "waiting": 0},
    }
    assert content["reasons"] == {"queue_full": {"sheddable": {"recorded": 1, "replayed": 2}}}
    assert content["changed"] == [
        {"criticality": "sheddable", "recorded": "served", "replayed": "refused", "count": 1}
    ]
    assert content["wait_ns"]["replayed"] == {"p50": 0, "p99": 0, "longest": 0}
    assert (content["adjusted"], content["borrowed"], content["borrowed_elsewhere"]) == (0, 0, 0)
    assert content["unknown"]


@pytest.mark.parametrize(
    ("rules", "limit", "told"),
    [
        (0, 3, "whose work was not recorded, because they were refused or left then: 1."),
        (2, 2, "Rules are not applied again"),
    ],
)
def test_limits_of_what_was_computed_are_told_where_they_matter(recording, rules, limit, told):
    policy = a_policy(limit=limit, queue_length=0)
    assert is_told(told, sentences(recording, policy, rules=rules))
    assert not is_told(told, sentences(recording, a_policy(limit=2, queue_length=0)))


def test_policies_that_were_applied_are_told(recording):
    recording.shedder.apply(a_policy(limit=2), now=recording.now(20))
    told = sentences(recording, a_policy(limit=2))
    assert is_told("Policies applied while it was recorded: 1.", told)


def test_a_blind_replay_says_so():
    made = Recording(a_policy(limit=1, queue_length=0))
    made.run(1)
    made.arrive(2)
    told = sentences(made, a_policy(limit=2))
    assert is_told("took no time at all", told)
    assert not is_told("Work takes as long as", told)


def test_work_at_another_number_in_flight_is_told():
    made = Recording(a_policy(limit=9))
    permits = [made.run(1) for _ in range(3)]
    for permit in permits:
        made.release(11, permit)
    made.at_ms = 60
    told = sentences(made, a_policy(limit=1))
    assert is_told("with more or less in flight than in the recording: 2.", told)


def test_work_of_another_route_is_told():
    made = Recording(a_policy(limit=1, queue_length=0))
    permit = made.run(1)
    made.arrive(2, RequestInfo(route="other"))
    made.release(3, permit)
    assert is_told("(as one of any route: 1).", sentences(made, a_policy(limit=2)))
