"""A tenant's hand of a cell's upstreams."""

from __future__ import annotations

from shedproxy.dataplane.wire.candidates import Upstream
from shedproxy.dataplane.wire.hands import Hands
from shedproxy.snapshot import UpstreamDocument

URLS = tuple(f"http://h{index}:1" for index in range(9))


def hands(**more):
    document = UpstreamDocument(urls=URLS, **more)
    upstreams = [Upstream(url, 1) for url in URLS]
    made = Hands()
    made.apply(document, upstreams)
    return made, upstreams


def keys(hand):
    return {upstream.key for upstream in hand}


def test_without_a_size_everybody_uses_all():
    assert hands()[0].of(7) is None
    assert hands(hand=9)[0].of(7) is None


def test_a_hand_is_of_the_tenant_and_the_same_in_every_process():
    one, other = hands(hand=3)[0], hands(hand=3)[0]
    assert len(keys(one.of(7))) == 3
    assert keys(one.of(7)) == keys(other.of(7))
    assert len({frozenset(keys(one.of(tenant << 40))) for tenant in range(20)}) > 10


def test_a_hand_that_is_listed_is_as_it_says():
    made, upstreams = hands(hand=2, hands=((f"{7:016x}", (4, 1)),))
    assert made.of(7) == (upstreams[4], upstreams[1])


def test_nobody_is_in_a_hand_too():
    assert len(hands(hand=3)[0].of(0)) == 3


def test_a_hand_lies_over_zones():
    zones = tuple("abcabcabc")
    made, upstreams = hands(hand=3, zones=zones)
    for tenant in range(20):
        places = [upstreams.index(upstream) for upstream in made.of(tenant << 40)]
        assert sorted(zones[place] for place in places) == ["a", "b", "c"]


def test_another_document_deals_anew():
    made, _ = hands(hand=3)
    made.of(7)
    fewer = [Upstream(url, 1) for url in URLS[:5]]
    made.apply(UpstreamDocument(urls=URLS[:5], hand=3), fewer)
    assert set(made.of(7)) <= set(fewer)
