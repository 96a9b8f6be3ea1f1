"""The quick reading of a head beside the careful one: it says the same, or nothing."""

from __future__ import annotations

from shedproxy.dataplane.wire.field_memory import AnswerFields, RequestFields
from shedproxy.dataplane.wire.framing import (
    RequestFraming,
    ResponseFraming,
    check_request_head,
    check_response_head,
    request_framing,
    response_framing,
)
from shedproxy.dataplane.wire.headers import (
    HeaderContext,
    build_request_head,
    build_response_head,
)
from shedproxy.dataplane.wire.plain_heads import (
    plain_tail,
    read_plain_request,
    read_plain_response,
    write_plain_request,
    write_plain_response,
)
from shedproxy.dataplane.wire.tokens import (
    RequestTokens,
    ResponseTokens,
    read_request,
    read_response,
)

__all__ = [
    "FIELD_COUNT_MAX",
    "TARGET_SIZE_MAX",
    "check_request",
    "compare_answers",
    "compare_requests",
]

PEER, AUTHORITY, CRITICALITY = b"192.0.2.7", b"10.0.0.1:80", b"critical"
TARGET_SIZE_MAX, FIELD_COUNT_MAX = 512, 32


_OWN = {"_headers", "_plain", "fields", "first", "found", "framing_line", "lines", "plain", "said"}
"""What the quick way keeps besides, or makes when it is asked."""


def as_dict(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__ if name not in _OWN}


def careful_request(head: bytes) -> tuple[RequestTokens, RequestFraming]:
    """Raises HeadError."""
    check_request_head(head, target_size_max=TARGET_SIZE_MAX, field_count_max=FIELD_COUNT_MAX)
    tokens = read_request(head)
    framing = request_framing(tokens.method, tokens.version_minor, tokens.target, tokens.headers)
    return tokens, framing


def compare_requests(
    head: bytes,
    fields: RequestFields,
    context: HeaderContext,
    before: RequestTokens | None = None,
) -> RequestTokens | None:
    """What the quick way made of the head; then the careful one reads and writes the same.

    `before` is what it made of the head before.
    """
    quick = read_plain_request(
        head,
        fields,
        target_size_max=TARGET_SIZE_MAX,
        field_count_max=FIELD_COUNT_MAX,
        before=before,
    )
    return None if quick is None else check_request(head, quick, fields, context)


def check_request(
    head: bytes,
    quick: tuple[RequestTokens, RequestFraming],
    fields: RequestFields,
    context: HeaderContext,
) -> RequestTokens:
    """What a quick way made of the head is what the careful one reads and writes."""
    careful = careful_request(head)
    wanted: dict[bytes, bytes] = {}
    for name, value in careful[0].headers:
        if fields.wants(name):
            wanted.setdefault(name, value)
    assert (quick[0].found or {}) == wanted
    assert bool(quick[0].said) is bool(wanted)
    for one, other in zip(quick, careful, strict=True):
        assert as_dict(one) == as_dict(other)
    tokens, framing = quick
    if tokens.plain is None:
        return tokens
    built = build_request_head(
        context,
        tokens.method,
        careful[1],
        careful[0].headers,
        version_minor=1,
        peer=PEER,
        is_trusted=False,
        authority=AUTHORITY,
        criticality=CRITICALITY,
    )
    tail = plain_tail(context, PEER, framing.host, CRITICALITY)
    assert write_plain_request(context, tokens, framing, AUTHORITY, tail) == built
    return tokens


def compare_answers(
    head: bytes, method: bytes, fields: AnswerFields, before: ResponseTokens | None = None
) -> ResponseTokens | None:
    """The same for the answer to a request of this method."""
    quick = read_plain_response(head, method, fields, before)
    if quick is None:
        return None
    check_response_head(head)
    careful: ResponseTokens = read_response(head)
    framing: ResponseFraming = response_framing(
        method, careful.status, careful.version_minor, careful.headers
    )
    tokens, _ = quick
    assert as_dict(tokens) == as_dict(careful)
    assert as_dict(quick[1]) == as_dict(framing)
    for date in (b"",) if tokens.is_dated else (b"", b"now"):
        built = build_response_head(
            careful.status,
            careful.reason,
            framing,
            careful.headers,
            version_minor=1,
            keep_alive=True,
            date=date,
        )
        assert tokens.plain is not None
        assert write_plain_response(tokens, tokens.plain, date) == built
    return tokens
