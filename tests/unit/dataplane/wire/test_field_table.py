import pytest

from shedproxy.dataplane.wire.field_table import (
    DROP,
    END_TO_END,
    HOP_BY_HOP,
    PASS,
    REASONS,
    REQUEST_ACTIONS,
    RESPONSE_ACTIONS,
    UPGRADE,
)


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_what_ends_at_this_hop_never_goes_through(name):
    assert REQUEST_ACTIONS[name] == DROP
    assert RESPONSE_ACTIONS[name] in {DROP, UPGRADE}


def test_what_policy_and_security_hang_on_cannot_be_listed_away():
    for name in (b"host", b"content-length", b"cookie", b"authorization", b"x-forwarded-for"):
        assert name in END_TO_END


def test_the_proxy_writes_host_and_answers_expect_itself():
    assert REQUEST_ACTIONS[b"host"] == REQUEST_ACTIONS[b"expect"] == DROP


def test_names_are_lower_case():
    for name in (*REQUEST_ACTIONS, *RESPONSE_ACTIONS, *END_TO_END):
        assert name == name.lower()
    assert REQUEST_ACTIONS[b"user-agent"] == RESPONSE_ACTIONS[b"user-agent"] == PASS


def test_reasons_are_for_statuses():
    assert all(100 <= status < 600 for status in REASONS)
