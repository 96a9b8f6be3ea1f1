"""Whether a body follows, and whether its client waits to be told to send it."""

from __future__ import annotations

import pytest

from shedproxy.dataplane.asgi.body_head import BODY_FIELDS, may_have_body, waits_for_word

LENGTH = (b"content-length", b"10")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ([LENGTH], "1.1", True),
        ([(b"host", b"a"), CHUNKED], "1.1", True),
        ([(b"content-length", b"0")], "1.1", False),
        ([(b"content-length", b"0"), CHUNKED], "1.1", True),
        ([], "1.1", False),
        ([CHUNKED], "1.0", True),
        ([(b"content-length", b"0")], "2", True),
        ([], "3", True),
    ],
)
def test_which_heads_may_be_followed_by_a_body(headers, version, expected):
    """Whatever the method: Django reads a body of any. HTTP/2 says by a flag if there is one."""
    fields = {name: value for name, value in headers if name in BODY_FIELDS}
    assert may_have_body({"http_version": version}, fields, len(fields)) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([LENGTH], False),
        ([LENGTH, (b"expect", b"100-continue")], False),
        ([(b"content-length", b"101"), (b"expect", b"100-continue")], True),
        ([CHUNKED, (b"expect", b"100-continue")], True),
        ([(b"content-length", b"\xb2"), (b"expect", b"100-continue")], True),
    ],
)
def test_whose_client_is_told_by_the_app_to_send(headers, expected):
    assert waits_for_word({"headers": headers}, 100) is expected
