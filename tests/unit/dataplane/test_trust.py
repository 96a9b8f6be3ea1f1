"""Whose word counts, and who stands behind a chain of trusted peers."""

from __future__ import annotations

import pytest

from shedproxy.dataplane.trust import Trust


@pytest.mark.parametrize(
    ("peer", "believed"),
    [
        ("10.9.9.9", True),
        ("11.0.0.1", False),
        ("::ffff:10.9.9.9", True),
        ("fd00::1", True),
        ("fe80::1%eth0", False),
        ("not an address", False),
        ("1" * 1000, False),
        ("", False),
    ],
)
def test_networks(peer, believed):
    trust = Trust(("10.0.0.0/8", "fd00::/8"))
    assert trust.believes(peer) is believed
    assert trust.believes(peer) is believed


def test_nobody_is_trusted_by_default():
    assert not Trust(()).believes("127.0.0.1")


def test_unix_sockets_by_their_own_word():
    assert Trust(("unix",)).believes("")
    assert not Trust(("unix",)).believes("127.0.0.1")


def test_a_network_may_be_given_by_a_host_address():
    assert Trust(("10.1.2.3/8",)).believes("10.200.0.1")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ([], "10.0.0.1"),
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ([b"1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ([b"1.1.1.1", b"203.0.113.9,10.0.0.2"], "203.0.113.9"),
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([b"1.1.1.1, <script>, 10.0.0.2"], "10.0.0.2"),
        ([b"1.1.1.1, "], "10.0.0.1"),
        ([b"1.1.1.1," * 2000 + b"203.0.113.9"], "203.0.113.9"),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_not_ours(chain, client):
    headers = [(b"host", b"x")] + [(b"x-forwarded-for", line) for line in chain]
    assert Trust(("10.0.0.0/8",)).client_of("10.0.0.1", headers) == client


def test_a_caller_is_an_address_of_version_4_and_a_64_of_version_6():
    trust = Trust(())
    assert trust.caller_at("203.0.113.9") != trust.caller_at("203.0.113.10")
    assert trust.caller_at("::ffff:203.0.113.9") == trust.caller_at("203.0.113.9")
    assert trust.caller_at("2001:db8::1") == trust.caller_at("2001:DB8:0:0:ffff::2")
    assert trust.caller_at("2001:db8::1") != trust.caller_at("2001:db8:0:1::1")
    assert trust.caller_at("fe80::1%" + "x" * 999) == trust.caller_at("fe80::1")
    assert (trust.caller_at(""), trust.caller_at("a host")) == (b"", b"a host")
