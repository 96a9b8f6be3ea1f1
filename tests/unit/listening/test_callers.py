"""Who calls, by the head of a request."""

from __future__ import annotations

import pytest

from shedproxy.listening import (
    PEER_USER,
    REBOUND,
    Peer,
    Refusal,
    address_of,
    bearer,
    is_json,
    is_local_name,
    is_own_page,
    peer_of,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("Bearer t0k", b"t0k"), ("bearer  t0k ", b"t0k"), ("Basic t0k", None), ("", None)],
)
def test_a_token_is_shown_as_bearer(value, shown):
    assert bearer({"authorization": value}) == shown


def test_a_body_says_that_it_is_json():
    assert is_json({"content-type": "Application/JSON; charset=utf-8"})
    assert not is_json({"content-type": "text/plain"})
    assert not is_json({})


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://h:1", "host": "h:1"}, True),
        ({"origin": "http://evil", "host": "h:1"}, False),
    ],
)
def test_a_page_of_another_origin_is_told_apart(headers, is_own):
    assert is_own_page(headers) is is_own


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("", True), ("localhost:9", True), ("127.0.0.1", True), ("[::1]:9", True), ("evil:9", False)],
)
def test_a_name_that_anybody_can_own_is_not_local(host, is_local):
    assert is_local_name(host) is is_local


def test_who_must_show_a_token_is_told_how():
    assert Refusal(status=401, title="", detail="").headers == {"www-authenticate": "Bearer"}
    assert REBOUND.headers is None


@pytest.mark.parametrize(
    ("scope", "peer"),
    [
        ({"server": ("127.0.0.1", 9900)}, Peer(address="127.0.0.1:9900")),
        ({"server": ("::1", 9900), "state": {}}, Peer(address="[::1]:9900")),
        ({"server": ("/run/control", None), "state": {PEER_USER: 7}}, Peer(user=7)),
        ({"server": None}, Peer()),
    ],
)
def test_a_connection_has_an_address_or_a_user_at_its_other_end(scope, peer):
    assert peer_of(scope) == peer


def test_addresses_are_written_as_in_urls():
    assert address_of("127.0.0.1", 1) == "127.0.0.1:1"
    assert address_of("::1", 1) == "[::1]:1"
