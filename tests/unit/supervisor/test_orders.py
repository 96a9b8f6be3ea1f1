from __future__ import annotations

import pytest

from shedproxy.core import Mode, seconds
from shedproxy.supervisor.orders import ModeOrder, OrderInvalidError


def test_a_mode_order_always_ends():
    order = ModeOrder.parse({"mode": "observe"})
    assert order.mode is Mode.OBSERVE
    assert order.length == seconds(3600)
    assert ModeOrder.parse({"mode": "off", "for": "10m"}).length == seconds(600)


def test_configured_ends_an_override():
    assert ModeOrder.parse({"mode": "configured"}).mode is None


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({}, "/mode"),
        ({"mode": "on"}, "/mode"),
        ({"mode": 1}, "/mode"),
        ({"mode": "off", "until": "x"}, "/until"),
        ({"mode": "off", "for": "8d"}, "/for"),
        ({"mode": "off", "for": "0s"}, "/for"),
        ({"mode": "off", "for": "10"}, "/for"),
        ({"mode": "off", "for": "ten minutes"}, "/for"),
        ({"mode": "off", "for": 600}, "/for"),
        ({"mode": "off", "for": None}, "/for"),
    ],
)
def test_a_bad_order_names_the_place(content, place):
    with pytest.raises(OrderInvalidError) as caught:
        ModeOrder.parse(content)
    assert caught.value.place == place
