"""Answers a request with its refusal: canned bytes, and now and then a line in the log.

What a refusal needs is here, and no more: who is refused at once has no exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shedproxy.core import NS_PER_S, Instant, Rejected, RejectReason
from shedproxy.dataplane.hints import trace_id
from shedproxy.dataplane.wire.framing import RequestFraming
from shedproxy.dataplane.wire.tokens import RequestTokens
from shedproxy.observability.access_log import AccessRecord

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_side import ClientConnection
    from shedproxy.dataplane.wire.live import Live

__all__ = ["may_keep", "refuse", "trace_of"]

_REASONS: Final = tuple(reason.label for reason in RejectReason)


def refuse(
    client: ClientConnection,
    live: Live,
    rejected: Rejected,
    tokens: RequestTokens,
    framing: RequestFraming,
    started_at: Instant,
) -> bool:
    """Tell the client; the driver has counted it. Whether its connection can be kept."""
    keep_alive = may_keep(client, live, tokens, framing)
    at = rejected.at
    refusal_id = live.driver.ring.text_of(rejected.record_id)
    client.write(
        live.rejections.wire(
            rejected,
            refusal_id,
            head=tokens.method == b"HEAD",
            keep_alive=keep_alive,
            date=live.date_at(at),
        )
    )
    if live.log.wants_refused(at):
        _log(client, live, rejected, tokens, refusal_id, started_at)
    return keep_alive


def may_keep(
    client: ClientConnection, live: Live, tokens: RequestTokens, framing: RequestFraming
) -> bool:
    """Whether the client's connection outlives an answer of ours."""
    # HTTP/1.0 would want to be told; refusing it is no time to negotiate.
    return (
        framing.keep_alive
        and tokens.version_minor == 1
        and client.can_keep()
        and live.keeps_clients(client.served)
    )


def trace_of(tokens: RequestTokens) -> str:
    """The id in the request's traceparent; empty where it has none."""
    for name, value in tokens.headers:
        if name == b"traceparent":
            return trace_id(value).decode("latin-1")
    return ""


def _log(
    client: ClientConnection,
    live: Live,
    rejected: Rejected,
    tokens: RequestTokens,
    refusal_id: bytes,
    started_at: Instant,
) -> None:
    info = rejected.request
    live.log.append(
        AccessRecord(
            live.driver.wall_ns(rejected.at) / NS_PER_S,
            client.peer,
            tokens.method.decode("latin-1"),
            tokens.target,
            live.rejections.status(rejected.reason),
            info.route,
            info.cell,
            info.criticality.label,
            rejected.at - started_at,
            rejected.waited_ns,
            0,
            _REASONS[rejected.reason],
            refusal_id.decode(),
            rejected.in_flight,
            rejected.limit,
            trace_of(tokens),
        )
    )
