from __future__ import annotations

from dataclasses import replace

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Lane,
    Mode,
    Policy,
    QueuePolicy,
    SpillPolicy,
)
from shedproxy.snapshot import Classification, Document, Match, Rule
from shedproxy.supervisor.explain import CellNumbers, explain_head


def document(*rules: Rule, mode: Mode = Mode.ENFORCE, **cell) -> Document:
    return Document(
        policy=Policy(mode=mode, cells=(CellPolicy(**cell),)),
        classification=Classification(rules=rules, trusted_peers=("10.0.0.0/8",)),
    )


def explain(doc: Document, *headers: tuple[str, str], numbers=None, **options):
    numbers = CellNumbers(limit=10) if numbers is None else numbers
    return explain_head(
        doc, "GET", "/a/1?q=2", headers, numbers_of=lambda _cell: numbers, **options
    )


def answer(doc: Document, *headers, numbers=None, **options) -> tuple[str, str | None]:
    decision = explain(doc, *headers, numbers=numbers, **options)["decision"]
    return decision["answer"], decision["reason"]


def flips(content) -> dict[str, int]:
    return {flip["count"]: flip["at"] for flip in content["flips"]}


def test_names_the_rule_that_took_the_request():
    content = explain(
        document(
            Rule(name="other", match=Match(path=("/b/**",))),
            Rule(name="reports", match=Match(path=("/a/*",)), cost=3, limit=6),
        )
    )
    assert content["rule"] == {"index": 1, "name": "reports", "path": ["/a/*"]}
    assert content["cost"] == 3
    assert flips(content) == {
        "route_in_flight": 4,
        "in_flight": 8,
        "queue_length": 1024,
        "shed_rank": 2561,
    }


def test_without_a_rule_the_defaults_speak():
    content = explain(document())
    assert content["rule"] is None
    assert content["criticality"] == "critical"
    assert content["decision"]["answer"] == "admit"


def test_headers_count_only_from_trusted_peers():
    raised = ("x-criticality", "critical_plus")
    assert explain(document(), raised)["criticality"] == "critical"
    assert explain(document(), raised, peer="10.1.2.3")["criticality"] == "critical_plus"


def test_a_full_cell_queues_then_refuses():
    assert answer(document(), numbers=CellNumbers(in_flight=10, limit=10)) == ("queue", None)
    full = CellNumbers(in_flight=10, limit=10, queue_length=1024)
    assert answer(document(), numbers=full) == ("refuse", "queue_full")


def test_the_shed_level_refuses_lower_classes():
    numbers = CellNumbers(limit=10, shed_rank=2048, shed_share=0.5)
    assert answer(document(), numbers=numbers)[0] == "admit"
    low = ("x-criticality", "sheddable")
    assert answer(document(), low, numbers=numbers) == ("refuse", "shed_level")


def test_what_the_level_lets_pass_still_needs_room_in_the_short_queue():
    """How short it is only the worker knows: the answer says so."""
    numbers = CellNumbers(limit=10, in_flight=10, queue_length=3)
    decision = explain(document(), numbers=numbers)["decision"]
    assert decision["why"] == "10 of 10 are in flight and 3 wait; it waits up to 500 ms"
    numbers = CellNumbers(limit=10, in_flight=10, queue_length=3, shed_rank=2048, shed_share=0.5)
    decision = explain(document(), numbers=numbers)["decision"]
    assert decision["answer"] == "queue"
    assert decision["why"].endswith("if there is room in the short queues of overload")


def test_a_level_inside_the_class_refuses_a_share_of_it():
    numbers = CellNumbers(limit=10, shed_rank=2048 + 512 + 128, shed_share=0.5)
    decision = explain(document(), numbers=numbers)["decision"]
    assert decision["answer"] == "refuse"
    assert decision["why"].startswith("50% of such requests")
    one_task = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    content = explain(document(), one_task, numbers=numbers)
    assert content["rank"] is not None
    refused = content["decision"]["answer"] == "refuse"
    assert refused is (content["rank"] < numbers.shed_rank)


def test_bounds_that_always_refuse():
    closed = document(Rule(match=Match(path=("/a/**",)), limit=0))
    assert answer(closed) == ("refuse", "route_limit")
    two = document(class_limits=(None, None, 2, None))
    held = CellNumbers(limit=10, in_flight=2, class_in_flight=(0, 0, 2, 0))
    assert answer(two, numbers=CellNumbers(limit=10, in_flight=2))[0] == "admit"
    assert answer(two, numbers=held) == ("refuse", "class_limit")
    assert explain(two, numbers=held)["decision"]["why"] == (
        "class critical has 2 of 2 in flight; this one takes 1"
    )
    assert explain(two, numbers=held)["now"]["class_in_flight"] == 2
    no_low = document(class_limits=(0, None, None, None))
    assert answer(no_low, ("x-criticality", "sheddable")) == ("refuse", "class_limit")
    assert answer(document(), is_draining=True) == ("refuse", "draining")
    dead = CellNumbers(limit=10, upstreams=2)
    assert answer(document(), numbers=dead) == ("refuse", "no_upstream")
    assert answer(document(), ("x-request-timeout-ms", "0")) == ("refuse", "deadline")


def test_observe_serves_and_says_what_enforce_would_do():
    closed = document(Rule(match=Match(path=("/a/**",)), limit=0), mode=Mode.OBSERVE)
    decision = explain(closed)["decision"]
    assert decision["answer"] == "admit"
    assert decision["would"] == "refuse"
    assert "observe" in decision["why"]


def test_control_requests_bypass_until_their_budget():
    control = document(Rule(match=Match(path=("/a/**",)), lane=Lane.CONTROL))
    assert answer(control) == ("bypass", None)
    assert answer(control, numbers=CellNumbers(control_in_flight=16)) == (
        "refuse",
        "control_budget",
    )
    assert flips(explain(control)) == {"control_in_flight": 16}


def test_streams_have_their_own_bound():
    from shedproxy.core import Kind

    stream = document(
        Rule(match=Match(path=("/a/**",)), kind=Kind.STREAM, criticality=Criticality.SHEDDABLE),
        resident_limit=5,
    )
    busy = CellNumbers(in_flight=10, limit=10, residents=4)
    assert answer(stream, numbers=busy) == ("admit", None)
    assert answer(stream, numbers=CellNumbers(residents=5)) == ("refuse", "resident_limit")


def test_offline_there_is_no_decision_but_the_bounds_are_known():
    content = explain_head(document(), "GET", "/a", [])
    assert "decision" not in content
    assert flips(content)["in_flight"] == 8


def test_a_refusal_that_another_cell_may_take_says_so():
    spill = SpillPolicy(to=("b", "c"), classes=(Criticality.SHEDDABLE,))
    policy = Policy(
        cells=(
            CellPolicy(queue=QueuePolicy(length_max=0), spill=spill),
            CellPolicy(name="b"),
            CellPolicy(name="c"),
        )
    )
    doc = Document(policy=policy)
    full = CellNumbers(limit=10, in_flight=10)

    def why(room: int, criticality: str = "sheddable") -> str:
        def numbers_of(cell: str) -> CellNumbers:
            return replace(full, guest_room=room if cell == "c" else 0)

        header = ("x-criticality", criticality)
        content = explain_head(doc, "GET", "/", [header], numbers_of=numbers_of)
        assert content["decision"]["reason"] == "queue_full"
        return content["decision"]["why"]

    assert why(3).endswith("; c has room for 3 such guests and may take it")
    assert why(0).endswith("; b, c has no room for it now")
    assert "room" not in why(3, "sheddable_plus")
