"""URLs, zones and hands of a cell as data planes run them."""

from __future__ import annotations

from shedproxy.snapshot import canonical_key, flow_hash, flow_key

FOUR = '["http://a:1 zone=x", "http://b:1 zone=y version=2", "http://c:1 zone=x", "http://d:1"]'


def document(written, text):
    loaded = written.load(f'[headers]\ntenant = "@client"\n[cells]\nsecret = "s"\n{text}')
    return loaded.document.proxy.upstreams[0]


def test_zones_and_versions_stand_beside_the_urls(written):
    made = document(written, f"[cell.default]\nupstream = {FOUR}")
    assert made.urls == ("http://a:1", "http://b:1", "http://c:1", "http://d:1")
    assert made.zones == ("x", "y", "x", "")
    assert made.versions == ("", "2", "", "")


def test_where_none_is_named_there_are_none(written):
    made = document(written, '[cell.default]\nupstream = "http://a:1"')
    assert (made.zones, made.versions, made.hand, made.hands) == ((), (), 0, ())


def test_listed_tenants_have_hands_that_share_no_more_than_the_bound(written):
    upstreams = [f"http://h{index}:1" for index in range(8)]
    text = f"[cell.default]\nupstream = {upstreams}\nhands = {{ size = 2, overlap_max = 0,"
    made = document(written, text + ' tenants = ["A", "b", "a "] }')
    hashed = flow_hash(flow_key("s"))
    assert [digits for digits, _ in made.hands] == [
        f"{hashed(canonical_key('header', name)):016x}" for name in (b"a", b"b")
    ]
    one, other = (set(places) for _, places in made.hands)
    assert (len(one), len(other), one & other) == (2, 2, set())


def test_a_list_that_only_grows_deals_nobody_anew(written):
    upstreams = [f"http://h{index}:1" for index in range(8)]
    text = f"[cell.default]\nupstream = {upstreams}\nhands = {{ size = 3, overlap_max = 1,"
    few = document(written, text + ' tenants = ["a", "b"] }').hands
    more = document(written, text + ' tenants = ["a", "b", "c"] }').hands
    assert more[:2] == few
