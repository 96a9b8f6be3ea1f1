from __future__ import annotations

import pytest

from shedproxy.core import Mode, seconds
from shedproxy.supervisor.orders import HostOrder, ModeOrder, OrderInvalidError, ZoneOrder


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


def test_an_order_for_a_host_always_ends():
    order = HostOrder.parse({"action": "drain", "host": "http://h:1"})
    assert (order.host, order.cell, order.length) == ("http://h:1", "", seconds(3600))
    assert order.facts() == {"upstream": "http://h:1", "cell": "all", "for": "1h"}
    undrain = HostOrder.parse({"action": "undrain", "host": "http://h:1", "cell": "a"})
    assert undrain.facts() == {"upstream": "http://h:1", "cell": "a"}
    assert HostOrder.parse({"action": "forgive", "serial": 7}).facts() == {"serial": 7}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({}, "/action"),
        ({"action": "kill"}, "/action"),
        ({"action": ["drain"]}, "/action"),
        ({"action": "drain"}, "/host"),
        ({"action": "drain", "host": 3}, "/host"),
        ({"action": "drain", "host": "h", "cell": 3}, "/cell"),
        ({"action": "drain", "host": "h", "for": "8d"}, "/for"),
        ({"action": "drain", "host": "h", "for": "0s"}, "/for"),
        ({"action": "undrain", "host": "h", "for": "1h"}, "/for"),
        ({"action": "forgive"}, "/serial"),
        ({"action": "forgive", "serial": True}, "/serial"),
        ({"action": "forgive", "serial": 1, "host": "h"}, "/host"),
    ],
)
def test_a_bad_order_for_a_host_names_the_place(content, place):
    with pytest.raises(OrderInvalidError) as caught:
        HostOrder.parse(content)
    assert caught.value.place == place


def test_a_zone_order_always_ends():
    order = ZoneOrder.parse({"zone": "b", "away": True})
    assert (order.zone, order.is_away, order.length) == ("b", True, seconds(3600))
    assert ZoneOrder.parse({"zone": "b", "away": True, "for": "10m"}).length == seconds(600)
    assert not ZoneOrder.parse({"zone": "b", "away": False}).is_away


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({}, "/zone"),
        ({"zone": "", "away": True}, "/zone"),
        ({"zone": 1, "away": True}, "/zone"),
        ({"zone": "b"}, "/away"),
        ({"zone": "b", "away": "yes"}, "/away"),
        ({"zone": "b", "away": True, "for": "8d"}, "/for"),
        ({"zone": "b", "away": True, "for": "soon"}, "/for"),
        ({"zone": "b", "away": True, "force": True}, "/force"),
    ],
)
def test_a_bad_zone_order_names_the_place(content, place):
    with pytest.raises(OrderInvalidError) as caught:
        ZoneOrder.parse(content)
    assert caught.value.place == place
