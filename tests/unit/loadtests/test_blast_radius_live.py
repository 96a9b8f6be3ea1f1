"""What the live part counts as lost, and by which hands; live: `blast-radius --live`."""

from __future__ import annotations

from loadtests.blast_radius_live import LiveBlast, as_json, broken_live, hands_of, live_line
from shedproxy.dataplane.wire.hands import Hands
from shedproxy.dataplane.wire.pool import UpstreamPool
from shedproxy.snapshot import UpstreamDocument, canonical_key, flow_hash, flow_key

URLS = tuple(f"http://127.0.0.1:{port}" for port in range(1, 13))


def test_hands_are_those_that_the_proxy_deals() -> None:
    pool: UpstreamPool[int, int] = UpstreamPool(URLS)
    hands: Hands[int] = Hands()
    hands.apply(UpstreamDocument(urls=URLS, hand=3), pool.upstreams)
    hashed = flow_hash(flow_key("blast-radius"))
    for tenant, places in enumerate(hands_of(URLS, 20)):
        dealt = hands.of(hashed(canonical_key("header", f"t{tenant}".encode())))
        assert {upstream.key for upstream in dealt} == {URLS[place] for place in places}


def test_only_who_had_another_upstream_should_have_lost_nothing() -> None:
    found = LiveBlast(lost=[0, 0, 3, 9], losing={4}, crashes=20)
    assert broken_live(found) == []
    assert "lost [0, 0, 3, 9]" in live_line(found)
    assert as_json(found)["tenants_losing"] == 1
    found.lost[1] = 1
    found.crashes = 2
    assert broken_live(found) == [
        "live: 1 requests lost that had another upstream",
        "live: the poison crashed upstreams 2 times only",
    ]
