"""Shares of all seeds together rest on all of their requests."""

from __future__ import annotations

import random

import pytest

from shedproxy.simulator.figures import QUEUE_ORACLE_REFUSED, REFUSED
from shedproxy.simulator.pooled import EXCESS, pooled_figures


def refusals(*pairs: tuple[int, int], ended: int = 10_000) -> list[dict[str, tuple[int, int]]]:
    return [{REFUSED: (ours, ended), QUEUE_ORACLE_REFUSED: (queue, ended)} for ours, queue in pairs]


def pooled(counts: list[dict[str, tuple[int, int]]]) -> dict[str, dict[str, float]]:
    return pooled_figures(counts, random.Random(1))


def test_the_excess_has_a_sign_and_seeds_make_up_for_each_other() -> None:
    found = pooled(refusals((3, 0), (0, 4), (1, 1)))[EXCESS]
    assert found["value"] == pytest.approx(-1 / 30_000)
    assert found["low"] < 0 < found["high"]
    assert (found["requests"], found["seeds"]) == (30_000, 3)


def test_what_both_refuse_alike_is_no_scatter() -> None:
    """Seeds differ much, the two runs of each do not: the interval is of the difference."""
    found = pooled(refusals((100, 99), (3_000, 2_999), (0, 0), (800, 800)))[EXCESS]
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 0.000101


def test_one_seed_has_no_interval() -> None:
    found = pooled(refusals((5, 0)))[EXCESS]
    assert (found["value"], found["low"], found["high"]) == (0.0005, None, None)


def test_too_few_of_all_seeds_are_left_out() -> None:
    assert pooled(refusals((1, 0), (1, 0), ended=900)) == {}
    assert EXCESS in pooled(refusals((1, 0), (1, 0), ended=1_000))
    assert pooled([]) == {}


def test_a_share_is_weighed_by_its_requests() -> None:
    name = "client_served_ratio.quiet"
    found = pooled([{name: (900, 1_000)}, {name: (0, 3_000)}, {}])[name]
    assert found["value"] == pytest.approx(900 / 4_000)
    assert found["requests"] == 4_000
