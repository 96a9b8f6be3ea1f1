"""Where the key of a request leads: found, believed, hashed, looked up."""

from __future__ import annotations

import pytest

from shedproxy.core import BUCKETS, CellTable, MovePhase, build_cell_table, motion_place
from shedproxy.dataplane.cell_keys import CellKeys
from shedproxy.dataplane.trust import Trust
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import CellRouting, cell_hash, secret_id, written_key

FRIEND, STRANGER = "10.0.0.1", "203.0.113.9"
TRUST = Trust(("10.0.0.0/8",))
HASH = cell_hash("s")


def keys(key, pinned="big", **more):
    """Pinned keys go to `big`, others to `rest`, what has no key to `none`."""
    kind = key.partition(":")[0]
    place = f"{HASH(written_key(kind, pinned)):016x}"
    routing = CellRouting(
        key=key,
        secret="s",
        default="none",
        cells=("rest", "big", "none"),
        buckets=((0, BUCKETS),),
        pins=((place, 1),),
        **more,
    )
    return CellKeys(routing, TRUST)


def find(cell_keys, *headers, path=b"/", peer=FRIEND):
    found = {name: value for name, value in headers if name == cell_keys.header}
    return cell_keys.find(found, headers, path, peer)


def test_a_header_counts_from_trusted_peers_only():
    by_header = keys("header:x-tenant")
    assert find(by_header, (b"x-tenant", b" BIG ")) == "big"
    assert find(by_header, (b"x-tenant", b"small")) == "rest"
    assert find(by_header, (b"x-tenant", b"big"), peer=STRANGER) == "none"
    assert find(by_header) == find(by_header, (b"x-tenant", b" ")) == "none"


def test_a_credential_counts_from_anybody_and_is_not_remembered():
    by_key = keys("api-key:authorization", "Bearer X")
    for _ in range(3):
        assert find(by_key, (b"authorization", b"Bearer X"), peer=STRANGER) == "big"
        assert find(by_key, (b"authorization", b"bearer x"), peer=STRANGER) == "rest"
    assert not by_key._known
    assert find(by_key) == "none"


@pytest.mark.parametrize(
    ("path", "cell"),
    [
        (b"/v1/big/orders", "big"),
        (b"/v1/BIG", "big"),
        (b"/v1//%62ig?x=/", "big"),
        (b"/v1/small", "rest"),
        (b"/v1", "none"),
        (b"/v1/", "none"),
        (b"/v1/x/../big", "none"),  # can be read in two ways
        (b"*", "none"),
    ],
)
def test_a_segment_of_the_path_is_a_key_in_any_spelling(path, cell):
    assert find(keys("path:2"), path=path) == cell


@pytest.mark.parametrize("host", [b"big", b"BIG:8080", b"big.", b" big:1 "])
def test_a_host_is_a_key_without_its_port(host):
    by_host = keys("host")
    assert find(by_host, (b"host", host), peer=STRANGER) == "big"
    assert find(by_host, (b"host", b"other:8080")) == "rest"
    assert find(by_host, (b"host", b":80")) == "none"


def test_an_address_in_brackets_is_a_host():
    assert find(keys("host", "[::1]:8080"), (b"host", b"[::1]:80")) == "big"


def test_an_address_is_a_key_and_that_of_the_client_behind_friends():
    by_client = keys("@client", STRANGER)
    assert find(by_client, peer=STRANGER) == "big"
    assert find(by_client, (b"x-forwarded-for", STRANGER.encode())) == "big"
    assert find(by_client, peer="198.51.100.1") == "rest"
    assert find(by_client, peer="") == "none"


def test_who_moves_is_told_by_hash_and_others_are_not():
    routing = CellRouting(
        key="host",
        secret="s",
        default="a",
        cells=("a", "b"),
        buckets=((0, BUCKETS),),
        pins=((f"{HASH(b'big'):016x}", motion_place(0, 1, MovePhase.HELD)),),
    )
    moving = CellKeys(routing, TRUST)
    assert find(moving, (b"host", b"big")) == "a"
    assert moving.moving_count == 1
    assert moving.phase_of(HASH(b"big")) == MovePhase.HELD
    assert moving.take_moving() == HASH(b"big")
    assert moving.take_moving() == 0
    find(moving, (b"host", b"small"))
    assert moving.take_moving() == 0
    assert moving.phase_of(HASH(b"small")) == 0


def test_another_table_takes_its_place_by_one_reference():
    here = keys("host", version=1)
    data = build_cell_table(("x",), [0] * BUCKETS, {}, version=2, secret_id=secret_id("s"))
    here.take(CellTable(data))
    assert (here.version, find(here, (b"host", b"big"))) == (2, "x")


def test_a_table_for_another_secret_is_refused():
    here = keys("host", version=1)
    data = build_cell_table(("x",), [0] * BUCKETS, {}, secret_id=secret_id("t"))
    with pytest.raises(ValueError, match="another secret"):
        here.take(CellTable(data))
    assert here.version == 1


@pytest.mark.parametrize(
    "routing",
    [
        CellRouting(key="cookie:x"),
        CellRouting(key="host"),
        CellRouting(key="host", cells=("default",), buckets=((3, BUCKETS),)),
    ],
)
def test_what_contradicts_itself_is_refused(routing):
    with pytest.raises(DocumentInvalidError):
        CellKeys(routing, TRUST)


def test_long_keys_are_not_remembered():
    by_header = keys("header:x-tenant")
    for _ in range(3):
        find(by_header, (b"x-tenant", b"a" * 5000))
    assert not by_header._known


def test_keys_that_are_pinned_or_move_are_told_to_who_asks():
    routing = CellRouting(
        key="host",
        secret="s",
        default="a",
        cells=("a", "b"),
        buckets=((0, BUCKETS),),
        pins=tuple(
            (f"{HASH(key):016x}", place)
            for key, place in sorted(
                ((b"big", 1), (b"goes", motion_place(0, 1, MovePhase.MARKED))),
                key=lambda pin: HASH(pin[0]),
            )
        ),
    )
    asked = CellKeys(routing, TRUST)
    find(asked, (b"host", b"big"))
    assert not asked.is_pinned, "nobody asks"
    asked.asks_pins = True
    told = {}
    for host in (b"big", b"small", b"goes", b""):
        find(asked, (b"host", host))
        told[host] = asked.is_pinned
    assert told == {b"big": True, b"small": False, b"goes": True, b"": False}
