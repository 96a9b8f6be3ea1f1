"""A tenant is a keyed hash of what a trusted peer names, or of an address."""

from __future__ import annotations

from shedproxy.dataplane.flows import Flows
from shedproxy.dataplane.trust import Trust

TRUST = Trust(("10.0.0.0/8",))
FRIEND, STRANGER = "10.0.0.1", "203.0.113.9"


def read(flows, *, tenant=b"", peer=FRIEND, headers=()):
    found = {b"x-tenant": tenant} if tenant else {}
    return flows.read(found, headers, peer, TRUST.believes(peer))


def test_one_key_gives_one_hash_in_every_process():
    one, other = (Flows("x-tenant", TRUST, b"k" * 32) for _ in range(2))
    assert read(one, tenant=b"a") == read(other, tenant=b" A ") != 0
    assert read(one, tenant=b"a") != read(Flows("x-tenant", TRUST, b"l" * 32), tenant=b"a")


def test_without_a_key_it_is_that_of_the_process():
    assert read(Flows("x-tenant", TRUST), tenant=b"a") == read(
        Flows("x-tenant", TRUST), tenant=b"a"
    )


def test_a_stranger_is_his_address_whatever_he_says():
    flows = Flows("x-tenant", TRUST)
    assert read(flows, tenant=b"a", peer=STRANGER) == read(flows, peer=STRANGER)


def test_a_friend_who_names_nobody_speaks_for_nobody():
    assert read(Flows("x-tenant", TRUST)) == 0


def test_the_client_behind_friends_is_found():
    flows = Flows("@client", TRUST)
    assert flows.header == b""
    forwarded = [(b"x-forwarded-for", STRANGER.encode())]
    assert read(flows, headers=forwarded) == read(flows, peer=STRANGER)


def test_long_names_are_not_remembered():
    flows = Flows("x-tenant", TRUST)
    for _ in range(3):
        assert read(flows, tenant=b"a" * 5000)
    assert not flows._flows
