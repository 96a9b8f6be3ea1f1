"""The product's Shedder runs with its defaults, or with what calibration would have written."""

from __future__ import annotations

from shedproxy.core import Instant, LimitPolicy, QueuePolicy, RequestInfo, milliseconds
from shedproxy.simulator.controllers.ours import make_ours, our_policy
from shedproxy.workload.scenario import ClientSpec, ProfileSpec, Scenario

PROFILE = ProfileSpec(start=7, minimum=2, maximum=9, baseline_ms=20)


def test_it_runs_with_the_product_s_defaults() -> None:
    (cell,) = our_policy(Scenario(profile=PROFILE), with_profile=False).cells
    assert (cell.limit, cell.queue) == (LimitPolicy(), QueuePolicy())


def test_a_profile_sets_the_limit_and_nothing_else() -> None:
    (cell,) = our_policy(Scenario(profile=PROFILE), with_profile=True).cells
    assert cell.limit == LimitPolicy(initial=7, minimum=2, maximum=9, baseline_ns=milliseconds(20))
    assert cell.queue == QueuePolicy()


def test_there_is_a_cell_for_each_that_clients_name_and_a_queue_as_long_as_the_scenario_s() -> None:
    clients = (ClientSpec(cell="a"), ClientSpec(cell="b"), ClientSpec(cell="a"))
    policy = our_policy(Scenario(client=clients, queue_length_max=5), with_profile=False)
    assert [(cell.name, cell.queue.length_max) for cell in policy.cells] == [("a", 5), ("b", 5)]


def test_it_shows_the_sum_of_its_cells() -> None:
    clients = (ClientSpec(cell="a"), ClientSpec(cell="b"))
    control = make_ours(Scenario(client=clients), now=Instant(0))
    one_limit = LimitPolicy().initial
    for cell in ("a", "b"):
        control.arrive(RequestInfo(cell=cell), now=Instant(1))
    reading = control.reading()
    assert (reading.limit, reading.in_flight, reading.queue_length) == (2 * one_limit, 2, 0)
    assert (reading.refused_share, reading.baseline_ns) == (0.0, 0)
