"""What three tries at each of five layers make of a failing bottom."""

from __future__ import annotations

import random

import pytest

from shedproxy.simulator.layers import LAYERS, Retrying, run_layers


def amplification(retrying: Retrying, failing: float, length_s: int = 20) -> float:
    run = run_layers(retrying, rng=random.Random(1), failing=failing, length_s=length_s)
    return run.amplification


def test_without_a_budget_the_bottom_meets_three_to_the_fifth() -> None:
    assert amplification(Retrying.NAIVE, 1.0, length_s=1) == 3**LAYERS == 243


@pytest.mark.parametrize("retrying", Retrying)
def test_where_nothing_fails_nothing_is_tried_again(retrying: Retrying) -> None:
    assert amplification(retrying, 0.0, length_s=1) == 1


def test_the_proxy_s_rule_keeps_within_what_is_promised() -> None:
    """A minute: 1.10 where everything fails, 1.20 where 30 % do."""
    assert amplification(Retrying.OURS, 1.0, length_s=60) <= 1.10
    assert 1.05 < amplification(Retrying.OURS, 0.3, length_s=60) <= 1.20


def test_a_budget_at_every_layer_is_not_enough_by_itself() -> None:
    """Five tenths of a failing third: this is why an answer is not asked for again."""
    assert amplification(Retrying.BUDGETS, 0.3, length_s=60) > 1.20
