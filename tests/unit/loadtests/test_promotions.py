"""Seeded releases in a fleet of virtual time: what each kind comes to."""

from __future__ import annotations

import pytest

from loadtests.promotions import KINDS, play


@pytest.mark.parametrize("kind", ["refused by hosts", "crash", "errors +0.4 points"])
def test_a_bad_release_is_stopped_at_one_instance(kind):
    assert kind in KINDS
    outcome = play(kind, 1)
    assert (outcome.is_stopped, outcome.scope, outcome.zones) == (True, "instance", 1)
    assert outcome.start_s <= 10
