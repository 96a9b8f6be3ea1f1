"""Every refusal can be put in one sentence, with the numbers that decided."""

from __future__ import annotations

from shedproxy.core import (
    EVIDENCE,
    Instant,
    Rejected,
    RejectReason,
    RequestInfo,
    SpillBar,
    explain_refusal,
)

R = RejectReason


def rejected(reason: RejectReason, numbers: tuple[int, ...]) -> Rejected:
    return Rejected(RequestInfo(), reason, Instant(0), numbers, queue_length=8)


def test_each_reason_has_its_evidence_and_its_sentence() -> None:
    """The closed set is total."""
    assert set(EVIDENCE) == set(RejectReason)
    for reason in RejectReason:
        numbers = tuple(range(1, len(EVIDENCE[reason]) + 1))
        sentence = explain_refusal(rejected(reason, numbers))
        assert sentence
        assert "{" not in sentence


def test_who_leaves_when_overload_begins_is_not_told_of_a_better_one() -> None:
    """There was none: the queue became shorter."""
    assert explain_refusal(rejected(R.EVICTED, (3, 700, 4096, 10))) == (
        "overload began: 8 of this class and better ones waited where 3 may then,"
        " and rank 700 is the lowest of them"
    )
    assert explain_refusal(rejected(R.EVICTED, (8, 700, 701, 10))) == (
        "the queue was full (8) and rank 701 came after rank 700"
    )


def test_who_was_taken_by_no_other_cell_is_told_why() -> None:
    """Each bar has words of its own, and a request for which none was asked is told nothing."""
    refused = rejected(R.QUEUE_FULL, (8, 5, 5))
    plain = explain_refusal(refused)
    seen = set()
    for bar in list(SpillBar)[1:]:
        refused.spill_bar = bar
        told = explain_refusal(refused)
        assert told.startswith(f"{plain}; no other cell took it: ")
        seen.add(told)
    assert len(seen) == len(SpillBar) - 1
