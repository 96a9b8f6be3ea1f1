from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import CellPolicy, LimitPolicy, Policy, QueuePolicy
from shedproxy.snapshot import (
    Classification,
    Document,
    ProxyDocument,
    Rule,
    UpstreamDocument,
    cut_limits,
    document_for_worker,
    part_of,
)


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_parts_add_up_to_the_whole_and_none_is_zero(whole, workers):
    parts = [part_of(whole, index, workers) for index in range(workers)]
    assert sum(parts) == (max(whole, workers) if whole else 0)
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


def test_every_bound_that_is_counted_per_process_is_cut():
    cell = CellPolicy(
        limit=LimitPolicy(initial=9, minimum=3, maximum=101),
        queue=QueuePolicy(length_max=11),
        resident_limit=5,
        control_budget=3,
        class_limits=(0, None, 1, 8),
    )
    document = Document(
        policy=Policy(cells=(cell,)),
        classification=Classification(rules=(Rule(limit=5), Rule(), Rule(limit=0))),
        proxy=ProxyDocument(upstreams=(UpstreamDocument(connections_max=7),)),
    )
    first, second = (document_for_worker(document, index, 2) for index in range(2))
    (one,), (two,) = first.policy.cells, second.policy.cells
    assert (one.limit.initial, two.limit.initial) == (5, 4)
    assert (one.limit.minimum, two.limit.minimum) == (2, 1)
    assert (one.limit.maximum, two.limit.maximum) == (51, 50)
    assert (one.queue.length_max, two.queue.length_max) == (6, 5)
    assert (one.resident_limit, two.resident_limit) == (3, 2)
    assert (one.control_budget, two.control_budget) == (2, 1)
    assert one.class_limits == (0, None, 1, 4)
    assert two.class_limits == (0, None, 1, 4)
    assert [rule.limit for rule in first.classification.rules] == [3, None, 0]
    assert [rule.limit for rule in second.classification.rules] == [2, None, 0]
    assert first.proxy.upstreams[0].connections_max == 4


def test_a_lone_worker_has_it_all():
    document = Document()
    assert document_for_worker(document, 0, 1) is document


def test_who_cannot_count_together_has_a_part_of_the_limits_alone():
    document = Document(
        policy=Policy(
            cells=(
                CellPolicy(limit=LimitPolicy(initial=9, minimum=3, maximum=101), control_budget=5),
            )
        )
    )
    (cell,) = cut_limits(document, 1, 4).policy.cells
    assert (cell.limit.initial, cell.limit.minimum, cell.limit.maximum) == (2, 1, 25)
    assert cell.control_budget == 5
