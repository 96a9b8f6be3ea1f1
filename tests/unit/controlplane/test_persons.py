"""Who may do what, and that a token is needed where others can reach."""

from __future__ import annotations

import hashlib

import pytest

from shedproxy.controlplane.persons import (
    ANYBODY,
    OWNER,
    Person,
    Persons,
    check_listener,
    is_loopback,
    new_token,
)
from shedproxy.errors import ConfigInvalidError
from shedproxy.listening import OrderKey, Peer, Refusal, read_order_key
from shedproxy.settings import TokenSettings

HERE = "127.0.0.1:9800"
JSON = {"content-type": "application/json", "host": HERE}
PEER = Peer(address=HERE)


def token(text: str, **fields) -> TokenSettings:
    return TokenSettings(sha256=hashlib.sha256(text.encode()).hexdigest(), **fields)


PERSONS = Persons(
    {
        "ann": token("a-token"),
        "ci": token("c-token", role="publisher"),
        "eve": token("e-token", until="2026-01-01T00:00:00+00:00"),
    },
    OrderKey((), {}),
    wall=lambda: 1_800_000_000.0,
)


def shown(text: str) -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {text}"}


def test_a_token_names_its_person_and_what_it_may():
    assert PERSONS.identify(shown("a-token"), PEER, changes=True) == Person(
        name="ann", role="operator"
    )
    ci = PERSONS.identify(shown("c-token"), PEER, changes=True)
    verbs = ("publish", "promote", "move-tenant")
    assert [ci.may(verb) for verb in verbs] == [True, False, False]
    assert not Person(name="bob", role="reader").may("publish")
    assert Person(name="ann", role="operator").may("promote")


@pytest.mark.parametrize(
    ("headers", "status", "what"),
    [
        (JSON, 401, "send authorization"),
        (shown("b-token"), 401, "nobody has this token"),
        (shown("e-token"), 401, "was good until"),
        ({**shown("a-token"), "origin": "http://evil"}, 403, "web page"),
        ({**shown("a-token"), "content-type": "text/plain"}, 415, "application/json"),
    ],
)
def test_nobody_else_changes_anything(headers, status, what):
    refusal = PERSONS.identify(headers, PEER, changes=True)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert what in refusal.detail


def test_who_looks_shows_a_token_as_well():
    assert PERSONS.identify({}, PEER, changes=False).status == 401
    assert PERSONS.identify(shown("c-token"), PEER, changes=False).name == "ci"


def test_without_any_token_whoever_is_on_this_host_looks_and_its_user_gives_orders(tmp_path):
    key = OrderKey((HERE,), {"XDG_RUNTIME_DIR": str(tmp_path)})
    persons = Persons({}, key, wall=lambda: 0.0)
    assert persons.identify(JSON, PEER, changes=False) == ANYBODY
    assert not ANYBODY.may("publish")
    refusal = persons.identify(JSON, PEER, changes=True)
    assert (refusal.status, refusal.order_key) == (401, key.file(HERE))
    assert "shedproxy control token" in refusal.detail
    secret = read_order_key(refusal.order_key, HERE)
    assert persons.identify(shown(secret), PEER, changes=True) == OWNER
    assert OWNER.may("promote")
    for changes in (False, True):
        evil = persons.identify({**JSON, "host": "evil:9800"}, PEER, changes=changes)
        assert evil.status == 403
    key.forget()


def test_without_a_token_and_a_folder_nobody_gives_orders(tmp_path, monkeypatch):
    monkeypatch.setattr("shedproxy.listening.order_key._folders", lambda _: [tmp_path / "a" / "b"])
    persons = Persons({}, OrderKey((HERE,), {}), wall=lambda: 0.0)
    assert persons.identify(JSON, PEER, changes=False) == ANYBODY
    refusal = persons.identify(JSON, PEER, changes=True)
    assert refusal.status == 403
    assert "No such file" in refusal.detail
    assert "shedproxy control token" in refusal.detail


def test_a_new_token_is_long_and_known_by_its_hash():
    text, sha256 = new_token()
    assert len(text) >= 43
    assert hashlib.sha256(text.encode()).hexdigest() == sha256
    assert new_token()[0] != text


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [("127.0.0.1:1", False), ("[::1]:1", False), ("localhost:1", False), ("0.0.0.0:1", True),
     (":1", True), ("10.0.0.1:1", True), ("name:1", True)],
)  # fmt: skip
def test_others_can_reach_it_only_with_tokens(listen, is_open):
    assert is_loopback(listen.rpartition(":")[0]) is not is_open
    check_listener(listen, {"ann": token("a")})
    if is_open:
        with pytest.raises(ConfigInvalidError, match="there is no token"):
            check_listener(listen, {})
    else:
        check_listener(listen, {})
