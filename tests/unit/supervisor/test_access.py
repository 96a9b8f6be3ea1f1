"""Who may read and change what, from the head of a request alone."""

from __future__ import annotations

import os

import pytest

from shedproxy.listening import OrderKey, Peer, read_order_key
from shedproxy.supervisor.access import Access

HERE = "127.0.0.1:9900"
JSON = {"content-type": "application/json", "host": HERE}
OWNER = Peer(user=os.geteuid())
STRANGER = Peer(address=HERE)


def access(
    token: str = "",
    read_token: str = "",
    *,
    needs_token: bool = False,
    key: OrderKey | None = None,
) -> Access:
    return Access(
        token=lambda: token,
        read_token=lambda: read_token,
        needs_token=needs_token,
        key=key or OrderKey((), {}),
    )


@pytest.fixture
def key(tmp_path):
    key = OrderKey((HERE,), {"XDG_RUNTIME_DIR": str(tmp_path)})
    yield key
    key.forget()


def bearer(token: str, **more: str) -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {token}", **more}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9900", "10.0.0.7", "localhost", "LOCALHOST:1", "[::1]:9900", "[::1]", ""],
)
def test_on_this_host_nothing_is_asked_but_a_name_that_is_no_name(host):
    assert access().refuse_read({"host": host}) is None
    assert access().refuse_change({**JSON, "host": host}, OWNER) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9900", "localhost.evil.example", "127.0.0.1.evil", "a@b"]
)
def test_a_name_that_can_be_pointed_here_is_refused(host):
    assert access().refuse_read({"host": host}).status == 403
    assert access().refuse_change({**JSON, "host": host}, OWNER).title == "Foreign host name"
    assert access().refuse_change({**JSON, "host": host}, STRANGER).title == "Foreign host name"


def test_who_shows_the_token_may_call_this_host_as_it_likes():
    headers = bearer("right", host="proxy.example")
    assert access("right").refuse_read(headers) is None
    assert access("right").refuse_change(headers, STRANGER) is None


def test_a_token_guards_changes_on_loopback_too_but_no_reads():
    assert access("right").refuse_read(JSON) is None
    assert access("right").refuse_change(JSON, OWNER).status == 401


def test_the_read_token_reads_and_changes_nothing():
    public = access("right", "reader", needs_token=True)
    assert public.refuse_read(bearer("reader")) is None
    assert public.refuse_read(bearer("right")) is None
    assert public.refuse_change(bearer("reader"), OWNER).status == 401
    assert public.refuse_change(bearer("right"), STRANGER) is None


def test_a_read_token_alone_opens_no_way_to_change():
    public = access("", "reader", needs_token=True)
    assert public.refuse_read(bearer("reader")) is None
    assert public.refuse_change(bearer("reader"), OWNER).status == 403
    assert public.refuse_change(bearer(""), STRANGER).status == 403


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic right", "right", "Bearer right right",
     "Bearer \xff\u20ac", "Bearer righ", "Bearer rightt"],
)  # fmt: skip
def test_anything_but_the_token_is_refused(shown):
    headers = {**JSON, "authorization": shown}
    assert access("right", needs_token=True).refuse_read(headers).status == 401
    assert access("right", needs_token=True).refuse_change(headers, STRANGER).status == 401
    assert access(needs_token=True).refuse_read(headers).status == 403


def test_the_scheme_has_no_case_and_tokens_any_byte():
    headers = {**JSON, "authorization": "bEARER " + "sëcret".encode().decode("latin-1")}
    assert access("sëcret", needs_token=True).refuse_read(headers) is None


def test_a_refusal_says_what_is_asked_for_and_never_the_token():
    refusal = access("s3cret", "r3ader", needs_token=True).refuse_read(bearer("guess"))
    assert refusal.headers == {"www-authenticate": "Bearer"}
    text = f"{refusal.title} {refusal.detail}"
    assert "read_token_file" in text
    assert not {"s3cret", "r3ader", "guess"} & set(text.split())


@pytest.mark.parametrize(
    "said",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9901"},
    ],
)
def test_pages_of_other_origins_change_nothing_token_or_not(said):
    assert access().refuse_change({**JSON, **said}, OWNER).status == 403
    assert access("right").refuse_change(bearer("right", **said), OWNER).status == 403


@pytest.mark.parametrize(
    "said",
    [{}, {"sec-fetch-site": "none"},
     {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:9900"}],
)  # fmt: skip
def test_commands_and_own_pages_may(said):
    assert access().refuse_change({**JSON, **said}, OWNER) is None


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_a_form_changes_nothing(kind):
    assert access().refuse_change({**JSON, "content-type": kind}, OWNER).status == 415


def test_tokens_are_read_anew_each_time():
    tokens = iter(["old", "new"])
    rotated = Access(token=lambda: next(tokens), needs_token=True, key=OrderKey((), {}))
    assert rotated.refuse_read(bearer("old")) is None
    assert rotated.refuse_read(bearer("old")).status == 401


def test_on_loopback_orders_are_for_who_can_read_the_key(key):
    refusal = access(key=key).refuse_change(JSON, STRANGER)
    assert (refusal.status, refusal.order_key) == (401, key.file(HERE))
    for way in ("as that user", f"curl -H @{refusal.order_key}", "control.token_file"):
        assert way in refusal.detail
    secret = read_order_key(refusal.order_key, HERE)
    assert secret not in refusal.detail
    assert access(key=key).refuse_change(bearer(secret), STRANGER) is None
    assert access(key=key).refuse_change(bearer("guess"), STRANGER).status == 401


def test_the_key_is_no_token_where_a_token_is_asked_for(key):
    shown = bearer(read_order_key(key.file(HERE), HERE))
    assert access("right", key=key).refuse_change(shown, STRANGER).title == "Token required"
    assert access(key=key, needs_token=True).refuse_change(shown, STRANGER).status == 403
    assert access(key=key, needs_token=True).refuse_read(shown).status == 403


@pytest.mark.parametrize(("user", "may"), [(os.geteuid(), True), (0, True), (54321, False)])
def test_through_a_unix_socket_orders_are_for_its_user_and_root(user, may):
    refusal = access().refuse_change(JSON, Peer(user=user))
    assert (refusal is None) is may
    if refusal is not None:
        assert refusal.status == 403
        assert "control.token_file" in refusal.detail


def test_without_a_folder_of_its_own_nobody_gives_orders_and_is_told_why(tmp_path, monkeypatch):
    nowhere = tmp_path / "gone" / "orders"
    monkeypatch.setattr("shedproxy.listening.order_key._folders", lambda _: [nowhere])
    refusal = access(key=OrderKey((HERE,), {})).refuse_change(JSON, STRANGER)
    assert refusal.status == 403
    for said in (f"{nowhere}: No such file", "control.token_file", "XDG_RUNTIME_DIR"):
        assert said in refusal.detail
